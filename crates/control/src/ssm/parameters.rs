//! What the operations on parameters share: names, selectors, values, views, pages.

use super::public;
use super::records::{Parameter, Tier, Value, Version};
use crate::api::{Ctx, Result};
use crate::page::{self, Page};
use crate::platform::Platform;
use crate::store::Tx;
use quarry_aws::ssm as aws;
use quarry_domain::arn::resource_part;
use quarry_wire::{ServiceError, Timestamp};

pub fn refuse(code: &str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(code, message, 400)
}

pub fn validation(message: impl Into<String>) -> ServiceError {
    refuse("ValidationException", message)
}

/// The name of the only key there is.
pub const KEY: &str = "alias/aws/ssm";

/// The parameter that `name`, `name:version` or its ARN means; a SecureString's value in clear only
/// with `decrypt`.
pub fn get(platform: &Platform, tx: &Tx<'_>, reference: &str, decrypt: bool) -> Result<aws::Parameter> {
    let name = plain_name(reference);
    let (name, selector) = match name.split_once(':') {
        Some((name, selector)) => (name.to_owned(), Some(selector.to_owned())),
        None => (name, None),
    };
    let missing = |selector: &str| {
        let message =
            format!("Systems Manager could not find version {selector} of {name}. Verify the version and try again.");
        refuse("ParameterVersionNotFound", message)
    };
    let mut shown = if let Some((_, value)) = public::parameters().into_iter().find(|(known, _)| *known == name) {
        if let Some(selector) = selector.as_deref().filter(|selector| *selector != "1") {
            return Err(missing(selector));
        }
        show_public(platform, &name, &value)
    } else {
        let stored: Parameter = tx.get(&name)?.ok_or_else(|| refuse("ParameterNotFound", ""))?;
        let version = match &selector {
            None => stored.versions.last(),
            Some(selector) => {
                let number: i64 = selector.parse().map_err(|_| missing(selector))?;
                Some(stored.versions.iter().find(|version| version.number == number).ok_or_else(|| missing(selector))?)
            }
        };
        match version {
            Some(version) => show(platform, &stored, version, decrypt)?,
            None => return Err(refuse("ParameterNotFound", "")),
        }
    };
    shown.selector = selector.map(|selector| format!(":{selector}"));
    Ok(shown)
}

/// The value of a parameter for a task's environment, decrypted.
pub fn read_for_task(ctx: &mut Ctx<'_>, reference: &str) -> Result<String> {
    let parameter = get(ctx.platform, ctx.tx, reference, true)?;
    parameter.value.ok_or_else(|| refuse("ParameterNotFound", ""))
}

/// One version of a parameter.
pub fn show(platform: &Platform, parameter: &Parameter, version: &Version, decrypt: bool) -> Result<aws::Parameter> {
    Ok(aws::Parameter {
        name: Some(parameter.name.clone()),
        r#type: Some(version.kind.unwrap_or(parameter.kind).name().into()),
        value: Some(value(platform, parameter, version, decrypt)?),
        version: Some(version.number),
        last_modified_date: Some(Timestamp::from_millis(version.modified_ms)),
        arn: Some(arn(platform, &parameter.name)),
        data_type: Some("text".into()),
        ..Default::default()
    })
}

/// The value as a caller gets it: a SecureString's as ciphertext unless it is decrypted.
pub fn value(platform: &Platform, parameter: &Parameter, version: &Version, decrypt: bool) -> Result<String> {
    match &version.value {
        Value::Plain(text) => Ok(text.clone()),
        Value::Secure { sealed } if !decrypt => Ok(sealed.to_string()),
        Value::Secure { sealed } => platform
            .vault
            .open_sealed(&context(&parameter.name, version.number), sealed)
            .and_then(|clear| clear.into_text())
            .map_err(|_| {
                refuse("InvalidKeyId", "The parameter's value cannot be decrypted with the key of this installation.")
            }),
    }
}

/// The value of a version as it is stored.
pub fn seal(platform: &Platform, name: &str, number: i64, text: &str) -> Value {
    Value::Secure { sealed: platform.vault.seal(&context(name, number), text.as_bytes()) }
}

/// A parameter without its value.
pub fn metadata(platform: &Platform, parameter: Parameter) -> aws::ParameterMetadata {
    let newest = parameter.versions.last();
    aws::ParameterMetadata {
        arn: Some(arn(platform, &parameter.name)),
        r#type: Some(parameter.kind.name().into()),
        key_id: key_of(parameter.kind),
        last_modified_date: newest.map(|version| Timestamp::from_millis(version.modified_ms)),
        last_modified_user: newest.map(|version| version.modified_by.clone()),
        version: newest.map(|version| version.number),
        description: parameter.description,
        allowed_pattern: parameter.allowed_pattern,
        tier: Some(parameter.tier.name().into()),
        data_type: Some("text".into()),
        policies: Some(Vec::new()),
        name: Some(parameter.name),
    }
}

/// The key of a SecureString; other types have none.
pub fn key_of(kind: super::records::ParameterType) -> Option<String> {
    (kind == super::records::ParameterType::SecureString).then(|| KEY.to_owned())
}

/// Refuses a value that is too long for its tier.
pub fn check_length(text: &str, tier: Tier) -> Result<()> {
    if text.len() > tier.longest() {
        return Err(validation(format!(
            "{} tier parameters support a maximum parameter value of {} characters.",
            tier.name(),
            tier.longest()
        )));
    }
    Ok(())
}

fn context(name: &str, number: i64) -> String {
    format!("ssm {name} {number}")
}

pub fn show_public(platform: &Platform, name: &str, value: &str) -> aws::Parameter {
    aws::Parameter {
        name: Some(name.to_owned()),
        r#type: Some("String".into()),
        value: Some(value.to_owned()),
        version: Some(1),
        last_modified_date: Some(Timestamp::from_secs(0)),
        arn: Some(format!("arn:aws:ssm:{}::parameter{name}", platform.place().region)),
        data_type: Some("text".into()),
        ..Default::default()
    }
}

pub fn arn(platform: &Platform, name: &str) -> String {
    platform.place().arn("ssm", format_args!("parameter/{}", name.trim_start_matches('/')))
}

/// Letters, digits and `_.-/`, at most 15 levels, fully qualified where there is any level, and not
/// of AWS's own.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 1011 {
        return Err(validation("Parameter name must have from 1 to 1011 characters"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b)) {
        return Err(validation(
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_",
        ));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(validation("Parameter name must be a fully qualified name."));
    }
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if first.starts_with("aws") || first.starts_with("ssm") {
        let message = format!("No access to reserved parameter name: {name}.");
        return Err(refuse("AccessDeniedException", message));
    }
    if name.split('/').filter(|level| !level.is_empty()).count() > 15 {
        return Err(refuse(
            "HierarchyLevelLimitExceededException",
            "The hierarchy can have a maximum of 15 levels. Use a parameter name with fewer levels.",
        ));
    }
    Ok(())
}

/// The name in a name or an ARN.
pub fn plain_name(reference: &str) -> String {
    match resource_part(reference).strip_prefix("parameter") {
        Some(name) if reference.starts_with("arn:") => {
            // One level is named without its slash.
            if name.matches('/').count() > 1 { name.to_owned() } else { name.trim_start_matches('/').to_owned() }
        }
        _ => reference.to_owned(),
    }
}

/// The page after `token`, which is the last element's name.
pub fn page<T>(
    items: Vec<T>,
    name: impl Fn(&T) -> &str,
    token: Option<&str>,
    max_results: Option<i32>,
    most: i32,
) -> Result<Page<T>> {
    let size = max_results.unwrap_or(most);
    if !(1..=most).contains(&size) {
        return Err(validation(format!(
            "1 validation error detected: Value '{size}' at 'maxResults' failed to satisfy constraint: Member must have value from 1 to {most}"
        )));
    }
    page::after(items, |item| name(item).to_owned(), token, size as usize)
        .ok_or_else(|| refuse("InvalidNextToken", "The specified token is not valid."))
}
