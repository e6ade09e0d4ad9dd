//! The life of one task: what is the next step, from what is stored, what is seen and what is under
//! way. Pure.
//!
//! PROVISIONING → (placed) → PENDING → (launch) → RUNNING → DEACTIVATING → (drained) → STOPPING → (ended) → DEPROVISIONING →
//! (removed) → STOPPED

use super::super::records::{LastStatus, Task};
use super::outcome::keep_news;
use quarry_domain::task::{ContainerState, ObservedTask, TaskPhase};
use std::time::Duration;

/// How far the work done beside the reconciler has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    None,
    UnderWay,
    Done,
    Failed,
}

/// What the decision is made from.
pub struct Facts<'a> {
    pub task: &'a Task,
    pub seen: Option<&'a ObservedTask>,
    pub launch: Job,
    pub removal: Job,
    /// None of its targets is registered or draining any more.
    pub drained: bool,
    /// How long ago SIGTERM was sent, and whether SIGKILL was.
    pub terminated: Option<(Duration, bool)>,
    pub stop_timeout: Duration,
    /// Names of its essential containers.
    pub essential: &'a [String],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Wait,
    /// Resolve the images and start it.
    Launch,
    /// It could not be launched.
    FailStart,
    /// It runs: register it.
    Run,
    /// An essential container ended, or all did, or the task is lost. `dead`: nothing of it is left.
    Ended {
        dead: bool,
    },
    /// Something of its containers is new: keep it.
    Observe,
    /// It is drained: end its processes.
    Terminate,
    Signal {
        kill: bool,
    },
    /// Its processes are gone: keep the exit codes, take the rest away.
    Deprovision,
    Remove,
    Stopped,
}

/// Past this after SIGKILL a task is removed whatever is seen of it.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn next(facts: &Facts<'_>) -> Step {
    match facts.task.status {
        // Placed when there is room.
        LastStatus::Provisioning => Step::Wait,
        LastStatus::Pending | LastStatus::Activating => starting(facts),
        LastStatus::Running => running(facts),
        LastStatus::Deactivating if is_gone(facts.seen) => Step::Deprovision,
        LastStatus::Deactivating if facts.drained => Step::Terminate,
        LastStatus::Deactivating => Step::Wait,
        LastStatus::Stopping => stopping(facts),
        LastStatus::Deprovisioning => match facts.removal {
            Job::None | Job::Failed => Step::Remove,
            Job::UnderWay => Step::Wait,
            Job::Done => Step::Stopped,
        },
        LastStatus::Stopped => Step::Stopped,
    }
}

fn starting(facts: &Facts<'_>) -> Step {
    match (facts.launch, facts.seen.map(|seen| seen.phase)) {
        (Job::UnderWay, _) => Step::Wait,
        (Job::Failed, _) => Step::FailStart,
        (Job::None, None) => Step::Launch,
        // Launched, and gone again before it was seen.
        (Job::Done, None) => Step::Ended { dead: true },
        (Job::None | Job::Done, Some(TaskPhase::Starting)) => Step::Wait,
        (Job::None | Job::Done, Some(TaskPhase::Running)) => Step::Run,
        (Job::None | Job::Done, Some(TaskPhase::Exited | TaskPhase::Lost)) => Step::Ended { dead: true },
    }
}

fn running(facts: &Facts<'_>) -> Step {
    let Some(seen) = facts.seen.filter(|_| !is_gone(facts.seen)) else { return Step::Ended { dead: true } };
    let ended = |name: &str| {
        seen.containers.iter().any(|container| {
            let over = matches!(container.state, ContainerState::Exited { .. } | ContainerState::Failed { .. });
            container.name == name && over
        })
    };
    if !facts.essential.iter().any(|name| ended(name)) {
        let news = keep_news(&mut facts.task.clone(), seen);
        return if news { Step::Observe } else { Step::Wait };
    }
    // Draining makes sense only while what is registered still answers.
    Step::Ended { dead: facts.task.targets.iter().any(|target| ended(&target.container)) }
}

fn stopping(facts: &Facts<'_>) -> Step {
    if facts.launch == Job::UnderWay {
        return Step::Wait;
    }
    if is_gone(facts.seen) {
        return Step::Deprovision;
    }
    match facts.terminated {
        None => Step::Signal { kill: false },
        Some((since, false)) if since >= facts.stop_timeout => Step::Signal { kill: true },
        Some((since, true)) if since >= facts.stop_timeout + PATIENCE => Step::Deprovision,
        Some(_) => Step::Wait,
    }
}

fn is_gone(seen: Option<&ObservedTask>) -> bool {
    seen.is_none_or(|seen| matches!(seen.phase, TaskPhase::Exited | TaskPhase::Lost))
}
