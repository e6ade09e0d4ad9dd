//! SignalResource: a resource with a CreationPolicy learns that one of its parts is ready, or failed.

use super::records::{ResourceStatus, StackResource, Work};
use super::world::refused;
use super::{events, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::SignalResourceInput;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: SignalResourceInput) -> Result<Empty> {
    let stack = intake::existing(ctx, input.stack_name.as_deref())?;
    let (logical, unique) = (input.logical_resource_id.unwrap_or_default(), input.unique_id.unwrap_or_default());
    let success = match input.status.as_deref() {
        Some("SUCCESS") => true,
        Some("FAILURE") => false,
        _ => {
            return Err(refused(
                "1 validation error detected: Value at 'status' failed to satisfy constraint: Member must satisfy enum value set: [SUCCESS, FAILURE]",
            ));
        }
    };
    if unique.is_empty() || unique.len() > 64 {
        return Err(refused(
            "1 validation error detected: Value at 'uniqueId' failed to satisfy constraint: Member must have length between 1 and 64",
        ));
    }
    let key = StackResource::key_of(&stack.id, &logical);
    let mut record = ctx
        .tx
        .get::<StackResource>(&key)?
        .ok_or_else(|| refused(format!("Resource {logical} does not exist for stack {}", stack.name)))?;
    let waits = match record.status {
        ResourceStatus::CreateInProgress => record.awaited.is_some(),
        // For a replacement, or a rolling update that waits for signals.
        ResourceStatus::UpdateInProgress => record.awaited.is_some() || record.state.update_policy.is_some(),
        _ => false,
    };
    if !waits {
        return Err(refused(format!(
            "Resource {logical} is in {} state and cannot be signaled",
            record.status.as_str()
        )));
    }
    if record.signals.contains_key(&unique) {
        // The same part again says nothing new.
        return Ok(Empty {});
    }
    record.signals.insert(unique.clone(), success);
    ctx.tx.put(&record)?;
    let word = if success { "SUCCESS" } else { "FAILURE" };
    events::note(ctx, &stack, &record, Some(format!("Received {word} signal with UniqueId {unique}")))?;
    // The stack goes on with the rights that it has: whoever signals lends it none.
    if ctx.tx.get::<Work>(&stack.id)?.is_none() {
        intake::work(ctx, stack.id)?;
    }
    Ok(Empty {})
}
