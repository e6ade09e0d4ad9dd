//! IAM roles.

use super::call::{call, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, deleted, document, members};
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

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "AssumeRolePolicyDocument",
            "Description",
            "ManagedPolicyArns",
            "MaxSessionDuration",
            "PermissionsBoundary",
            "Policies",
            "Tags",
        ]
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
                put_policy(ctx, &name, policy)?;
            }
        }
        Ok(Made::new(name).with("Arn", text(&output, "/Role/Arn")?).with("RoleId", text(&output, "/Role/RoleId")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let name = json!({"RoleName": made.physical_id});
        let with = |more: Value| {
            let mut input = more;
            input["RoleName"] = made.physical_id.clone().into();
            input
        };
        if let Some(trust) = change.kept("AssumeRolePolicyDocument")? {
            call::<op::UpdateAssumeRolePolicy>(ctx, with(json!({"PolicyDocument": document(&trust)})))?;
        }
        if change.any(&["Description", "MaxSessionDuration"]) {
            let setting = |name: &str, default: Value| new.properties.get(name).cloned().unwrap_or(default);
            // Both: a duration that is not given would become the default one.
            let settings = json!({
                "Description": setting("Description", "".into()),
                "MaxSessionDuration": setting("MaxSessionDuration", 3600.into()),
            });
            call::<op::UpdateRole>(ctx, with(settings))?;
        }
        match change.value("PermissionsBoundary", Value::Null) {
            None => {}
            Some(Value::Null) => drop(call::<op::DeleteRolePermissionsBoundary>(ctx, name.clone())?),
            Some(arn) => {
                call::<op::PutRolePermissionsBoundary>(ctx, with(json!({"PermissionsBoundary": arn})))?;
            }
        }
        let (came, went) = change.list("ManagedPolicyArns");
        for arn in went {
            call::<op::DetachRolePolicy>(ctx, with(json!({"PolicyArn": arn})))?;
        }
        for arn in came {
            call::<op::AttachRolePolicy>(ctx, with(json!({"PolicyArn": arn})))?;
        }
        let (came, went) = change.list("Policies");
        for policy in &went {
            if came.iter().all(|other| other["PolicyName"] != policy["PolicyName"]) {
                call::<op::DeleteRolePolicy>(ctx, with(json!({"PolicyName": policy["PolicyName"]})))?;
            }
        }
        for policy in came {
            put_policy(ctx, &made.physical_id, &policy)?;
        }
        retag::<op::TagRole, op::UntagRole>(ctx, &change, &name)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let name = json!({"RoleName": made.physical_id});
        let output = call::<op::GetRole>(ctx, name.clone())?;
        let role = &output["Role"];
        let mut seen = members(role, &["Description", "MaxSessionDuration", "Path", "RoleName", "Tags"]);
        seen.extend(
            members(&role["PermissionsBoundary"], &["PermissionsBoundaryArn"])
                .remove("PermissionsBoundaryArn")
                .map(|arn| ("PermissionsBoundary".to_owned(), arn)),
        );
        let attached = call::<op::ListAttachedRolePolicies>(ctx, name)?;
        let attached = attached["AttachedPolicies"].as_array().into_iter().flatten();
        seen.insert("ManagedPolicyArns".into(), attached.map(|policy| policy["PolicyArn"].clone()).collect());
        Ok(seen)
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

/// Puts an inline policy of the property `Policies`.
fn put_policy(ctx: &mut Ctx<'_>, role: &str, policy: &Value) -> Result<()> {
    let text = document(&policy["PolicyDocument"]);
    let input = json!({"RoleName": role, "PolicyName": policy["PolicyName"], "PolicyDocument": text});
    call::<op::PutRolePolicy>(ctx, input)?;
    Ok(())
}
