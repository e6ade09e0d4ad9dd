//! IAM groups, and who is in them.

use super::call::{call, text};
use super::change::Change;
use super::iam_holder::Holder::Group as Groups;
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::iam::op;
use serde_json::{Map, Value, json};

/// `AWS::IAM::Group`.
pub struct Group;

/// `AWS::IAM::UserToGroupAddition`: users who are put into one group.
pub struct UserToGroupAddition;

impl ResourceType for Group {
    fn name(&self) -> &'static str {
        "AWS::IAM::Group"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["GroupName", "ManagedPolicyArns", "Path", "Policies"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn"]
    }

    fn iam_name(&self) -> Option<&'static str> {
        Some("GroupName")
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["ManagedPolicyArns", "Path", "Policies"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["Path"]);
        let name = Value::from(wanted.name("GroupName", 128));
        input.insert("GroupName".into(), name.clone());
        let output = call::<op::CreateGroup>(ctx, input.into())?;
        Groups.give(ctx, &name, &wanted.properties)?;
        Ok(Made::new(text(&output, "/Group/GroupName")?).with("Arn", text(&output, "/Group/Arn")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let name = Value::from(made.physical_id.as_str());
        if let Some(path) = change.value("Path", "/") {
            call::<op::UpdateGroup>(ctx, Groups.named(&name, json!({"NewPath": path})))?;
        }
        Groups.change(ctx, &name, &change)?;
        // With another path the ARN is another.
        let output = call::<op::GetGroup>(ctx, Groups.named(&name, json!({})))?;
        Ok(made.clone().with("Arn", text(&output, "/Group/Arn")?))
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let name = Value::from(made.physical_id.as_str());
        let output = call::<op::GetGroup>(ctx, Groups.named(&name, json!({})))?;
        let mut seen = members(&output["Group"], &["GroupName", "Path"]);
        seen.insert("ManagedPolicyArns".into(), Groups.attached(ctx, &name)?.into());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let name = Value::from(made.physical_id.as_str());
        if !Groups.strip(ctx, &name)? {
            return Ok(Progress::Done);
        }
        deleted(call::<op::DeleteGroup>(ctx, Groups.named(&name, json!({}))))
    }
}

impl ResourceType for UserToGroupAddition {
    fn name(&self) -> &'static str {
        "AWS::IAM::UserToGroupAddition"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["GroupName", "Users"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["GroupName", "Users"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Id"]
    }

    fn iam_name(&self) -> Option<&'static str> {
        Some("")
    }

    fn name_property(&self) -> Option<&'static str> {
        None
    }

    fn mutable(&self) -> &'static [&'static str] {
        self.properties()
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        add(ctx, &wanted.properties["GroupName"], &users(&wanted.properties))?;
        let id = wanted.generated(128);
        Ok(Made::new(&id).with("Id", id))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let (came, went) = match new.differs(old, "GroupName") {
            true => (users(&new.properties), users(&old.properties)),
            false => (Change { made, old, new }).list("Users"),
        };
        remove(ctx, &old.properties["GroupName"], &went)?;
        add(ctx, &new.properties["GroupName"], &came)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let group = &properties["GroupName"];
        let mut present = Vec::new();
        for user in users(properties) {
            let output = match call::<op::ListGroupsForUser>(ctx, json!({"UserName": user})) {
                Err(error) if super::is_absent(&error) => continue,
                other => other?,
            };
            if output["Groups"].as_array().into_iter().flatten().any(|one| one["GroupName"] == *group) {
                present.push(user);
            }
        }
        if present.is_empty() {
            return Err(absent("None of the users is in the group"));
        }
        Ok(Map::from_iter([("GroupName".to_owned(), group.clone()), ("Users".to_owned(), present.into())]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        remove(ctx, &properties["GroupName"], &users(properties))?;
        Ok(Progress::Done)
    }
}

fn users(properties: &Map<String, Value>) -> Vec<Value> {
    properties.get("Users").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn add(ctx: &mut Ctx<'_>, group: &Value, users: &[Value]) -> Result<()> {
    for user in users {
        call::<op::AddUserToGroup>(ctx, json!({"GroupName": group, "UserName": user}))?;
    }
    Ok(())
}

fn remove(ctx: &mut Ctx<'_>, group: &Value, users: &[Value]) -> Result<()> {
    for user in users {
        deleted(call::<op::RemoveUserFromGroup>(ctx, json!({"GroupName": group, "UserName": user})))?;
    }
    Ok(())
}
