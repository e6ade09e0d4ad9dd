//! Carries out what [`plan`](super::plan) says about the stacks that are not at rest.
//!
//! Every step is one transaction that holds the service's call and the record of it, so a step has
//! happened wholly or not at all, whenever the process dies; it goes on from the records.

use super::carry::{self, Parsed};
use super::plan::{self, Step, Target};
use super::records::{ResourceStatus, Stack, StackResource, StackStatus, Work};
use super::resource::wait_condition;
use super::view::view;
use crate::api::{Caller, Ctx, Operations, Result, internally};
use crate::platform::Platform;
use crate::sts;
use crate::wake::Woken;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often is looked after what waits for others. Changes in the store wake at once.
const LOOK: Duration = Duration::from_millis(100);

/// What one process remembers between passes; nothing that must survive it.
#[derive(Default)]
pub struct Reconciler {
    templates: HashMap<String, Arc<Parsed>>,
    /// Since when, on the monotonic clock, something is waited for. Restarts with the process.
    waits: HashMap<(String, Target), Duration>,
}

/// Reconciles until the store is stopped.
pub fn run(platform: &Arc<Platform>, operations: &Arc<Operations>) {
    let mut reconciler = Reconciler::default();
    let mut seen = platform.store.changed.level();
    loop {
        let busy = reconciler.pass(platform, operations);
        let timer = if busy { LOOK } else { Duration::from_secs(60) };
        if platform.store.changed.wait(&mut seen, timer) == Woken::Stop {
            return;
        }
    }
}

impl Reconciler {
    /// Does all that can be done now. Returns whether some stack is still on its way.
    pub fn pass(&mut self, platform: &Platform, operations: &Operations) -> bool {
        let work = match platform.store.read(|tx| tx.all::<Work>()) {
            Ok(work) => work,
            Err(error) => {
                tracing::error!(%error, "stacks cannot be read");
                return true;
            }
        };
        for work in &work {
            loop {
                match self.advance(platform, operations, &work.stack_id, usize::MAX) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::error!(stack = work.stack_id, %error, "a stack cannot go on");
                        break;
                    }
                }
            }
        }
        if work.is_empty() {
            self.templates.clear();
            self.waits.clear();
        }
        !work.is_empty()
    }

    /// Takes the steps that are due, or the first so many of them. Returns whether one of them changed
    /// anything.
    pub fn advance(
        &mut self,
        platform: &Platform,
        operations: &Operations,
        stack_id: &str,
        at_most: usize,
    ) -> Result<bool> {
        let seen = platform.store.read(|tx| -> Result<_> {
            let Some(stack) = tx.get::<Stack>(stack_id)? else { return Ok(None) };
            let records = tx.children::<StackResource>(stack_id)?;
            let parsed = self.parsed(&stack)?;
            let ctx = Ctx { tx, platform, operations, caller: Caller::root(platform), via: None };
            let steps = plan::plan(&view(&ctx, &stack, &parsed, &records)?);
            Ok(Some((stack, parsed, records, steps)))
        })?;
        let Some((stack, parsed, records, mut steps)) = seen else {
            internally(platform, operations, |ctx| Ok(ctx.tx.delete::<Work>(stack_id)?))?;
            return Ok(false);
        };
        if steps.is_empty() {
            internally(platform, operations, |ctx| {
                let at_rest = ctx.tx.get::<Stack>(stack_id)?.is_some_and(|s| s.status == stack.status);
                if at_rest {
                    ctx.tx.delete::<Work>(stack_id)?;
                }
                Ok(())
            })?;
            self.templates.remove(stack_id);
            return Ok(false);
        }
        if stack.status == StackStatus::CreateInProgress
            && let Some(minutes) = stack.timeout_minutes
            && self.waited(platform, stack_id, &Target::resource(""))
                > Duration::from_secs(60 * minutes.unsigned_abs() as u64)
        {
            return internally(platform, operations, |ctx| {
                carry::finish::fail(ctx, stack_id, "Stack creation time exceeded the specified timeout.".into())
            });
        }
        // Resources that still wait for signals need no look, and no writer.
        for record in &records {
            if let Some(awaited) = record.awaited
                && record.signals.len() < awaited.count as usize
                && record.signals.values().all(|success| *success)
                && matches!(record.status, ResourceStatus::CreateInProgress | ResourceStatus::UpdateInProgress)
                && self.waited(platform, stack_id, &Target::resource(&record.logical_id))
                    < Duration::from_secs(awaited.timeout_seconds)
            {
                steps.retain(|step| *step != Step::Settle(record.logical_id.clone()));
            }
        }
        for record in &records {
            if let Some(quiet) = wait_condition::quiet_for(record, &records)
                && self.waited(platform, stack_id, &Target::resource(&record.logical_id)) < quiet
            {
                steps.retain(|step| *step != Step::Settle(record.logical_id.clone()));
            }
        }
        let mut moved = false;
        for step in steps.into_iter().take(at_most) {
            match self.take(platform, operations, &stack, &parsed, &step) {
                Ok(changed) => moved |= changed,
                Err(error) => {
                    let target = match &step {
                        Step::Create(id) | Step::Change(id) | Step::Settle(id) => Target::resource(id),
                        Step::Delete(target) | Step::Skip(target) => target.clone(),
                        Step::Compare(_) | Step::Complete | Step::Fail(_) | Step::Gone(_) => return Err(error),
                    };
                    internally(platform, operations, |ctx| {
                        carry::record_failure(ctx, &stack, &parsed, &target, &error)
                    })?;
                    return Ok(true);
                }
            }
        }
        Ok(moved)
    }

    fn parsed(&mut self, stack: &Stack) -> Result<Arc<Parsed>> {
        if !matches!(stack.status, StackStatus::CreateInProgress | StackStatus::UpdateInProgress) {
            // What is made goes by its records, whatever becomes of the template.
            return Ok(Arc::default());
        }
        match self.templates.get(&stack.id) {
            Some(parsed) if parsed.text == stack.revision.template => Ok(parsed.clone()),
            _ => {
                let parsed = Arc::new(Parsed::new(&stack.revision.template)?);
                self.templates.insert(stack.id.clone(), parsed.clone());
                Ok(parsed)
            }
        }
    }

    /// How long something has been waited for.
    fn waited(&mut self, platform: &Platform, stack_id: &str, target: &Target) -> Duration {
        let now = platform.door.clock.monotonic();
        let since = *self.waits.entry((stack_id.to_owned(), target.clone())).or_insert(now);
        now.saturating_sub(since)
    }

    fn take(
        &mut self,
        platform: &Platform,
        operations: &Operations,
        stack: &Stack,
        parsed: &Parsed,
        step: &Step,
    ) -> Result<bool> {
        let target = match step {
            Step::Settle(id) => Some(Target::resource(id)),
            Step::Delete(target) => Some(target.clone()),
            _ => None,
        };
        let waited = target.as_ref().map_or(Duration::ZERO, |target| self.waited(platform, &stack.id, target));
        let changed = internally(platform, operations, |ctx| {
            // A decision holds for the state it was taken on: a DeleteStack may have come between.
            let Some(mut now) = ctx.tx.get::<Stack>(&stack.id)? else { return Ok(true) };
            if now.status != stack.status {
                return Ok(true);
            }
            act_for(ctx, &now)?;
            match step {
                Step::Create(id) => carry::create::create(ctx, &now, parsed, id).map(|()| true),
                Step::Compare(ids) => carry::change::compare(ctx, &now, parsed, ids).map(|()| true),
                Step::Change(id) if now.status == StackStatus::UpdateRollbackInProgress => {
                    carry::restore::restore(ctx, &now, id).map(|()| true)
                }
                Step::Change(id) => carry::change::change(ctx, &now, parsed, id).map(|()| true),
                Step::Settle(id) => carry::create::settle(ctx, &now, id, waited),
                Step::Delete(target) => carry::delete::delete(ctx, &now, target, waited),
                Step::Skip(target) => carry::delete::skip(ctx, &now, target).map(|()| true),
                Step::Complete => carry::finish::complete(ctx, &mut now, parsed).map(|()| true),
                Step::Fail(ids) => carry::finish::fail_resources(ctx, &now, ids),
                Step::Gone(ids) => carry::finish::gone(ctx, &mut now, ids).map(|()| true),
            }
        });
        if let Some(target) = target
            && !matches!(changed, Ok(false))
        {
            self.waits.remove(&(stack.id.clone(), target));
        }
        match (step, changed) {
            // What cannot be finished is undone like what could not be made.
            (Step::Complete, Err(error)) => {
                internally(platform, operations, |ctx| carry::finish::fail(ctx, &stack.id, error.message))
            }
            (_, changed) => changed,
        }
    }
}

/// A stack is carried out with the rights of its service role, or of whoever asked for the operation.
fn act_for(ctx: &mut Ctx<'_>, stack: &Stack) -> Result<()> {
    let asked_by = ctx.tx.get::<Work>(&stack.id)?.and_then(|work| work.acting);
    ctx.caller.acting = match &stack.role_arn {
        None => asked_by,
        Some(role) => Some(sts::acting(ctx.platform, ctx.tx, role, "AWSCloudFormation")?),
    };
    if let Some(acting) = &ctx.caller.acting {
        ctx.caller.arn = acting.arn.clone();
    }
    ctx.via = Some("cloudformation.amazonaws.com");
    Ok(())
}
