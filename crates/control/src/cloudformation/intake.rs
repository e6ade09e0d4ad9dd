//! What requests say about a stack, checked before anything is made.

use super::records::{Export, Revision, Stack, Work};
use super::template::text::MAX_BODY_BYTES;
use super::template::{Given, Resolved, Resource as Declared, Template, graph, parameter, rule};
use super::world::{World, refused};
use super::{dynamic, resource};
use crate::api::{Ctx, Result};
use crate::sts;
use quarry_aws::cloudformation::{Parameter, RollbackConfiguration, Tag, error};
use quarry_aws::ssm;
use quarry_wire::ServiceError;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Why a template needs a capability: the capabilities, and AWS's sentence.
pub struct Needed {
    pub capabilities: Vec<String>,
    pub reason: Option<String>,
}

/// Gives a stack to the reconciler, which carries out what the caller asked for with his rights.
pub fn work(ctx: &mut Ctx<'_>, stack_id: String) -> Result<()> {
    let acting = ctx.caller.acting.clone();
    Ok(ctx.tx.put(&Work { stack_id, acting })?)
}

/// Refuses a service role that CloudFormation may not assume.
pub fn check_role(ctx: &mut Ctx<'_>, role_arn: Option<&str>) -> Result<()> {
    let Some(role) = role_arn else { return Ok(()) };
    let stacks = ctx.platform.place().arn("cloudformation", "stack/*");
    if sts::service_may_assume(ctx, role, "cloudformation.amazonaws.com", &stacks)? {
        return Ok(());
    }
    Err(refused(format!("Role {role} is invalid or cannot be assumed")))
}

/// What a request says a stack is to be made from.
pub struct Asked {
    pub template_body: Option<String>,
    pub template_url: Option<String>,
    pub use_previous_template: Option<bool>,
    pub parameters: Option<Vec<Parameter>>,
    pub capabilities: Option<Vec<String>>,
    pub tags: Option<Vec<Tag>>,
    pub notification_arns: Option<Vec<String>>,
}

/// What a stack is to be made from, all checked that hangs on no resource but [`rehearse`]d not yet.
/// What a request does not say stays as it was.
pub fn revise(ctx: &mut Ctx<'_>, asked: Asked, old: Option<&Stack>) -> Result<(Revision, Template)> {
    let text = if asked.use_previous_template == Some(true) {
        if asked.template_body.is_some() || asked.template_url.is_some() {
            return Err(refused("You cannot specify both usePreviousTemplate and Template Body/Template URL."));
        }
        old.map(|s| s.revision.template.clone())
            .ok_or_else(|| refused("UsePreviousTemplate can only be used with a stack that exists."))?
    } else {
        template_text(asked.template_body, asked.template_url)?
    };
    let template = parse(&text)?;
    let parameters = parameters(ctx, &template, asked.parameters, old.map(|s| &s.revision.parameters))?;
    let capabilities = asked.capabilities.unwrap_or_default();
    if let Some(other) = capabilities.iter().find(|c| !CAPABILITIES.contains(&c.as_str())) {
        return Err(refused(format!(
            "1 validation error detected: Value '[{other}]' at 'capabilities' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [{}]]",
            CAPABILITIES.join(", ")
        )));
    }
    check_capabilities(&template, &capabilities)?;
    let tags = match (asked.tags, old) {
        (None, Some(old)) => old.revision.tags.clone(),
        (given, _) => tags(given)?,
    };
    let notification_arns = match (asked.notification_arns, old) {
        (None, Some(old)) => old.revision.notification_arns.clone(),
        (given, _) => given.unwrap_or_default(),
    };
    if !notification_arns.is_empty() {
        return Err(refused("NotificationARNs are not supported: there is no Amazon SNS here."));
    }
    let revision = Revision {
        description: template.description.clone(),
        template: text,
        parameters,
        capabilities,
        tags,
        notification_arns,
        outputs: old.map(|s| s.revision.outputs.clone()).unwrap_or_default(),
        imports: BTreeSet::new(),
    };
    Ok((revision, template))
}

const CAPABILITIES: &[&str] = &["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"];

/// Refuses rollback triggers: there are no alarms that could pull them.
pub fn check_rollback_configuration(configuration: Option<&RollbackConfiguration>) -> Result<()> {
    let asked = configuration.is_some_and(|c| {
        c.rollback_triggers.as_ref().is_some_and(|triggers| !triggers.is_empty())
            || c.monitoring_time_in_minutes.is_some_and(|minutes| minutes > 0)
    });
    if asked {
        Err(refused("RollbackConfiguration with triggers or a monitoring time is not supported."))
    } else {
        Ok(())
    }
}

/// Refuses types that the request does not allow.
pub fn check_resource_types(template: &Template, allowed: Option<&Vec<String>>) -> Result<()> {
    let Some(allowed) = allowed.filter(|allowed| !allowed.is_empty()) else { return Ok(()) };
    let fits = |name: &str| {
        allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => pattern == name,
        })
    };
    match template.resources.values().find(|r| !fits(&r.type_name)) {
        Some(r) => Err(refused(format!("Resource type {} is not allowed by parameter ResourceTypes", r.type_name))),
        None => Ok(()),
    }
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
    let unknown: BTreeSet<String> =
        template.resources.values().filter_map(|r| resource::unsupported(&r.type_name, &r.properties)).collect();
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().collect();
        return Err(refused(format!("Template format error: Unrecognized resource types: [{}]", names.join(", "))));
    }
    for resource in template.resources.values() {
        let snapshot = Some("Snapshot");
        let (deletion, replacement) = (resource.deletion_policy.as_deref(), resource.update_replace_policy.as_deref());
        let policy = match (deletion == snapshot, replacement == snapshot) {
            (true, _) => "deletion",
            (_, true) => "update replace",
            _ => continue,
        };
        // None of the types we have can be taken a snapshot of.
        return Err(refused(format!(
            "Template error: resource type {} does not support {policy} policy Snapshot",
            resource.type_name
        )));
    }
    for (name, resource) in &template.resources {
        check_policies(name, resource)?;
        let waits = resource.properties.contains_key("Handle") || resource.creation_policy.is_some();
        if resource.type_name == "AWS::CloudFormation::WaitCondition" && !waits {
            return Err(refused(format!("Template error: resource {name} must have a Handle or a CreationPolicy")));
        }
    }
    let places = template.resources.values().flat_map(|r| {
        r.properties.iter().map(move |(name, value)| (format!("{}/Properties/{name}", r.type_name), value))
    });
    dynamic::check(places).map_err(refused)?;
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

/// Members of AutoScalingRollingUpdate.
const ROLLING: &[&str] = &[
    "MaxBatchSize",
    "MinActiveInstancesPercent",
    "MinInstancesInService",
    "MinSuccessfulInstancesPercent",
    "PauseTime",
    "SuspendProcesses",
    "WaitOnResourceSignals",
];

/// Refuses members of CreationPolicy and UpdatePolicy that would have no effect.
fn check_policies(name: &str, declared: &Declared) -> Result<()> {
    let group = declared.type_name == "AWS::AutoScaling::AutoScalingGroup";
    if let Some(Value::Object(rolling)) =
        declared.update_policy.as_ref().and_then(|policy| policy.get("AutoScalingRollingUpdate"))
        && let Some(member) =
            rolling.keys().find(|member| !ROLLING.contains(&member.as_str()) && !member.starts_with("Fn::"))
    {
        return Err(refused(format!(
            "Template error: UpdatePolicy AutoScalingRollingUpdate of resource {name} has no member {member}"
        )));
    }
    let creation: &[&str] = if group { &["ResourceSignal", "AutoScalingCreationPolicy"] } else { &["ResourceSignal"] };
    let update: &[&str] = if group {
        &["AutoScalingReplacingUpdate", "AutoScalingRollingUpdate", "AutoScalingScheduledAction"]
    } else {
        &[]
    };
    for (which, policy, known) in
        [("CreationPolicy", &declared.creation_policy, creation), ("UpdatePolicy", &declared.update_policy, update)]
    {
        let members = policy.as_ref().and_then(|p| p.as_object()).into_iter().flat_map(|p| p.keys());
        if let Some(member) =
            members.into_iter().find(|member| !known.contains(&member.as_str()) && !member.starts_with("Fn::"))
        {
            return Err(refused(format!(
                "Template error: {which} {member} of resource {name} is not supported for resource type {}",
                declared.type_name
            )));
        }
    }
    Ok(())
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
    rule::assert_all(template.rules.iter(), &evaluator).map_err(wrong)?;
    for declared in template.resources.values().filter(|r| evaluator.holds(r.condition.as_deref())) {
        declared.properties.values().try_for_each(|value| evaluator.rehearse(value)).map_err(wrong)?;
        let others = [&declared.creation_policy, &declared.update_policy, &declared.metadata];
        others.into_iter().flatten().try_for_each(|value| evaluator.rehearse(value)).map_err(wrong)?;
    }
    for output in template.outputs.values().filter(|o| evaluator.holds(o.condition.as_deref())) {
        evaluator.rehearse(&output.value).map_err(wrong)?;
        if let Some(name) = &output.export {
            let name = evaluator.text(name, "The Name of an export").map_err(|e| refused(e.to_string()))?;
            if let Some(other) = ctx.tx.get::<Export>(&name)?.filter(|other| other.stack_id != stack.id) {
                let by = other.stack_id.split('/').nth(1).unwrap_or_default().to_owned();
                return Err(refused(format!("Export with name {name} is already exported by stack {by}.")));
            }
        }
    }
    stack.revision.imports = evaluator.imports();
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
