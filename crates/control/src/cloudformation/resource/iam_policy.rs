//! IAM policies: inline ones of roles, and managed ones.

use super::call::{call, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, deleted, document, is_absent, members};
use crate::api::{Ctx, Result};
use quarry_aws::iam::op;
use serde_json::{Map, Value, json};

/// `AWS::IAM::Policy`: one document as an inline policy of several roles.
pub struct Policy;

impl ResourceType for Policy {
    fn name(&self) -> &'static str {
        "AWS::IAM::Policy"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["PolicyDocument", "PolicyName", "Roles"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["PolicyDocument", "PolicyName"]
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
        put(ctx, &wanted.properties)?;
        let id = wanted.generated(128);
        Ok(Made::new(&id).with("Id", id))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        put(ctx, &new.properties)?;
        let (_, went) = Change { made, old, new }.list("Roles");
        let renamed = new.differs(old, "PolicyName");
        for role in if renamed { roles(&old.properties) } else { went } {
            remove(ctx, &role, &old.properties)?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut holders = Vec::new();
        for role in roles(properties) {
            let input = json!({"RoleName": role, "PolicyName": properties.get("PolicyName")});
            match call::<op::GetRolePolicy>(ctx, input) {
                Ok(_) => holders.push(role),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Map::from_iter([("Roles".to_owned(), holders.into())]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        for role in roles(properties) {
            remove(ctx, &role, properties)?;
        }
        Ok(Progress::Done)
    }
}

/// `AWS::IAM::RolePolicy`: an inline policy of one role.
pub struct RolePolicy;

impl ResourceType for RolePolicy {
    fn name(&self) -> &'static str {
        "AWS::IAM::RolePolicy"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["PolicyDocument", "PolicyName", "RoleName"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["PolicyDocument", "PolicyName", "RoleName"]
    }

    fn iam_name(&self) -> Option<&'static str> {
        Some("")
    }

    fn name_property(&self) -> Option<&'static str> {
        None
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["PolicyDocument"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        put_on(ctx, &wanted.properties["RoleName"], &wanted.properties)?;
        Ok(Made::new(format!("{}|{}", wanted.needed("PolicyName")?, wanted.needed("RoleName")?)))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        put_on(ctx, &new.properties["RoleName"], &new.properties)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let named = members(&Value::Object(properties.clone()), &["RoleName", "PolicyName"]);
        let output = call::<op::GetRolePolicy>(ctx, named.into())?;
        Ok(members(&output, &["RoleName", "PolicyName"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        remove(ctx, &properties["RoleName"], properties)?;
        Ok(Progress::Done)
    }
}

/// `AWS::IAM::ManagedPolicy`.
pub struct ManagedPolicy;

impl ResourceType for ManagedPolicy {
    fn name(&self) -> &'static str {
        "AWS::IAM::ManagedPolicy"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Description", "ManagedPolicyName", "Path", "PolicyDocument", "Roles", "Tags"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["PolicyDocument"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["DefaultVersionId", "PolicyArn", "PolicyId"]
    }

    fn iam_name(&self) -> Option<&'static str> {
        Some("ManagedPolicyName")
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["PolicyDocument", "Roles", "Tags"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["Description", "Path"]);
        input.insert("PolicyName".into(), wanted.name("ManagedPolicyName", 128).into());
        input.insert("PolicyDocument".into(), document(&wanted.properties["PolicyDocument"]).into());
        input.insert("Tags".into(), wanted.own_tags().into());
        let output = call::<op::CreatePolicy>(ctx, input.into())?;
        let arn = text(&output, "/Policy/Arn")?;
        for role in roles(&wanted.properties) {
            call::<op::AttachRolePolicy>(ctx, json!({"RoleName": role, "PolicyArn": arn}))?;
        }
        Ok(Made::new(&arn)
            .with("PolicyArn", arn)
            .with("PolicyId", text(&output, "/Policy/PolicyId")?)
            .with("DefaultVersionId", text(&output, "/Policy/DefaultVersionId")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let mut changed = made.clone();
        if let Some(policy) = change.kept("PolicyDocument")? {
            make_room(ctx, &made.physical_id)?;
            let input = json!({
                "PolicyArn": made.physical_id,
                "PolicyDocument": document(&policy),
                "SetAsDefault": true,
            });
            let output = call::<op::CreatePolicyVersion>(ctx, input)?;
            changed = changed.with("DefaultVersionId", text(&output, "/PolicyVersion/VersionId")?);
        }
        let (came, went) = change.list("Roles");
        for role in went {
            call::<op::DetachRolePolicy>(ctx, json!({"RoleName": role, "PolicyArn": made.physical_id}))?;
        }
        for role in came {
            call::<op::AttachRolePolicy>(ctx, json!({"RoleName": role, "PolicyArn": made.physical_id}))?;
        }
        retag::<op::TagPolicy, op::UntagPolicy>(ctx, &change, &json!({"PolicyArn": made.physical_id}))?;
        Ok(changed)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::GetPolicy>(ctx, json!({"PolicyArn": made.physical_id}))?;
        let mut seen = members(&output["Policy"], &["Description", "Path", "Tags"]);
        seen.insert("ManagedPolicyName".into(), output["Policy"]["PolicyName"].clone());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let arn = json!({"PolicyArn": made.physical_id});
        for role in roles(properties) {
            deleted(call::<op::DetachRolePolicy>(ctx, json!({"RoleName": role, "PolicyArn": made.physical_id})))?;
        }
        let versions = match call::<op::ListPolicyVersions>(ctx, arn.clone()) {
            Err(error) if is_absent(&error) => return Ok(Progress::Done),
            other => other?,
        };
        for version in versions["Versions"].as_array().into_iter().flatten() {
            if version["IsDefaultVersion"] != true {
                let input = json!({"PolicyArn": made.physical_id, "VersionId": version["VersionId"]});
                call::<op::DeletePolicyVersion>(ctx, input)?;
            }
        }
        deleted(call::<op::DeletePolicy>(ctx, arn))
    }
}

/// A policy keeps five versions: the oldest that is not the default one goes.
fn make_room(ctx: &mut Ctx<'_>, arn: &str) -> Result<()> {
    let output = call::<op::ListPolicyVersions>(ctx, json!({"PolicyArn": arn}))?;
    let versions = output["Versions"].as_array().cloned().unwrap_or_default();
    if versions.len() < 5 {
        return Ok(());
    }
    let number = |version: &Value| version["VersionId"].as_str().and_then(|id| id[1..].parse::<u64>().ok());
    let oldest = versions.iter().filter(|version| version["IsDefaultVersion"] != true).min_by_key(|v| number(v));
    if let Some(oldest) = oldest {
        let input = json!({"PolicyArn": arn, "VersionId": oldest["VersionId"]});
        call::<op::DeletePolicyVersion>(ctx, input)?;
    }
    Ok(())
}

fn roles(properties: &Map<String, Value>) -> Vec<Value> {
    properties.get("Roles").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn put(ctx: &mut Ctx<'_>, properties: &Map<String, Value>) -> Result<()> {
    roles(properties).iter().try_for_each(|role| put_on(ctx, role, properties))
}

fn put_on(ctx: &mut Ctx<'_>, role: &Value, properties: &Map<String, Value>) -> Result<()> {
    let input = json!({
        "RoleName": role,
        "PolicyName": properties["PolicyName"],
        "PolicyDocument": document(&properties["PolicyDocument"]),
    });
    call::<op::PutRolePolicy>(ctx, input)?;
    Ok(())
}

fn remove(ctx: &mut Ctx<'_>, role: &Value, properties: &Map<String, Value>) -> Result<()> {
    let input = json!({"RoleName": role, "PolicyName": properties["PolicyName"]});
    deleted(call::<op::DeleteRolePolicy>(ctx, input))?;
    Ok(())
}
