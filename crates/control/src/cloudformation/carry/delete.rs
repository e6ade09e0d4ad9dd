//! Deleting physical resources: a resource itself, or what was replaced.

use super::{existing, kind_of, made_of};
use crate::api::{Ctx, Result};
use crate::cloudformation::events;
use crate::cloudformation::plan::Target;
use crate::cloudformation::records::{Leftover, ResourceState, ResourceStatus, Stack, StackResource};
use crate::cloudformation::resource::{Progress, in_time};
use std::time::Duration;

/// Deletes it, or looks how far its deletion is. Returns whether anything changed. An error fails it.
pub fn delete(ctx: &mut Ctx<'_>, stack: &Stack, target: &Target, waited: Duration) -> Result<bool> {
    let mut record = existing(ctx, stack, &target.logical_id)?;
    let state = match &target.replaced {
        None => record.state.clone(),
        Some(physical) => match leftover(&mut record, physical) {
            Some(leftover) => leftover.state.clone(),
            None => return Ok(true),
        },
    };
    let begun = status(&mut record, target) != Some(ResourceStatus::DeleteInProgress);
    if begun {
        set(ctx, stack, &mut record, target, ResourceStatus::DeleteInProgress, None)?;
    }
    match in_time(remove(ctx, &record, &state)?, waited)? {
        Progress::Done => {
            set(ctx, stack, &mut record, target, ResourceStatus::DeleteComplete, None)?;
            Ok(true)
        }
        Progress::Waiting => Ok(begun),
    }
}

/// Leaves it where it is, and forgets it.
pub fn skip(ctx: &mut Ctx<'_>, stack: &Stack, target: &Target) -> Result<()> {
    let mut record = existing(ctx, stack, &target.logical_id)?;
    set(ctx, stack, &mut record, target, ResourceStatus::DeleteSkipped, None)
}

/// Records that what was replaced could not be deleted.
pub fn leftover_failed(
    ctx: &mut Ctx<'_>,
    stack: &Stack,
    record: &mut StackResource,
    physical: &str,
    reason: String,
) -> Result<()> {
    let target = Target { logical_id: record.logical_id.clone(), replaced: Some(physical.to_owned()) };
    if status(record, &target) != Some(ResourceStatus::DeleteInProgress) {
        set(ctx, stack, record, &target, ResourceStatus::DeleteInProgress, None)?;
    }
    set(ctx, stack, record, &target, ResourceStatus::DeleteFailed, Some(reason))
}

fn remove(ctx: &mut Ctx<'_>, record: &StackResource, state: &ResourceState) -> Result<Progress> {
    kind_of(&record.type_name)?.delete(ctx, &made_of(state), &state.properties)
}

fn leftover<'a>(record: &'a mut StackResource, physical: &str) -> Option<&'a mut Leftover> {
    record.leftovers.iter_mut().find(|l| l.state.physical_id.as_deref() == Some(physical))
}

fn status(record: &mut StackResource, target: &Target) -> Option<ResourceStatus> {
    match &target.replaced {
        None => Some(record.status),
        Some(physical) => leftover(record, physical).and_then(|l| l.status),
    }
}

/// Sets the status, with its event. What was replaced and is gone is forgotten.
fn set(
    ctx: &mut Ctx<'_>,
    stack: &Stack,
    record: &mut StackResource,
    target: &Target,
    status: ResourceStatus,
    reason: Option<String>,
) -> Result<()> {
    let Some(physical) = &target.replaced else { return events::resource(ctx, stack, record, status, reason) };
    let Some(left) = leftover(record, physical) else { return Ok(()) };
    left.status = Some(status);
    let state = left.state.clone();
    if matches!(status, ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped) {
        record.leftovers.retain(|l| l.state.physical_id.as_deref() != Some(physical));
    }
    ctx.tx.put(record)?;
    events::about(ctx, stack, record, &state, status, reason)
}
