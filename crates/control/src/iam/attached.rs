//! What users, groups and roles have in common: their own policies, and the managed ones that are attached to them.

use super::document::{self, Use};
use super::entity::{Page, page};
use super::policy;
use crate::api::{Ctx, Result};
use quarry_aws::iam::{AttachedPolicy, error};
use quarry_domain::arn::short_name;
use std::collections::BTreeMap;

/// Managed policies that a user, a group or a role may have.
const ATTACHED: usize = 10;

/// Puts an inline policy. `most`: characters of all of them together, white space aside; `whose`: as messages say it,
/// such as `role web`.
pub fn put(inline: &mut BTreeMap<String, String>, name: String, text: String, most: usize, whose: &str) -> Result<()> {
    document::check(&text, Use::Identity)?;
    inline.insert(name, text);
    let size = |text: &String| document::characters(text);
    if inline.values().map(size).sum::<usize>() > most {
        return Err(error::limit_exceeded_exception(format!(
            "Maximum policy size of {most} bytes exceeded for {whose}"
        )));
    }
    Ok(())
}

/// Refuses to delete what still has something: `first`, how its own kind says that it is in use, then its policies.
pub fn deletable(first: Option<&str>, attached: &[String], inline: &BTreeMap<String, String>) -> Result<()> {
    let policies = match (attached.is_empty(), inline.is_empty()) {
        (false, _) => Some("must detach all policies first."),
        (true, false) => Some("must delete policies first."),
        (true, true) => None,
    };
    match first.or(policies) {
        Some(obstacle) => Err(error::delete_conflict_exception(format!("Cannot delete entity, {obstacle}"))),
        None => Ok(()),
    }
}

/// Attaches a managed policy; one that is attached already changes nothing. `kind`: `Role`, `User` or `Group`.
pub fn attach(ctx: &Ctx<'_>, attached: &mut Vec<String>, arn: String, kind: &str) -> Result<()> {
    policy::attachable(ctx, &arn, "Policy")?;
    if attached.contains(&arn) {
        return Ok(());
    }
    if attached.len() == ATTACHED {
        return Err(error::limit_exceeded_exception(format!("Cannot exceed quota for PoliciesPer{kind}: {ATTACHED}")));
    }
    attached.push(arn);
    Ok(())
}

pub fn detach(attached: &mut Vec<String>, arn: &str) -> Result<()> {
    if !attached.iter().any(|one| one == arn) {
        return Err(error::no_such_entity_exception(format!("Policy {arn} was not found.")));
    }
    attached.retain(|one| one != arn);
    Ok(())
}

/// One page of what is attached, of this path.
pub fn listed(
    mut arns: Vec<String>,
    path_prefix: Option<String>,
    marker: Option<String>,
    max_items: Option<i32>,
) -> Result<Page<AttachedPolicy>> {
    let prefix = path_prefix.unwrap_or_else(|| "/".into());
    arns.retain(|arn| policy::path_of(arn).starts_with(&prefix));
    let page = page(arns, String::clone, marker, max_items)?;
    let shown = |arn: String| AttachedPolicy { policy_name: Some(short_name(&arn).to_owned()), policy_arn: Some(arn) };
    let items = page.items.into_iter().map(shown).collect();
    Ok(Page { items, is_truncated: page.is_truncated, marker: page.marker })
}
