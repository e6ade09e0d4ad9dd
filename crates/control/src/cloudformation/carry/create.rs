//! Making a resource, and waiting for what was made or changed.

use super::{Parsed, evaluated, existing, fresh, kind_of, made_of, random_suffix, refused_here, take_over};
use crate::api::{Ctx, Result};
use crate::cloudformation::records::{
    AwaitedSignals, Phase, ResourceState, ResourceStatus, Stack, StackResource, StackStatus,
};
use crate::cloudformation::resource::{self, Ongoing, Progress};
use crate::cloudformation::template::text_of;
use crate::cloudformation::world::World;
use crate::cloudformation::{duration, events};
use serde_json::Value;
use std::time::Duration;

pub fn create(ctx: &mut Ctx<'_>, stack: &Stack, parsed: &Parsed, id: &str) -> Result<()> {
    let type_name = &parsed.template.resources[id].type_name;
    let world = World::read(ctx, &stack.id)?;
    if world.resource(id).is_some_and(|r| r.status != ResourceStatus::DeleteComplete) {
        return Ok(());
    }
    let evaluator = world.evaluator(ctx, stack, &parsed.template)?;
    let mut record = fresh(ctx, stack, id, type_name);
    record.state = evaluated(&evaluator, stack, parsed, id)?;
    events::note(ctx, stack, &record, None)?;
    make(ctx, stack, &mut record, ResourceStatus::CreateInProgress)?;
    if ready_at_once(ctx, &mut record)? {
        events::resource(ctx, stack, &mut record, ResourceStatus::CreateComplete, None)?;
    }
    Ok(())
}

/// Makes a physical resource from the record's state, which it completes.
pub fn make(ctx: &mut Ctx<'_>, stack: &Stack, record: &mut StackResource, status: ResourceStatus) -> Result<()> {
    let kind = kind_of(&record.type_name)?;
    record.awaited = record.state.creation_policy.as_ref().map(awaited).transpose()?.flatten();
    record.signals.clear();
    record.ongoing.clear();
    record.drift = None;
    resource::check_properties(kind, &record.state.properties)?;
    record.state.suffix = random_suffix(ctx);
    let wanted = super::wanted(ctx, stack, &record.logical_id, &record.type_name, &record.state)?;
    take_over(&mut record.state, kind.create(ctx, &wanted)?);
    events::resource(ctx, stack, record, status, Some("Resource creation Initiated".to_owned()))
}

/// Whether what was just made needs no waiting for.
pub fn ready_at_once(ctx: &mut Ctx<'_>, record: &mut StackResource) -> Result<bool> {
    Ok(record.awaited.is_none() && ready(ctx, record, Duration::ZERO)? == Progress::Done)
}

/// Looks whether what was made is ready, and completes it when it is.
fn ready(ctx: &mut Ctx<'_>, record: &mut StackResource, waited: Duration) -> Result<Progress> {
    let mut made = made_of(&record.state);
    let progress = kind_of(&record.type_name)?.settle(ctx, &mut made, &record.state.properties, waited)?;
    if progress == Progress::Done {
        take_over(&mut record.state, made);
    }
    Ok(progress)
}

/// Returns whether the resource is ready now. An error fails it.
pub fn settle(ctx: &mut Ctx<'_>, stack: &Stack, id: &str, waited: Duration) -> Result<bool> {
    let mut record = existing(ctx, stack, id)?;
    let done = match record.status {
        ResourceStatus::CreateInProgress => ResourceStatus::CreateComplete,
        ResourceStatus::UpdateInProgress => ResourceStatus::UpdateComplete,
        _ => return Ok(true),
    };
    let made = record.status == ResourceStatus::CreateInProgress || record.phase == Some(Phase::Replace);
    let progress = if made {
        made_so_far(ctx, &mut record, waited)?
    } else {
        resource::in_time(updated(ctx, stack, &mut record, waited)?, waited)?
    };
    if progress == Progress::Waiting {
        return Ok(false);
    }
    if stack.status != StackStatus::CreateInProgress {
        record.phase = Some(Phase::Done);
    }
    events::resource(ctx, stack, &mut record, done, None)?;
    Ok(true)
}

/// Goes on with an update in place. What it keeps is put if it changed.
pub fn updated(ctx: &mut Ctx<'_>, stack: &Stack, record: &mut StackResource, elapsed: Duration) -> Result<Progress> {
    let kind = kind_of(&record.type_name)?;
    let wanted = super::wanted(ctx, stack, &record.logical_id, &record.type_name, &record.state)?;
    let mut state = record.ongoing.clone();
    let mut ongoing = Ongoing { state: &mut state, signals: &record.signals, elapsed };
    let progress = kind.updated(ctx, &made_of(&record.state), &wanted, &mut ongoing)?;
    if state != record.ongoing {
        record.ongoing = state;
        ctx.tx.put(record)?;
    }
    Ok(progress)
}

fn made_so_far(ctx: &mut Ctx<'_>, record: &mut StackResource, waited: Duration) -> Result<Progress> {
    if let Some(awaited) = record.awaited {
        let good = record.signals.values().filter(|success| **success).count();
        let (count, percent) = (awaited.count as usize, awaited.percent);
        let enough = (count * percent as usize).div_ceil(100);
        let bad = record.signals.len() - good;
        if bad > count - enough {
            return Err(refused_here(format!(
                "Received {good} SUCCESS signal(s) out of {count}.  Unable to satisfy {percent}% MinSuccessfulInstancesPercent requirement"
            )));
        }
        if good < enough || record.signals.len() < count {
            if waited < Duration::from_secs(awaited.timeout_seconds) {
                return Ok(Progress::Waiting);
            }
            if good < enough {
                return Err(refused_here(format!(
                    "Failed to receive {} resource signal(s) within the specified duration",
                    count - record.signals.len()
                )));
            }
        }
    }
    ready(ctx, record, waited)
}

/// The signals that a CreationPolicy waits for.
fn awaited(policy: &Value) -> Result<Option<AwaitedSignals>> {
    let Some(signal) = policy.get("ResourceSignal") else { return Ok(None) };
    let count = match signal.get("Count") {
        None => 1,
        Some(count) => text_of(count)
            .and_then(|c| c.parse().ok())
            .ok_or_else(|| refused_here("CreationPolicy Count must be a number"))?,
    };
    let timeout_seconds = match signal.get("Timeout").and_then(text_of) {
        None => 300,
        Some(text) => duration::seconds(&text)
            .ok_or_else(|| refused_here(format!("CreationPolicy Timeout {text} is no ISO 8601 duration")))?,
    };
    let percent = match policy.pointer("/AutoScalingCreationPolicy/MinSuccessfulInstancesPercent") {
        None => 100,
        Some(percent) => text_of(percent).and_then(|p| p.parse().ok()).filter(|p| *p <= 100).ok_or_else(|| {
            refused_here("CreationPolicy MinSuccessfulInstancesPercent must be a number from 0 to 100")
        })?,
    };
    Ok((count > 0).then_some(AwaitedSignals { count, timeout_seconds: timeout_seconds.min(12 * 3600), percent }))
}

/// Takes what exists from one state into another.
pub fn same_thing(from: &ResourceState, to: &mut ResourceState) {
    to.physical_id.clone_from(&from.physical_id);
    to.reference.clone_from(&from.reference);
    to.attributes.clone_from(&from.attributes);
    to.suffix.clone_from(&from.suffix);
}
