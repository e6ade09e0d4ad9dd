//! Finding secrets and what the operations share: errors, days, views of tags.

use super::records::{Secret, Version};
use crate::api::{Ctx, Result};
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_aws::secretsmanager::{Tag, error};
use quarry_domain::arn::resource_part;
use quarry_wire::ServiceError;
use std::collections::BTreeMap;

/// The label of the version that readers get.
pub const CURRENT: &str = "AWSCURRENT";
/// The label of the version before it.
pub const PREVIOUS: &str = "AWSPREVIOUS";

const TAGS: usize = 50;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The secret that an ARN, an ARN without its last seven characters, or a name means; also one that
/// is scheduled for deletion.
pub fn any(ctx: &Ctx<'_>, id: Option<&str>) -> Result<Secret> {
    lookup(ctx.platform, ctx.tx, id.unwrap_or_default())?.ok_or_else(not_found)
}

/// As [`any`], but not one that is scheduled for deletion.
pub fn live(ctx: &Ctx<'_>, id: Option<&str>) -> Result<Secret> {
    let secret = any(ctx, id)?;
    match secret.deletion {
        None => Ok(secret),
        Some(_) => Err(marked()),
    }
}

/// `None`: there is none, or its recovery window has passed.
pub fn lookup(platform: &Platform, tx: &Tx<'_>, id: &str) -> Result<Option<Secret>, StoreError> {
    let secret = if id.starts_with("arn:") {
        let Some(rest) = resource_part(id).strip_prefix("secret:") else { return Ok(None) };
        if platform.place().arn("secretsmanager", format_args!("secret:{rest}")) != id {
            return Ok(None);
        }
        // Six random characters end a whole ARN; where they do not match it is a name.
        let whole = match rest.len().checked_sub(7).and_then(|at| rest.split_at_checked(at)) {
            Some((name, _)) => tx.get::<Secret>(name)?.filter(|secret| secret.arn == id),
            None => None,
        };
        match whole {
            Some(secret) => Some(secret),
            None => tx.get(rest)?,
        }
    } else {
        tx.get::<Secret>(id)?
    };
    let now = platform.now_ms();
    Ok(secret.filter(|secret| secret.deletion.is_none_or(|deletion| now < deletion.due_ms)))
}

/// The whole ARN of what [`lookup`] finds.
pub fn arn_of(platform: &Platform, tx: &Tx<'_>, id: &str) -> Result<Option<String>, StoreError> {
    Ok(lookup(platform, tx, id)?.map(|secret| secret.arn))
}

/// All that there are, also those scheduled for deletion, oldest first.
pub fn all(platform: &Platform, tx: &Tx<'_>) -> Result<Vec<Secret>, StoreError> {
    let now = platform.now_ms();
    let mut all = tx.all::<Secret>()?;
    all.retain(|secret| secret.deletion.is_none_or(|deletion| now < deletion.due_ms));
    Ok(all)
}

/// Deletes the secret and all of its values.
pub fn erase(tx: &Tx<'_>, secret: &Secret) -> Result<(), StoreError> {
    for version in tx.children::<Version>(&secret.arn)? {
        tx.delete::<Version>(&super::records::version_key(&secret.arn, &version.id))?;
    }
    tx.delete::<Secret>(&secret.name)?;
    Ok(())
}

pub fn not_found() -> ServiceError {
    error::resource_not_found_exception("Secrets Manager can't find the specified secret.")
}

pub fn marked() -> ServiceError {
    error::invalid_request_exception(
        "You can't perform this operation on the secret because it was marked for deletion.",
    )
}

pub fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// The start of the day, as dates of last access show no time.
pub fn day(now_ms: i64) -> i64 {
    now_ms - now_ms.rem_euclid(DAY_MS)
}

/// Adds tags to those that are there, within AWS's limits.
pub fn add_tags(tags: &mut BTreeMap<String, String>, new: Option<Vec<Tag>>) -> Result<()> {
    for tag in new.unwrap_or_default() {
        let key = tag.key.filter(|key| !key.is_empty()).ok_or_else(|| invalid("You must provide a tag key."))?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("You can't use the prefix aws: in tag names or values, because it is reserved."));
        }
        tags.insert(key, tag.value.unwrap_or_default());
    }
    if tags.len() > TAGS {
        return Err(invalid(format!("You can't have more than {TAGS} tags on a secret.")));
    }
    Ok(())
}

pub fn show_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}
