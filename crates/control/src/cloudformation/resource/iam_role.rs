//! IAM roles.

use super::call::{call, text};
use super::change::{Change, retag};
use super::iam_holder::Holder::Role as Roles;
use super::iam_holder::boundary;
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
        Roles.give(ctx, &name.clone().into(), &wanted.properties)?;
        Ok(Made::new(name).with("Arn", text(&output, "/Role/Arn")?).with("RoleId", text(&output, "/Role/RoleId")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let name = json!({"RoleName": made.physical_id});
        let with = |more: Value| Roles.named(&name["RoleName"], more);
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
        Roles.change(ctx, &name["RoleName"], &change)?;
        retag::<op::TagRole, op::UntagRole>(ctx, &change, &name)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let name = json!({"RoleName": made.physical_id});
        let output = call::<op::GetRole>(ctx, name.clone())?;
        let role = &output["Role"];
        let mut seen = members(role, &["Description", "MaxSessionDuration", "Path", "RoleName", "Tags"]);
        seen.extend(boundary(role));
        seen.insert("ManagedPolicyArns".into(), Roles.attached(ctx, &name["RoleName"])?.into());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let name = json!({"RoleName": made.physical_id});
        if !Roles.strip(ctx, &name["RoleName"])? {
            return Ok(Progress::Done);
        }
        deleted(call::<op::DeleteRole>(ctx, name))
    }
}
