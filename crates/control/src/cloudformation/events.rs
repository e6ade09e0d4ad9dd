//! A stack's history, and the changes of state that are written into it.

use super::records::{Event, ResourceState, ResourceStatus, Stack, StackResource, StackStatus};
use crate::api::{Ctx, Result};

/// The type that stacks themselves have in their events.
pub const STACK_TYPE: &str = "AWS::CloudFormation::Stack";

/// Sets a stack's status, with its event.
pub fn stack(ctx: &mut Ctx<'_>, stack: &mut Stack, status: StackStatus, reason: Option<String>) -> Result<()> {
    stack.status = status;
    stack.status_reason.clone_from(&reason);
    ctx.tx.put(stack)?;
    let event = Event {
        id: ctx.platform.door.uuid(),
        stack_id: stack.id.clone(),
        stack_name: stack.name.clone(),
        logical_id: stack.name.clone(),
        physical_id: stack.id.clone(),
        type_name: STACK_TYPE.to_owned(),
        at_ms: ctx.platform.now_ms(),
        status: status.as_str().to_owned(),
        reason,
        properties: None,
        token: stack.token.clone(),
    };
    Ok(ctx.tx.put(&event)?)
}

/// Sets a resource's status, with its event.
pub fn resource(
    ctx: &mut Ctx<'_>,
    stack: &Stack,
    resource: &mut StackResource,
    status: ResourceStatus,
    reason: Option<String>,
) -> Result<()> {
    resource.status = status;
    resource.status_reason.clone_from(&reason);
    resource.updated_ms = ctx.platform.now_ms();
    ctx.tx.put(resource)?;
    note(ctx, stack, resource, reason)
}

/// An event of a resource whose status stays.
pub fn note(ctx: &mut Ctx<'_>, stack: &Stack, resource: &StackResource, reason: Option<String>) -> Result<()> {
    about(ctx, stack, resource, &resource.state, resource.status, reason)
}

/// An event of one physical resource, which need not be the one that the stack has now.
pub fn about(
    ctx: &mut Ctx<'_>,
    stack: &Stack,
    resource: &StackResource,
    state: &ResourceState,
    status: ResourceStatus,
    reason: Option<String>,
) -> Result<()> {
    let event = Event {
        id: format!("{}-{}-{}", resource.logical_id, status.as_str(), ctx.platform.door.uuid()),
        stack_id: stack.id.clone(),
        stack_name: stack.name.clone(),
        logical_id: resource.logical_id.clone(),
        physical_id: state.physical_id.clone().unwrap_or_default(),
        type_name: resource.type_name.clone(),
        at_ms: ctx.platform.now_ms(),
        status: status.as_str().to_owned(),
        reason,
        properties: (!stack.revision.parameters.values().any(|p| p.no_echo))
            .then(|| serde_json::to_string(&state.properties).unwrap_or_default()),
        token: stack.token.clone(),
    };
    Ok(ctx.tx.put(&event)?)
}
