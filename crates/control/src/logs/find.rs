//! Names and ARNs of requests: checked, and turned into records.

use super::records::{LogGroup, LogStream, stream_key};
use crate::api::{Ctx, Result};
use crate::store::Tx;
use quarry_aws::logs::error;
use quarry_domain::arn::resource_part;

/// A well-formed log group name.
pub fn group_name(name: Option<&str>) -> Result<&str> {
    let name = name.unwrap_or_default();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '#');
    if name.is_empty() || name.len() > 512 || !name.chars().all(valid) {
        return Err(constraint(
            name,
            "logGroupName",
            "Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+",
        ));
    }
    Ok(name)
}

/// A well-formed log stream name.
pub fn stream_name(name: Option<&str>) -> Result<&str> {
    let name = name.unwrap_or_default();
    if name.is_empty() || name.len() > 512 || name.contains([':', '*']) {
        return Err(constraint(name, "logStreamName", "Member must satisfy regular expression pattern: [^:*]*"));
    }
    Ok(name)
}

/// The name in a request's name or identifier (a name or an ARN).
pub fn group_of<'a>(name: Option<&'a str>, identifier: Option<&'a str>) -> Result<&'a str> {
    match (name, identifier) {
        (Some(_), Some(_)) => {
            Err(error::invalid_parameter_exception("LogGroup name and LogGroup ARN are mutually exclusive parameters."))
        }
        (None, Some(identifier)) => {
            let resource = resource_part(identifier);
            let name = resource.strip_prefix("log-group:").unwrap_or(resource);
            group_name(Some(name.strip_suffix(":*").unwrap_or(name)))
        }
        (name, None) => group_name(name),
    }
}

pub fn group(tx: &Tx<'_>, name: &str) -> Result<LogGroup> {
    let found: Option<LogGroup> = tx.get(name)?;
    found.ok_or_else(|| error::resource_not_found_exception("The specified log group does not exist."))
}

pub fn stream(tx: &Tx<'_>, group_name: &str, name: &str) -> Result<LogStream> {
    group(tx, group_name)?;
    let found: Option<LogStream> = tx.get(&stream_key(group_name, name))?;
    found.ok_or_else(|| error::resource_not_found_exception("The specified log stream does not exist."))
}

/// `arn:aws:logs:…:log-group:<name>`.
pub fn group_arn(ctx: &Ctx<'_>, name: &str) -> String {
    ctx.platform.place().arn("logs", format_args!("log-group:{name}"))
}

/// `1 validation error detected: …`.
pub fn constraint(value: impl std::fmt::Display, member: &str, rule: &str) -> quarry_wire::ServiceError {
    error::invalid_parameter_exception(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {rule}"
    ))
}

/// A page size between 1 and `most`, which is also the usual one.
pub fn limit(limit: Option<i32>, most: i32) -> Result<usize> {
    match limit.unwrap_or(most) {
        n if (1..=most).contains(&n) => Ok(n.unsigned_abs() as usize),
        n => Err(constraint(n, "limit", &format!("Member must have value between 1 and {most}"))),
    }
}
