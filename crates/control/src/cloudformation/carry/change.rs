//! Changing a resource: in place, or by another that takes its place.

use super::create::{make, ready_at_once, same_thing, updated};
use super::{Parsed, evaluated, existing, kind_of, made_of, refused_here, take_over};
use crate::api::{Ctx, Result};
use crate::cloudformation::decide::{self, Decision};
use crate::cloudformation::records::{
    DeletionPolicy, Leftover, Phase, ResourceState, ResourceStatus, Stack, StackResource,
};
use crate::cloudformation::resource::{self, Progress, ResourceType};
use crate::cloudformation::template::text_of;
use crate::cloudformation::world::World;
use crate::cloudformation::{events, policy};
use std::time::Duration;

/// Finds out what has to be changed about these resources, all whose needs are met.
pub fn compare(ctx: &mut Ctx<'_>, stack: &Stack, parsed: &Parsed, ids: &[String]) -> Result<()> {
    let world = World::read(ctx, &stack.id)?;
    let evaluator = world.evaluator(ctx, stack, &parsed.template)?;
    for id in ids {
        let mut record = existing(ctx, stack, id)?;
        let kind = kind_of(&record.type_name)?;
        let mut state = match evaluated(&evaluator, stack, parsed, id) {
            Ok(state) => state,
            Err(error) => {
                refuse(ctx, stack, &mut record, error.message)?;
                continue;
            }
        };
        same_thing(&record.state, &mut state);
        let old = decide::unresolved(stack, id, &record.state);
        let new = decide::unresolved(stack, id, &state);
        let decision = match record.status {
            // It was made and never became ready.
            ResourceStatus::CreateFailed => Decision::Replace,
            ResourceStatus::UpdateFailed => decide::decide(kind, &old, &new).max(Decision::Modify),
            _ => decide::decide(kind, &old, &new),
        };
        let (phase, action) = match decision {
            Decision::Same => (Phase::Done, None),
            Decision::Modify => (Phase::Modify, Some("Update:Modify")),
            Decision::Replace => (Phase::Replace, Some("Update:Replace")),
        };
        if let Some(reason) = action.and_then(|action| policy::denied(stack, action, id, &record.type_name)) {
            refuse(ctx, stack, &mut record, reason)?;
            continue;
        }
        record.phase = Some(phase);
        if decision == Decision::Same && state != record.state {
            // Policies, metadata, the order: nothing that exists changes.
            let before = std::mem::replace(&mut record.state, state);
            record.before.get_or_insert(Box::new(before));
        }
        ctx.tx.put(&record)?;
    }
    Ok(())
}

fn refuse(ctx: &mut Ctx<'_>, stack: &Stack, record: &mut StackResource, reason: String) -> Result<()> {
    record.phase = Some(Phase::Done);
    events::resource(ctx, stack, record, ResourceStatus::UpdateFailed, Some(reason))
}

/// Carries out what [`compare`] found.
pub fn change(ctx: &mut Ctx<'_>, stack: &Stack, parsed: &Parsed, id: &str) -> Result<()> {
    let mut record = existing(ctx, stack, id)?;
    let kind = kind_of(&record.type_name)?;
    let world = World::read(ctx, &stack.id)?;
    let evaluator = world.evaluator(ctx, stack, &parsed.template)?;
    let mut state = evaluated(&evaluator, stack, parsed, id)?;
    resource::check_properties(kind, &state.properties)?;
    match record.phase {
        Some(Phase::Modify) => {
            same_thing(&record.state, &mut state);
            events::resource(ctx, stack, &mut record, ResourceStatus::UpdateInProgress, None)?;
            in_place(ctx, stack, &mut record, kind, state, true)
        }
        Some(Phase::Replace) => {
            check_name(kind, &record, &state)?;
            let reason = "Requested update requires the creation of a new physical resource; hence creating one.";
            events::resource(ctx, stack, &mut record, ResourceStatus::UpdateInProgress, Some(reason.to_owned()))?;
            let old = std::mem::replace(&mut record.state, state);
            if record.before.is_none() && !record.born {
                record.before = Some(Box::new(old));
            } else {
                leave(&mut record, old, false);
            }
            make(ctx, stack, &mut record, ResourceStatus::UpdateInProgress)?;
            if ready_at_once(ctx, &mut record)? {
                record.phase = Some(Phase::Done);
                events::resource(ctx, stack, &mut record, ResourceStatus::UpdateComplete, None)?;
            }
            Ok(())
        }
        Some(Phase::Done) | None => Ok(()),
    }
}

/// Changes what exists to another state of the same physical resource.
pub fn in_place(
    ctx: &mut Ctx<'_>,
    stack: &Stack,
    record: &mut StackResource,
    kind: &dyn ResourceType,
    state: ResourceState,
    keep: bool,
) -> Result<()> {
    let old = super::wanted(ctx, stack, &record.logical_id, &record.type_name, &record.state)?;
    let new = super::wanted(ctx, stack, &record.logical_id, &record.type_name, &state)?;
    let made = made_of(&record.state);
    let changed = kind.update(ctx, &made, &old, &new)?;
    let before = std::mem::replace(&mut record.state, state);
    take_over(&mut record.state, changed);
    if keep {
        record.before.get_or_insert(Box::new(before));
    }
    record.phase = Some(Phase::Modify);
    // The creation's signals have come.
    record.awaited = None;
    record.signals.clear();
    record.ongoing.clear();
    record.drift = None;
    ctx.tx.put(record)?;
    if updated(ctx, stack, record, Duration::ZERO)? == Progress::Done {
        record.phase = Some(Phase::Done);
        events::resource(ctx, stack, record, ResourceStatus::UpdateComplete, None)?;
    }
    Ok(())
}

/// Notes a physical resource for deletion.
pub fn leave(record: &mut StackResource, state: ResourceState, undone: bool) {
    if state.physical_id.is_some() {
        let retain = !undone && state.replace_policy != DeletionPolicy::Delete;
        record.leftovers.push(Leftover { state, retain, status: None });
    }
}

/// Two resources of one name cannot be at the same time.
fn check_name(kind: &dyn ResourceType, record: &StackResource, new: &ResourceState) -> Result<()> {
    let name = |state: &ResourceState| {
        let property = kind.name_property()?;
        state.properties.get(property).and_then(text_of)
    };
    match name(new) {
        Some(name_now) if record.state.physical_id.is_some() && name(&record.state).as_ref() == Some(&name_now) => {
            Err(refused_here(format!(
                "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename {name_now} and update the stack again."
            )))
        }
        _ => Ok(()),
    }
}
