//! Groups: filter expressions with a name.

use super::records::Group;
use super::{filter, invalid, named, tags};
use crate::api::{Ctx, Result};
use crate::store::Tx;
use quarry_aws::xray::{
    CreateGroupRequest, CreateGroupResult, DeleteGroupRequest, DeleteGroupResult, GetGroupRequest, GetGroupResult,
    GetGroupsRequest, GetGroupsResult, GroupSummary, InsightsConfiguration, UpdateGroupRequest, UpdateGroupResult,
};
use std::collections::BTreeMap;

/// As X-Ray has it for an account and region.
const MAX_GROUPS: usize = 25;
/// Groups on a page.
const PAGE: usize = 100;

pub fn find(tx: &Tx<'_>, name: &str) -> Result<Group> {
    tx.get(name)?.ok_or_else(|| invalid("Group not found."))
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateGroupRequest) -> Result<CreateGroupResult> {
    let name = input.group_name.unwrap_or_default();
    without_insights(input.insights_configuration.as_ref())?;
    let text = input.filter_expression.unwrap_or_default();
    filter(ctx.tx, &text)?;
    let groups: Vec<Group> = ctx.tx.all()?;
    if name == "Default" || groups.iter().any(|group| group.name == name) {
        return Err(invalid("Group with the same name already exists."));
    }
    if groups.len() >= MAX_GROUPS {
        return Err(invalid("Max number of groups reached."));
    }
    let id = ctx.platform.door.uuid().replace('-', "").to_ascii_uppercase();
    let arn = ctx.platform.place().arn("xray", format_args!("group/{name}/{id}"));
    let group = Group { name, arn, filter: text, tags: tags::checked(BTreeMap::new(), input.tags)? };
    ctx.tx.put(&group)?;
    Ok(CreateGroupResult { group: Some(group.shown()) })
}

pub fn get(ctx: &mut Ctx<'_>, input: GetGroupRequest) -> Result<GetGroupResult> {
    let name = named(input.group_name.as_deref(), input.group_arn.as_deref(), "group")?;
    Ok(GetGroupResult { group: Some(find(ctx.tx, name)?.shown()) })
}

pub fn list(ctx: &mut Ctx<'_>, input: GetGroupsRequest) -> Result<GetGroupsResult> {
    let token = input.next_token.as_deref().filter(|token| !token.is_empty());
    let groups: Vec<Group> = ctx.tx.all()?;
    let page = crate::page::from(groups, token, PAGE).ok_or_else(|| invalid("Invalid NextToken."))?;
    let shown = page.0.into_iter().map(|group| GroupSummary {
        group_name: Some(group.name),
        group_arn: Some(group.arn),
        filter_expression: Some(group.filter),
        insights_configuration: Some(super::records::no_insights()),
    });
    Ok(GetGroupsResult { groups: Some(shown.collect()), next_token: page.1 })
}

pub fn update(ctx: &mut Ctx<'_>, input: UpdateGroupRequest) -> Result<UpdateGroupResult> {
    let name = named(input.group_name.as_deref(), input.group_arn.as_deref(), "group")?;
    without_insights(input.insights_configuration.as_ref())?;
    let mut group = find(ctx.tx, name)?;
    if let Some(text) = input.filter_expression {
        filter(ctx.tx, &text)?;
        group.filter = text;
    }
    ctx.tx.put(&group)?;
    Ok(UpdateGroupResult { group: Some(group.shown()) })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteGroupRequest) -> Result<DeleteGroupResult> {
    let name = named(input.group_name.as_deref(), input.group_arn.as_deref(), "group")?;
    find(ctx.tx, name)?;
    ctx.tx.delete::<Group>(name)?;
    Ok(DeleteGroupResult::default())
}

fn without_insights(given: Option<&InsightsConfiguration>) -> Result<()> {
    match given {
        Some(given) if given.insights_enabled == Some(true) || given.notifications_enabled == Some(true) => {
            Err(invalid("Insights are not supported here."))
        }
        _ => Ok(()),
    }
}
