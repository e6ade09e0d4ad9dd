//! IAM roles.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::iam::op;
use serde_json::{Map, Value, json};

/// `AWS::IAM::Role`.
pub struct Role;

impl ResourceType for Role {
    fn name(&self) -> &'static str {
        "AWS::IAM::Role"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AssumeRolePolicyDocument",
            "Description",
            "ManagedPolicyArns",
            "MaxSessionDuration",
            "Path",
            "PermissionsBoundary",
            "Policies",
            "RoleName",
            "Tags",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["AssumeRolePolicyDocument"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn", "RoleId"]
    }

    fn iam_name(&self) -> Option<&'static str> {
        Some("RoleName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["Description", "MaxSessionDuration", "Path", "PermissionsBoundary"]);
        let name = wanted.name("RoleName", 64);
        input.insert("RoleName".into(), name.clone().into());
        input
            .insert("AssumeRolePolicyDocument".into(), document(&wanted.properties["AssumeRolePolicyDocument"]).into());
        input.insert("Tags".into(), wanted.own_tags().into());
        let output = call::<op::CreateRole>(ctx, input.into())?;
        if let Some(Value::Array(arns)) = wanted.properties.get("ManagedPolicyArns") {
            for arn in arns {
                call::<op::AttachRolePolicy>(ctx, json!({"RoleName": name, "PolicyArn": arn}))?;
            }
        }
        if let Some(Value::Array(policies)) = wanted.properties.get("Policies") {
            for policy in policies {
                let input = json!({
                    "RoleName": name,
                    "PolicyName": policy.get("PolicyName"),
                    "PolicyDocument": document(&policy["PolicyDocument"]),
                });
                call::<op::PutRolePolicy>(ctx, input)?;
            }
        }
        Ok(Made::new(name).with("Arn", text(&output, "/Role/Arn")?).with("RoleId", text(&output, "/Role/RoleId")?))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let name = json!({"RoleName": made.physical_id});
        let attached = match call::<op::ListAttachedRolePolicies>(ctx, name.clone()) {
            Err(error) if super::is_absent(&error) => return Ok(Progress::Done),
            other => other?,
        };
        for policy in attached["AttachedPolicies"].as_array().into_iter().flatten() {
            let input = json!({"RoleName": made.physical_id, "PolicyArn": policy["PolicyArn"]});
            call::<op::DetachRolePolicy>(ctx, input)?;
        }
        let inline = call::<op::ListRolePolicies>(ctx, name.clone())?;
        for policy in inline["PolicyNames"].as_array().into_iter().flatten() {
            call::<op::DeleteRolePolicy>(ctx, json!({"RoleName": made.physical_id, "PolicyName": policy}))?;
        }
        deleted(call::<op::DeleteRole>(ctx, name))
    }
}

/// A policy document, which templates write as a map, as the text that IAM takes.
fn document(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
