//! IAM policies: inline ones of groups, roles and users, and managed ones.

use super::call::{call, refused, text};
use super::change::{Change, retag};
use super::iam_holder::{HOLDERS, Holder};
use super::{Made, Progress, ResourceType, Wanted, deleted, document, is_absent, members};
use crate::api::{Ctx, Result};
use quarry_aws::iam::op;
use serde_json::{Map, Value, json};

/// `AWS::IAM::Policy`: one document as an inline policy of several groups, roles and users.
pub struct Policy;

impl ResourceType for Policy {
    fn name(&self) -> &'static str {
        "AWS::IAM::Policy"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Groups", "PolicyDocument", "PolicyName", "Roles", "Users"]
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
        let renamed = new.differs(old, "PolicyName");
        for holder in HOLDERS {
            let (_, went) = Change { made, old, new }.list(holder.list());
            for name in if renamed { holder.listed(&old.properties) } else { went } {
                holder.remove(ctx, &name, &old.properties["PolicyName"])?;
            }
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut seen = Map::new();
        for holder in HOLDERS.into_iter().filter(|holder| properties.contains_key(holder.list())) {
            let mut names = Vec::new();
            for name in holder.listed(properties) {
                match holder.inline(ctx, &name, &properties["PolicyName"]) {
                    Ok(_) => names.push(name),
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            seen.insert(holder.list().to_owned(), names.into());
        }
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        for holder in HOLDERS {
            for name in holder.listed(properties) {
                holder.remove(ctx, &name, &properties["PolicyName"])?;
            }
        }
        Ok(Progress::Done)
    }
}

/// `AWS::IAM::GroupPolicy`, `AWS::IAM::RolePolicy`, `AWS::IAM::UserPolicy`: an inline policy of one.
pub struct InlinePolicy(pub Holder);

impl InlinePolicy {
    fn put(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<()> {
        self.0.put(ctx, &wanted.properties[self.0.member()], &Value::Object(wanted.properties.clone()))
    }
}

impl ResourceType for InlinePolicy {
    fn name(&self) -> &'static str {
        match self.0 {
            Holder::Group => "AWS::IAM::GroupPolicy",
            Holder::Role => "AWS::IAM::RolePolicy",
            Holder::User => "AWS::IAM::UserPolicy",
        }
    }

    fn properties(&self) -> &'static [&'static str] {
        match self.0 {
            Holder::Group => &["GroupName", "PolicyDocument", "PolicyName"],
            Holder::Role => &["PolicyDocument", "PolicyName", "RoleName"],
            Holder::User => &["PolicyDocument", "PolicyName", "UserName"],
        }
    }

    fn required(&self) -> &'static [&'static str] {
        self.properties()
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
        self.put(ctx, wanted)?;
        Ok(Made::new(format!("{}|{}", wanted.needed("PolicyName")?, wanted.needed(self.0.member())?)))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        self.put(ctx, new)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = self.0.inline(ctx, &properties[self.0.member()], &properties["PolicyName"])?;
        Ok(members(&output, &[self.0.member(), "PolicyName"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        self.0.remove(ctx, &properties[self.0.member()], &properties["PolicyName"])?;
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
        &["Description", "Groups", "ManagedPolicyName", "Path", "PolicyDocument", "Roles", "Tags", "Users"]
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
        &["Groups", "PolicyDocument", "Roles", "Tags", "Users"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["Description", "Path"]);
        input.insert("PolicyName".into(), wanted.name("ManagedPolicyName", 128).into());
        input.insert("PolicyDocument".into(), document(&wanted.properties["PolicyDocument"]).into());
        input.insert("Tags".into(), wanted.own_tags().into());
        let output = call::<op::CreatePolicy>(ctx, input.into())?;
        let arn = text(&output, "/Policy/Arn")?;
        for holder in HOLDERS {
            for name in holder.listed(&wanted.properties) {
                holder.attach(ctx, &name, &arn.as_str().into())?;
            }
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
        let arn = Value::from(made.physical_id.as_str());
        for holder in HOLDERS {
            let (came, went) = change.list(holder.list());
            for name in went {
                holder.detach(ctx, &name, &arn)?;
            }
            for name in came {
                holder.attach(ctx, &name, &arn)?;
            }
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
        for holder in HOLDERS {
            for name in holder.listed(properties) {
                holder.detach(ctx, &name, &arn["PolicyArn"])?;
            }
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

fn put(ctx: &mut Ctx<'_>, properties: &Map<String, Value>) -> Result<()> {
    if HOLDERS.iter().all(|holder| holder.listed(properties).is_empty()) {
        return Err(refused("At least one of [Groups,Roles,Users] must be non-empty."));
    }
    let policy = Value::Object(properties.clone());
    for holder in HOLDERS {
        for name in holder.listed(properties) {
            holder.put(ctx, &name, &policy)?;
        }
    }
    Ok(())
}
