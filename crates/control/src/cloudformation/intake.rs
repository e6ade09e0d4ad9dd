//! What requests say about a stack, checked before anything is made.

use super::records::{Export, Stack};
use super::resource;
use super::template::text::MAX_BODY_BYTES;
use super::template::{Given, Resolved, Template, graph, parameter};
use super::world::{World, refused};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{Parameter, Tag, error};
use quarry_aws::ssm;
use quarry_wire::ServiceError;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Why a template needs a capability: the capabilities, and AWS's sentence.
pub struct Needed {
    pub capabilities: Vec<String>,
    pub reason: Option<String>,
}

/// The template of a request.
pub fn template_text(body: Option<String>, url: Option<String>) -> Result<String> {
    match (body, url) {
        (Some(_), Some(_)) => Err(refused("Only one of Template URL or Template Body may be specified.")),
        (None, None) => Err(refused("Either Template URL or Template Body must be specified.")),
        (None, Some(_)) => Err(refused("TemplateURL must be a supported URL.")),
        (Some(body), None) if body.len() > MAX_BODY_BYTES => Err(refused(format!(
            "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to {MAX_BODY_BYTES}"
        ))),
        (Some(body), None) => Ok(body),
    }
}

/// Parses a template and checks what hangs on Quarry: types and their attributes.
pub fn parse(text: &str) -> Result<Template> {
    let template = Template::parse(text).map_err(|e| refused(e.0))?;
    let unknown: BTreeSet<&str> = template
        .resources
        .values()
        .map(|r| r.type_name.as_str())
        .filter(|name| resource::find(name).is_none())
        .collect();
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.into_iter().collect();
        return Err(refused(format!("Template format error: Unrecognized resource types: [{}]", names.join(", "))));
    }
    for (logical, attribute) in graph::attributes(&template).map_err(|e| refused(e.0))? {
        let Some(kind) = template.resources.get(&logical).and_then(|r| resource::find(&r.type_name)) else { continue };
        if !kind.attributes().contains(&attribute.as_str()) {
            return Err(refused(format!(
                "Template error: resource {logical} does not support attribute type {attribute} in Fn::GetAtt"
            )));
        }
    }
    Ok(template)
}

/// Parameter values for a template.
pub fn parameters(
    ctx: &mut Ctx<'_>,
    template: &Template,
    given: Option<Vec<Parameter>>,
    previous: Option<&BTreeMap<String, Resolved>>,
) -> Result<BTreeMap<String, Resolved>> {
    let mut values = Given::new();
    for parameter in given.unwrap_or_default() {
        let key = parameter.parameter_key.ok_or_else(|| refused("ParameterKey must be given."))?;
        let value = if parameter.use_previous_value == Some(true) {
            previous
                .and_then(|p| p.get(&key))
                .map(|p| p.value.clone())
                .ok_or_else(|| refused(format!("Invalid input for parameter key {key}. Cannot specify usePreviousValue as true for a parameter key not in the previous template")))?
        } else {
            parameter.parameter_value.ok_or_else(|| {
                refused(format!(
                    "Invalid input for parameter key {key}. Need to specify either usePreviousValue as true or a value"
                ))
            })?
        };
        if values.insert(key.clone(), value).is_some() {
            return Err(refused(format!("Duplicate parameter key {key}.")));
        }
    }
    let mut failure = None;
    let mut look_up = |name: &str| match resource::call::call::<ssm::op::GetParameter>(ctx, json!({"Name": name})) {
        Ok(output) => resource::call::text(&output, "/Parameter/Value").ok(),
        Err(error) => {
            if error.status >= 500 {
                failure = Some(error);
            }
            None
        }
    };
    let resolved = parameter::resolve(&template.parameters, &values, &mut look_up);
    match failure {
        Some(error) => Err(error),
        None => resolved.map_err(|e| refused(e.0)),
    }
}

/// Evaluates all that hangs on no resource, so that what must fail is refused at once. Sets what the
/// stack imports.
pub fn rehearse(ctx: &mut Ctx<'_>, stack: &mut Stack, template: &Template) -> Result<()> {
    let world = World::read(ctx, "")?;
    let evaluator = world.evaluator(ctx, stack, template)?;
    let wrong = |e: super::template::TemplateError| refused(e.0);
    for declared in template.resources.values().filter(|r| evaluator.holds(r.condition.as_deref())) {
        declared.properties.values().try_for_each(|value| evaluator.rehearse(value)).map_err(wrong)?;
        let policies = [&declared.creation_policy, &declared.update_policy];
        policies.into_iter().flatten().try_for_each(|value| evaluator.rehearse(value)).map_err(wrong)?;
    }
    for output in template.outputs.values().filter(|o| evaluator.holds(o.condition.as_deref())) {
        evaluator.rehearse(&output.value).map_err(wrong)?;
        if let Some(name) = &output.export {
            let name = evaluator.text(name, "The Name of an export").map_err(|e| refused(e.to_string()))?;
            if let Some(other) = ctx.tx.get::<Export>(&name)? {
                let by = other.stack_id.split('/').nth(1).unwrap_or_default().to_owned();
                return Err(refused(format!("Export with name {name} is already exported by stack {by}.")));
            }
        }
    }
    stack.imports = evaluator.imports();
    Ok(())
}

/// The capabilities that a template needs.
pub fn needed(template: &Template) -> Needed {
    let iam: Vec<_> =
        template.resources.values().filter_map(|r| Some((r, resource::find(&r.type_name)?.iam_name()?))).collect();
    if iam.is_empty() {
        return Needed { capabilities: Vec::new(), reason: None };
    }
    let named = iam.iter().any(|(r, property)| r.properties.contains_key(*property));
    let types: BTreeSet<&str> = iam.iter().map(|(r, _)| r.type_name.as_str()).collect();
    let types: Vec<&str> = types.into_iter().collect();
    Needed {
        capabilities: vec![if named { "CAPABILITY_NAMED_IAM" } else { "CAPABILITY_IAM" }.to_owned()],
        reason: Some(format!("The following resource(s) require capabilities: [{}]", types.join(", "))),
    }
}

/// Refuses a template whose capabilities are not acknowledged.
pub fn check_capabilities(template: &Template, given: &[String]) -> Result<()> {
    for capability in needed(template).capabilities {
        let acknowledged =
            given.iter().any(|g| *g == capability || (capability == "CAPABILITY_IAM" && g == "CAPABILITY_NAMED_IAM"));
        if !acknowledged {
            return Err(error::insufficient_capabilities_exception(format!("Requires capabilities : [{capability}]")));
        }
    }
    Ok(())
}

/// A stack's or change set's name.
pub fn check_name(name: Option<String>, member: &str) -> Result<String> {
    let name = name.unwrap_or_default();
    let good = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if good {
        return Ok(name);
    }
    Err(refused(format!(
        "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
    )))
}

/// Tags of a request as pairs.
pub fn tags(tags: Option<Vec<Tag>>) -> Result<Vec<(String, String)>> {
    let tags = tags.unwrap_or_default();
    if tags.len() > 50 {
        return Err(refused(
            "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50",
        ));
    }
    let pair = |tag: Tag| -> Result<(String, String)> {
        let key = tag.key.unwrap_or_default();
        if key.is_empty() || key.to_ascii_lowercase().starts_with("aws:") {
            return Err(refused(format!("Tag key '{key}' is not valid")));
        }
        Ok((key, tag.value.unwrap_or_default()))
    };
    tags.into_iter().map(pair).collect()
}

/// The stack of this name that is not deleted, or of this id.
pub fn find(ctx: &Ctx<'_>, name_or_id: &str) -> Result<Option<Stack>> {
    if name_or_id.starts_with("arn:") {
        return Ok(ctx.tx.get::<Stack>(name_or_id)?);
    }
    let named = ctx.tx.children::<Stack>(name_or_id)?;
    Ok(named.into_iter().find(|stack| stack.deleted_ms.is_none()))
}

/// Like [`find`], with AWS's error if there is none.
pub fn existing(ctx: &Ctx<'_>, name_or_id: Option<&str>) -> Result<Stack> {
    let name = name_or_id.unwrap_or_default();
    if name.is_empty() {
        return Err(refused(
            "1 validation error detected: Value null at 'stackName' failed to satisfy constraint: Member must not be null",
        ));
    }
    find(ctx, name)?.ok_or_else(|| missing(name))
}

/// `Stack with id X does not exist`.
pub fn missing(name: &str) -> ServiceError {
    refused(format!("Stack with id {name} does not exist"))
}
