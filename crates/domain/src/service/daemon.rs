//! Services with the scheduling strategy DAEMON: one task on each active container instance that meets
//! the constraints. Rules follow the ECS developer guide: a deployment stops a task before its successor
//! starts, as far as the minimum healthy percent allows; tasks leave an instance that drains last.

use super::plan::{give_up, is_healthy, is_unhealthy};
use super::{Action, Bake, Phase, Rollout, SeenTask, StopWhy, Wanted};
use std::time::Duration;

/// A container instance as a daemon sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As in [`SeenTask::instance`].
    pub id: String,
    /// ACTIVE, and it meets the constraints: a task belongs here.
    pub wanted: bool,
    /// Tasks other than daemons' are on it still. Those go first.
    pub busy: bool,
}

/// Decides what to do now. `wanted.desired` is how many hosts want a task. `now` is monotonic. Carrying
/// out the actions and asking again converges.
pub fn plan_daemon(wanted: &Wanted, hosts: &[Host], tasks: &[SeenTask], now: Duration) -> Vec<Action> {
    let Some(primary) = wanted.deployments.iter().find(|deployment| deployment.primary) else { return Vec::new() };
    if let Some(action) = give_up(wanted, primary) {
        return vec![action];
    }
    let may_start = now >= primary.not_before && primary.rollout != Rollout::Failed;
    let minimum = wanted.minimum() as usize;
    let is_wanted = |task: &SeenTask| hosts.iter().any(|host| host.wanted && host.id == task.instance);
    let mut healthy = tasks.iter().filter(|task| is_healthy(task) && is_wanted(task)).count();
    let (mut actions, mut protected) = (Vec::new(), Vec::new());
    let mut settled = true;
    let mut stop = |actions: &mut Vec<Action>, task: &SeenTask, why| {
        if task.protected && why != StopWhy::Unhealthy {
            protected.push(task.id.clone());
        } else {
            actions.push(Action::Stop { task: task.id.clone(), why });
        }
    };

    for task in tasks.iter().filter(|task| task.phase != Phase::Stopping && !is_wanted(task)) {
        settled = false;
        let busy = hosts.iter().any(|host| host.id == task.instance && host.busy);
        match task.leave {
            // The host is there and what it runs goes first.
            true if busy && task.phase != Phase::Starting => {}
            true => stop(&mut actions, task, StopWhy::Draining),
            false => stop(&mut actions, task, StopWhy::Scaling),
        }
    }
    for host in hosts.iter().filter(|host| host.wanted) {
        let mut own: Vec<&SeenTask> = tasks.iter().filter(|task| task.instance == host.id).collect();
        // The one to keep first: of the primary deployment, then what serves, then the older one.
        own.sort_by_key(|task| (task.deployment != primary.id, is_unhealthy(task, wanted.grace, now), task.order));
        let on_its_way_out = own.iter().any(|task| task.phase == Phase::Stopping);
        let mut live = own.into_iter().filter(|task| task.phase != Phase::Stopping);
        let Some(task) = live.next() else {
            settled = false;
            // What stops may hold ports and memory that its successor needs.
            if may_start && !on_its_way_out {
                actions.push(Action::StartOn { deployment: primary.id.clone(), instance: host.id.clone() });
            }
            continue;
        };
        for second in live {
            settled = false;
            healthy -= usize::from(is_healthy(second));
            stop(&mut actions, second, StopWhy::Scaling);
        }
        let unhealthy = is_unhealthy(task, wanted.grace, now);
        settled &= !on_its_way_out && is_healthy(task) && task.deployment == primary.id;
        if !may_start || (task.deployment == primary.id && !unhealthy) {
            continue;
        }
        if is_healthy(task) {
            if healthy <= minimum {
                continue;
            }
            healthy -= usize::from(!task.protected);
        }
        stop(&mut actions, task, if unhealthy { StopWhy::Unhealthy } else { StopWhy::Scaling });
    }

    let quiet = actions.is_empty();
    let waits = tasks.iter().any(|task| matches!(task.phase, Phase::Stopping | Phase::Starting));
    settled &= !waits;
    if settled && quiet && primary.rollout == Rollout::InProgress {
        match wanted.watch.bake {
            Bake::None | Bake::Over => actions.push(Action::Complete { deployment: primary.id.clone() }),
            Bake::NotBegun => actions.push(Action::Bake),
            Bake::Running => {}
        }
    }
    let replaces = tasks.iter().any(|task| task.deployment != primary.id);
    if settled && quiet && !wanted.steady && primary.rollout != Rollout::Failed {
        actions.push(Action::Steady(true));
    } else if quiet && !protected.is_empty() && !wanted.blocked && !waits {
        actions.push(Action::Protected(protected));
    } else if quiet && may_start && replaces && !wanted.blocked && !waits && healthy == tasks.len() && healthy > 0 {
        actions.push(Action::Blocked);
    } else if wanted.steady && (!quiet || waits || replaces) {
        actions.push(Action::Steady(false));
    }
    actions
}

#[cfg(test)]
#[path = "daemon_tests.rs"]
mod tests;
