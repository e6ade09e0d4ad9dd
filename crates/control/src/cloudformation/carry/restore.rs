//! The rollback of an update, for one resource.

use super::change::{in_place, leave};
use super::create::{same_thing, updated};
use super::{existing, kind_of};
use crate::api::{Ctx, Result};
use crate::cloudformation::decide::{self, Decision};
use crate::cloudformation::events;
use crate::cloudformation::records::{Phase, ResourceStatus, Stack, StackResource};
use crate::cloudformation::resource::Progress;
use std::time::Duration;

/// Brings a resource back to what it was before the update.
pub fn restore(ctx: &mut Ctx<'_>, stack: &Stack, id: &str) -> Result<()> {
    let mut record = existing(ctx, stack, id)?;
    let kind = kind_of(&record.type_name)?;
    let Some(before) = record.before.take() else {
        // Its change was refused, or a change back did not become ready: nothing is left but to see.
        events::resource(ctx, stack, &mut record, ResourceStatus::UpdateInProgress, None)?;
        if updated(ctx, stack, &mut record, Duration::ZERO)? == Progress::Done {
            return done(ctx, stack, &mut record);
        }
        record.phase = Some(Phase::Modify);
        return Ok(ctx.tx.put(&record)?);
    };
    let mut before = *before;
    if before.physical_id != record.state.physical_id {
        events::resource(ctx, stack, &mut record, ResourceStatus::UpdateInProgress, None)?;
        let new = std::mem::replace(&mut record.state, before);
        leave(&mut record, new, true);
        record.awaited = None;
        return done(ctx, stack, &mut record);
    }
    let old = decide::unresolved(stack, id, &before);
    let new = decide::unresolved(stack, id, &record.state);
    let changed = record.status == ResourceStatus::UpdateFailed || decide::decide(kind, &new, &old) != Decision::Same;
    if changed {
        events::resource(ctx, stack, &mut record, ResourceStatus::UpdateInProgress, None)?;
        // The attributes are what the change back makes them.
        same_thing(&record.state, &mut before);
        return in_place(ctx, stack, &mut record, kind, before, false);
    }
    record.state = before;
    record.phase = Some(Phase::Done);
    Ok(ctx.tx.put(&record)?)
}

/// Leaves a resource whose change back failed as it is, and takes it for restored.
pub fn skip(ctx: &mut Ctx<'_>, stack: &Stack, record: &mut StackResource) -> Result<()> {
    if let Some(before) = record.before.take() {
        let new = std::mem::replace(&mut record.state, *before);
        if new.physical_id != record.state.physical_id {
            leave(record, new, true);
        }
    }
    done(ctx, stack, record)
}

fn done(ctx: &mut Ctx<'_>, stack: &Stack, record: &mut StackResource) -> Result<()> {
    record.phase = Some(Phase::Done);
    events::resource(ctx, stack, record, ResourceStatus::UpdateComplete, None)
}
