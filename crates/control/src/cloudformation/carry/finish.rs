//! The ends of a stack's ways: all made, failed, or gone.

use super::change::leave;
use super::{Parsed, wrong};
use crate::api::{Ctx, Result};
use crate::cloudformation::records::{
    Export, OnFailure, Phase, ResourceStatus, Stack, StackOutput, StackResource, StackStatus,
};
use crate::cloudformation::world::{World, importer, refused};
use crate::cloudformation::{events, records};
use std::collections::BTreeSet;

/// All that is wanted is there.
pub fn complete(ctx: &mut Ctx<'_>, stack: &mut Stack, parsed: &Parsed) -> Result<()> {
    match stack.status {
        StackStatus::UpdateRollbackInProgress => {
            for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
                record.doomed = record.born;
                settle_down(ctx, &mut record)?;
            }
            events::stack(ctx, stack, StackStatus::UpdateRollbackCompleteCleanupInProgress, None)
        }
        StackStatus::UpdateInProgress => {
            outputs(ctx, stack, parsed)?;
            let world = World::default();
            let evaluator = world.evaluator(ctx, stack, &parsed.template)?;
            for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
                let declared = parsed.template.resources.get(&record.logical_id);
                record.doomed = !declared.is_some_and(|r| evaluator.holds(r.condition.as_deref()));
                if let Some(before) = record.before.take()
                    && before.physical_id != record.state.physical_id
                {
                    leave(&mut record, *before, false);
                }
                settle_down(ctx, &mut record)?;
            }
            events::stack(ctx, stack, StackStatus::UpdateCompleteCleanupInProgress, None)
        }
        _ => {
            outputs(ctx, stack, parsed)?;
            events::stack(ctx, stack, StackStatus::CreateComplete, None)
        }
    }
}

fn settle_down(ctx: &mut Ctx<'_>, record: &mut StackResource) -> Result<()> {
    record.before = None;
    record.phase = None;
    record.born = false;
    record.awaited = None;
    record.signals.clear();
    record.ongoing.clear();
    Ok(ctx.tx.put(record)?)
}

/// Works out the outputs, and exports what they say.
fn outputs(ctx: &mut Ctx<'_>, stack: &mut Stack, parsed: &Parsed) -> Result<()> {
    let world = World::read(ctx, &stack.id)?;
    let evaluator = world.evaluator(ctx, stack, &parsed.template)?;
    let mut outputs = Vec::new();
    let mut exports: Vec<Export> = Vec::new();
    for (key, output) in &parsed.template.outputs {
        if !evaluator.holds(output.condition.as_deref()) {
            continue;
        }
        let value = evaluator.text(&output.value, &format!("The Value field of output {key}")).map_err(wrong)?;
        let export = output.export.as_ref().map(|name| evaluator.text(name, "The Name of an export")).transpose();
        let export = export.map_err(wrong)?;
        if let Some(name) = &export {
            let there = ctx.tx.get::<Export>(name)?.filter(|other| other.stack_id != stack.id);
            if let Some(other) = there {
                let by = other.stack_id.split('/').nth(1).unwrap_or_default().to_owned();
                return Err(refused(format!("Export with name {name} is already exported by stack {by}.")));
            }
            if exports.iter().any(|other| other.name == *name) {
                return Err(refused(format!("Duplicate Export names: [{name}]")));
            }
            exports.push(Export { name: name.clone(), value: value.clone(), stack_id: stack.id.clone() });
        }
        outputs.push(StackOutput { key: key.clone(), value, description: output.description.clone(), export });
    }
    for old in ctx.tx.children::<Export>(&stack.id)? {
        let new = exports.iter().find(|new| new.name == old.name);
        let what = match new {
            Some(new) if new.value == old.value => continue,
            Some(_) => "updated",
            None => "deleted",
        };
        if let Some(by) = importer(ctx, &stack.id, &old.name)? {
            return Err(refused(format!("Export {} cannot be {what} as it is in use by {by}", old.name)));
        }
        if new.is_none() {
            ctx.tx.delete::<Export>(&old.name)?;
        }
    }
    for export in &exports {
        ctx.tx.put(export)?;
    }
    stack.revision.outputs = outputs;
    Ok(())
}

/// Those named could not be made or changed.
pub fn fail_resources(ctx: &mut Ctx<'_>, stack: &Stack, ids: &[String]) -> Result<bool> {
    let records = ctx.tx.children::<StackResource>(&stack.id)?;
    let with = |status: ResourceStatus| -> Vec<&str> {
        let failed = records.iter().filter(|r| r.status == status && ids.contains(&r.logical_id));
        failed.map(|r| r.logical_id.as_str()).collect()
    };
    let mut sentences = Vec::new();
    for (status, what) in [(ResourceStatus::CreateFailed, "create"), (ResourceStatus::UpdateFailed, "update")] {
        let names = with(status);
        if !names.is_empty() {
            sentences.push(format!("The following resource(s) failed to {what}: [{}].", names.join(", ")));
        }
    }
    fail(ctx, &stack.id, sentences.join(" "))
}

/// Ends a creation, an update or the rollback of one that failed.
pub fn fail(ctx: &mut Ctx<'_>, stack_id: &str, reason: String) -> Result<bool> {
    let Some(mut stack) = ctx.tx.get::<Stack>(stack_id)? else { return Ok(true) };
    cancel_resources(ctx, &stack)?;
    match (stack.status, &stack.update) {
        (StackStatus::UpdateRollbackInProgress, _) => {
            events::stack(ctx, &mut stack, StackStatus::UpdateRollbackFailed, Some(reason))?;
        }
        (_, Some(update)) if update.preserve => {
            events::stack(ctx, &mut stack, StackStatus::UpdateFailed, Some(reason))?;
        }
        (_, Some(_)) => roll_back(ctx, &mut stack, Some(reason))?,
        (_, None) => {
            let (status, reason) = match stack.on_failure {
                OnFailure::Rollback => {
                    (StackStatus::RollbackInProgress, format!("{reason} Rollback requested by user."))
                }
                OnFailure::Delete => (StackStatus::DeleteInProgress, format!("{reason} Delete requested by user.")),
                OnFailure::DoNothing => (StackStatus::CreateFailed, reason),
            };
            events::stack(ctx, &mut stack, status, Some(reason))?;
        }
    }
    Ok(true)
}

/// Resources on their way stop where they are.
pub fn cancel_resources(ctx: &mut Ctx<'_>, stack: &Stack) -> Result<()> {
    for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
        let (status, what) = match record.status {
            ResourceStatus::CreateInProgress => (ResourceStatus::CreateFailed, "creation"),
            ResourceStatus::UpdateInProgress => (ResourceStatus::UpdateFailed, "update"),
            _ => continue,
        };
        record.phase = Some(Phase::Done);
        events::resource(ctx, stack, &mut record, status, Some(format!("Resource {what} cancelled")))?;
    }
    Ok(())
}

/// Begins to undo an update, in progress or failed.
pub fn roll_back(ctx: &mut Ctx<'_>, stack: &mut Stack, reason: Option<String>) -> Result<()> {
    let before = stack.update.as_mut().and_then(|update| update.before.take());
    let Some(before) = before else {
        // The stack was never complete: all of it goes.
        abandon(ctx, stack)?;
        return events::stack(ctx, stack, StackStatus::RollbackInProgress, reason);
    };
    stack.revision = before;
    for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
        if record.phase.take().is_some() {
            ctx.tx.put(&record)?;
        }
    }
    events::stack(ctx, stack, StackStatus::UpdateRollbackInProgress, reason)
}

/// Gives up an update and the way back: what it replaced goes with the rest.
pub fn abandon(ctx: &mut Ctx<'_>, stack: &mut Stack) -> Result<()> {
    for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
        if let Some(before) = record.before.take() {
            if before.physical_id != record.state.physical_id {
                leave(&mut record, *before, false);
            }
            ctx.tx.put(&record)?;
        }
    }
    stack.update = None;
    Ok(())
}

/// Nothing is left that could be deleted; those named could not.
pub fn gone(ctx: &mut Ctx<'_>, stack: &mut Stack, failed: &[String]) -> Result<()> {
    let (good, bad) = match stack.status {
        StackStatus::RollbackInProgress => (StackStatus::RollbackComplete, StackStatus::RollbackFailed),
        StackStatus::UpdateCompleteCleanupInProgress => (StackStatus::UpdateComplete, StackStatus::UpdateComplete),
        StackStatus::UpdateRollbackCompleteCleanupInProgress => {
            (StackStatus::UpdateRollbackComplete, StackStatus::UpdateRollbackComplete)
        }
        _ => (StackStatus::DeleteComplete, StackStatus::DeleteFailed),
    };
    if matches!(good, StackStatus::UpdateComplete | StackStatus::UpdateRollbackComplete) {
        for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
            if record.doomed {
                ctx.tx.delete::<StackResource>(&StackResource::key_of(&stack.id, &record.logical_id))?;
            } else if !record.leftovers.is_empty() {
                record.leftovers.clear();
                ctx.tx.put(&record)?;
            }
        }
        stack.update = None;
        let what = if good == StackStatus::UpdateComplete { "Update" } else { "Rollback" };
        let reason = format!("{what} successful. One or more resources could not be deleted.");
        return events::stack(ctx, stack, good, (!failed.is_empty()).then_some(reason));
    }
    if !failed.is_empty() {
        let names: BTreeSet<&str> = failed.iter().map(String::as_str).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let reason = format!("The following resource(s) failed to delete: [{}]. ", names.join(", "));
        return events::stack(ctx, stack, bad, Some(reason));
    }
    stack.revision.outputs.clear();
    if good == StackStatus::RollbackComplete {
        return events::stack(ctx, stack, good, None);
    }
    for export in ctx.tx.children::<records::Export>(&stack.id)? {
        ctx.tx.delete::<records::Export>(&export.name)?;
    }
    stack.revision.imports.clear();
    stack.deleted_ms = Some(ctx.platform.now_ms());
    events::stack(ctx, stack, good, None)
}
