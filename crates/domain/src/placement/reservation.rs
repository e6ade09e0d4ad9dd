//! Managed scaling of a capacity provider: how large its Auto Scaling group should be. By AWS's
//! documentation of cluster auto scaling: with N instances, of which M are needed by the tasks that run
//! and wait, `CapacityProviderReservation` is M / N × 100, and the group follows so that it meets the
//! target capacity.

use super::{Demand, Instance, place};

/// A provider's group as it is.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its registered instances, with what is left of each and whether it runs tasks.
    pub instances: Vec<(Instance, bool)>,
    /// Instances that were launched and have not registered yet.
    pub coming: u32,
    /// An instance of the group without tasks.
    pub empty: Instance,
    /// What its waiting tasks take, the oldest first.
    pub waiting: Vec<Demand>,
    /// Its desired capacity and the bounds of it.
    pub desired: u32,
    pub min: u32,
    pub max: u32,
}

/// A provider's settings.
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// Percent.
    pub target: u32,
    pub min_step: u32,
    pub max_step: u32,
}

/// How many instances the tasks need: those that run tasks, and those that the waiting ones fill.
/// A task that fits on no instance of the group needs none.
pub fn needed(group: &Group) -> u32 {
    let mut busy: Vec<Instance> = group.instances.iter().filter(|(_, busy)| *busy).map(|(i, _)| i.clone()).collect();
    let mut idle: Vec<Instance> = group.instances.iter().filter(|(_, busy)| !busy).map(|(i, _)| i.clone()).collect();
    for demand in &group.waiting {
        if let Some(at) = busy.iter().position(|instance| fits(instance, demand)) {
            busy[at].take(demand);
        } else if let Some(at) = idle.iter().position(|instance| fits(instance, demand)) {
            let mut instance = idle.remove(at);
            instance.take(demand);
            busy.push(instance);
        } else if fits(&group.empty, demand) {
            let mut instance = group.empty.clone();
            instance.take(demand);
            busy.push(instance);
        }
    }
    busy.len() as u32
}

/// `CapacityProviderReservation`. Without instances it is 100 if none is needed, and 200 if some are.
pub fn reservation(group: &Group) -> f64 {
    let (needed, there) = (needed(group), group.instances.len() as u32 + group.coming);
    match (needed, there) {
        (0, 0) => 100.0,
        (_, 0) => 200.0,
        _ => f64::from(needed) / f64::from(there) * 100.0,
    }
}

/// The group's next desired capacity. What it lacks is added at least by the smallest and at most by
/// the largest step; what it has too much goes by at most the largest.
pub fn next_size(group: &Group, scaling: Scaling) -> u32 {
    let goal = u32::try_from((u64::from(needed(group)) * 100).div_ceil(u64::from(scaling.target.max(1))));
    let goal = goal.unwrap_or(u32::MAX);
    let (min_step, max_step) = (scaling.min_step, scaling.max_step.max(scaling.min_step));
    let size = if goal > group.desired {
        // Instances that are idle or on their way are there already; only what lacks is launched.
        group.desired.saturating_add((goal - group.desired).clamp(min_step, max_step))
    } else {
        group.desired - (group.desired - goal).min(max_step)
    };
    size.clamp(group.min, group.max.max(group.min))
}

fn fits(instance: &Instance, demand: &Demand) -> bool {
    place(std::slice::from_ref(instance), demand, &[], &[], 0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    fn instance(memory: u32) -> Instance {
        Instance {
            id: "i".into(),
            attributes: Default::default(),
            cpu: 2048,
            memory,
            ports: Default::default(),
            tasks_of_group: 0,
            tasks: 0,
            about: Default::default(),
        }
    }

    fn demand(memory: u32) -> Demand {
        Demand { memory, ..Default::default() }
    }

    fn group(busy: u32, idle: u32, waiting: Vec<Demand>) -> Group {
        let of = |n, busy| std::iter::repeat_n((instance(if busy { 0 } else { 1000 }), busy), n as usize);
        Group {
            instances: of(busy, true).chain(of(idle, false)).collect(),
            coming: 0,
            empty: instance(1000),
            waiting,
            desired: busy + idle,
            min: 0,
            max: 100,
        }
    }

    const FULL: Scaling = Scaling { target: 100, min_step: 1, max_step: 10_000 };

    #[test]
    fn from_nothing_to_what_the_waiting_tasks_fill_and_back() {
        let waiting = group(0, 0, vec![demand(600), demand(600), demand(300)]);
        assert_eq!((needed(&waiting), reservation(&waiting), next_size(&waiting, FULL)), (2, 200.0, 2));
        assert_eq!(next_size(&group(2, 0, vec![]), FULL), 2);
        assert_eq!((reservation(&group(1, 1, vec![])), next_size(&group(1, 1, vec![]), FULL)), (50.0, 1));
        assert_eq!(reservation(&group(0, 0, vec![])), 100.0);
    }

    #[test]
    fn a_lower_target_keeps_spare_instances() {
        let half = Scaling { target: 50, ..FULL };
        assert_eq!(next_size(&group(2, 0, vec![]), half), 4);
        assert_eq!(next_size(&group(2, 2, vec![]), half), 4);
    }

    #[test]
    fn steps_and_bounds_hold() {
        let waiting: Vec<Demand> = (0..7).map(|_| demand(1000)).collect();
        assert_eq!(next_size(&group(0, 0, waiting.clone()), Scaling { max_step: 3, ..FULL }), 3);
        assert_eq!(next_size(&group(0, 0, vec![demand(1)]), Scaling { min_step: 4, ..FULL }), 4);
        assert_eq!(next_size(&Group { max: 5, ..group(0, 0, waiting) }, FULL), 5);
        assert_eq!(next_size(&Group { min: 2, ..group(0, 3, vec![]) }, FULL), 2);
        assert_eq!(next_size(&group(0, 0, vec![demand(1001)]), FULL), 0, "it fits nowhere anyway");
    }

    proptest! {
        #[test]
        fn enough_and_never_shrinking_below_what_is_busy(
            busy in 0u32..20, idle in 0u32..20, tasks in prop::collection::vec(1u32..1001, 0..30), target in 1u32..101,
        ) {
            let group = group(busy, idle, tasks.iter().map(|memory| demand(*memory)).collect());
            let size = next_size(&group, Scaling { target, ..FULL });
            prop_assert!(size >= busy.min(100));
            let total: u32 = tasks.iter().sum();
            prop_assert!(needed(&group) >= busy + total.div_ceil(1000));
            // Followed, it stays.
            let settled = Group { desired: size, ..group };
            prop_assert_eq!(next_size(&settled, Scaling { target, ..FULL }), size);
        }
    }
}
