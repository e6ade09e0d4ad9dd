//! The order in which the containers of a task start: who waits for whom, and who waits in vain. Pure.

use quarry_domain::task::{ContainerHealth, ContainerSpec, ContainerState, Dependency, ObservedContainer};
use std::time::{Duration, Instant};

/// All that counts; the lists are parallel.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub containers: &'a [ContainerSpec],
    pub seen: &'a [ObservedContainer],
    pub started: &'a [Option<Instant>],
    /// Nothing is to be started any more.
    pub ending: bool,
}

/// What becomes of a container that has not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has started or failed already.
    Over,
    Wait,
    Start,
    /// Why it never will.
    Never(String),
}

/// Decides on one container.
pub fn look(facts: Facts<'_>, index: usize) -> Verdict {
    if facts.seen[index].state != ContainerState::Pending {
        return Verdict::Over;
    }
    if facts.ending {
        return Verdict::Never("the task was stopped before its dependencies had started".to_owned());
    }
    let mut verdict = Verdict::Start;
    for on in &facts.containers[index].depends_on {
        let Some(other) = facts.containers.iter().position(|c| c.name == on.container) else { continue };
        match met(facts, other, on.condition) {
            Some(true) => {}
            Some(false) => {
                return Verdict::Never(format!("container {} did not become {:?}", on.container, on.condition));
            }
            None => verdict = Verdict::Wait,
        }
    }
    verdict
}

/// Whether a condition on a container holds; `None` while it may still come to pass.
fn met(facts: Facts<'_>, other: usize, condition: Dependency) -> Option<bool> {
    let waited_too_long = || {
        let given = facts.containers[other].start_timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let since = facts.started[other].map(|at| at.elapsed());
        if given.is_some_and(|given| since.is_some_and(|since| since >= given)) { Some(false) } else { None }
    };
    match (&facts.seen[other].state, condition) {
        (ContainerState::Pending, _) => None,
        (ContainerState::Failed { .. }, _) => Some(false),
        (ContainerState::Running { .. } | ContainerState::Exited { .. }, Dependency::Start) => Some(true),
        (ContainerState::Exited { .. }, Dependency::Complete) => Some(true),
        (ContainerState::Exited { code, .. }, Dependency::Success) => Some(*code == 0),
        (ContainerState::Exited { .. }, Dependency::Healthy) => Some(false),
        (ContainerState::Running { .. }, Dependency::Complete | Dependency::Success) => waited_too_long(),
        (ContainerState::Running { .. }, Dependency::Healthy) => match facts.seen[other].health {
            ContainerHealth::Healthy => Some(true),
            ContainerHealth::Unhealthy => Some(false),
            ContainerHealth::Unknown => waited_too_long(),
        },
    }
}

/// When a container that others wait for has taken too long.
pub fn due(facts: Facts<'_>) -> Option<Instant> {
    let pending = facts.seen.iter().any(|seen| seen.state == ContainerState::Pending);
    let ends = facts.containers.iter().zip(facts.started).filter_map(|(container, started)| {
        let end = (*started)? + Duration::from_secs(container.start_timeout?.into());
        (end > Instant::now()).then_some(end)
    });
    ends.min().filter(|_| pending)
}
