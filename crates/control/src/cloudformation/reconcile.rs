//! Carries out what [`plan`](super::plan) says about the stacks that are not at rest.
//!
//! Every step is one transaction that holds the service's call and the record of it, so a step has
//! happened wholly or not at all, whenever the process dies; it goes on from the records.

use super::plan::{self, Node, Step, View};
use super::records::{
    AwaitedSignals, Export, OnFailure, ResourceStatus, Stack, StackOutput, StackResource, StackStatus, Work,
};
use super::resource::call::REFUSED;
use super::resource::{self, Made, Progress, Wanted};
use super::template::{EvaluationError, Evaluator, Template, graph, text_of};
use super::world::{World, refused};
use super::{duration, events};
use crate::api::{Ctx, Operations, Result, internally};
use crate::platform::Platform;
use crate::wake::Woken;
use quarry_wire::ServiceError;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a resource may take to be ready, or to be gone, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How often is looked after what waits for others. Changes in the store wake at once.
const LOOK: Duration = Duration::from_millis(100);

/// What one process remembers between passes; nothing that must survive it.
#[derive(Default)]
pub struct Reconciler {
    templates: HashMap<String, Arc<Parsed>>,
    /// Since when, on the monotonic clock, something is waited for. Restarts with the process.
    waits: HashMap<(String, String), Duration>,
}

#[derive(Default)]
struct Parsed {
    template: Template,
    needs: graph::Dependencies,
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
        let (stack, records, mut steps) = platform.store.read(|tx| -> Result<_> {
            let Some(stack) = tx.get::<Stack>(stack_id)? else { return Ok((None, Vec::new(), Vec::new())) };
            let records = tx.children::<StackResource>(stack_id)?;
            let parsed = self.parsed(&stack)?;
            let view = self.view(platform, operations, &stack, &parsed, &records, tx)?;
            Ok((Some(stack), records, plan::plan(&view)))
        })?;
        let Some(stack) = stack else {
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
            return Ok(false);
        }
        if stack.status == StackStatus::CreateInProgress
            && let Some(minutes) = stack.timeout_minutes
            && self.waited(platform, stack_id, "") > Duration::from_secs(60 * minutes.unsigned_abs() as u64)
        {
            return internally(platform, operations, |ctx| {
                self.fail(ctx, stack_id, "Stack creation time exceeded the specified timeout.".into())
            });
        }
        // Resources that still wait for signals need no look, and no writer.
        for record in &records {
            if let Some(awaited) = record.awaited
                && record.signals.len() < awaited.count as usize
                && record.signals.values().all(|success| *success)
                && record.status == ResourceStatus::CreateInProgress
                && self.waited(platform, stack_id, &record.logical_id) < Duration::from_secs(awaited.timeout_seconds)
            {
                steps.retain(|step| *step != Step::Settle(record.logical_id.clone()));
            }
        }
        let parsed = self.parsed(&stack)?;
        let mut moved = false;
        for step in steps.into_iter().take(at_most) {
            match self.take(platform, operations, &stack, &parsed, &step) {
                Ok(changed) => moved |= changed,
                Err(error) => {
                    let (Step::Create(id) | Step::Settle(id) | Step::Delete(id) | Step::Skip(id)) = &step else {
                        return Err(error);
                    };
                    internally(platform, operations, |ctx| record_failure(ctx, &stack, &parsed, id, &error))?;
                    return Ok(true);
                }
            }
        }
        Ok(moved)
    }

    fn parsed(&self, stack: &Stack) -> Result<Arc<Parsed>> {
        if let Some(parsed) = self.templates.get(&stack.id) {
            return Ok(parsed.clone());
        }
        if stack.status != StackStatus::CreateInProgress {
            // What is made goes by its records, whatever becomes of the template.
            return Ok(Arc::default());
        }
        let template = Template::parse(&stack.template).map_err(|e| refused(e.0))?;
        let needs = graph::dependencies(&template).map_err(|e| refused(e.0))?;
        Ok(Arc::new(Parsed { template, needs }))
    }

    fn view(
        &mut self,
        platform: &Platform,
        operations: &Operations,
        stack: &Stack,
        parsed: &Arc<Parsed>,
        records: &[StackResource],
        tx: &crate::store::Tx<'_>,
    ) -> Result<View> {
        if stack.status == StackStatus::CreateInProgress {
            self.templates.entry(stack.id.clone()).or_insert_with(|| parsed.clone());
        }
        let by_id: HashMap<&str, &StackResource> = records.iter().map(|r| (r.logical_id.as_str(), r)).collect();
        let node = |id: &str, needs, record: Option<&StackResource>| Node {
            logical_id: id.to_owned(),
            needs,
            status: record.map(|r| r.status),
            made: record.is_some_and(|r| {
                r.physical_id.is_some()
                    && !matches!(r.status, ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped)
            }),
            retain: record.is_some_and(|r| {
                stack.retained.contains(&r.logical_id)
                    || match stack.status {
                        StackStatus::DeleteInProgress => r.retain,
                        _ => r.retain_on_rollback,
                    }
            }),
        };
        let resources = if stack.status == StackStatus::CreateInProgress {
            let world = World::default();
            let caller = crate::api::Caller { access_key: String::new(), arn: String::new() };
            let ctx = Ctx { tx, platform, operations, caller };
            let evaluator = world.evaluator(&ctx, stack, &parsed.template)?;
            let included = parsed.template.resources.iter().filter(|(_, r)| evaluator.holds(r.condition.as_deref()));
            included
                .map(|(id, _)| node(id, parsed.needs[id].clone(), by_id.get(id.as_str()).copied()))
                .map(|mut node| {
                    node.needs.retain(|need| {
                        let condition = parsed.template.resources.get(need).and_then(|r| r.condition.as_deref());
                        evaluator.holds(condition)
                    });
                    node
                })
                .collect()
        } else {
            records.iter().map(|r| node(&r.logical_id, r.needs.clone(), Some(r))).collect()
        };
        Ok(View { status: stack.status, resources })
    }

    /// How long something has been waited for.
    fn waited(&mut self, platform: &Platform, stack_id: &str, logical_id: &str) -> Duration {
        let now = platform.door.clock.monotonic();
        let since = *self.waits.entry((stack_id.to_owned(), logical_id.to_owned())).or_insert(now);
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
        let waited = match step {
            Step::Settle(id) | Step::Delete(id) => self.waited(platform, &stack.id, id),
            _ => Duration::ZERO,
        };
        let changed = internally(platform, operations, |ctx| {
            // A decision holds for the state it was taken on: a DeleteStack may have come between.
            let Some(mut now) = ctx.tx.get::<Stack>(&stack.id)?.filter(|now| now.status == stack.status) else {
                return Ok(true);
            };
            match step {
                Step::Create(id) => create(ctx, &now, parsed, id).map(|()| true),
                Step::Settle(id) => settle(ctx, &now, id, waited),
                Step::Delete(id) => delete(ctx, &now, id, waited),
                Step::Skip(id) => {
                    let mut record = existing(ctx, &now, id)?;
                    events::resource(ctx, &now, &mut record, ResourceStatus::DeleteSkipped, None)?;
                    Ok(true)
                }
                Step::Complete => complete(ctx, &mut now, parsed).map(|()| true),
                Step::Fail(ids) => {
                    let reason = format!("The following resource(s) failed to create: [{}].", ids.join(", "));
                    self.fail(ctx, &stack.id, reason)
                }
                Step::Gone(ids) => gone(ctx, &mut now, ids).map(|()| true),
            }
        });
        match step {
            Step::Settle(id) | Step::Delete(id) if !matches!(changed, Ok(false)) => {
                self.waits.remove(&(stack.id.clone(), id.clone()));
            }
            _ => {}
        }
        match (step, changed) {
            // What cannot be finished is undone like what could not be made.
            (Step::Complete, Err(error)) => {
                internally(platform, operations, |ctx| self.fail(ctx, &stack.id, error.message))
            }
            (_, changed) => changed,
        }
    }

    /// Ends a creation that failed.
    fn fail(&self, ctx: &mut Ctx<'_>, stack_id: &str, reason: String) -> Result<bool> {
        let Some(mut stack) = ctx.tx.get::<Stack>(stack_id)? else { return Ok(true) };
        for mut record in ctx.tx.children::<StackResource>(stack_id)? {
            if record.status == ResourceStatus::CreateInProgress {
                let reason = Some("Resource creation cancelled".to_owned());
                events::resource(ctx, &stack, &mut record, ResourceStatus::CreateFailed, reason)?;
            }
        }
        let (status, reason) = match stack.on_failure {
            OnFailure::Rollback => (StackStatus::RollbackInProgress, format!("{reason} Rollback requested by user.")),
            OnFailure::Delete => (StackStatus::DeleteInProgress, format!("{reason} Delete requested by user.")),
            OnFailure::DoNothing => (StackStatus::CreateFailed, reason),
        };
        events::stack(ctx, &mut stack, status, Some(reason))?;
        Ok(true)
    }
}

fn existing(ctx: &Ctx<'_>, stack: &Stack, id: &str) -> Result<StackResource> {
    let record = ctx.tx.get::<StackResource>(&StackResource::key_of(&stack.id, id))?;
    record.ok_or_else(|| ServiceError::new("InternalFailure", format!("{id} is not recorded"), 500))
}

/// A resource's record as it is before its creation.
fn fresh(ctx: &Ctx<'_>, stack: &Stack, parsed: &Parsed, id: &str) -> StackResource {
    let declared = &parsed.template.resources[id];
    StackResource {
        stack_id: stack.id.clone(),
        logical_id: id.to_owned(),
        type_name: declared.type_name.clone(),
        status: ResourceStatus::CreateInProgress,
        status_reason: None,
        physical_id: None,
        reference: None,
        attributes: serde_json::Map::new(),
        properties: serde_json::Map::new(),
        needs: parsed.needs[id].clone(),
        retain: declared.deletion_policy.as_deref().is_some_and(|policy| policy.starts_with("Retain")),
        retain_on_rollback: declared.deletion_policy.as_deref() == Some("Retain"),
        awaited: None,
        signals: std::collections::BTreeMap::new(),
        metadata: declared.metadata.clone(),
        updated_ms: ctx.platform.now_ms(),
    }
}

fn create(ctx: &mut Ctx<'_>, stack: &Stack, parsed: &Parsed, id: &str) -> Result<()> {
    let declared = &parsed.template.resources[id];
    let kind = resource::find(&declared.type_name)
        .ok_or_else(|| refused(format!("Unrecognized resource type {}", declared.type_name)))?;
    let world = World::read(ctx, &stack.id)?;
    if world.resource(id).is_some() {
        return Ok(());
    }
    let evaluator = world.evaluator(ctx, stack, &parsed.template)?;
    let mut record = fresh(ctx, stack, parsed, id);
    record.properties = evaluator.map(&declared.properties).map_err(wrong)?;
    record.awaited = declared.creation_policy.as_ref().map(|p| awaited(&evaluator, p)).transpose()?.flatten();
    resource::check_properties(kind, &record.properties)?;
    events::note(ctx, stack, &record, None)?;
    let suffix = random_suffix(ctx);
    let wanted = Wanted {
        logical_id: id.to_owned(),
        stack_name: stack.name.clone(),
        stack_id: stack.id.clone(),
        properties: record.properties.clone(),
        stack_tags: stack.tags.clone(),
        physical_name: format!("{}-{id}-{suffix}", stack.name),
        suffix,
        update_policy: None,
    };
    let made = kind.create(ctx, &wanted)?;
    record.physical_id = Some(made.physical_id.clone());
    record.reference.clone_from(&made.reference);
    record.attributes.clone_from(&made.attributes);
    events::resource(
        ctx,
        stack,
        &mut record,
        ResourceStatus::CreateInProgress,
        Some("Resource creation Initiated".to_owned()),
    )?;
    if record.awaited.is_none() && kind.settled(ctx, &made)? == Progress::Done {
        events::resource(ctx, stack, &mut record, ResourceStatus::CreateComplete, None)?;
    }
    Ok(())
}

/// Returns whether the resource is ready now. An error fails it.
fn settle(ctx: &mut Ctx<'_>, stack: &Stack, id: &str, waited: Duration) -> Result<bool> {
    let mut record = existing(ctx, stack, id)?;
    if record.status != ResourceStatus::CreateInProgress {
        return Ok(true);
    }
    if let Some(awaited) = record.awaited {
        let good = record.signals.values().filter(|success| **success).count();
        let count = awaited.count as usize;
        if record.signals.len() > good {
            return Err(refused_here(format!(
                "Received {good} SUCCESS signal(s) out of {count}.  Unable to satisfy 100% MinSuccessfulInstancesPercent requirement"
            )));
        }
        if good < count {
            if waited < Duration::from_secs(awaited.timeout_seconds) {
                return Ok(false);
            }
            return Err(refused_here(format!(
                "Failed to receive {} resource signal(s) within the specified duration",
                count - good
            )));
        }
    }
    let kind = resource::find(&record.type_name).ok_or_else(|| refused("Unrecognized resource type"))?;
    if kind.settled(ctx, &made_of(&record))? == Progress::Waiting {
        if waited < PATIENCE {
            return Ok(false);
        }
        return Err(refused_here("Resource timed out waiting for completion".to_owned()));
    }
    events::resource(ctx, stack, &mut record, ResourceStatus::CreateComplete, None)?;
    Ok(true)
}

fn delete(ctx: &mut Ctx<'_>, stack: &Stack, id: &str, waited: Duration) -> Result<bool> {
    let mut record = existing(ctx, stack, id)?;
    let kind = resource::find(&record.type_name).ok_or_else(|| refused("Unrecognized resource type"))?;
    let begun = record.status != ResourceStatus::DeleteInProgress;
    if begun {
        events::resource(ctx, stack, &mut record, ResourceStatus::DeleteInProgress, None)?;
    }
    match kind.delete(ctx, &made_of(&record), &record.properties)? {
        Progress::Done => {
            events::resource(ctx, stack, &mut record, ResourceStatus::DeleteComplete, None)?;
            Ok(true)
        }
        Progress::Waiting if waited < PATIENCE => Ok(begun),
        Progress::Waiting => Err(refused_here("Resource timed out waiting for completion".to_owned())),
    }
}

fn made_of(record: &StackResource) -> Made {
    Made {
        physical_id: record.physical_id.clone().unwrap_or_default(),
        reference: record.reference.clone(),
        attributes: record.attributes.clone(),
    }
}

/// Records that a step about a resource failed; its own transaction was undone.
fn record_failure(ctx: &mut Ctx<'_>, stack: &Stack, parsed: &Parsed, id: &str, error: &ServiceError) -> Result<()> {
    let reason = if error.code == REFUSED {
        error.message.clone()
    } else {
        format!(
            "Resource handler returned message: \"{} (Status Code: {})\" (HandlerErrorCode: {})",
            error.message, error.status, error.code
        )
    };
    let key = StackResource::key_of(&stack.id, id);
    let mut record = match ctx.tx.get::<StackResource>(&key)? {
        Some(record) => record,
        None => {
            let record = fresh(ctx, stack, parsed, id);
            events::note(ctx, stack, &record, None)?;
            record
        }
    };
    let status = match stack.status {
        StackStatus::CreateInProgress => ResourceStatus::CreateFailed,
        _ => {
            if record.status != ResourceStatus::DeleteInProgress {
                events::resource(ctx, stack, &mut record, ResourceStatus::DeleteInProgress, None)?;
            }
            ResourceStatus::DeleteFailed
        }
    };
    events::resource(ctx, stack, &mut record, status, Some(reason))
}

fn complete(ctx: &mut Ctx<'_>, stack: &mut Stack, parsed: &Parsed) -> Result<()> {
    let world = World::read(ctx, &stack.id)?;
    let evaluator = world.evaluator(ctx, stack, &parsed.template)?;
    let mut outputs = Vec::new();
    for (key, output) in &parsed.template.outputs {
        if !evaluator.holds(output.condition.as_deref()) {
            continue;
        }
        let value = evaluator.text(&output.value, &format!("The Value field of output {key}")).map_err(wrong)?;
        let export = output.export.as_ref().map(|name| evaluator.text(name, "The Name of an export")).transpose();
        let export = export.map_err(wrong)?;
        if let Some(name) = &export {
            if let Some(other) = ctx.tx.get::<Export>(name)? {
                let by = other.stack_id.split('/').nth(1).unwrap_or_default().to_owned();
                return Err(refused(format!("Export with name {name} is already exported by stack {by}.")));
            }
            ctx.tx.put(&Export { name: name.clone(), value: value.clone(), stack_id: stack.id.clone() })?;
        }
        outputs.push(StackOutput { key: key.clone(), value, description: output.description.clone(), export });
    }
    stack.outputs = outputs;
    events::stack(ctx, stack, StackStatus::CreateComplete, None)
}

fn gone(ctx: &mut Ctx<'_>, stack: &mut Stack, failed: &[String]) -> Result<()> {
    let rollback = stack.status == StackStatus::RollbackInProgress;
    if !failed.is_empty() {
        let status = if rollback { StackStatus::RollbackFailed } else { StackStatus::DeleteFailed };
        let reason = format!("The following resource(s) failed to delete: [{}]. ", failed.join(", "));
        return events::stack(ctx, stack, status, Some(reason));
    }
    stack.outputs.clear();
    if rollback {
        return events::stack(ctx, stack, StackStatus::RollbackComplete, None);
    }
    for export in ctx.tx.children::<Export>(&stack.id)? {
        ctx.tx.delete::<Export>(&export.name)?;
    }
    stack.imports.clear();
    stack.deleted_ms = Some(ctx.platform.now_ms());
    events::stack(ctx, stack, StackStatus::DeleteComplete, None)
}

/// The signals that a CreationPolicy waits for.
fn awaited(evaluator: &Evaluator<'_>, policy: &Value) -> Result<Option<AwaitedSignals>> {
    let policy = evaluator.value(policy).map_err(wrong)?.unwrap_or_default();
    let Some(signal) = policy.get("ResourceSignal") else { return Ok(None) };
    let count = match signal.get("Count") {
        None => 1,
        Some(count) => text_of(count)
            .and_then(|c| c.parse().ok())
            .ok_or_else(|| refused_here("CreationPolicy Count must be a number".to_owned()))?,
    };
    let timeout_seconds = match signal.get("Timeout").and_then(text_of) {
        None => 300,
        Some(text) => duration::seconds(&text)
            .ok_or_else(|| refused_here(format!("CreationPolicy Timeout {text} is no ISO 8601 duration")))?,
    };
    Ok((count > 0).then_some(AwaitedSignals { count, timeout_seconds: timeout_seconds.min(12 * 3600) }))
}

fn random_suffix(ctx: &Ctx<'_>) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ123456";
    let mut bytes = [0u8; 13];
    ctx.platform.door.entropy.fill(&mut bytes);
    bytes.iter().map(|b| ALPHABET[usize::from(b % 32)] as char).collect()
}

fn wrong(error: EvaluationError) -> ServiceError {
    refused_here(error.to_string())
}

/// A failure that CloudFormation itself found.
fn refused_here(message: String) -> ServiceError {
    ServiceError::new(REFUSED, message, 400)
}
