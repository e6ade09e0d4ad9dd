//! Parameters of the SSM parameter store.

use super::call::call;
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::ssm::op;
use serde_json::{Map, Value, json};

/// `AWS::SSM::Parameter`.
pub struct Parameter;

impl ResourceType for Parameter {
    fn name(&self) -> &'static str {
        "AWS::SSM::Parameter"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["AllowedPattern", "DataType", "Description", "Name", "Policies", "Tags", "Tier", "Type", "Value"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Type", "Value"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Type", "Value"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["AllowedPattern", "DataType", "Description", "Policies", "Tags", "Tier", "Type", "Value"]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("Name")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["Name", "Tags"]);
        let name = wanted.text("Name").unwrap_or_else(|| format!("CFN-{}", wanted.generated(500)));
        input.insert("Name".into(), name.clone().into());
        input.insert("Tags".into(), wanted.own_tags().into());
        call::<op::PutParameter>(ctx, input.into())?;
        Ok(Made::new(name).with("Type", wanted.needed("Type")?).with("Value", wanted.needed("Value")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let settings = ["AllowedPattern", "DataType", "Description", "Policies", "Tier", "Type", "Value"];
        if change.any(&settings) {
            let mut input = new.pick(&settings);
            input.insert("Name".into(), made.physical_id.clone().into());
            input.insert("Overwrite".into(), true.into());
            // What is not named stays as it is, so what was taken away has to be named.
            if let Some(description) = change.value("Description", "") {
                input.insert("Description".into(), description);
            }
            call::<op::PutParameter>(ctx, input.into())?;
        }
        let target = json!({"ResourceType": "Parameter", "ResourceId": made.physical_id});
        retag::<op::AddTagsToResource, op::RemoveTagsFromResource>(ctx, &change, &target)?;
        Ok(Made::new(&made.physical_id).with("Type", new.needed("Type")?).with("Value", new.needed("Value")?))
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::GetParameter>(ctx, json!({"Name": made.physical_id}))?;
        Ok(members(&output["Parameter"], &["DataType", "Name", "Type", "Value"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteParameter>(ctx, json!({"Name": made.physical_id})))
    }
}
