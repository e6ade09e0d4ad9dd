//! Tags of log groups.

use super::find;
use super::records::LogGroup;
use crate::api::{Ctx, Result};
use quarry_aws::logs::error;
use std::collections::BTreeMap;

/// Checks the tags of a request.
pub fn check(tags: Option<BTreeMap<String, String>>) -> Result<BTreeMap<String, String>> {
    let tags = tags.unwrap_or_default();
    for (key, value) in &tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 || key.starts_with("aws:") {
            return Err(error::invalid_parameter_exception(format!("Invalid tag '{key}'.")));
        }
    }
    Ok(tags)
}

/// The group with this ARN.
pub fn group_by_arn(ctx: &Ctx<'_>, arn: Option<&str>) -> Result<LogGroup> {
    let arn = arn.unwrap_or_default();
    if !arn.starts_with("arn:") {
        return Err(error::invalid_parameter_exception(format!("Invalid resource ARN '{arn}'.")));
    }
    find::group(ctx.tx, find::group_of(None, Some(arn))?)
}

pub fn add(ctx: &Ctx<'_>, mut group: LogGroup, tags: Option<BTreeMap<String, String>>) -> Result<()> {
    group.tags.extend(check(tags)?);
    if group.tags.len() > 50 {
        return Err(error::too_many_tags_exception("A resource can have at most 50 tags."));
    }
    Ok(ctx.tx.put(&group)?)
}

pub fn remove(ctx: &Ctx<'_>, mut group: LogGroup, keys: &[String]) -> Result<()> {
    group.tags.retain(|key, _| !keys.contains(key));
    Ok(ctx.tx.put(&group)?)
}
