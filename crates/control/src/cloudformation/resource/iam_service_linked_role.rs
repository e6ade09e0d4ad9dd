//! Roles that services act as.

use super::call::{call, refused, text};
use super::change::Change;
use super::{Made, Progress, ResourceType, Wanted, is_absent, members};
use crate::api::{Ctx, Result};
use quarry_aws::iam::op;
use serde_json::{Map, Value, json};

/// `AWS::IAM::ServiceLinkedRole`.
pub struct ServiceLinkedRole;

impl ResourceType for ServiceLinkedRole {
    fn name(&self) -> &'static str {
        "AWS::IAM::ServiceLinkedRole"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["AWSServiceName", "CustomSuffix", "Description"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["AWSServiceName"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["RoleName"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Description"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let output = call::<op::CreateServiceLinkedRole>(ctx, Value::Object(wanted.properties.clone()))?;
        let name = text(&output, "/Role/RoleName")?;
        Ok(Made::new(&name).with("RoleName", name))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        if let Some(description) = (Change { made, old, new }).value("Description", "") {
            call::<op::UpdateRole>(ctx, json!({"RoleName": made.physical_id, "Description": description}))?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::GetRole>(ctx, json!({"RoleName": made.physical_id}))?;
        Ok(members(&output["Role"], &["Description"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let output = match call::<op::DeleteServiceLinkedRole>(ctx, json!({"RoleName": made.physical_id})) {
            Err(error) if is_absent(&error) => return Ok(Progress::Done),
            other => other?,
        };
        let task = json!({"DeletionTaskId": output["DeletionTaskId"]});
        let status = call::<op::GetServiceLinkedRoleDeletionStatus>(ctx, task)?;
        match status["Status"].as_str() {
            Some("SUCCEEDED") => Ok(Progress::Done),
            Some("FAILED") => Err(refused(text(&status, "/Reason/Reason").unwrap_or_default())),
            _ => Ok(Progress::Waiting),
        }
    }
}
