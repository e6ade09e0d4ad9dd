//! A simulated service: its records as the control part keeps them, and its tasks as a fake runtime runs them.

use super::{Dice, Tally};
use quarry_domain::health::{Monitor, Outcome};
use quarry_domain::link::TargetState;
use quarry_domain::placement::{Demand, Resource, Strategy};
use quarry_domain::service::{
    self as scheduler, CircuitBreaker, Health, Phase, Rollout, SeenTask, StopWhy, Throttle, Wanted, Watch,
};
use quarry_domain::snapshot::{HealthCheck, ListenerProtocol};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A task that ends sooner and never was healthy counts as one that did not start.
const STARTED_WELL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Service {
    pub daemon: bool,
    pub desired: u32,
    minimum: u32,
    maximum: u32,
    breaker: Option<CircuitBreaker>,
    grace: Duration,
    pub demand: Demand,
    pub distinct: bool,
    pub strategy: Option<Strategy>,
    pub deployments: Vec<Deployment>,
    pub steady: bool,
    pub blocked: bool,
    pub tasks: Vec<Task>,
    made: u32,
    name: u64,
}

#[derive(Clone, Debug)]
pub struct Deployment {
    pub id: String,
    pub primary: bool,
    rollout: Rollout,
    failed_tasks: u32,
    throttle: Throttle,
    /// Its tasks come up and stay well, unless something happens to them.
    sound: bool,
}

#[derive(Debug)]
pub struct Task {
    id: String,
    pub deployment: String,
    pub status: Status,
    pub host: String,
    order: u64,
    created: Duration,
    pub protected_until: Duration,
    /// It does not answer its health checks.
    pub ill: bool,
    came_up: bool,
    monitor: Monitor,
}

#[derive(Clone, Copy, Debug)]
pub enum Status {
    Starting {
        until: Duration,
    },
    Running {
        since: Duration,
    },
    Stopping {
        until: Duration,
    },
    /// Its end was not seen yet.
    Ended,
}

impl Status {
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

impl Task {
    pub fn wanted(&self) -> bool {
        matches!(self.status, Status::Starting { .. } | Status::Running { .. })
    }

    /// It is over, by itself.
    pub fn end(&mut self) {
        self.status = Status::Ended;
    }

    fn health(&self, blind: bool) -> Health {
        match self.monitor.verdict().state {
            _ if blind => Health::Unknown,
            TargetState::Healthy => Health::Healthy,
            TargetState::Unhealthy => Health::Unhealthy,
            TargetState::Initial | TargetState::Draining | TargetState::Unavailable | TargetState::Unused => {
                Health::Unknown
            }
        }
    }
}

fn millis(time: Duration) -> i64 {
    time.as_millis() as i64
}

fn check() -> HealthCheck {
    HealthCheck {
        enabled: true,
        protocol: ListenerProtocol::Http,
        path: "/".into(),
        port: None,
        interval: 5,
        timeout: 2,
        healthy_threshold: 2,
        unhealthy_threshold: 2,
        matcher: "200".into(),
    }
}

impl Service {
    pub fn random(dice: &mut Dice, name: u64) -> Self {
        let daemon = dice.percent(20);
        let (minimum, maximum) = match (daemon, dice.below(4)) {
            (true, n) => ([0, 50, 0, 100][n as usize], 100),
            (false, 0) => (50, 100),
            (false, 1) => (0, 100),
            (false, 2) => (100, 150),
            (false, _) => (100, 200),
        };
        let ports = if !daemon && dice.percent(15) { vec![8000 + name as u16] } else { Vec::new() };
        let mut service = Self {
            daemon,
            desired: dice.below(7) as u32,
            minimum,
            maximum,
            breaker: dice.percent(70).then(|| CircuitBreaker { rollback: dice.percent(70) }),
            grace: Duration::from_secs([0, 0, 20][dice.below(3) as usize]),
            demand: Demand { cpu: 128 << dice.below(3), memory: 128 << dice.below(4), ports },
            distinct: !daemon && dice.percent(20),
            strategy: match dice.below(4) {
                0 => Some(Strategy::Random),
                1 => Some(Strategy::Binpack(Resource::Memory)),
                _ => None,
            },
            deployments: Vec::new(),
            steady: false,
            blocked: false,
            tasks: Vec::new(),
            made: 0,
            name,
        };
        service.deploy(true);
        service
    }

    /// UpdateService: a new primary deployment.
    pub fn deploy(&mut self, sound: bool) {
        self.made += 1;
        for deployment in &mut self.deployments {
            deployment.primary = false;
        }
        self.deployments.push(Deployment {
            id: format!("ecs-svc/{}-{}", self.name, self.made),
            primary: true,
            rollout: Rollout::InProgress,
            failed_tasks: 0,
            throttle: Throttle::default(),
            sound,
        });
        self.blocked = false;
    }

    pub fn any_task(&mut self, dice: &mut Dice, of: impl Fn(Status) -> bool) -> Option<&mut Task> {
        let mut some: Vec<&mut Task> = self.tasks.iter_mut().filter(|task| task.wanted() && of(task.status)).collect();
        let count = some.len() as u64;
        (count > 0).then(|| some.swap_remove(dice.below(count) as usize))
    }

    /// The proxies and the scheduler begin anew: nothing is known of anybody's health.
    pub fn forget(&mut self, now: Duration) {
        for task in &mut self.tasks {
            task.monitor = Monitor::new(&check(), now);
        }
    }

    /// Nobody is ill or protected any more, and percentages that let nothing be replaced, as those of a daemon that needs
    /// all its tasks, are changed.
    pub fn heal(&mut self) {
        (self.minimum, self.blocked) = (0, false);
        for task in &mut self.tasks {
            (task.ill, task.protected_until) = (false, Duration::ZERO);
        }
        for deployment in &mut self.deployments {
            deployment.sound = true;
        }
    }

    /// Somebody sees that a deployment was given up and makes a sound one.
    pub fn deploy_again(&mut self) {
        if self.deployments.iter().any(|deployment| deployment.primary && deployment.rollout == Rollout::Failed) {
            self.deploy(true);
        }
    }

    pub fn begin(&mut self, order: u64, deployment: &str, host: &str, now: Duration, takes: Duration) {
        self.tasks.push(Task {
            id: format!("task-{order}"),
            deployment: deployment.to_owned(),
            status: Status::Starting { until: now + takes },
            host: host.to_owned(),
            order,
            created: now,
            protected_until: Duration::ZERO,
            ill: false,
            came_up: false,
            monitor: Monitor::new(&check(), now),
        });
    }

    pub fn stop(&mut self, id: &str, why: StopWhy, until: Duration) {
        let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) else { return };
        task.status = Status::Stopping { until };
        let of = task.deployment.clone();
        if why == StopWhy::Unhealthy
            && let Some(deployment) = self.deployments.iter_mut().find(|d| d.id == of)
            && deployment.rollout == Rollout::InProgress
        {
            deployment.failed_tasks += 1;
        }
    }

    pub fn complete(&mut self, id: &str) {
        self.deployments.retain(|deployment| deployment.id == id);
        for deployment in &mut self.deployments {
            deployment.rollout = Rollout::Completed;
        }
    }

    pub fn fail(&mut self, id: &str, back_to: Option<&str>) {
        for deployment in &mut self.deployments {
            if deployment.id == id {
                (deployment.rollout, deployment.primary) = (Rollout::Failed, back_to.is_none());
            } else if Some(deployment.id.as_str()) == back_to {
                (deployment.rollout, deployment.primary) = (Rollout::InProgress, true);
                deployment.failed_tasks = 0;
                deployment.throttle.succeeded();
            }
        }
    }

    /// Tasks come up, are probed and end.
    pub fn go_on(&mut self, now: Duration, blind: bool, tally: &mut Tally, dice: &mut Dice) {
        let mut ended = Vec::new();
        for task in &mut self.tasks {
            let sound = self.deployments.iter().find(|d| d.id == task.deployment).is_none_or(|d| d.sound);
            match task.status {
                Status::Starting { until } if until <= now => {
                    if !sound && dice.percent(50) {
                        tally.note("failed start");
                        task.end();
                    } else {
                        task.ill |= !sound;
                        task.status = Status::Running { since: now };
                        task.monitor = Monitor::new(&check(), now);
                    }
                }
                Status::Starting { .. } => tally.note("slow start"),
                Status::Running { .. } => {
                    let outcome = Outcome::Status(if task.ill { 500 } else { 200 });
                    while !blind && task.monitor.next_probe().is_some_and(|due| due <= now) {
                        let due = task.monitor.next_probe().unwrap_or(now).max(now);
                        task.monitor.observe(&outcome, due, due);
                    }
                }
                Status::Stopping { until } if until <= now => ended.push((task.id.clone(), false)),
                Status::Stopping { .. } => {}
                Status::Ended => ended.push((task.id.clone(), true)),
            }
        }
        for (id, by_itself) in ended {
            let Some(index) = self.tasks.iter().position(|task| task.id == id) else { continue };
            let task = self.tasks.remove(index);
            if by_itself && !task.came_up {
                self.count_failure(&task, now, tally);
            }
        }
    }

    fn count_failure(&mut self, task: &Task, now: Duration, tally: &mut Tally) {
        let Some(deployment) = self.deployments.iter_mut().find(|d| d.id == task.deployment) else { return };
        if deployment.rollout == Rollout::InProgress {
            deployment.failed_tasks += 1;
        }
        if now.saturating_sub(task.created) < STARTED_WELL
            && deployment.throttle.failed(millis(task.created), millis(now))
        {
            tally.note("throttled");
        }
    }

    /// What is healthy came up; one made after the last failure ends the counting.
    pub fn note_health(&mut self, blind: bool) {
        for task in self.tasks.iter_mut().filter(|task| task.status.is_running()) {
            if task.health(blind) != Health::Healthy {
                continue;
            }
            task.came_up = true;
            let primary = self.deployments.iter_mut().find(|d| d.primary && d.id == task.deployment);
            if let Some(primary) = primary.filter(|primary| millis(task.created) >= primary.throttle.last_ms) {
                primary.throttle.succeeded();
                primary.failed_tasks = 0;
            }
        }
    }

    pub fn seen(
        &self,
        now: Duration,
        blind: bool,
        leave: &BTreeSet<String>,
        zones: &BTreeMap<String, &str>,
    ) -> Vec<SeenTask> {
        let show = |task: &Task| SeenTask {
            id: task.id.clone(),
            deployment: task.deployment.clone(),
            phase: match task.status {
                Status::Starting { .. } => Phase::Starting,
                Status::Running { since } => Phase::Running { since },
                Status::Stopping { .. } | Status::Ended => Phase::Stopping,
            },
            health: if task.status.is_running() { task.health(blind) } else { Health::Unknown },
            leave: leave.contains(&task.host),
            protected: task.protected_until > now,
            zone: zones.get(&task.host).copied().unwrap_or_default().to_owned(),
            instance: task.host.clone(),
            order: task.order,
        };
        self.tasks.iter().map(show).collect()
    }

    pub fn wanted(&self) -> Wanted {
        let deployment = |d: &Deployment| scheduler::Deployment {
            id: d.id.clone(),
            primary: d.primary,
            rollout: d.rollout,
            failed_tasks: d.failed_tasks,
            not_before: Duration::from_millis(d.throttle.last_ms.unsigned_abs()) + d.throttle.delay(),
        };
        Wanted {
            desired: self.desired,
            minimum_healthy_percent: self.minimum,
            maximum_percent: self.maximum,
            circuit_breaker: self.breaker,
            grace: self.grace,
            deployments: self.deployments.iter().map(deployment).collect(),
            steady: self.steady,
            blocked: self.blocked,
            watch: Watch::default(),
        }
    }
}
