//! Security groups. Each rule is kept by itself; the permissions that older operations show are
//! rules put together.

use super::network_interface;
use super::resource::{Resource, error, find, load_balancers, new_id, page, required, select, tags_for};
use super::security_group_rule::{Peer, Wanted, made, put_together, refers_to};
use super::vpc::VpcRecord;
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::ec2::{
    CreateSecurityGroupRequest, CreateSecurityGroupResult, DeleteSecurityGroupRequest, DeleteSecurityGroupResult,
    DescribeSecurityGroupsRequest, DescribeSecurityGroupsResult, SecurityGroup, SecurityGroupRule, Tag,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct SecurityGroupRecord {
    pub id: String,
    pub name: String,
    pub description: String,
    pub vpc: String,
    pub owner: String,
    pub arn: String,
    pub tags: Option<Vec<Tag>>,
    pub rules: Vec<SecurityGroupRule>,
}

/// The id of a group by its id or name.
pub fn id_of(tx: &Tx<'_>, named: &str) -> Result<Option<String>, StoreError> {
    let all = tx.all::<SecurityGroupRecord>()?;
    Ok(all.into_iter().find(|known| known.id == named || known.name == named).map(|known| known.id))
}

impl Item for SecurityGroupRecord {
    const KIND: &'static str = "ec2.security-group";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn parent(&self) -> String {
        self.vpc.clone()
    }
}

impl Resource for SecurityGroupRecord {
    const TYPE: &'static str = "security-group";
    const NOUN: &'static str = "security group";
    const NOT_FOUND: &'static str = "InvalidGroup.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "group-id" => vec![self.id.clone()],
            "group-name" => vec![self.name.clone()],
            "description" => vec![self.description.clone()],
            "vpc-id" => vec![self.vpc.clone()],
            "owner-id" => vec![self.owner.clone()],
            _ => {
                let (egress, name) = match name.strip_prefix("egress.") {
                    Some(name) => (true, name),
                    None => (false, name),
                };
                let field = super::security_group_rule::permission_field(name)?;
                return Some(self.rules.iter().filter(|r| r.is_egress == Some(egress)).filter_map(field).collect());
            }
        })
    }
}

/// The default group of a new VPC: everything out, everything in from itself.
pub fn create_default(ctx: &mut Ctx<'_>, vpc: &str) -> Result<()> {
    let mut record = new_group(ctx, "default".into(), "default VPC security group".into(), vpc, Some(Vec::new()));
    let from_itself = Wanted::all(Peer::Group(record.id.clone()));
    let rule = made(ctx, &record, from_itself, false, Vec::new());
    record.rules.push(rule);
    ctx.tx.put(&record)?;
    Ok(())
}

pub fn has_more_than_default(ctx: &Ctx<'_>, vpc: &str) -> Result<bool> {
    Ok(ctx.tx.children::<SecurityGroupRecord>(vpc)?.iter().any(|g| g.name != "default"))
}

pub fn delete_default(ctx: &mut Ctx<'_>, vpc: &str) -> Result<()> {
    for group in ctx.tx.children::<SecurityGroupRecord>(vpc)? {
        ctx.tx.delete::<SecurityGroupRecord>(&group.id)?;
    }
    Ok(())
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateSecurityGroupRequest) -> Result<CreateSecurityGroupResult> {
    let name = required(input.group_name, "GroupName")?;
    let description = required(input.description, "GroupDescription")?;
    let vpc = required(input.vpc_id, "VpcId")?;
    find::<VpcRecord>(ctx, &vpc)?;
    if name.starts_with("sg-") || name.len() > 255 || name.is_empty() {
        return Err(error(
            "InvalidParameterValue",
            format!(
                "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*, empty or longer than 255 characters."
            ),
        ));
    }
    if ctx.tx.children::<SecurityGroupRecord>(&vpc)?.iter().any(|g| g.name == name) {
        return Err(error(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    let tags = tags_for::<SecurityGroupRecord>(input.tag_specifications)?;
    let record = new_group(ctx, name, description, &vpc, tags);
    ctx.tx.put(&record)?;
    Ok(CreateSecurityGroupResult { group_id: Some(record.id), security_group_arn: Some(record.arn), tags: record.tags })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeSecurityGroupsRequest) -> Result<DescribeSecurityGroupsResult> {
    let mut found = select::<SecurityGroupRecord>(ctx, input.group_ids, input.filters)?;
    if let Some(names) = input.group_names.filter(|names| !names.is_empty()) {
        found.retain(|g| names.contains(&g.name));
    }
    let (groups, next_token) = page(found, input.max_results, input.next_token)?;
    let security_groups = Some(groups.into_iter().map(shown).collect());
    Ok(DescribeSecurityGroupsResult { security_groups, next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteSecurityGroupRequest) -> Result<DeleteSecurityGroupResult> {
    let id = required(input.group_id, "GroupId")?;
    let record = find::<SecurityGroupRecord>(ctx, &id)?;
    if record.name == "default" {
        return Err(error(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let interfaces = network_interface::all(ctx)?;
    let worn =
        interfaces.iter().any(|i| i.interface.groups.iter().flatten().any(|g| g.group_id.as_deref() == Some(&id)));
    let balancers = load_balancers(ctx)?;
    let worn = worn || balancers.iter().any(|b| b.security_groups.iter().flatten().any(|g| *g == id));
    let others = ctx.tx.children::<SecurityGroupRecord>(&record.vpc)?;
    let referenced = others.iter().filter(|g| g.id != id).flat_map(|g| &g.rules).any(|r| refers_to(r, &id));
    if worn || referenced {
        return Err(error("DependencyViolation", format!("resource {id} has a dependent object")));
    }
    ctx.tx.delete::<SecurityGroupRecord>(&id)?;
    Ok(DeleteSecurityGroupResult { r#return: Some(true), group_id: Some(id) })
}

fn new_group(
    ctx: &Ctx<'_>,
    name: String,
    description: String,
    vpc: &str,
    tags: Option<Vec<Tag>>,
) -> SecurityGroupRecord {
    let place = ctx.platform.place();
    let id = new_id(ctx, "sg");
    let arn = place.arn("ec2", format_args!("security-group/{id}"));
    let owner = place.account.clone();
    let mut record =
        SecurityGroupRecord { id, name, description, vpc: vpc.into(), owner, arn, tags, rules: Vec::new() };
    let rule = made(ctx, &record, Wanted::all(Peer::Cidr("0.0.0.0/0".into())), true, Vec::new());
    record.rules.push(rule);
    record
}

fn shown(record: SecurityGroupRecord) -> SecurityGroup {
    SecurityGroup {
        ip_permissions: Some(put_together(&record.rules, false)),
        ip_permissions_egress: Some(put_together(&record.rules, true)),
        group_id: Some(record.id),
        group_name: Some(record.name),
        description: Some(record.description),
        vpc_id: Some(record.vpc),
        owner_id: Some(record.owner),
        security_group_arn: Some(record.arn),
        tags: record.tags,
    }
}
