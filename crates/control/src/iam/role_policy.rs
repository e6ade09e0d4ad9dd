//! The policies of a role: inline ones, and the managed ones attached to it.

use super::entity::{name, page, required};
use super::{attached, document, role};
use crate::api::{Ctx, Result};
use quarry_aws::iam::{
    AttachRolePolicyRequest, DeleteRolePolicyRequest, DetachRolePolicyRequest, GetRolePolicyRequest,
    GetRolePolicyResponse, ListAttachedRolePoliciesRequest, ListAttachedRolePoliciesResponse, ListRolePoliciesRequest,
    ListRolePoliciesResponse, PutRolePolicyRequest, error,
};
use quarry_wire::Empty;

/// Characters of all inline policies of a role together, white space aside.
const INLINE_CHARACTERS: usize = 10_240;

pub fn put(ctx: &mut Ctx<'_>, input: PutRolePolicyRequest) -> Result<Empty> {
    let name = name(input.policy_name, "policyName", 128)?;
    let text = required(input.policy_document, "policyDocument")?;
    let mut record = role::find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    let whose = format!("role {}", record.name());
    attached::put(&mut record.inline, name, text, INLINE_CHARACTERS, &whose)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn get(ctx: &mut Ctx<'_>, input: GetRolePolicyRequest) -> Result<GetRolePolicyResponse> {
    let record = role::find(ctx, &required(input.role_name, "roleName")?)?;
    let name = required(input.policy_name, "policyName")?;
    let text = record.inline.get(&name).ok_or_else(|| no_inline(&name))?;
    Ok(GetRolePolicyResponse {
        role_name: record.role.role_name.clone(),
        policy_document: Some(document::encoded(text)),
        policy_name: Some(name),
    })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteRolePolicyRequest) -> Result<Empty> {
    let mut record = role::find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    let name = required(input.policy_name, "policyName")?;
    record.inline.remove(&name).ok_or_else(|| no_inline(&name))?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list(ctx: &mut Ctx<'_>, input: ListRolePoliciesRequest) -> Result<ListRolePoliciesResponse> {
    let record = role::find(ctx, &required(input.role_name, "roleName")?)?;
    let names = record.inline.into_keys().collect();
    let page = page(names, String::clone, input.marker, input.max_items)?;
    Ok(ListRolePoliciesResponse {
        policy_names: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub fn attach(ctx: &mut Ctx<'_>, input: AttachRolePolicyRequest) -> Result<Empty> {
    let mut record = role::find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    let arn = required(input.policy_arn, "policyArn")?;
    attached::attach(ctx, &mut record.attached, arn, "Role")?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn detach(ctx: &mut Ctx<'_>, input: DetachRolePolicyRequest) -> Result<Empty> {
    let mut record = role::find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    let arn = required(input.policy_arn, "policyArn")?;
    attached::detach(&mut record.attached, &arn)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list_attached(
    ctx: &mut Ctx<'_>,
    input: ListAttachedRolePoliciesRequest,
) -> Result<ListAttachedRolePoliciesResponse> {
    let record = role::find(ctx, &required(input.role_name, "roleName")?)?;
    let page = attached::listed(record.attached, input.path_prefix, input.marker, input.max_items)?;
    Ok(ListAttachedRolePoliciesResponse {
        attached_policies: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn no_inline(name: &str) -> quarry_wire::ServiceError {
    error::no_such_entity_exception(format!("The role policy with name {name} cannot be found."))
}
