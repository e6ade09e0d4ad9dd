//! DeleteStack: the reconciler deletes the resources in reverse order.

use super::records::{ChangeSet, Export, Leftover, ResourceStatus, Stack, StackResource, StackStatus};
use super::world::{importer, refused};
use super::{carry, events, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::DeleteStackInput;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteStackInput) -> Result<Empty> {
    let name = input.stack_name.unwrap_or_default();
    if name.is_empty() {
        return Err(intake::missing(""));
    }
    // What is not there, or deleted already, is no error.
    let Some(mut stack) = intake::find(ctx, &name)? else { return Ok(Empty {}) };
    if matches!(stack.status, StackStatus::DeleteComplete | StackStatus::DeleteInProgress) {
        return Ok(Empty {});
    }
    if stack.termination_protection {
        return Err(refused(format!(
            "Stack [{}] cannot be deleted while TerminationProtection is enabled",
            stack.name
        )));
    }
    let retained = input.retain_resources.unwrap_or_default();
    if !retained.is_empty() && stack.status != StackStatus::DeleteFailed {
        return Err(refused(format!(
            "Invalid operation on stack [{}]. When you delete a stack, specify which resources to retain only when the stack is in the DELETE_FAILED state.",
            stack.id
        )));
    }
    let force = match input.deletion_mode.as_deref() {
        None | Some("STANDARD") => false,
        Some("FORCE_DELETE_STACK") => true,
        Some(other) => {
            return Err(refused(format!(
                "1 validation error detected: Value '{other}' at 'deletionMode' failed to satisfy constraint: Member must satisfy enum value set: [STANDARD, FORCE_DELETE_STACK]"
            )));
        }
    };
    if force && stack.status != StackStatus::DeleteFailed {
        return Err(refused(format!(
            "Invalid operation on stack [{}]. FORCE_DELETE_STACK can only be used when the stack is in the DELETE_FAILED state.",
            stack.id
        )));
    }
    stack.retained = retained.into_iter().collect();
    stack.token = input.client_request_token;
    for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
        // What could not be deleted before is tried again.
        let stuck = |left: &Leftover| left.status == Some(ResourceStatus::DeleteFailed);
        if record.leftovers.iter().any(stuck) {
            record.leftovers.iter_mut().for_each(|left| left.status = None);
            ctx.tx.put(&record)?;
        }
        if record.status == ResourceStatus::DeleteFailed {
            if force {
                stack.retained.insert(record.logical_id.clone());
            }
            record.status = ResourceStatus::DeleteInProgress;
            ctx.tx.put(&record)?;
        }
    }
    if let Some(reason) = in_use(ctx, &stack)? {
        return events::stack(ctx, &mut stack, StackStatus::DeleteFailed, Some(reason)).map(|()| Empty {});
    }
    carry::finish::abandon(ctx, &mut stack)?;
    for set in ctx.tx.children::<ChangeSet>(&stack.id)? {
        ctx.tx.delete::<ChangeSet>(&set.id)?;
    }
    events::stack(ctx, &mut stack, StackStatus::DeleteInProgress, Some("User Initiated".into()))?;
    intake::work(ctx, stack.id)?;
    Ok(Empty {})
}

/// Why the stack must stay: another one imports what it exports.
fn in_use(ctx: &Ctx<'_>, stack: &Stack) -> Result<Option<String>> {
    for export in ctx.tx.children::<Export>(&stack.id)? {
        if let Some(by) = importer(ctx, &stack.id, &export.name)? {
            return Ok(Some(format!("Export {} cannot be deleted as it is in use by {by}", export.name)));
        }
    }
    Ok(None)
}
