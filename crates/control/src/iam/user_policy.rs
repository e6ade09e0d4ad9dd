//! The policies of a user: inline ones, and the managed ones attached to him.

use super::entity::{name, page, required};
use super::{attached, document, user};
use crate::api::{Ctx, Result};
use quarry_aws::iam::{
    AttachUserPolicyRequest, DeleteUserPolicyRequest, DetachUserPolicyRequest, GetUserPolicyRequest,
    GetUserPolicyResponse, ListAttachedUserPoliciesRequest, ListAttachedUserPoliciesResponse, ListUserPoliciesRequest,
    ListUserPoliciesResponse, PutUserPolicyRequest, error,
};
use quarry_wire::{Empty, ServiceError};

/// Characters of all inline policies of a user together, white space aside.
const INLINE_CHARACTERS: usize = 2048;

pub fn put(ctx: &mut Ctx<'_>, input: PutUserPolicyRequest) -> Result<Empty> {
    let name = name(input.policy_name, "policyName", 128)?;
    let text = required(input.policy_document, "policyDocument")?;
    let mut record = user::find(ctx, &required(input.user_name, "userName")?)?;
    let whose = format!("user {}", record.name());
    attached::put(&mut record.inline, name, text, INLINE_CHARACTERS, &whose)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn get(ctx: &mut Ctx<'_>, input: GetUserPolicyRequest) -> Result<GetUserPolicyResponse> {
    let record = user::find(ctx, &required(input.user_name, "userName")?)?;
    let name = required(input.policy_name, "policyName")?;
    let text = record.inline.get(&name).ok_or_else(|| no_inline(&name))?;
    Ok(GetUserPolicyResponse {
        user_name: record.user.user_name.clone(),
        policy_document: Some(document::encoded(text)),
        policy_name: Some(name),
    })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteUserPolicyRequest) -> Result<Empty> {
    let mut record = user::find(ctx, &required(input.user_name, "userName")?)?;
    let name = required(input.policy_name, "policyName")?;
    record.inline.remove(&name).ok_or_else(|| no_inline(&name))?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list(ctx: &mut Ctx<'_>, input: ListUserPoliciesRequest) -> Result<ListUserPoliciesResponse> {
    let record = user::find(ctx, &required(input.user_name, "userName")?)?;
    let page = page(record.inline.into_keys().collect(), String::clone, input.marker, input.max_items)?;
    Ok(ListUserPoliciesResponse {
        policy_names: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub fn attach(ctx: &mut Ctx<'_>, input: AttachUserPolicyRequest) -> Result<Empty> {
    let mut record = user::find(ctx, &required(input.user_name, "userName")?)?;
    attached::attach(ctx, &mut record.attached, required(input.policy_arn, "policyArn")?, "User")?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn detach(ctx: &mut Ctx<'_>, input: DetachUserPolicyRequest) -> Result<Empty> {
    let mut record = user::find(ctx, &required(input.user_name, "userName")?)?;
    attached::detach(&mut record.attached, &required(input.policy_arn, "policyArn")?)?;
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list_attached(
    ctx: &mut Ctx<'_>,
    input: ListAttachedUserPoliciesRequest,
) -> Result<ListAttachedUserPoliciesResponse> {
    let record = user::find(ctx, &required(input.user_name, "userName")?)?;
    let page = attached::listed(record.attached, input.path_prefix, input.marker, input.max_items)?;
    Ok(ListAttachedUserPoliciesResponse {
        attached_policies: Some(page.items),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn no_inline(name: &str) -> ServiceError {
    error::no_such_entity_exception(format!("The user policy with name {name} cannot be found."))
}
