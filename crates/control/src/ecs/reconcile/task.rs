//! Tasks: observes, decides each task's step, and carries the steps out.

use super::super::records::{HostPort, LastStatus, RunToken, Service, StopCode, StoppedTask, Task, TaskDefinition};
use super::super::{container_instances, delete_task_definitions, events, network, registries, task_role, tasks};
use super::Reconciler;
use super::jobs::{Kind, Outcome};
use super::outcome::{keep_exit_codes, keep_news, stop_of};
use super::step::{Facts, Step, next};
use crate::api::{Ctx, Result};
use crate::elbv2::targets;
use crate::link;
use crate::logs;
use crate::store::{StoreError, Tx};
use quarry_domain::container;
use quarry_domain::failpoint;
use quarry_domain::task::{ObservedTask, Signal, TaskId};
use quarry_wire::ServiceError;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a stopped task stays describable, in milliseconds.
const KEPT_MS: i64 = 60 * 60 * 1000;

/// How often those are looked for that stopped long enough ago.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// A task that ends sooner after its start and never was healthy counts as one that did not start.
const STARTED_WELL_MS: i64 = 10_000;

/// Time for the snapshot without a task that was just deregistered to be published, and the longest wait until
/// the proxies have it.
const UNNAMED_AFTER: Duration = Duration::from_millis(100);
const UNNAMED_AT_LAST: Duration = Duration::from_secs(2);

/// What a step needs of the task's definition.
#[derive(Clone)]
struct Facets {
    essential: Vec<String>,
    stop_timeout: Duration,
}

impl Reconciler {
    /// Moves every task on. Returns whether a stored state changed.
    pub(super) fn tasks(&mut self) -> Result<bool> {
        self.dirty.collect(&self.platform)?;
        // Launch results are taken before looking, so that what was launched is seen.
        let launches: HashMap<TaskId, super::step::Job> =
            self.dirty.tasks.iter().map(|id| (id.clone(), self.jobs.state(Kind::Launch, id))).collect();
        self.dirty.observe(&self.platform).map_err(|error| {
            let message = format!("the tasks that run cannot be looked at: {error}");
            ServiceError::new("InternalFailure", message, 500)
        })?;
        #[cfg(test)]
        {
            self.looked.0 += self.dirty.tasks.len();
        }
        let seen = &self.dirty.seen;
        let now = self.now();
        let (mut leaving, mut still, mut orphans) = (Vec::new(), Vec::new(), Vec::new());
        let (steps, due) = self.platform.store.read(|tx| -> Result<_> {
            let mut facets: HashMap<String, Facets> = HashMap::new();
            let (mut steps, mut due) = (Vec::new(), None::<Duration>);
            let version = link::publish::current_version(tx)?;
            for id in &self.dirty.tasks {
                let Some(task) = tx.find::<Task>(id)? else {
                    match seen.contains_key(id) {
                        true => orphans.push(id.clone()),
                        false => still.push(id.clone()),
                    }
                    continue;
                };
                // One that is seen otherwise was not asked about before; it runs, or its own change is told yet.
                let launch = match launches.get(id) {
                    Some(launch) => *launch,
                    None if task.status == LastStatus::Running => super::step::Job::None,
                    None => continue,
                };
                let of = match facets.get(&task.task_definition_arn) {
                    Some(known) => known.clone(),
                    None => facets.entry(task.task_definition_arn.clone()).or_insert(facets_of(tx, &task)?).clone(),
                };
                let draining = task.status == LastStatus::Deactivating;
                if draining && task.registry.is_some() {
                    leaving.push(task.id.clone());
                }
                let step = next(&Facts {
                    task: &task,
                    seen: seen.get(&task.id),
                    launch,
                    removal: self.jobs.state(Kind::Remove, &task.id),
                    drained: draining && self.is_drained(tx, &task)? && self.is_unnamed(&task, version, now),
                    terminated: self.terminated.get(&task.id).map(|(at, kill)| (now.saturating_sub(*at), *kill)),
                    stop_timeout: of.stop_timeout,
                    essential: &of.essential,
                });
                if let (LastStatus::Stopping, Some((at, _))) = (task.status, self.terminated.get(&task.id)) {
                    let at = *at + of.stop_timeout;
                    due = Some(due.map_or(at, |due| due.min(at)));
                }
                match (step, task.status) {
                    (Step::Wait, LastStatus::Provisioning | LastStatus::Running) => still.push(id.clone()),
                    (Step::Wait, _) => {}
                    (step, _) => steps.push((task, step, of)),
                }
            }
            Ok((steps, due))
        })?;
        for id in still {
            self.dirty.tasks.remove(&id);
        }
        self.left_since.retain(|id, _| leaving.contains(id));
        for id in leaving {
            let since = *self.left_since.entry(id).or_insert(now);
            self.look_again_at((since + UNNAMED_AFTER).max(now + Duration::from_millis(50)));
        }
        if let Some(due) = due {
            self.look_again_at(due.max(now + Duration::from_millis(50)));
        }
        for id in orphans {
            // What the runtime has and the store does not know was left by a crash between the two. It may have been
            // created since the store was read.
            let stored = self.platform.store.read(|tx| tx.find::<Task>(&id))?.is_some();
            if !stored && !self.jobs.is_busy(&id) {
                self.jobs.begin(Kind::Remove, &id);
            }
        }

        let mut stored = Vec::new();
        for (task, step, of) in steps {
            match step {
                Step::Wait => {}
                Step::Launch => self.jobs.begin(Kind::Launch, &task.id),
                Step::Remove => {
                    if self.jobs.state(Kind::Remove, &task.id) == super::step::Job::Failed {
                        self.look_again_in(Duration::from_secs(1));
                    }
                    self.jobs.begin(Kind::Remove, &task.id);
                }
                Step::Signal { kill } => self.signal(&task, kill, of.stop_timeout),
                Step::FailStart
                | Step::Run
                | Step::Ended { .. }
                | Step::Observe
                | Step::Terminate
                | Step::Deprovision
                | Step::Stopped => stored.push((task, step, of)),
            }
        }
        if stored.is_empty() {
            return Ok(false);
        }
        let forget = self.forgot_old.is_none_or(|at| now >= at + FORGET_EVERY);
        // One transaction for all of them, so that many tasks at once cost one commit.
        let ended = self.transact(|ctx| {
            let mut ended = Vec::new();
            let seen = &self.dirty.seen;
            for (task, step, of) in &stored {
                let current: Option<Task> = ctx.tx.get(&task.id)?;
                // Decided on a state that is no longer the stored one: look again.
                let Some(mut current) = current.filter(|c| c.version == task.version && c.status == task.status) else {
                    continue;
                };
                self.carry_out(ctx, &mut current, *step, seen.get(&task.id), of)?;
                if current.status == LastStatus::Stopped {
                    ended.push(current.id);
                }
            }
            if ended.is_empty() || !forget {
                return Ok(ended);
            }
            forget_old(ctx, ctx.platform.now_ms())?;
            Ok(ended)
        })?;
        failpoint::at("task.committed");
        if forget && !ended.is_empty() {
            self.forgot_old = Some(now);
        }
        for id in ended {
            self.forget(&id);
        }
        Ok(true)
    }

    fn carry_out(
        &self,
        ctx: &mut Ctx<'_>,
        task: &mut Task,
        step: Step,
        seen: Option<&ObservedTask>,
        of: &Facets,
    ) -> Result<()> {
        let now = ctx.platform.now_ms();
        match step {
            Step::Run => return self.started(ctx, task, seen),
            Step::FailStart => {
                let reason = match self.jobs.outcome(Kind::Launch, &task.id) {
                    Some(Outcome::Failed(reason)) => reason,
                    Some(Outcome::Launched(_) | Outcome::Removed) | None => "CannotStartContainerError".to_owned(),
                };
                for container in &mut task.containers {
                    container.reason.get_or_insert_with(|| reason.clone());
                }
                tasks::begin_stop(ctx, task, StopCode::TaskFailedToStart, &reason, true)?;
                self.count_failure(ctx, task, Some(&reason))?;
            }
            Step::Ended { dead } => {
                keep_exit_codes(task, seen);
                let (code, reason) = stop_of(task, seen, &of.essential);
                let in_flight = task.status.is_pending();
                // It was up, if only for a moment.
                if in_flight && code == StopCode::EssentialContainerExited {
                    self.keep_launch(task, now);
                    task.started_ms = Some(now);
                    open_streams(ctx, task)?;
                }
                tasks::begin_stop(ctx, task, code, &reason, dead)?;
                self.count_failure(ctx, task, Some(&reason))?;
            }
            Step::Observe => {
                if let Some(seen) = seen {
                    keep_news(task, seen);
                }
                task.version += 1;
                ctx.tx.put(task)?;
            }
            Step::Terminate => {
                task.status = LastStatus::Stopping;
                task.terminated_ms = Some(now);
                task.version += 1;
                ctx.tx.put(task)?;
            }
            Step::Deprovision => {
                keep_exit_codes(task, seen);
                // What was draining is dead now, so nothing can be in flight.
                for target in task.targets.iter().filter(|_| task.registered) {
                    let pair = [(target.id.clone(), target.port)];
                    targets::deregister_dead(ctx, &target.group_arn, &pair)?;
                }
                task.status = LastStatus::Deprovisioning;
                task.entry = None;
                task.execution_stopped_ms = Some(now);
                task.version += 1;
                ctx.tx.put(task)?;
            }
            Step::Stopped => {
                task.status = LastStatus::Stopped;
                task.stopped_ms = Some(now);
                task.version += 1;
                container_instances::free_ports(ctx.tx, task)?;
                task_role::revoke(ctx, task)?;
                if let Some(interface) = &task.interface {
                    network::detach(ctx, interface)?;
                }
                ctx.tx.delete::<Task>(&task.id)?;
                ctx.tx.put(&StoppedTask(task.clone()))?;
                forget_definition(ctx, &task.task_definition_arn)?;
            }
            Step::Wait | Step::Launch | Step::Remove | Step::Signal { .. } => {}
        }
        Ok(())
    }

    /// Stores that the task runs, opens its host ports and registers it with its target groups.
    fn started(&self, ctx: &mut Ctx<'_>, task: &mut Task, seen: Option<&ObservedTask>) -> Result<()> {
        let now = ctx.platform.now_ms();
        self.keep_launch(task, now);
        task.started_ms = Some(now);
        task.status = LastStatus::Running;
        task.entry = seen.and_then(|seen| seen.entry.clone());
        task.version += 1;
        for mut port in ctx.tx.children::<HostPort>(&task.id)? {
            port.entry = task.entry.clone();
            ctx.tx.put(&port)?;
        }
        let service: Option<Service> = match &task.service {
            Some((arn, _)) => ctx.tx.get(arn)?,
            None => None,
        };
        for target in &task.targets {
            let pair = [(target.id.clone(), target.port)];
            match targets::register(ctx, &target.group_arn, &pair) {
                Ok(()) => {
                    task.registered = true;
                    failpoint::at("task.registered");
                }
                // A client's fault such as a deleted target group; the service's events say so.
                Err(error) if error.status < 500 => {
                    if let Some(service) = &service {
                        let message = format!(
                            "failed to register targets in (target-group {}) with (error {error})",
                            target.group_arn
                        );
                        events::repeat(ctx, service, message)?;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            if let Some(service) = &service {
                events::add(ctx, service, format_args!("registered 1 targets in (target-group {})", target.group_arn))?;
            }
        }
        // What nobody checks is healthy as soon as it runs.
        if task.targets.is_empty() && !task.is_checked() {
            registries::tell(ctx, task, true)?;
        }
        open_streams(ctx, task)?;
        Ok(ctx.tx.put(task)?)
    }

    /// Image digests and pull times, where this process launched the task.
    fn keep_launch(&self, task: &mut Task, now: i64) {
        let Some(Outcome::Launched(launched)) = self.jobs.outcome(Kind::Launch, &task.id) else {
            task.pull_stopped_ms.get_or_insert(now);
            return;
        };
        task.pull_started_ms = Some(launched.pull_started_ms);
        task.pull_stopped_ms = Some(launched.pull_stopped_ms);
        for container in &mut task.containers {
            if let Some((digest, stop_signal)) = launched.images.get(&container.name) {
                container.image_digest = Some(digest.clone());
                container.stop_signal = stop_signal.clone();
            }
        }
    }

    /// Counts a task that ended by itself against its deployment, if it never came up well.
    fn count_failure(&self, ctx: &Ctx<'_>, task: &Task, reason: Option<&str>) -> Result<()> {
        let now = ctx.platform.now_ms();
        let lived = task.started_ms.map(|started| now - started);
        if task.came_up || self.was_healthy.contains(&task.id) {
            return Ok(());
        }
        let short = lived.is_none_or(|ms| ms < STARTED_WELL_MS);
        super::service::count_failure(ctx, task, short, reason)
    }

    fn signal(&mut self, task: &Task, kill: bool, stop_timeout: Duration) {
        let now = self.now();
        let send = |container: Option<&str>, signal| {
            if let Err(error) = self.platform.runtime.signal(&task.id, container, signal) {
                tracing::warn!(task = %task.id, %error, "a signal could not be sent");
            }
        };
        if kill {
            send(None, Signal::Kill);
        } else if task.containers.iter().all(|container| container.stop_signal.is_none()) {
            send(None, Signal::Term);
        } else {
            for container in &task.containers {
                send(Some(&container.name), container::stop_signal(container.stop_signal.as_deref()));
            }
        }
        failpoint::at("task.signalled");
        // Whether a run before this one sent the signal is not known: it gets half of its time at least.
        let first = || self.then(task.terminated_ms.unwrap_or(i64::MAX)).max(now.saturating_sub(stop_timeout / 2));
        let since = self.terminated.get(&task.id).map_or_else(first, |(since, _)| *since);
        self.terminated.insert(task.id.clone(), (since, kill));
        self.look_again_at(if kill { now + Duration::from_secs(1) } else { since + stop_timeout });
    }

    fn is_drained(&self, tx: &Tx<'_>, task: &Task) -> Result<bool> {
        for target in &task.targets {
            if targets::state(&self.platform, tx, &target.group_arn, &target.id, target.port)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// No name leads to a task that left its registry: the proxies answer by what was published since. Where
    /// they do not say so, it is taken to be so after a while. `version`: the newest one.
    fn is_unnamed(&self, task: &Task, version: u64, now: Duration) -> bool {
        if task.registry.is_none() {
            return true;
        }
        let Some(since) = self.left_since.get(&task.id) else { return false };
        let waited = now.saturating_sub(*since);
        waited >= UNNAMED_AT_LAST || (waited >= UNNAMED_AFTER && link::is_applied(&self.platform, version))
    }

    fn forget(&mut self, id: &str) {
        self.jobs.forget(id);
        self.terminated.remove(id);
        self.running_since.remove(id);
        self.was_healthy.remove(id);
        self.announced_unhealthy.remove(id);
    }
}

/// Whatever a task printed is delivered, also by one that was over before it was seen running.
fn open_streams(ctx: &Ctx<'_>, task: &Task) -> Result<(), StoreError> {
    let definition: Option<TaskDefinition> = ctx.tx.get(&task.task_definition_arn)?;
    match definition {
        Some(definition) => logs::follow::open_streams(ctx, &definition.definition, &task.id),
        None => Ok(()),
    }
}

fn facets_of(tx: &Tx<'_>, task: &Task) -> Result<Facets, StoreError> {
    let definition: Option<TaskDefinition> = tx.get(&task.task_definition_arn)?;
    let all = || task.containers.iter().map(|container| container.name.clone()).collect();
    Ok(match definition {
        // A definition is kept while a task refers to it.
        None => Facets { essential: all(), stop_timeout: container::DEFAULT_STOP_TIMEOUT },
        Some(record) => Facets {
            essential: container::containers(&record.definition)
                .iter()
                .filter(|c| container::is_essential(c))
                .filter_map(|c| c.name.clone())
                .collect(),
            stop_timeout: container::stop_timeout(&record.definition),
        },
    })
}

/// Lets go of tasks that stopped more than an hour ago.
fn forget_old(ctx: &Ctx<'_>, now: i64) -> Result<()> {
    for stopped in ctx.tx.shared::<StoppedTask>()?.iter() {
        let StoppedTask(task) = &**stopped;
        if task.stopped_ms.is_some_and(|at| at + KEPT_MS < now) {
            ctx.tx.delete::<StoppedTask>(&task.id)?;
            for token in ctx.tx.children::<RunToken>(&task.id)? {
                ctx.tx.delete::<RunToken>(&token.key)?;
            }
            forget_definition(ctx, &task.task_definition_arn)?;
        }
    }
    Ok(())
}

/// Lets go of a task definition that is to be deleted, if nobody holds it any more.
fn forget_definition(ctx: &Ctx<'_>, arn: &str) -> Result<()> {
    let record = ctx.tx.find::<TaskDefinition>(arn)?;
    let deleted = |d: &Arc<TaskDefinition>| d.status == super::super::records::DefinitionStatus::DeleteInProgress;
    if let Some(record) = record.filter(deleted)
        && !delete_task_definitions::is_used(ctx, &record)?
    {
        ctx.tx.delete::<TaskDefinition>(arn)?;
    }
    Ok(())
}
