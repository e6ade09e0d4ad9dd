//! Records as the API shows them.

use super::dynamic;
use super::records::{Stack, StackDrift, StackResource};
use super::template::{Resolved, Template};
use crate::api::Result;
use crate::platform::Platform;
use quarry_aws::cloudformation as shape;
use quarry_wire::Timestamp;
use std::collections::BTreeMap;

pub fn stack(platform: &Platform, stack: &Stack) -> Result<shape::Stack> {
    let output = |o: &super::records::StackOutput| -> Result<shape::Output> {
        Ok(shape::Output {
            output_key: Some(o.key.clone()),
            output_value: Some(dynamic::opened(platform, &o.value)?),
            description: o.description.clone(),
            export_name: o.export.clone(),
        })
    };
    Ok(shape::Stack {
        stack_id: Some(stack.id.clone()),
        stack_name: Some(stack.name.clone()),
        change_set_id: stack.change_set_id.clone(),
        description: stack.revision.description.clone(),
        parameters: some(parameters(&stack.revision.parameters)),
        creation_time: Some(Timestamp::from_millis(stack.created_ms)),
        last_updated_time: stack.updated_ms.map(Timestamp::from_millis),
        deletion_time: stack.deleted_ms.map(Timestamp::from_millis),
        stack_status: Some(stack.status.as_str().to_owned()),
        stack_status_reason: stack.status_reason.clone(),
        disable_rollback: Some(stack.on_failure == super::records::OnFailure::DoNothing),
        notification_arns: Some(stack.revision.notification_arns.clone()),
        timeout_in_minutes: stack.timeout_minutes,
        capabilities: some(stack.revision.capabilities.clone()),
        outputs: some(stack.revision.outputs.iter().map(output).collect::<Result<_>>()?),
        role_arn: stack.role_arn.clone(),
        tags: Some(tags(&stack.revision.tags)),
        enable_termination_protection: Some(stack.termination_protection),
        rollback_configuration: Some(shape::RollbackConfiguration::default()),
        drift_information: Some(drift(stack)),
        ..Default::default()
    })
}

/// What is known of a stack's drift.
pub fn drift(stack: &Stack) -> shape::StackDriftInformation {
    shape::StackDriftInformation {
        stack_drift_status: Some(stack.drift.as_ref().map_or("NOT_CHECKED", StackDrift::status).into()),
        last_check_timestamp: stack.drift.as_ref().map(|d| Timestamp::from_millis(d.at_ms)),
    }
}

/// The drift status of a resource.
pub fn resource_drift(resource: &StackResource) -> &str {
    resource.drift.as_ref().map_or("NOT_CHECKED", |d| d.status.as_str())
}

pub fn parameters(parameters: &BTreeMap<String, Resolved>) -> Vec<shape::Parameter> {
    let parameter = |(key, p): (&String, &Resolved)| shape::Parameter {
        parameter_key: Some(key.clone()),
        parameter_value: Some(if p.no_echo { "****".into() } else { p.value.clone() }),
        resolved_value: p.looked_up.clone(),
        use_previous_value: None,
    };
    parameters.iter().map(parameter).collect()
}

pub fn tags(tags: &[(String, String)]) -> Vec<shape::Tag> {
    tags.iter().map(|(k, v)| shape::Tag { key: Some(k.clone()), value: Some(v.clone()) }).collect()
}

pub fn resource(stack: &Stack, resource: &StackResource) -> shape::StackResource {
    shape::StackResource {
        stack_name: Some(stack.name.clone()),
        stack_id: Some(stack.id.clone()),
        logical_resource_id: Some(resource.logical_id.clone()),
        physical_resource_id: resource.state.physical_id.clone(),
        resource_type: Some(resource.type_name.clone()),
        timestamp: Some(Timestamp::from_millis(resource.updated_ms)),
        resource_status: Some(resource.status.as_str().to_owned()),
        resource_status_reason: resource.status_reason.clone(),
        drift_information: Some(shape::StackResourceDriftInformation {
            stack_resource_drift_status: Some(resource_drift(resource).into()),
            last_check_timestamp: resource.drift.as_ref().map(|d| Timestamp::from_millis(d.at_ms)),
        }),
        ..Default::default()
    }
}

/// The parameters that a template declares.
pub fn declared(template: &Template) -> Vec<shape::ParameterDeclaration> {
    let declared = template.parameters.iter().map(|(key, p)| shape::ParameterDeclaration {
        parameter_key: Some(key.clone()),
        default_value: p.default.clone(),
        parameter_type: Some(p.type_name.clone()),
        no_echo: Some(p.no_echo),
        description: p.description.clone(),
        parameter_constraints: Some(shape::ParameterConstraints { allowed_values: some(p.allowed_values.clone()) }),
    });
    declared.collect()
}

/// `None` for an empty list.
pub fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}
