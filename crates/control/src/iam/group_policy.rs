//! The policies of a group: inline ones, and the managed ones attached to it.

use super::entity::{name, page, required};
use super::{attached, document, group};
use crate::api::{Ctx, Result};
use quarry_aws::iam::{
    AttachGroupPolicyRequest, DeleteGroupPolicyRequest, DetachGroupPolicyRequest, GetGroupPolicyRequest,
    GetGroupPolicyResponse, ListAttachedGroupPoliciesRequest, ListAttachedGroupPoliciesResponse,
    ListGroupPoliciesRequest, ListGroupPoliciesResponse, PutGroupPolicyRequest, error,
};
use quarry_wire::{Empty, ServiceError};

/// Characters of all inline policies of a group together, white space aside.
const INLINE_CHARACTERS: usize = 5120;

pub fn put(ctx: &mut Ctx<'_>, input: PutGroupPolicyRequest) -> Result<Empty> {
    let name = name(input.policy_name, "policyName", 128)?;
    let text = required(input.policy_document, "policyDocument")?;
    let mut record = group::find(ctx, &required(input.group_name, "groupName")?)?;
    let whose = format!("group {}", record.name());
    attached::put(&mut record.inline, name, text, INLINE_CHARACTERS, &whose)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn get(ctx: &mut Ctx<'_>, input: GetGroupPolicyRequest) -> Result<GetGroupPolicyResponse> {
    let record = group::find(ctx, &required(input.group_name, "groupName")?)?;
    let name = required(input.policy_name, "policyName")?;
    let text = record.inline.get(&name).ok_or_else(|| no_inline(&name))?;
    Ok(GetGroupPolicyResponse {
        group_name: record.group.group_name.clone(),
        policy_document: Some(document::encoded(text)),
        policy_name: Some(name),
    })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteGroupPolicyRequest) -> Result<Empty> {
    let mut record = group::find(ctx, &required(input.group_name, "groupName")?)?;
    let name = required(input.policy_name, "policyName")?;
    record.inline.remove(&name).ok_or_else(|| no_inline(&name))?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list(ctx: &mut Ctx<'_>, input: ListGroupPoliciesRequest) -> Result<ListGroupPoliciesResponse> {
    let record = group::find(ctx, &required(input.group_name, "groupName")?)?;
    let page = page(record.inline.into_keys().collect(), String::clone, input.marker, input.max_items)?;
    Ok(ListGroupPoliciesResponse {
        policy_names: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub fn attach(ctx: &mut Ctx<'_>, input: AttachGroupPolicyRequest) -> Result<Empty> {
    let mut record = group::find(ctx, &required(input.group_name, "groupName")?)?;
    attached::attach(ctx, &mut record.attached, required(input.policy_arn, "policyArn")?, "Group")?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn detach(ctx: &mut Ctx<'_>, input: DetachGroupPolicyRequest) -> Result<Empty> {
    let mut record = group::find(ctx, &required(input.group_name, "groupName")?)?;
    attached::detach(&mut record.attached, &required(input.policy_arn, "policyArn")?)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list_attached(
    ctx: &mut Ctx<'_>,
    input: ListAttachedGroupPoliciesRequest,
) -> Result<ListAttachedGroupPoliciesResponse> {
    let record = group::find(ctx, &required(input.group_name, "groupName")?)?;
    let page = attached::listed(record.attached, input.path_prefix, input.marker, input.max_items)?;
    Ok(ListAttachedGroupPoliciesResponse {
        attached_policies: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn no_inline(name: &str) -> ServiceError {
    error::no_such_entity_exception(format!("The group policy with name {name} cannot be found."))
}
