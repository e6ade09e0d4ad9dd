//! Instance profiles.

use super::call::{call, text};
use super::change::Change;
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::iam::op;
use serde_json::{Map, Value, json};

/// `AWS::IAM::InstanceProfile`.
pub struct InstanceProfile;

impl ResourceType for InstanceProfile {
    fn name(&self) -> &'static str {
        "AWS::IAM::InstanceProfile"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["InstanceProfileName", "Path", "Roles"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Roles"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn"]
    }

    fn iam_name(&self) -> Option<&'static str> {
        Some("InstanceProfileName")
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Roles"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["Path"]);
        let name = wanted.name("InstanceProfileName", 128);
        input.insert("InstanceProfileName".into(), name.clone().into());
        let output = call::<op::CreateInstanceProfile>(ctx, input.into())?;
        for role in wanted.properties["Roles"].as_array().into_iter().flatten() {
            call::<op::AddRoleToInstanceProfile>(ctx, json!({"InstanceProfileName": name, "RoleName": role}))?;
        }
        Ok(Made::new(name).with("Arn", text(&output, "/InstanceProfile/Arn")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let (came, went) = change.list("Roles");
        for role in went {
            let input = json!({"InstanceProfileName": made.physical_id, "RoleName": role});
            call::<op::RemoveRoleFromInstanceProfile>(ctx, input)?;
        }
        for role in came {
            let input = json!({"InstanceProfileName": made.physical_id, "RoleName": role});
            call::<op::AddRoleToInstanceProfile>(ctx, input)?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::GetInstanceProfile>(ctx, json!({"InstanceProfileName": made.physical_id}))?;
        let profile = &output["InstanceProfile"];
        let mut seen = super::members(profile, &["InstanceProfileName", "Path"]);
        let roles = profile["Roles"].as_array().into_iter().flatten();
        seen.insert("Roles".into(), roles.map(|role| role["RoleName"].clone()).collect());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let name = json!({"InstanceProfileName": made.physical_id});
        let profile = match call::<op::GetInstanceProfile>(ctx, name.clone()) {
            Err(error) if super::is_absent(&error) => return Ok(Progress::Done),
            other => other?,
        };
        for role in profile.pointer("/InstanceProfile/Roles").and_then(Value::as_array).into_iter().flatten() {
            let input = json!({"InstanceProfileName": made.physical_id, "RoleName": role["RoleName"]});
            call::<op::RemoveRoleFromInstanceProfile>(ctx, input)?;
        }
        deleted(call::<op::DeleteInstanceProfile>(ctx, name))
    }
}
