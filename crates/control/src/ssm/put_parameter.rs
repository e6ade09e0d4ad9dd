//! `PutParameter`: of type String or StringList, in the standard tier.

use super::parameters::{check_name, refuse, validation};
use super::records::{Parameter, ParameterType, VERSIONS, Version};
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{PutParameterRequest, PutParameterResult};
use std::collections::BTreeMap;

pub fn handle(ctx: &mut Ctx<'_>, input: PutParameterRequest) -> Result<PutParameterResult> {
    let name = input.name.ok_or_else(|| validation("A parameter name must be specified"))?;
    check_name(&name)?;
    let value = input.value.unwrap_or_default();
    if value.is_empty() {
        return Err(validation("A parameter value must have at least one character"));
    }
    if value.len() > 4096 {
        return Err(validation("Standard tier parameters support a maximum parameter value of 4096 characters."));
    }
    let unsupported = [
        (input.policies.is_some(), "Parameter policies are not supported here"),
        (input.allowed_pattern.is_some(), "Allowed patterns are not supported here"),
        (input.data_type.as_deref().unwrap_or("text") != "text", "Only the data type 'text' is supported here"),
        (input.tier.as_deref() == Some("Advanced"), "Only the standard tier is supported here"),
    ];
    if let Some((_, message)) = unsupported.into_iter().find(|(given, _)| *given) {
        return Err(validation(message));
    }
    let existing: Option<Parameter> = ctx.tx.get(&name)?;
    if existing.is_some() && !input.overwrite.unwrap_or(false) {
        return Err(refuse(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        ));
    }
    let kind = match (input.r#type.as_deref(), &existing) {
        (Some("String"), _) => ParameterType::String,
        (Some("StringList"), _) => ParameterType::StringList,
        (Some("SecureString"), _) => {
            return Err(refuse("UnsupportedParameterType", "SecureString parameters are not supported here"));
        }
        (Some(other), _) => {
            return Err(refuse("UnsupportedParameterType", format!("The parameter type {other} is not supported.")));
        }
        (None, Some(existing)) => existing.kind,
        (None, None) => return Err(validation("A parameter type is required when you create a parameter.")),
    };
    let tags: BTreeMap<_, _> = input
        .tags
        .unwrap_or_default()
        .into_iter()
        .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
        .collect();
    if existing.is_some() && !tags.is_empty() {
        return Err(validation(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag.",
        ));
    }
    let mut parameter = existing.unwrap_or(Parameter { name, kind, description: None, versions: Vec::new(), tags });
    parameter.kind = kind;
    parameter.description = input.description.or(parameter.description);
    let number = parameter.versions.last().map_or(0, |version| version.number) + 1;
    parameter.versions.push(Version {
        number,
        value,
        modified_ms: ctx.platform.now_ms(),
        modified_by: ctx.caller.arn.clone(),
    });
    let surplus = parameter.versions.len().saturating_sub(VERSIONS);
    parameter.versions.drain(..surplus);
    ctx.tx.put(&parameter)?;
    Ok(PutParameterResult { version: Some(number), tier: Some("Standard".into()) })
}
