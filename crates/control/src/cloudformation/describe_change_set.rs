//! DescribeChangeSet.

use super::records::{ChangeSet, ChangeSetStatus};
use super::{change_set, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{Change, DescribeChangeSetInput, DescribeChangeSetOutput, ResourceChange};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeChangeSetInput) -> Result<DescribeChangeSetOutput> {
    let set = change_set::find(ctx, input.change_set_name.as_deref(), input.stack_name.as_deref())?;
    let change = |(logical, type_name): &(String, String)| Change {
        r#type: Some("Resource".into()),
        resource_change: Some(ResourceChange {
            action: Some("Add".into()),
            logical_resource_id: Some(logical.clone()),
            resource_type: Some(type_name.clone()),
            scope: Some(Vec::new()),
            details: Some(Vec::new()),
            ..Default::default()
        }),
        ..Default::default()
    };
    Ok(DescribeChangeSetOutput {
        change_set_name: Some(set.name.clone()),
        change_set_id: Some(set.id.clone()),
        stack_id: Some(set.stack_id.clone()),
        stack_name: Some(set.stack_name.clone()),
        description: set.description.clone(),
        parameters: show::some(show::parameters(&set.parameters)),
        creation_time: Some(Timestamp::from_millis(set.created_ms)),
        execution_status: Some(execution_status(&set).to_owned()),
        status: Some(set.status.as_str().to_owned()),
        status_reason: set.status_reason.clone(),
        capabilities: show::some(set.capabilities.clone()),
        tags: show::some(show::tags(&set.tags)),
        changes: Some(set.added.iter().map(change).collect()),
        on_stack_failure: Some(set.on_failure.as_str().to_owned()),
        ..Default::default()
    })
}

/// Whether it can be executed, as the API says it.
pub fn execution_status(set: &ChangeSet) -> &'static str {
    match set.status {
        ChangeSetStatus::Failed => "UNAVAILABLE",
        ChangeSetStatus::CreateComplete if set.executed => "EXECUTE_COMPLETE",
        ChangeSetStatus::CreateComplete => "AVAILABLE",
    }
}
