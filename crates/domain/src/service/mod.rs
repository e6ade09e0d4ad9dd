//! The service scheduler: from what a service should be, what is seen of its tasks and the time, to
//! the actions that bring them together. Pure; rules follow the ECS developer guide's chapters on
//! rolling updates, the deployment circuit breaker and service throttle logic.

pub mod blue_green;
mod daemon;
mod plan;
pub mod throttle;

pub use daemon::{Host, plan_daemon};
pub use plan::plan;
pub use throttle::Throttle;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a service should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `desiredCount`; 0 while the service is being deleted.
    pub desired: u32,
    /// `minimumHealthyPercent`, 0–100; rounds up.
    pub minimum_healthy_percent: u32,
    /// `maximumPercent`, at least 100; rounds down.
    pub maximum_percent: u32,
    pub circuit_breaker: Option<CircuitBreaker>,
    /// `healthCheckGracePeriodSeconds`: how long after its start a task's bad health is ignored.
    pub grace: Duration,
    /// Exactly one of them is the primary one.
    pub deployments: Vec<Deployment>,
    /// It was last announced to be in a steady state.
    pub steady: bool,
    /// It was announced that percentages or protected tasks hold the service up.
    pub blocked: bool,
    pub watch: Watch,
}

/// What else the deployment in progress is watched by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// One of its alarms went to ALARM; whether that rolls it back.
    pub alarm: Option<bool>,
    /// Somebody stopped it; whether it is to be rolled back.
    pub stop: Option<bool>,
    pub bake: Bake,
}

/// How long alarms are watched after the service is steady and before the deployment counts as completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bake {
    /// No alarms.
    #[default]
    None,
    NotBegun,
    Running,
    Over,
}

/// `deploymentCircuitBreaker`, enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    pub rollback: bool,
}

/// One deployment of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// `ecs-svc/…`.
    pub id: String,
    pub primary: bool,
    pub rollout: Rollout,
    /// Tasks in a row that did not start or did not become healthy.
    pub failed_tasks: u32,
    /// Before this (monotonic) time no task of it is started.
    pub not_before: Duration,
}

/// `rolloutState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rollout {
    #[serde(rename = "IN_PROGRESS")]
    InProgress,
    #[serde(rename = "COMPLETED")]
    Completed,
    #[serde(rename = "FAILED")]
    Failed,
}

/// A task of the service that has not stopped yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTask {
    pub id: String,
    pub deployment: String,
    pub phase: Phase,
    pub health: Health,
    /// Its container instance is draining or gone: it should run elsewhere.
    pub leave: bool,
    /// Scale-in protection: neither scaling, a deployment nor a draining instance ends it.
    pub protected: bool,
    pub zone: String,
    pub instance: String,
    /// Grows with every task; a larger one was started later.
    pub order: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// PROVISIONING, PENDING or ACTIVATING.
    Starting,
    /// RUNNING since this (monotonic) time.
    Running { since: Duration },
    /// DEACTIVATING, STOPPING or DEPROVISIONING, or about to.
    Stopping,
}

/// The verdict of the target groups, or of the container where there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No verdict yet. Not the same as unhealthy.
    Unknown,
    Healthy,
    Unhealthy,
}

/// What to do. Each can be carried out alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Start {
        deployment: String,
        count: u32,
    },
    /// A daemon's task, on this container instance.
    StartOn {
        deployment: String,
        instance: String,
    },
    Stop {
        task: String,
        why: StopWhy,
    },
    /// The primary deployment's rollout is COMPLETED; all others are over.
    Complete {
        deployment: String,
    },
    /// The bake time of the deployment begins.
    Bake,
    /// The deployment is given up; `back_to` becomes the primary one. `rollback`: one was asked for, whether or not
    /// there is anything to go back to.
    Fail {
        deployment: String,
        why: FailWhy,
        rollback: bool,
        back_to: Option<String>,
    },
    /// Announce the steady state, or note that it was left.
    Steady(bool),
    /// Announce that the deployment configuration lets no task be started or stopped.
    Blocked,
    /// Announce that these tasks would be stopped if they were not protected.
    Protected(Vec<String>),
}

/// Why a deployment is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailWhy {
    /// Too many of its tasks failed, in a row.
    CircuitBreaker,
    Alarm,
    /// StopServiceDeployment.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopWhy {
    /// More run than are wanted, or a newer deployment took over.
    Scaling,
    /// It failed its health checks.
    Unhealthy,
    /// Its container instance is draining.
    Draining,
}

impl Wanted {
    /// Why the deployment is to be given up, and whether it is to be rolled back.
    pub fn failure(&self, deployment: &Deployment) -> Option<(FailWhy, bool)> {
        if deployment.rollout != Rollout::InProgress {
            return None;
        }
        let broken = self.circuit_breaker.filter(|_| deployment.failed_tasks >= self.failure_threshold());
        let stopped = self.watch.stop.map(|rollback| (FailWhy::Stopped, rollback));
        let alarm = self.watch.alarm.map(|rollback| (FailWhy::Alarm, rollback));
        stopped.or(alarm).or(broken.map(|breaker| (FailWhy::CircuitBreaker, breaker.rollback)))
    }

    /// The least number of healthy tasks that the scheduler's own decisions leave.
    pub fn minimum(&self) -> u32 {
        (u64::from(self.desired) * u64::from(self.minimum_healthy_percent)).div_ceil(100) as u32
    }

    /// The most tasks that may be starting or running.
    pub fn maximum(&self) -> u32 {
        (u64::from(self.desired) * u64::from(self.maximum_percent) / 100) as u32
    }

    /// How many failed tasks in a row the circuit breaker allows.
    pub fn failure_threshold(&self) -> u32 {
        self.desired.div_ceil(2).clamp(3, 200)
    }
}
