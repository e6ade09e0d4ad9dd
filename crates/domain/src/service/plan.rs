//! The decision itself.

use super::{Action, Bake, Deployment, Health, Phase, Rollout, SeenTask, StopWhy, Wanted};
use std::collections::BTreeMap;
use std::time::Duration;

/// Decides what to do now. `now` is monotonic. Carrying out the actions and asking again converges.
pub fn plan(wanted: &Wanted, tasks: &[SeenTask], now: Duration) -> Vec<Action> {
    let Some(primary) = wanted.deployments.iter().find(|deployment| deployment.primary) else { return Vec::new() };
    let mut actions = Vec::new();

    if let Some(action) = give_up(wanted, primary) {
        // The next look sees the deployment that is primary then.
        actions.push(action);
        return actions;
    }

    let view = View::new(wanted, primary, tasks, now);
    let may_start = now >= primary.not_before && primary.rollout != Rollout::Failed;
    let missing = wanted.desired.saturating_sub(view.good.len() as u32);
    let room = wanted.maximum().saturating_sub(view.live() as u32);
    let start = if may_start { missing.min(room) } else { 0 };
    if start > 0 {
        actions.push(Action::Start { deployment: primary.id.clone(), count: start });
    }

    let mut stops = Stops::new(&view, wanted.minimum());
    stops.not_begun();
    stops.surplus(wanted.desired);
    stops.taken_over(wanted.desired);
    if may_start && missing > start {
        stops.make_room(missing - start);
    }
    let (stops, protected) = (stops.chosen, stops.spared);
    let quiet = stops.is_empty() && start == 0;
    actions.extend(stops.into_iter().map(|(task, why)| Action::Stop { task: task.id.clone(), why }));

    let settled = quiet && missing == 0 && protected.is_empty() && view.is_settled();
    if settled && primary.rollout == Rollout::InProgress {
        match wanted.watch.bake {
            Bake::None | Bake::Over => actions.push(Action::Complete { deployment: primary.id.clone() }),
            Bake::NotBegun => actions.push(Action::Bake),
            Bake::Running => {}
        }
    }
    if settled && !wanted.steady && primary.rollout != Rollout::Failed {
        actions.push(Action::Steady(true));
    } else if quiet && may_start && missing > 0 && !wanted.blocked && view.is_stuck() {
        actions.push(Action::Blocked);
    } else if quiet && !protected.is_empty() && !wanted.blocked && view.is_stuck() {
        actions.push(Action::Protected(protected));
    } else if wanted.steady && (!quiet || missing > 0 || view.is_disturbed()) {
        actions.push(Action::Steady(false));
    }
    actions
}

pub(super) fn give_up(wanted: &Wanted, primary: &Deployment) -> Option<Action> {
    let (why, rollback) = wanted.failure(primary)?;
    let completed = |d: &&Deployment| !d.primary && d.rollout == Rollout::Completed;
    let back_to = wanted.deployments.iter().rev().find(completed).filter(|_| rollback);
    Some(Action::Fail { deployment: primary.id.clone(), why, rollback, back_to: back_to.map(|d| d.id.clone()) })
}

/// The tasks, sorted by what they are to this decision.
struct View<'a> {
    /// Of the primary deployment, starting or running and not unhealthy.
    good: Vec<&'a SeenTask>,
    /// Of the primary deployment, running, unhealthy beyond the grace period.
    unhealthy: Vec<&'a SeenTask>,
    /// Of other deployments, or on an instance that is to be left.
    old: Vec<&'a SeenTask>,
    stopping: usize,
}

impl<'a> View<'a> {
    fn new(wanted: &Wanted, primary: &Deployment, tasks: &'a [SeenTask], now: Duration) -> Self {
        let mut view = Self { good: Vec::new(), unhealthy: Vec::new(), old: Vec::new(), stopping: 0 };
        for task in tasks {
            if task.phase == Phase::Stopping {
                view.stopping += 1;
            } else if task.deployment != primary.id || task.leave {
                view.old.push(task);
            } else if is_unhealthy(task, wanted.grace, now) {
                view.unhealthy.push(task);
            } else {
                view.good.push(task);
            }
        }
        view
    }

    /// Everything that counts against `maximumPercent`.
    fn live(&self) -> usize {
        self.good.len() + self.unhealthy.len() + self.old.len()
    }

    fn healthy(&self) -> usize {
        self.good.iter().chain(&self.old).filter(|task| is_healthy(task)).count()
    }

    /// Nothing but healthy tasks of the primary deployment.
    fn is_settled(&self) -> bool {
        !self.is_disturbed() && self.good.iter().all(|task| is_healthy(task))
    }

    /// Only healthy tasks and none on its way in or out: nothing will change by itself.
    fn is_stuck(&self) -> bool {
        self.stopping == 0 && self.good.iter().chain(&self.old).all(|task| is_healthy(task))
    }

    /// Something is certainly going on. A missing verdict alone (after a restart) is not.
    fn is_disturbed(&self) -> bool {
        !self.unhealthy.is_empty()
            || !self.old.is_empty()
            || self.stopping > 0
            || self.good.iter().any(|task| task.phase == Phase::Starting)
    }
}

/// The tasks to stop, never leaving fewer healthy ones than the minimum.
struct Stops<'v, 'a> {
    view: &'v View<'a>,
    minimum: usize,
    healthy: usize,
    chosen: Vec<(&'a SeenTask, StopWhy)>,
    /// Protected tasks that would have been chosen.
    spared: Vec<String>,
}

impl<'v, 'a> Stops<'v, 'a> {
    fn new(view: &'v View<'a>, minimum: u32) -> Self {
        Self { view, minimum: minimum as usize, healthy: view.healthy(), chosen: Vec::new(), spared: Vec::new() }
    }

    /// What has not begun to run on an instance that is to be left never does.
    fn not_begun(&mut self) {
        let begun = |task: &SeenTask| task.phase != Phase::Starting;
        for task in self.view.old.iter().filter(|task| task.leave && !task.protected && !begun(task)) {
            self.stop(task, StopWhy::Draining);
        }
    }

    /// More of the primary deployment than are desired. Unhealthy ones go once enough others are
    /// healthy, the rest is taken from where most are.
    fn surplus(&mut self, desired: u32) {
        let desired = desired as usize;
        let healthy = self.view.good.iter().filter(|task| is_healthy(task)).count();
        if healthy >= desired {
            for task in &self.view.unhealthy {
                self.stop(task, StopWhy::Unhealthy);
            }
        }
        let excess = self.view.good.len().saturating_sub(desired);
        for task in self.unprotected(&self.view.good, excess) {
            self.stop(task, StopWhy::Scaling);
        }
    }

    /// As many as should go, the protected ones last; those are spared.
    fn unprotected(&mut self, tasks: &[&'a SeenTask], count: usize) -> Vec<&'a SeenTask> {
        if count == 0 {
            return Vec::new();
        }
        let (protected, free): (Vec<_>, Vec<_>) = worst_first(tasks).into_iter().partition(|task| task.protected);
        let lacking = count.saturating_sub(free.len());
        self.spared.extend(protected.into_iter().take(lacking).map(|task| task.id.clone()));
        free.into_iter().take(count).collect()
    }

    /// Old tasks that healthy ones of the primary deployment stand in for.
    fn taken_over(&mut self, desired: u32) {
        let healthy = self.view.good.iter().filter(|task| is_healthy(task)).count();
        let keep = (desired as usize).saturating_sub(healthy);
        let excess = self.view.old.len().saturating_sub(keep);
        for task in self.unprotected(&self.view.old, excess) {
            self.stop(task, if task.leave { StopWhy::Draining } else { StopWhy::Scaling });
        }
    }

    /// The maximum leaves no room for `missing` starts: what serves nobody goes first, then healthy
    /// old tasks as far as the minimum allows.
    fn make_room(&mut self, missing: u32) {
        for task in self.view.unhealthy.iter().copied().chain(worst_first(&self.view.old)) {
            if self.chosen.len() >= missing as usize {
                return;
            }
            // A running task without a verdict may serve: it counts as a healthy one here.
            let serves = matches!(task.phase, Phase::Running { .. }) && task.health != Health::Unhealthy;
            if task.protected && task.health != Health::Unhealthy {
                self.spared.push(task.id.clone());
                continue;
            }
            if serves && self.healthy <= self.minimum {
                continue;
            }
            let why = match (task.leave, task.health) {
                (true, _) => StopWhy::Draining,
                (false, Health::Unhealthy) => StopWhy::Unhealthy,
                (false, Health::Unknown | Health::Healthy) => StopWhy::Scaling,
            };
            self.stop(task, why);
        }
    }

    fn stop(&mut self, task: &'a SeenTask, why: StopWhy) {
        if self.chosen.iter().any(|(chosen, _)| chosen.id == task.id) {
            return;
        }
        if is_healthy(task) {
            if self.healthy <= self.minimum {
                return;
            }
            self.healthy -= 1;
        }
        self.chosen.push((task, why));
    }
}

pub(super) fn is_healthy(task: &SeenTask) -> bool {
    matches!(task.phase, Phase::Running { .. }) && task.health == Health::Healthy
}

pub(super) fn is_unhealthy(task: &SeenTask, grace: Duration, now: Duration) -> bool {
    match task.phase {
        Phase::Running { since } => task.health == Health::Unhealthy && now.saturating_sub(since) >= grace,
        Phase::Starting | Phase::Stopping => false,
    }
}

/// In the order in which they are given up: what serves least first, then from the zone and the
/// instance that hold most, then the youngest.
fn worst_first<'a>(tasks: &[&'a SeenTask]) -> Vec<&'a SeenTask> {
    let rank = |task: &SeenTask| match (task.phase, task.health) {
        (Phase::Starting | Phase::Stopping, _) => 0,
        (Phase::Running { .. }, Health::Unhealthy) => 1,
        (Phase::Running { .. }, Health::Unknown) => 2,
        (Phase::Running { .. }, Health::Healthy) => 3,
    };
    let mut left = tasks.to_vec();
    let mut out = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let (mut zones, mut instances) = (BTreeMap::new(), BTreeMap::new());
        for task in &left {
            *zones.entry(task.zone.as_str()).or_insert(0u32) += 1;
            *instances.entry(task.instance.as_str()).or_insert(0u32) += 1;
        }
        let worst = left.iter().enumerate().min_by_key(|(_, task)| {
            let most = |n: u32| std::cmp::Reverse(n);
            let (zone, instance) = (zones[task.zone.as_str()], instances[task.instance.as_str()]);
            (rank(task), most(zone), most(instance), std::cmp::Reverse(task.order))
        });
        let Some((index, _)) = worst else { break };
        out.push(left.remove(index));
    }
    out
}

#[cfg(test)]
#[path = "tests.rs"]
pub(super) mod tests;
