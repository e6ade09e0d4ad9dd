//! DescribeChangeSet.

use super::page::page;
use super::records::{self, ChangeSet, ChangeSetStatus};
use super::{change_set, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{
    Change, DescribeChangeSetInput, DescribeChangeSetOutput, ResourceChange, ResourceChangeDetail,
    ResourceTargetDefinition,
};
use quarry_wire::Timestamp;
use serde_json::{Map, Value, json};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeChangeSetInput) -> Result<DescribeChangeSetOutput> {
    let set = change_set::find(ctx, input.change_set_name.as_deref(), input.stack_name.as_deref())?;
    let values = input.include_property_values == Some(true);
    let (changes, next_token) = page(set.changes.clone(), input.next_token.as_deref(), 100)?;
    Ok(DescribeChangeSetOutput {
        change_set_name: Some(set.name.clone()),
        change_set_id: Some(set.id.clone()),
        stack_id: Some(set.stack_id.clone()),
        stack_name: Some(set.stack_name.clone()),
        description: set.description.clone(),
        parameters: show::some(show::parameters(&set.revision.parameters)),
        creation_time: Some(Timestamp::from_millis(set.created_ms)),
        execution_status: Some(execution_status(&set).to_owned()),
        status: Some(set.status.as_str().to_owned()),
        status_reason: set.status_reason.clone(),
        capabilities: show::some(set.revision.capabilities.clone()),
        tags: show::some(show::tags(&set.revision.tags)),
        changes: Some(changes.iter().map(|change| show_change(change, values)).collect()),
        next_token,
        include_nested_stacks: Some(false),
        rollback_configuration: Some(Default::default()),
        on_stack_failure: Some(set.on_failure.as_str().to_owned()),
        ..Default::default()
    })
}

fn show_change(change: &records::Change, values: bool) -> Change {
    let value = |side: &Option<Map<String, Value>>, name: &str| {
        let value = side.as_ref().filter(|_| values)?.get(name)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let context = |side: &Option<Map<String, Value>>| {
        let properties = side.as_ref().filter(|_| values)?;
        Some(json!({"Properties": properties}).to_string())
    };
    let detail = |d: &records::ChangeDetail| {
        let name = d.name.as_deref().unwrap_or_default();
        let (before, after) = (value(&change.before, name), value(&change.after, name));
        ResourceChangeDetail {
            target: Some(ResourceTargetDefinition {
                attribute: Some(d.attribute.clone()),
                name: d.name.clone(),
                requires_recreation: Some(d.recreation.clone()),
                path: d.name.as_ref().filter(|_| values).map(|name| format!("/Properties/{name}")),
                attribute_change_type: match (&before, &after) {
                    (None, None) => None,
                    (None, Some(_)) => Some("Add".into()),
                    (Some(_), None) => Some("Remove".into()),
                    (Some(_), Some(_)) => Some("Modify".into()),
                },
                before_value: before,
                after_value: after,
                ..Default::default()
            }),
            evaluation: Some(d.evaluation.clone()),
            change_source: Some(d.source.clone()),
            causing_entity: d.cause.clone(),
        }
    };
    Change {
        r#type: Some("Resource".into()),
        resource_change: Some(ResourceChange {
            action: Some(change.action.clone()),
            logical_resource_id: Some(change.logical_id.clone()),
            physical_resource_id: change.physical_id.clone(),
            resource_type: Some(change.type_name.clone()),
            replacement: change.replacement.clone(),
            policy_action: change.policy_action.clone(),
            before_context: context(&change.before),
            after_context: context(&change.after),
            scope: Some(change.scope.clone()),
            details: Some(change.details.iter().map(detail).collect()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Whether it can be executed, as the API says it.
pub fn execution_status(set: &ChangeSet) -> &'static str {
    match set.status {
        ChangeSetStatus::Failed => "UNAVAILABLE",
        ChangeSetStatus::CreateComplete if set.obsolete => "OBSOLETE",
        ChangeSetStatus::CreateComplete if set.executed => "EXECUTE_COMPLETE",
        ChangeSetStatus::CreateComplete => "AVAILABLE",
    }
}
