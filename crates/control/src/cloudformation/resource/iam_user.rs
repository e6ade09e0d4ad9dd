//! IAM users and their access keys.

use super::call::{call, refused, text};
use super::change::{Change, retag};
use super::iam_holder::Holder::User as Users;
use super::iam_holder::boundary;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use crate::cloudformation::dynamic;
use quarry_aws::iam::op;
use serde_json::{Map, Value, json};

/// `AWS::IAM::User`.
pub struct User;

/// `AWS::IAM::AccessKey`.
pub struct AccessKey;

impl ResourceType for User {
    fn name(&self) -> &'static str {
        "AWS::IAM::User"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Groups", "ManagedPolicyArns", "Path", "PermissionsBoundary", "Policies", "Tags", "UserName"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn"]
    }

    fn iam_name(&self) -> Option<&'static str> {
        Some("UserName")
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Groups", "ManagedPolicyArns", "Path", "PermissionsBoundary", "Policies", "Tags"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["Path", "PermissionsBoundary"]);
        let name = Value::from(wanted.name("UserName", 64));
        input.insert("UserName".into(), name.clone());
        input.insert("Tags".into(), wanted.own_tags().into());
        let output = call::<op::CreateUser>(ctx, input.into())?;
        Users.give(ctx, &name, &wanted.properties)?;
        for group in wanted.properties.get("Groups").and_then(Value::as_array).into_iter().flatten() {
            call::<op::AddUserToGroup>(ctx, json!({"UserName": name, "GroupName": group}))?;
        }
        Ok(Made::new(text(&output, "/User/UserName")?).with("Arn", text(&output, "/User/Arn")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let name = Value::from(made.physical_id.as_str());
        let with = |more: Value| Users.named(&name, more);
        if let Some(path) = change.value("Path", "/") {
            call::<op::UpdateUser>(ctx, with(json!({"NewPath": path})))?;
        }
        match change.value("PermissionsBoundary", Value::Null) {
            None => {}
            Some(Value::Null) => drop(call::<op::DeleteUserPermissionsBoundary>(ctx, with(json!({})))?),
            Some(arn) => {
                call::<op::PutUserPermissionsBoundary>(ctx, with(json!({"PermissionsBoundary": arn})))?;
            }
        }
        Users.change(ctx, &name, &change)?;
        let (came, went) = change.list("Groups");
        for group in went {
            deleted(call::<op::RemoveUserFromGroup>(ctx, with(json!({"GroupName": group}))))?;
        }
        for group in came {
            call::<op::AddUserToGroup>(ctx, with(json!({"GroupName": group})))?;
        }
        retag::<op::TagUser, op::UntagUser>(ctx, &change, &with(json!({})))?;
        // With another path the ARN is another.
        let output = call::<op::GetUser>(ctx, with(json!({})))?;
        Ok(made.clone().with("Arn", text(&output, "/User/Arn")?))
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let name = Value::from(made.physical_id.as_str());
        let output = call::<op::GetUser>(ctx, Users.named(&name, json!({})))?;
        let user = &output["User"];
        let mut seen = members(user, &["Path", "Tags", "UserName"]);
        seen.extend(boundary(user));
        seen.insert("ManagedPolicyArns".into(), Users.attached(ctx, &name)?.into());
        // Groups that others put him into are not the template's.
        let declared = properties.get("Groups").and_then(Value::as_array).cloned().unwrap_or_default();
        let output = call::<op::ListGroupsForUser>(ctx, Users.named(&name, json!({})))?;
        let groups: Vec<&Value> = output["Groups"].as_array().into_iter().flatten().map(|g| &g["GroupName"]).collect();
        seen.insert("Groups".into(), declared.into_iter().filter(|group| groups.contains(&group)).collect());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let name = Value::from(made.physical_id.as_str());
        if !Users.strip(ctx, &name)? {
            return Ok(Progress::Done);
        }
        for group in properties.get("Groups").and_then(Value::as_array).into_iter().flatten() {
            deleted(call::<op::RemoveUserFromGroup>(ctx, Users.named(&name, json!({"GroupName": group}))))?;
        }
        deleted(call::<op::DeleteUser>(ctx, Users.named(&name, json!({}))))
    }
}

impl ResourceType for AccessKey {
    fn name(&self) -> &'static str {
        "AWS::IAM::AccessKey"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Serial", "Status", "UserName"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["UserName"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["SecretAccessKey"]
    }

    fn iam_name(&self) -> Option<&'static str> {
        Some("")
    }

    fn name_property(&self) -> Option<&'static str> {
        None
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Serial", "Status"]
    }

    fn conditional(&self) -> &'static [&'static str] {
        &["Serial"]
    }

    /// A higher serial asks for another key.
    fn replaces(&self, old: &Wanted, new: &Wanted) -> bool {
        serial(new) > serial(old)
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let output = call::<op::CreateAccessKey>(ctx, wanted.pick(&["UserName"]).into())?;
        let id = text(&output, "/AccessKey/AccessKeyId")?;
        if let Some(status) = wanted.properties.get("Status") {
            set_status(ctx, wanted, &id, status)?;
        }
        let secret = dynamic::sealed(ctx, &text(&output, "/AccessKey/SecretAccessKey")?);
        Ok(Made::new(id).with("SecretAccessKey", secret))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        if serial(new) < serial(old) {
            return Err(refused("Serial can only be incremented"));
        }
        if let Some(status) = (Change { made, old, new }).value("Status", "Active") {
            set_status(ctx, new, &made.physical_id, &status)?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::ListAccessKeys>(ctx, json!({"UserName": properties["UserName"]}))?;
        let keys = output["AccessKeyMetadata"].as_array();
        let key = keys.into_iter().flatten().find(|key| key["AccessKeyId"] == made.physical_id.as_str());
        let key = key.ok_or_else(|| absent("The access key is gone"))?;
        Ok(members(key, &["Status", "UserName"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({"UserName": properties["UserName"], "AccessKeyId": made.physical_id});
        deleted(call::<op::DeleteAccessKey>(ctx, input))
    }
}

fn set_status(ctx: &mut Ctx<'_>, wanted: &Wanted, id: &str, status: &Value) -> Result<()> {
    let input = json!({"UserName": wanted.needed("UserName")?, "AccessKeyId": id, "Status": status});
    call::<op::UpdateAccessKey>(ctx, input)?;
    Ok(())
}

fn serial(wanted: &Wanted) -> i64 {
    wanted.text("Serial").and_then(|text| text.parse().ok()).unwrap_or(0)
}
