//! Launch templates.

use super::call::{call, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::LaunchTemplate`. An update makes a new version; the default version stays the first.
pub struct LaunchTemplate;

impl ResourceType for LaunchTemplate {
    fn name(&self) -> &'static str {
        "AWS::EC2::LaunchTemplate"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["LaunchTemplateData", "LaunchTemplateName", "TagSpecifications", "VersionDescription"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["LaunchTemplateData"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["DefaultVersionNumber", "LatestVersionNumber", "LaunchTemplateId"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["LaunchTemplateData", "TagSpecifications", "VersionDescription"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("LaunchTemplateName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["LaunchTemplateData", "VersionDescription"]);
        input.insert("LaunchTemplateName".into(), wanted.name("LaunchTemplateName", 128).into());
        input.insert("TagSpecifications".into(), tagged(wanted).tag_specifications("launch-template"));
        let output = call::<op::CreateLaunchTemplate>(ctx, input.into())?;
        describe(ctx, &text(&output, "/LaunchTemplate/LaunchTemplateId")?)
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let id = &made.physical_id;
        if change.any(&["LaunchTemplateData", "VersionDescription"]) {
            let mut input = new.pick(&["LaunchTemplateData", "VersionDescription"]);
            input.insert("LaunchTemplateId".into(), id.clone().into());
            call::<op::CreateLaunchTemplateVersion>(ctx, input.into())?;
        }
        // The tags are in another place here than elsewhere.
        retag_ec2(ctx, &Change { made, old: &tagged(old), new: &tagged(new) }, id)?;
        describe(ctx, id)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({"LaunchTemplateId": made.physical_id, "Versions": ["$Latest"]});
        let output = call::<op::DescribeLaunchTemplateVersions>(ctx, input)?;
        let latest = &output["LaunchTemplateVersions"][0];
        Ok(members(latest, &["LaunchTemplateData", "LaunchTemplateName", "VersionDescription"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteLaunchTemplate>(ctx, json!({"LaunchTemplateId": made.physical_id})))
    }
}

fn describe(ctx: &mut Ctx<'_>, id: &str) -> Result<Made> {
    let output = call::<op::DescribeLaunchTemplates>(ctx, json!({"LaunchTemplateIds": [id]}))?;
    let template = &output["LaunchTemplates"][0];
    Ok(Made::new(id)
        .with("LaunchTemplateId", id)
        .with("DefaultVersionNumber", text(template, "/DefaultVersionNumber")?)
        .with("LatestVersionNumber", text(template, "/LatestVersionNumber")?))
}

/// The same with the template's own tags as `Tags`, which they are elsewhere.
fn tagged(wanted: &Wanted) -> Wanted {
    let specifications = wanted.properties.get("TagSpecifications").and_then(Value::as_array);
    let mine = specifications.into_iter().flatten().find(|s| s["ResourceType"] == "launch-template");
    let tags = mine.map_or_else(|| json!([]), |specification| specification["Tags"].clone());
    Wanted { properties: Map::from_iter([("Tags".to_owned(), tags)]), ..wanted.clone() }
}
