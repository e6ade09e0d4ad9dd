//! Brings every group to its desired capacity, its instances into their clusters and the word of
//! them to their stacks. Each step is one transaction that plans and acts on what is stored then,
//! so a step that is repeated or cut off by a crash does no harm.

use super::activity::{self, Change};
use super::plan::{Action, plan};
use super::process::is_suspended;
use super::records::{GroupRecord, MemberRecord, SubnetRef, members, remove_group};
use super::scheduled::{self, ScheduledRecord};
use super::{instance, lifecycle, source, target_group};
use crate::api::{Ctx, Operations, Result, internally};
use crate::ec2::instance::{InstanceRecord, size};
use crate::ecs::container_instances::{self, NewInstance};
use crate::elbv2::targets;
use crate::platform::Platform;
use crate::store::{Item, StoreError, Tx};
use crate::wake::Woken;
use quarry_aws::cloudformation::SignalResourceInput;
use quarry_aws::cloudformation::op::SignalResource;
use quarry_domain::link::TargetState;
use quarry_wire::{Operation, ServiceError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a group waits after a launch that failed.
const RETRY_LAUNCH: Duration = Duration::from_secs(30);
/// How long a stack is told of an instance while it does not take the signal.
const SIGNAL_FOR: Duration = Duration::from_secs(60);
/// The timer in case a signal was missed, and the one while something is to be retried.
const IDLE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(1);

/// Runs until the store's wake is stopped.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    let mut reconciler = Reconciler::new(platform.clone(), operations);
    let mut seen = platform.store.changed.level();
    loop {
        let timer = match reconciler.pass() {
            Ok(Pending::Nothing) => IDLE,
            Ok(Pending::Retry) => SOON,
            Err(error) => {
                tracing::error!(%error, "Auto Scaling could not reconcile");
                SOON
            }
        };
        if platform.store.changed.wait(&mut seen, timer) == Woken::Stop {
            return;
        }
    }
}

/// Whether a pass left something to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    Nothing,
    Retry,
}

/// Carries out what is stored; remembers only when to retry, in monotonic time.
pub struct Reconciler {
    platform: Arc<Platform>,
    operations: Arc<Operations>,
    /// By group: no launch before.
    no_launch_before: HashMap<String, Duration>,
    /// By instance: when its signal was first refused.
    refused_since: HashMap<String, Duration>,
}

/// What one step did.
enum Step {
    /// Something: there may be more to do.
    Done,
    /// Nothing was left to do.
    Idle,
    LaunchFailed(SubnetRef, Change, ServiceError),
}

impl Reconciler {
    pub fn new(platform: Arc<Platform>, operations: Arc<Operations>) -> Self {
        Self { platform, operations, no_launch_before: HashMap::new(), refused_since: HashMap::new() }
    }

    /// Does everything that can be done now.
    pub fn pass(&mut self) -> Result<Pending> {
        let mut pending = Pending::Nothing;
        let groups = self.platform.store.read(|tx| tx.all::<GroupRecord>())?;
        self.no_launch_before.retain(|name, _| groups.iter().any(|group| group.key() == *name));
        for group in groups {
            let name = group.key();
            if self.scale(&name)? == Pending::Retry {
                pending = Pending::Retry;
            }
            let all = self.platform.store.read(|tx| members(tx, &name))?;
            for member in all {
                if self.introduce(&member)? == Pending::Retry {
                    pending = Pending::Retry;
                }
            }
        }
        Ok(pending)
    }

    /// Launches and terminates until the group is as it should be.
    fn scale(&mut self, name: &str) -> Result<Pending> {
        let monotonic = self.platform.door.clock.monotonic();
        let held = self.no_launch_before.get(name).is_some_and(|until| monotonic < *until);
        loop {
            // Most of the time nothing is to be done: look before taking the writer.
            let work = self.platform.store.read(|tx| {
                let Some(group) = tx.get::<GroupRecord>(name)? else { return Ok(None) };
                next(tx, &self.platform, &group, held)
            })?;
            if work.is_none() {
                return Ok(if held { Pending::Retry } else { Pending::Nothing });
            }
            let mut failed = None;
            let outcome = internally(&self.platform, &self.operations, |ctx| match step(ctx, name, held)? {
                Step::LaunchFailed(subnet, change, error) => {
                    // Undoes whatever the launch had written.
                    failed = Some((subnet, change));
                    Err(error)
                }
                other => Ok(other),
            });
            match (outcome, failed) {
                (Ok(Step::Done), _) => {}
                (Ok(_), _) => return Ok(if held { Pending::Retry } else { Pending::Nothing }),
                (Err(error), Some((subnet, change))) => {
                    tracing::warn!(group = name, %error, "an instance could not be launched");
                    internally(&self.platform, &self.operations, |ctx| {
                        let Some(group) = ctx.tx.get::<GroupRecord>(name)? else { return Ok(()) };
                        activity::launch_failed(ctx, &group, &subnet, change, error.message)
                    })?;
                    self.no_launch_before.insert(name.to_owned(), monotonic + RETRY_LAUNCH);
                    return Ok(Pending::Retry);
                }
                (Err(error), None) => return Err(error),
            }
        }
    }

    /// Makes a new instance known: to its cluster first, then to its stack.
    fn introduce(&mut self, member: &MemberRecord) -> Result<Pending> {
        let id = member.key();
        if member.joins.is_some()
            && let Err(error) = internally(&self.platform, &self.operations, |ctx| join(ctx, &id))
        {
            // On AWS the agent, too, tries until its cluster is there.
            tracing::debug!(instance = id, %error, "has not joined its cluster yet");
            return Ok(Pending::Retry);
        }
        if member.signals.is_none() {
            return Ok(Pending::Nothing);
        }
        let Err(error) = internally(&self.platform, &self.operations, |ctx| signal(ctx, &id)) else {
            self.refused_since.remove(&id);
            return Ok(Pending::Nothing);
        };
        let now = self.platform.door.clock.monotonic();
        let since = *self.refused_since.entry(id.clone()).or_insert(now);
        if now - since < SIGNAL_FOR {
            return Ok(Pending::Retry);
        }
        // A stack that does not wait refuses signals; the instance is none the worse for it.
        tracing::debug!(instance = id, %error, "its stack takes no signal");
        self.refused_since.remove(&id);
        internally(&self.platform, &self.operations, |ctx| signalled(ctx, &id))?;
        Ok(Pending::Nothing)
    }
}

/// The next thing that is to be done for a group.
enum Work {
    /// The instance is gone.
    Forget(String),
    /// Hooks of the instance have run out of time.
    TimeOut(MemberRecord),
    /// Its hooks are done: it comes into service, or is ended.
    Proceed(MemberRecord),
    /// It is unhealthy, for this reason.
    Replace(MemberRecord, &'static str),
    /// Target groups to register it with and to take it out of.
    Balance(MemberRecord, Vec<String>, Vec<String>),
    Schedule(ScheduledRecord),
    Remove,
    Change(Action),
}

/// What comes first, from what is stored.
fn next(tx: &Tx<'_>, platform: &Platform, group: &GroupRecord, no_launch: bool) -> Result<Option<Work>> {
    let (name, now) = (group.key(), platform.now_ms());
    let suspended = |process| is_suspended(group, process);
    let members = members(tx, &name)?;
    for member in &members {
        if !(suspended("HealthCheck") || is_live(tx, member)?) {
            return Ok(Some(Work::Forget(member.key())));
        }
        if lifecycle::time_out(&mut member.clone(), now) {
            return Ok(Some(Work::TimeOut(member.clone())));
        }
        if member.waits.is_empty() && !member.is_in_service() {
            return Ok(Some(Work::Proceed(member.clone())));
        }
    }
    if group.deleting && members.is_empty() {
        return Ok(Some(Work::Remove));
    }
    for member in members.iter().filter(|member| member.is_in_service()) {
        if !group.deleting && !suspended("ReplaceUnhealthy") && !suspended("Terminate") {
            if member.is_unhealthy() {
                return Ok(Some(Work::Replace(member.clone(), "a user health-check")));
            }
            if !suspended("HealthCheck") && fails_balancer(tx, platform, group, member, now)? {
                return Ok(Some(Work::Replace(member.clone(), "an ELB system health check failure")));
            }
        }
        let (missing, extra) = target_group::difference(group, member);
        if !(missing.is_empty() && extra.is_empty()) {
            return Ok(Some(Work::Balance(member.clone(), missing, extra)));
        }
    }
    if let Some(scheduled) = scheduled::due(tx, &name, now)? {
        return Ok(Some(Work::Schedule(scheduled)));
    }
    // A template that is gone makes every instance an old one.
    let current = source::version(tx, group).unwrap_or_default();
    let seen: Vec<_> = members.iter().filter(|m| !m.is_ending()).map(|member| member.seen(&current)).collect();
    let wanted = plan(&group.wanted(), &seen).into_iter().find(|action| match action {
        Action::Launch(_) => !(no_launch || suspended("Launch")),
        Action::Terminate(_) => !suspended("Terminate") || group.deleting,
    });
    Ok(wanted.map(Work::Change))
}

/// Does the first thing that is to be done for a group.
fn step(ctx: &mut Ctx<'_>, name: &str, no_launch: bool) -> Result<Step> {
    let Some(mut group) = ctx.tx.get::<GroupRecord>(name)? else { return Ok(Step::Idle) };
    let Some(work) = next(ctx.tx, ctx.platform, &group, no_launch)? else { return Ok(Step::Idle) };
    let all = members(ctx.tx, name)?;
    let count = all.iter().filter(|member| !member.is_ending()).count();
    match work {
        Work::Forget(id) => {
            container_instances::deregister(ctx, &id)?;
            ctx.tx.delete::<MemberRecord>(&id)?;
        }
        Work::TimeOut(mut member) => {
            lifecycle::time_out(&mut member, ctx.platform.now_ms());
            ctx.tx.put(&member)?;
        }
        Work::Proceed(mut member) => match (member.ending.clone(), member.abandoned) {
            (Some(cause), _) => {
                instance::finish_end(ctx, &group, &member, cause)?;
            }
            (None, true) => {
                let cause = format!(
                    "At {} instance {} was taken out of service because its launch was abandoned by a lifecycle hook.",
                    activity::now(ctx),
                    member.key()
                );
                instance::finish_end(ctx, &group, &member, cause)?;
            }
            (None, false) => {
                member.instance.lifecycle_state = Some("InService".into());
                ctx.tx.put(&member)?;
            }
        },
        Work::Replace(member, why) => {
            let cause = format!("At {} an instance was taken out of service in response to {why}.", activity::now(ctx));
            instance::end(ctx, &group, &member, cause)?;
        }
        Work::Balance(mut member, missing, extra) => {
            target_group::deregister(ctx, &mut member, extra)?;
            target_group::register(ctx, &mut member, missing)?;
            ctx.tx.put(&member)?;
        }
        Work::Schedule(record) => scheduled::run(ctx, &mut group, record)?,
        Work::Remove => remove_group(ctx, name)?,
        Work::Change(Action::Terminate(id)) => {
            let cause = activity::cause_of_termination(ctx, &id, Change { from: count, to: count - 1 });
            if let Some(member) = all.iter().find(|member| member.key() == id) {
                instance::end(ctx, &group, member, cause)?;
            }
        }
        Work::Change(Action::Launch(subnet)) => {
            let change = Change { from: count, to: count + 1 };
            if let Err(error) = instance::launch(ctx, &group, &subnet, change) {
                return Ok(Step::LaunchFailed(subnet, change, error));
            }
        }
    }
    Ok(Step::Done)
}

/// Whether a group that goes by its load balancers' health has an instance that they find unhealthy.
fn fails_balancer(
    tx: &Tx<'_>,
    platform: &Platform,
    group: &GroupRecord,
    member: &MemberRecord,
    now_ms: i64,
) -> Result<bool> {
    let kinds = group.group.health_check_type.as_deref().unwrap_or_default();
    if !kinds.split(',').any(|kind| kind.trim() == "ELB") || instance::in_grace(group, member, now_ms) {
        return Ok(false);
    }
    let id = member.key();
    for arn in &member.targets {
        for target in targets::active(tx, arn)?.into_iter().filter(|target| target.id == id) {
            let seen = targets::state(platform, tx, arn, &id, target.port)?;
            if seen.is_some_and(|(state, _)| state == TargetState::Unhealthy) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn is_live(tx: &Tx<'_>, member: &MemberRecord) -> Result<bool, StoreError> {
    Ok(tx.get::<InstanceRecord>(&member.key())?.is_some_and(|record| record.is_live()))
}

/// Registers the instance with the cluster that its user data names.
fn join(ctx: &mut Ctx<'_>, id: &str) -> Result<()> {
    let Some(mut member) = ctx.tx.get::<MemberRecord>(id)? else { return Ok(()) };
    let Some(cluster) = member.joins.take() else { return Ok(()) };
    let instance_type = member.instance.instance_type.clone().unwrap_or_default();
    let size = size(&instance_type)?;
    let instance = NewInstance {
        ec2_instance_id: id.to_owned(),
        instance_type,
        availability_zone: member.instance.availability_zone.clone().unwrap_or_default(),
        cpu_units: size.cpu_units,
        memory_mib: size.memory_mib,
        group: Some(member.group.clone()),
    };
    container_instances::register(ctx, &cluster, &instance)?;
    ctx.tx.put(&member)?;
    Ok(())
}

/// Tells the instance's stack that it is there, as `cfn-signal` does at the end of user data.
fn signal(ctx: &mut Ctx<'_>, id: &str) -> Result<()> {
    let Some(member) = ctx.tx.get::<MemberRecord>(id)? else { return Ok(()) };
    let served = ctx.operations.find(SignalResource::service().id, SignalResource::NAME).is_some();
    if let (true, Some(resource)) = (served, member.signals) {
        ctx.invoke::<SignalResource>(SignalResourceInput {
            stack_name: Some(resource.stack),
            logical_resource_id: Some(resource.logical_id),
            unique_id: Some(id.to_owned()),
            status: Some("SUCCESS".into()),
        })?;
    }
    signalled(ctx, id)
}

fn signalled(ctx: &mut Ctx<'_>, id: &str) -> Result<()> {
    if let Some(mut member) = ctx.tx.get::<MemberRecord>(id)? {
        member.signals = None;
        ctx.tx.put(&member)?;
    }
    Ok(())
}
