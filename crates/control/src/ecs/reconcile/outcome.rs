//! How a task ended, in ECS's words.

use super::super::records::{StopCode, Task};
use quarry_domain::task::{ContainerState, ObservedTask, TaskPhase};

/// Keeps the exit codes and reasons of what is seen.
pub fn keep_exit_codes(task: &mut Task, seen: Option<&ObservedTask>) {
    for container in &mut task.containers {
        let state = seen.and_then(|seen| seen.containers.iter().find(|c| c.name == container.name)).map(|c| &c.state);
        match state {
            Some(ContainerState::Exited { code, oom_killed, .. }) => {
                container.exit_code = Some(*code);
                if *oom_killed {
                    container.reason = Some("OutOfMemoryError: Container killed due to memory usage".to_owned());
                }
            }
            Some(ContainerState::Failed { reason, .. }) => {
                container.reason.get_or_insert_with(|| reason.clone());
            }
            Some(ContainerState::Pending | ContainerState::Running { .. }) | None => {}
        }
    }
}

/// Keeps what is seen of a task that goes on: the health of its containers, and how those ended that it
/// does not need. Returns whether anything was new.
pub fn keep_news(task: &mut Task, seen: &ObservedTask) -> bool {
    let before = task.containers.clone();
    for container in &mut task.containers {
        let Some(seen) = seen.containers.iter().find(|c| c.name == container.name) else { continue };
        if let Some(health) = &mut container.health {
            *health = seen.health;
        }
    }
    keep_exit_codes(task, Some(seen));
    task.containers != before
}

/// Why a task ended by itself.
pub fn stop_of(task: &Task, seen: Option<&ObservedTask>, essential: &[String]) -> (StopCode, String) {
    let states = || seen.into_iter().flat_map(|seen| &seen.containers).filter(|c| essential.contains(&c.name));
    for container in states() {
        if let ContainerState::Failed { reason, .. } = &container.state {
            let reason = match reason.split_once(':').is_some_and(|(name, _)| name.ends_with("Error")) {
                true => reason.clone(),
                false => format!("CannotStartContainerError: {reason}"),
            };
            return (StopCode::TaskFailedToStart, reason);
        }
    }
    let out_of_memory = |state: &ContainerState| matches!(state, ContainerState::Exited { oom_killed: true, .. });
    if states().any(|container| out_of_memory(&container.state)) {
        return (
            StopCode::EssentialContainerExited,
            "OutOfMemoryError: Container killed due to memory usage".to_owned(),
        );
    }
    match seen.map(|seen| seen.phase) {
        Some(TaskPhase::Lost) | None if task.started_ms.is_none() => (
            StopCode::TaskFailedToStart,
            "CannotStartContainerError: the task's processes vanished while it started".to_owned(),
        ),
        Some(_) | None => (StopCode::EssentialContainerExited, "Essential container in task exited".to_owned()),
    }
}
