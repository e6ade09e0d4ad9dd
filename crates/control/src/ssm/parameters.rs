//! What the operations on parameters share: names, selectors, views, pages.

use super::public;
use super::records::Parameter;
use crate::api::Result;
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

/// The parameter that `name`, `name:version` or its ARN means.
pub fn get(platform: &Platform, tx: &Tx<'_>, reference: &str) -> Result<aws::Parameter> {
    let name = plain_name(reference);
    let (name, selector) = match name.split_once(':') {
        Some((name, selector)) => (name.to_owned(), Some(selector.to_owned())),
        None => (name, None),
    };
    let mut shown = if let Some((_, value)) = public::parameters().into_iter().find(|(known, _)| *known == name) {
        show_public(platform, &name, &value)
    } else {
        let stored: Parameter = tx.get(&name)?.ok_or_else(|| refuse("ParameterNotFound", ""))?;
        show(platform, &stored)
    };
    if let Some(selector) = selector {
        let missing = || {
            let message = format!(
                "Systems Manager could not find version {selector} of {name}. Verify the version and try again."
            );
            refuse("ParameterVersionNotFound", message)
        };
        let number: i64 = selector.parse().map_err(|_| missing())?;
        if shown.version != Some(number) {
            let stored: Parameter = tx.get(&name)?.ok_or_else(missing)?;
            let version = stored.versions.iter().find(|version| version.number == number).ok_or_else(missing)?;
            shown.value = Some(version.value.clone());
            shown.version = Some(number);
            shown.last_modified_date = Some(Timestamp::from_millis(version.modified_ms));
        }
        shown.selector = Some(format!(":{selector}"));
    }
    Ok(shown)
}

pub fn show(platform: &Platform, parameter: &Parameter) -> aws::Parameter {
    let newest = parameter.versions.last();
    aws::Parameter {
        name: Some(parameter.name.clone()),
        r#type: Some(parameter.kind.name().into()),
        value: newest.map(|version| version.value.clone()),
        version: newest.map(|version| version.number),
        last_modified_date: newest.map(|version| Timestamp::from_millis(version.modified_ms)),
        arn: Some(arn(platform, &parameter.name)),
        data_type: Some("text".into()),
        ..Default::default()
    }
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
