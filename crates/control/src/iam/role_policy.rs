//! The policies of a role: inline ones, and the managed ones attached to it.

use super::document::{self, Use};
use super::entity::{name, page, required};
use super::{policy, role};
use crate::api::{Ctx, Result};
use quarry_aws::iam::{
    AttachRolePolicyRequest, AttachedPolicy, DeleteRolePolicyRequest, DetachRolePolicyRequest, GetRolePolicyRequest,
    GetRolePolicyResponse, ListAttachedRolePoliciesRequest, ListAttachedRolePoliciesResponse, ListRolePoliciesRequest,
    ListRolePoliciesResponse, PutRolePolicyRequest, error,
};
use quarry_wire::Empty;

/// Characters of all inline policies of a role together, white space aside.
const INLINE_CHARACTERS: usize = 10_240;
/// Managed policies that a role may have.
const ATTACHED: usize = 10;

pub fn put(ctx: &mut Ctx<'_>, input: PutRolePolicyRequest) -> Result<Empty> {
    let name = name(input.policy_name, "policyName", 128)?;
    let text = required(input.policy_document, "policyDocument")?;
    let mut record = role::find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    document::check(&text, Use::Identity)?;
    record.inline.insert(name, text);
    let size = |text: &String| document::characters(text);
    if record.inline.values().map(size).sum::<usize>() > INLINE_CHARACTERS {
        return Err(error::limit_exceeded_exception(format!(
            "Maximum policy size of {INLINE_CHARACTERS} bytes exceeded for role {}",
            record.name()
        )));
    }
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

/// Attaching what is attached already changes nothing.
pub fn attach(ctx: &mut Ctx<'_>, input: AttachRolePolicyRequest) -> Result<Empty> {
    let mut record = role::find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    let arn = required(input.policy_arn, "policyArn")?;
    policy::attachable(ctx, &arn, "Policy")?;
    if record.attached.contains(&arn) {
        return Ok(Empty {});
    }
    if record.attached.len() == ATTACHED {
        return Err(error::limit_exceeded_exception(format!("Cannot exceed quota for PoliciesPerRole: {ATTACHED}")));
    }
    record.attached.push(arn);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn detach(ctx: &mut Ctx<'_>, input: DetachRolePolicyRequest) -> Result<Empty> {
    let mut record = role::find(ctx, &required(input.role_name, "roleName")?)?.modifiable()?;
    let arn = required(input.policy_arn, "policyArn")?;
    if !record.attached.contains(&arn) {
        return Err(error::no_such_entity_exception(format!("Policy {arn} was not found.")));
    }
    record.attached.retain(|attached| *attached != arn);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn list_attached(
    ctx: &mut Ctx<'_>,
    input: ListAttachedRolePoliciesRequest,
) -> Result<ListAttachedRolePoliciesResponse> {
    let record = role::find(ctx, &required(input.role_name, "roleName")?)?;
    let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
    let mut arns = record.attached;
    arns.retain(|arn| policy::path_of(arn).starts_with(&prefix));
    let page = page(arns, String::clone, input.marker, input.max_items)?;
    let shown = |arn: String| AttachedPolicy {
        policy_name: Some(quarry_domain::arn::short_name(&arn).to_owned()),
        policy_arn: Some(arn),
    };
    Ok(ListAttachedRolePoliciesResponse {
        attached_policies: Some(page.items.into_iter().map(shown).collect()),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn no_inline(name: &str) -> quarry_wire::ServiceError {
    error::no_such_entity_exception(format!("The role policy with name {name} cannot be found."))
}
