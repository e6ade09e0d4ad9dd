//! `PutParameter`: a new parameter, or a new version of one.

use super::parameters::{KEY, check_length, check_name, refuse, seal, validation};
use super::records::{Parameter, ParameterType, Tier, VERSIONS, Value, Version};
use super::tags::add_tags;
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{PutParameterRequest, PutParameterResult};
use regex::Regex;
use std::collections::BTreeMap;

/// As many as an account may have in the standard tier.
const PARAMETERS: usize = 10_000;

pub fn handle(ctx: &mut Ctx<'_>, input: PutParameterRequest) -> Result<PutParameterResult> {
    let name = input.name.ok_or_else(|| validation("A parameter name must be specified"))?;
    check_name(&name)?;
    let value = input.value.unwrap_or_default();
    if value.is_empty() {
        return Err(validation("A parameter value must have at least one character"));
    }
    let unsupported = [
        (input.policies.is_some(), "Parameter policies are not supported here"),
        (input.data_type.as_deref().unwrap_or("text") != "text", "Only the data type 'text' is supported here"),
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
        (Some("SecureString"), _) => ParameterType::SecureString,
        (Some(other), _) => {
            return Err(refuse("UnsupportedParameterType", format!("The parameter type {other} is not supported.")));
        }
        (None, Some(existing)) => existing.kind,
        (None, None) => return Err(validation("A parameter type is required when you create a parameter.")),
    };
    match input.key_id.as_deref() {
        Some(_) if kind != ParameterType::SecureString => {
            return Err(validation("KeyId is only for parameters of type SecureString."));
        }
        None | Some(KEY) => {}
        Some(other) => {
            return Err(refuse("InvalidKeyId", format!("Invalid keyId {other}: only {KEY} is available here.")));
        }
    }
    let before = existing.as_ref().map_or(Tier::Standard, |existing| existing.tier);
    let tier = match input.tier.as_deref() {
        Some("Advanced") => Tier::Advanced,
        Some("Intelligent-Tiering") if value.len() > Tier::Standard.longest() => Tier::Advanced,
        Some("Standard") if before == Tier::Advanced => {
            return Err(validation(
                "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a standard parameter.",
            ));
        }
        _ => before,
    };
    check_length(&value, tier)?;
    let pattern = input.allowed_pattern.filter(|pattern| !pattern.is_empty());
    let pattern = pattern.or_else(|| existing.as_ref().and_then(|existing| existing.allowed_pattern.clone()));
    if let Some(pattern) = &pattern {
        check_pattern(pattern, &value)?;
    }
    let mut tags = BTreeMap::new();
    add_tags(&mut tags, input.tags)?;
    if existing.is_some() && !tags.is_empty() {
        return Err(validation(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag.",
        ));
    }
    if existing.is_none() && ctx.tx.all::<Parameter>()?.len() >= PARAMETERS {
        return Err(refuse("ParameterLimitExceeded", format!("You can't have more than {PARAMETERS} parameters.")));
    }
    let mut parameter = existing.unwrap_or(Parameter {
        name,
        kind,
        tier,
        description: None,
        allowed_pattern: None,
        versions: Vec::new(),
        tags,
    });
    (parameter.kind, parameter.tier, parameter.allowed_pattern) = (kind, tier, pattern);
    parameter.description = input.description.or(parameter.description);
    let number = parameter.versions.last().map_or(0, |version| version.number) + 1;
    let value = match kind {
        ParameterType::SecureString => seal(ctx.platform, &parameter.name, number, &value),
        ParameterType::String | ParameterType::StringList => Value::Plain(value),
    };
    parameter.versions.push(Version {
        number,
        kind: Some(kind),
        value,
        modified_ms: ctx.platform.now_ms(),
        modified_by: ctx.caller.arn.clone(),
    });
    let surplus = parameter.versions.len().saturating_sub(VERSIONS);
    parameter.versions.drain(..surplus);
    ctx.tx.put(&parameter)?;
    Ok(PutParameterResult { version: Some(number), tier: Some(tier.name().into()) })
}

/// The whole value must match.
fn check_pattern(pattern: &str, value: &str) -> Result<()> {
    let compiled = Regex::new(&format!("^(?:{pattern})$")).map_err(|_| {
        refuse(
            "InvalidAllowedPatternException",
            format!("The allowed pattern {pattern} is not a valid regular expression."),
        )
    })?;
    if !compiled.is_match(value) {
        return Err(refuse(
            "ParameterPatternMismatchException",
            format!("Parameter value, cannot be validated against allowedPattern: {pattern}"),
        ));
    }
    Ok(())
}
