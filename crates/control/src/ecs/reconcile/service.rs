//! Services: gathers what the service scheduler needs to know, and carries out what it decides.

use super::super::deployment_records::ServiceDeployment;
use super::super::records::{
    ContainerInstance, Deployment, LastStatus, Service, ServiceStatus, StopCode, Task, TaskDefinition,
};
use super::super::room::Room;
use super::super::run_task::managed_tags;
use super::super::tasks::{self, NewTask};
use super::super::{daemon, deployments, events, registries, service_options as options};
use super::verdict::{STARTED_WELL, settles_in};
use super::{Reconciler, deployment};
use crate::api::{Ctx, Result};
use crate::store::Tx;
use quarry_domain::arn::short_name;
use quarry_domain::failpoint;
use quarry_domain::placement::NoPlace;
use quarry_domain::service::blue_green::{self, Action as Step, Shift};
use quarry_domain::service::{
    Action, Health, Host, Phase, Rollout, SeenTask, StopWhy, Wanted, Watch, plan, plan_daemon,
    throttle::ANNOUNCED_AFTER,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long an inactive service stays describable, in milliseconds.
const KEPT_MS: i64 = 60 * 60 * 1000;

/// Between attempts to place a task that fits nowhere.
const PLACE_AGAIN: Duration = Duration::from_secs(5);

/// A service with what is seen of its tasks.
pub(super) struct Seen {
    pub(super) wanted: Wanted,
    /// Its newest service deployment.
    current: Option<ServiceDeployment>,
    /// A blue/green deployment that goes on.
    shift: Option<Shift>,
    /// Where the tasks of a daemon belong.
    hosts: Option<Vec<Host>>,
    tasks: Vec<SeenTask>,
    records: Vec<Arc<Task>>,
    /// What is to be said to the service registry: tasks, and whether they are healthy.
    told: Vec<(String, bool)>,
    /// Unhealthy tasks: id, target group, port and AWS's description.
    unhealthy: Vec<(String, String, u16, String)>,
}

impl Reconciler {
    /// Moves every service on. Returns whether a stored state changed.
    pub(super) fn services(&mut self) -> Result<bool> {
        let now = self.now();
        self.dirty.collect(&self.platform)?;
        let mut moved = false;
        while let Some(arn) = self.dirty.services.first().cloned() {
            // What it is to be looked at again for is its own.
            let due = self.due.take();
            let done = self.service(&arn, now);
            match std::mem::replace(&mut self.due, due) {
                Some(at) => drop(self.dirty.due.insert(arn.clone(), at)),
                None => drop(self.dirty.due.remove(&arn)),
            }
            moved |= done?;
            self.dirty.services.remove(&arn);
        }
        Ok(moved)
    }

    /// Moves one service on. Returns whether a stored state changed.
    fn service(&mut self, arn: &str, now: Duration) -> Result<bool> {
        #[cfg(test)]
        {
            self.looked.1 += 1;
        }
        let platform = self.platform.clone();
        let Some(service) = platform.store.read(|tx| tx.find::<Service>(arn))? else {
            self.dirty.forget(arn);
            return Ok(false);
        };
        if service.status == ServiceStatus::Inactive {
            self.dirty.forget(arn);
            return self.forget_inactive(&service);
        }
        let seen = platform.store.read(|tx| self.look(tx, &service, now))?;
        self.note(&service, &seen);
        let news = seen.unhealthy.iter().any(|(id, ..)| !self.announced_unhealthy.contains(id));
        let well = self.came_up_well(&service, &seen, now);
        let over = service.status == ServiceStatus::Draining && seen.tasks.is_empty();
        let resized = seen.wanted.desired != service.desired_count;
        let waits = |current: &ServiceDeployment| !current.status.has_ended() && current.started_ms.is_none();
        let starts = seen.current.as_ref().is_some_and(waits);
        let idle = match &seen.shift {
            Some(shift) => blue_green::plan(&seen.wanted, shift, &seen.tasks, now).is_empty(),
            None => seen.decide(now).is_empty(),
        };
        if !idle || starts || news || well || over || resized || !seen.told.is_empty() {
            return self.act(arn, now);
        }
        Ok(false)
    }

    /// Remembers what may move the service on that is not stored with it.
    fn note(&mut self, service: &Service, seen: &Seen) {
        let rolls = service.deployments.iter().any(|deployment| deployment.rollout == Rollout::InProgress);
        let unfinished = seen.current.as_ref().is_some_and(|current| !current.status.has_ended());
        let settled = service.status == ServiceStatus::Active && service.steady && !rolls && !unfinished;
        match settled {
            true => drop(self.dirty.unsettled.remove(&service.arn)),
            false => drop(self.dirty.unsettled.insert(service.arn.clone())),
        }
        match seen.hosts {
            Some(_) => drop(self.dirty.daemons.insert(service.arn.clone())),
            None => drop(self.dirty.daemons.remove(&service.arn)),
        }
        let groups = seen.records.iter().flat_map(|task| &task.targets).map(|target| target.group_arn.as_str());
        self.dirty.judged_by(&service.arn, groups);
    }

    /// Looks and decides once more inside the transaction that carries the decision out, so that
    /// nothing can have changed in between.
    fn act(&mut self, arn: &str, now: Duration) -> Result<bool> {
        let platform = self.platform.clone();
        let operations = self.operations.clone();
        let mut ask = Vec::new();
        let moved = crate::api::internally(&platform, &operations, |ctx| {
            let found: Option<Service> = ctx.tx.get(arn)?;
            let Some(mut service) = found.filter(|service| service.status != ServiceStatus::Inactive) else {
                return Ok((false, None));
            };
            let before = service.clone();
            let seen = self.look(ctx.tx, &service, now)?;
            for (id, group, port, description) in &seen.unhealthy {
                if self.announced_unhealthy.insert(id.clone()) {
                    let words = format!(
                        "(task {id}) (port {port}) is unhealthy in (target-group {group}) due to (reason {description})."
                    );
                    events::add(ctx, &service, words)?;
                }
            }
            for (id, healthy) in &seen.told {
                if let Some(mut task) = ctx.tx.get::<Task>(id)?
                    && registries::tell(ctx, &mut task, *healthy)?
                {
                    task.version += 1;
                    ctx.tx.put(&task)?;
                }
            }
            if self.came_up_well(&service, &seen, now)
                && let Some(primary) = service.deployments.iter_mut().find(|d| d.primary)
            {
                primary.throttle.succeeded();
                primary.failed_tasks = 0;
            }
            if service.status == ServiceStatus::Draining && seen.tasks.is_empty() {
                service.status = ServiceStatus::Inactive;
                service.inactive_since_ms = Some(ctx.platform.now_ms());
                service.deployments.clear();
                deployments::forget(ctx.tx, &service.arn)?;
                ctx.tx.put(&service)?;
                return Ok((true, None));
            }
            service.desired_count = seen.wanted.desired;
            for task in &seen.records {
                if !task.came_up && self.was_healthy.contains(&task.id) {
                    ctx.tx.put(&Task { came_up: true, ..Task::clone(task) })?;
                }
            }
            let mut moved = false;
            let (mut stopped, mut placed) = (Vec::new(), Vec::new());
            let mut current = seen.current.clone();
            if let Some(current) = &mut current
                && !current.status.has_ended()
            {
                deployment::start(ctx, current, &seen);
            }
            let (mut rolling, mut steps) = (Vec::new(), Vec::new());
            match &seen.shift {
                Some(shift) => steps = blue_green::plan(&seen.wanted, shift, &seen.tasks, now),
                None => rolling = seen.decide(now),
            }
            for step in steps {
                match (&mut current, step) {
                    (_, Step::Start { deployment, count }) => {
                        moved |= self.start(ctx, &service, &deployment, &vec![None; count as usize])?;
                    }
                    (_, Step::Stop { task, why }) => {
                        moved = true;
                        stopped.push(task.clone());
                        stop(ctx, &mut service, &seen, &task, why)?;
                    }
                    (Some(current), step) => self.step_shift(ctx, &mut service, current, step, &mut ask)?,
                    (None, _) => {}
                }
            }
            for action in &rolling {
                if let Action::StartOn { instance, .. } = action {
                    placed.push(Some(instance.as_str()));
                }
            }
            for action in &rolling {
                match action {
                    Action::Start { deployment, count } => {
                        moved |= self.start(ctx, &service, deployment, &vec![None; *count as usize])?;
                    }
                    // All at once, with the first of them.
                    Action::StartOn { deployment, .. } => {
                        let placed = std::mem::take(&mut placed);
                        moved |= !placed.is_empty() && self.start(ctx, &service, deployment, &placed)?;
                    }
                    Action::Stop { task, why } => {
                        moved = true;
                        stopped.push(task.clone());
                        stop(ctx, &mut service, &seen, task, *why)?;
                    }
                    Action::Complete { deployment } => {
                        deployment::complete(ctx, &mut service, current.as_mut(), deployment)?;
                    }
                    Action::Bake => {
                        if let Some(current) = &mut current {
                            current.baking_since_ms = Some(ctx.platform.now_ms());
                        }
                    }
                    Action::Fail { deployment, why, rollback, back_to } => {
                        let (why, to) = ((*why, *rollback), back_to.as_deref());
                        deployment::fail(ctx, &mut service, current.as_mut(), deployment, why, to)?;
                    }
                    Action::Steady(steady) => {
                        service.steady = *steady;
                        if *steady {
                            service.blocked = false;
                            events::add(ctx, &service, "has reached a steady state.")?;
                        }
                    }
                    Action::Protected(tasks) => {
                        service.blocked = true;
                        let list = tasks.iter().map(|id| format!("(task {id})")).collect::<Vec<_>>().join(" ");
                        let words = format!("was unable to stop tasks that are protected from scale-in: {list}.");
                        events::add(ctx, &service, words)?;
                    }
                    Action::Blocked => {
                        service.blocked = true;
                        events::add(
                            ctx,
                            &service,
                            "was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.",
                        )?;
                    }
                }
            }
            if !stopped.is_empty() {
                let list = stopped.iter().map(|id| format!("(task {id})")).collect::<Vec<_>>().join(" ");
                events::add(ctx, &service, format_args!("has stopped {} running tasks: {list}.", stopped.len()))?;
            }
            moved |= service != before || current != seen.current;
            if let Some(current) = current.as_ref().filter(|_| current != seen.current) {
                ctx.tx.put(current)?;
            }
            ctx.tx.put(&service)?;
            failpoint::at("service.decided");
            let shift = current.as_ref().and_then(|current| current.shift.clone());
            Ok((moved, current.zip(shift)))
        });
        let (moved, shifting) = moved?;
        failpoint::at("service.committed");
        if let Some((current, shift)) = shifting {
            for hook in ask {
                self.hooks.ask(&platform, &operations, &current, &shift, &hook);
            }
        }
        Ok(moved)
    }

    /// Places and creates as many tasks as there are places, each on the container instance that is named.
    /// Returns whether at least one was.
    fn start(
        &mut self,
        ctx: &mut Ctx<'_>,
        service: &Service,
        deployment: &str,
        places: &[Option<&str>],
    ) -> Result<bool> {
        let Some(deployment) = service.deployments.iter().find(|d| d.id == deployment) else { return Ok(false) };
        let definition: Option<TaskDefinition> = ctx.tx.get(&deployment.task_definition)?;
        let cluster: Option<super::super::records::Cluster> = ctx.tx.get(&service.cluster_arn)?;
        let (Some(definition), Some(cluster)) = (definition, cluster) else { return Ok(false) };
        let group = format!("service:{}", service.name);
        let strategies = options::strategies(service.config.placement_strategy.as_deref())?;
        let constraints =
            options::constraints(service.config.placement_constraints.as_deref(), &definition.definition)?;
        let own = match service.config.propagate_tags.as_deref() {
            Some("SERVICE") => service.tags.clone(),
            Some("TASK_DEFINITION") => definition.tags.clone(),
            _ => Default::default(),
        };
        let managed = service.config.enable_ecs_managed_tags == Some(true);
        let mut room = Room::of(ctx.tx, &cluster.arn, &group, !daemon::is_daemon(service))?;
        let mut new = NewTask {
            tags: managed_tags(own, managed.then_some(cluster.name.as_str()), Some(&service.name)),
            exec: service.config.enable_execute_command == Some(true),
            cluster: &cluster,
            definition: &definition,
            overrides: Default::default(),
            group,
            started_by: Some(deployment.id.clone()),
            service: Some((service, &deployment.id)),
            launch: &deployment.launch,
            on: None,
            strategies: &strategies,
            constraints: &constraints,
            asked: (
                service.config.placement_strategy.as_deref().unwrap_or_default(),
                service.config.placement_constraints.as_deref().unwrap_or_default(),
            ),
        };
        let mut started = Vec::new();
        for place in places {
            new.on = *place;
            match tasks::create(ctx, &new, &mut room) {
                Ok(Ok(task)) => started.push(task.id),
                Ok(Err(no_place)) => {
                    let because = match no_place {
                        NoPlace::NoCapacity => format!("was unable to place a task. Reason: {no_place}."),
                        NoPlace::NoInstances | NoPlace::Closest { .. } => {
                            format!("was unable to place a task because {no_place}")
                        }
                    };
                    events::repeat(ctx, service, because)?;
                    self.look_again_in(PLACE_AGAIN);
                    if place.is_none() {
                        break;
                    }
                }
                // Such as a subnet that was deleted since.
                Err(refused) if refused.status < 500 => {
                    events::repeat(ctx, service, format_args!("failed to launch a task with (error {refused})."))?;
                    self.look_again_in(PLACE_AGAIN);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if started.is_empty() {
            return Ok(false);
        }
        let list = started.iter().map(|id| format!("(task {id})")).collect::<Vec<_>>().join(" ");
        events::add(ctx, service, format_args!("has started {} tasks: {list}.", started.len()))?;
        Ok(true)
    }

    fn look(&mut self, tx: &Tx<'_>, service: &Service, now: Duration) -> Result<Seen> {
        let records = tx.owned::<Task>(&service.arn)?;
        let instances = tx.children_of::<ContainerInstance>(&service.cluster_arn)?;
        let instances: HashMap<&str, bool> = instances.iter().map(|i| (i.arn.as_str(), i.draining)).collect();
        let (mut unhealthy, mut told) = (Vec::new(), Vec::new());
        let now_ms = self.platform.now_ms();
        let mut seen = Vec::new();
        for task in &records {
            if let Some(until) = task.protected_until_ms.filter(|until| *until > now_ms) {
                self.look_again_at(now + Duration::from_millis((until - now_ms).unsigned_abs()));
            }
            let phase = match task.status {
                _ if !task.wanted => Phase::Stopping,
                LastStatus::Provisioning | LastStatus::Pending | LastStatus::Activating => Phase::Starting,
                LastStatus::Running => {
                    let started = task.started_ms.map_or(now, |at| self.then(at));
                    Phase::Running { since: *self.running_since.entry(task.id.clone()).or_insert(started) }
                }
                LastStatus::Deactivating | LastStatus::Stopping | LastStatus::Deprovisioning | LastStatus::Stopped => {
                    Phase::Stopping
                }
            };
            let health = match phase {
                Phase::Running { since } => {
                    let health = self.health(tx, service, task, &mut unhealthy)?;
                    let settled = since + settles_in(service, task);
                    if health == Health::Healthy && settled > now {
                        self.look_again_at(settled);
                        Health::Unknown
                    } else {
                        health
                    }
                }
                Phase::Starting | Phase::Stopping => Health::Unknown,
            };
            match (health, phase) {
                (Health::Healthy, Phase::Running { since }) => {
                    // Without a target group and a check nothing but time tells whether it came up well.
                    if !task.targets.is_empty() || task.is_checked() || now.saturating_sub(since) >= STARTED_WELL {
                        self.was_healthy.insert(task.id.clone());
                    } else {
                        self.look_again_at(since + STARTED_WELL);
                    }
                    self.announced_unhealthy.remove(&task.id);
                }
                (Health::Unknown | Health::Healthy | Health::Unhealthy, _) => {}
            }
            match (health, task.registry.as_ref().map(|registry| registry.healthy)) {
                (Health::Healthy, Some(None | Some(false))) => told.push((task.id.clone(), true)),
                (Health::Unhealthy, Some(Some(true))) => told.push((task.id.clone(), false)),
                (Health::Healthy | Health::Unhealthy | Health::Unknown, _) => {}
            }
            seen.push(SeenTask {
                id: task.id.clone(),
                deployment: task.service.as_ref().map(|(_, deployment)| deployment.clone()).unwrap_or_default(),
                phase,
                health,
                leave: task
                    .container_instance_arn
                    .as_ref()
                    .is_some_and(|arn| instances.get(arn.as_str()).is_none_or(|d| *d)),
                protected: task.is_protected(now_ms),
                zone: task.availability_zone.clone(),
                instance: task.container_instance_arn.clone().unwrap_or_default(),
                order: task.order,
            });
        }
        let current = deployments::current(tx, service)?;
        let watch = match &current {
            Some(current) => self.watch(tx, current)?,
            None => Watch::default(),
        };
        let shift = match &current {
            Some(current) if service.status == ServiceStatus::Active => self.shift(tx, current)?,
            Some(_) | None => None,
        };
        let hosts = daemon::is_daemon(service).then(|| daemon::hosts(tx, service)).transpose()?;
        let wanted_hosts = |hosts: &Vec<Host>| hosts.iter().filter(|host| host.wanted).count() as u32;
        let configuration = service.config.deployment_configuration.as_ref();
        let percent = |given: Option<i32>, usual: u32| given.map_or(usual, |n| n.max(0).unsigned_abs());
        let wanted = Wanted {
            desired: hosts.as_ref().map_or(service.desired_count, wanted_hosts),
            minimum_healthy_percent: percent(configuration.and_then(|c| c.minimum_healthy_percent), 100),
            maximum_percent: percent(configuration.and_then(|c| c.maximum_percent), 200),
            circuit_breaker: options::circuit_breaker(configuration),
            grace: Duration::from_secs(percent(service.config.health_check_grace_period_seconds, 0).into()),
            deployments: service.deployments.iter().map(|d| self.deployment(d, now)).collect(),
            steady: service.steady,
            blocked: service.blocked,
            watch,
        };
        let in_grace = |task: &SeenTask| {
            task.health == Health::Unhealthy
                && self.running_since.get(&task.id).is_some_and(|since| *since + wanted.grace > now)
        };
        if seen.iter().any(in_grace) {
            self.look_again_in(Duration::from_secs(1));
        }
        Ok(Seen { wanted, current, shift, hosts, tasks: seen, records, told, unhealthy })
    }

    fn deployment(&mut self, deployment: &Deployment, now: Duration) -> quarry_domain::service::Deployment {
        let failures = deployment.throttle.failures;
        let since = match self.throttled_since.get(&deployment.id) {
            Some((counted, since)) if *counted == failures => *since,
            _ => {
                // By what is stored, so that the delay goes on over a restart.
                let since = if failures == 0 { now } else { self.then(deployment.throttle.last_ms) };
                self.throttled_since.insert(deployment.id.clone(), (failures, since));
                since
            }
        };
        let not_before = since + deployment.throttle.delay();
        if deployment.primary && not_before > now {
            self.look_again_at(not_before);
        }
        quarry_domain::service::Deployment {
            id: deployment.id.clone(),
            primary: deployment.primary,
            rollout: deployment.rollout,
            failed_tasks: deployment.failed_tasks,
            not_before,
        }
    }

    /// Whether failures were counted and a task made after the last of them came up well.
    fn came_up_well(&self, service: &Service, seen: &Seen, now: Duration) -> bool {
        let Some(primary) = service.primary() else { return false };
        if primary.throttle.failures == 0 && primary.failed_tasks == 0 {
            return false;
        }
        seen.tasks.iter().zip(&seen.records).any(|(task, record)| {
            let long = matches!(task.phase, Phase::Running { since } if now.saturating_sub(since) >= STARTED_WELL);
            task.deployment == primary.id
                && task.health == Health::Healthy
                && record.created_ms >= primary.throttle.last_ms
                && (long || record.is_checked() || !record.targets.is_empty())
        })
    }

    fn forget_inactive(&mut self, service: &Service) -> Result<bool> {
        let Some(since) = service.inactive_since_ms else { return Ok(false) };
        let left = since + KEPT_MS - self.platform.now_ms();
        if left > 0 {
            self.look_again_in(Duration::from_millis(left.unsigned_abs()));
            return Ok(false);
        }
        self.transact(|ctx| {
            ctx.tx.delete::<super::super::records::ServiceEvents>(&service.arn)?;
            Ok(ctx.tx.delete::<Service>(&service.arn)?)
        })
    }
}

impl Seen {
    fn decide(&self, now: Duration) -> Vec<Action> {
        match &self.hosts {
            Some(hosts) => plan_daemon(&self.wanted, hosts, &self.tasks, now),
            None => plan(&self.wanted, &self.tasks, now),
        }
    }
}

fn stop(ctx: &mut Ctx<'_>, service: &mut Service, seen: &Seen, id: &str, why: StopWhy) -> Result<()> {
    let Some(mut task) = ctx.tx.get::<Task>(id)?.filter(|task| task.wanted) else { return Ok(()) };
    let deployment = service.primary().map(|d| d.id.clone()).unwrap_or_default();
    let reason = match why {
        StopWhy::Scaling => format!("Scaling activity initiated by (deployment {deployment})"),
        StopWhy::Unhealthy => {
            let group = seen.unhealthy.iter().find(|(task, ..)| task == id).map(|(_, group, ..)| group.as_str());
            match group {
                Some(group) => format!("Task failed ELB health checks in (target-group {group})"),
                None => {
                    events::add(ctx, service, format_args!("(task {id}) failed container health checks."))?;
                    "Task failed container health checks".to_owned()
                }
            }
        }
        StopWhy::Draining => format!(
            "Task was stopped because its container instance {} is draining",
            short_name(task.container_instance_arn.as_deref().unwrap_or_default())
        ),
    };
    tasks::begin_stop(ctx, &mut task, StopCode::ServiceSchedulerInitiated, &reason, false)?;
    if why == StopWhy::Unhealthy
        && let Some((_, of)) = &task.service
        && let Some(deployment) = service.deployments.iter_mut().find(|d| d.id == *of)
        && deployment.rollout == Rollout::InProgress
    {
        deployment.failed_tasks += 1;
    }
    Ok(())
}

/// Counts a task of a service that ended by itself without having come up well. `short`: so soon that
/// further attempts wait.
pub fn count_failure(ctx: &Ctx<'_>, task: &Task, short: bool, reason: Option<&str>) -> Result<()> {
    let Some((arn, deployment)) = &task.service else { return Ok(()) };
    let Some(mut service) = ctx.tx.get::<Service>(arn)? else { return Ok(()) };
    let Some(deployment) = service.deployments.iter_mut().find(|d| d.id == *deployment) else { return Ok(()) };
    if deployment.rollout == Rollout::InProgress {
        deployment.failed_tasks += 1;
    }
    let counted = short && deployment.throttle.failed(task.created_ms, ctx.platform.now_ms());
    let failures = deployment.throttle.failures;
    if counted {
        if let Some(reason) = reason {
            events::add(ctx, &service, format_args!("(task {}) failed to start with (error {reason}).", task.id))?;
        }
        if failures == ANNOUNCED_AFTER {
            events::add(
                ctx,
                &service,
                "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
            )?;
        }
    }
    Ok(ctx.tx.put(&service)?)
}
