//! Placing a task on a container instance: which instances meet its requirements, and which of
//! those the placement strategies prefer. Rules and words follow the ECS developer guide's chapters
//! on task placement and on service event messages.

mod capacity;
mod expression;
pub mod reservation;

pub use capacity::{Share, next_provider};
pub use expression::{About, Expression, ExpressionError};

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A container instance with what is left on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The container instance's id, the last segment of its ARN.
    pub id: String,
    /// `ecs.availability-zone`, `ecs.instance-type` and the instance's own attributes.
    pub attributes: BTreeMap<String, String>,
    /// CPU units not yet given to tasks.
    pub cpu: u32,
    /// MiB not yet given to tasks.
    pub memory: u32,
    /// Host ports in use.
    pub ports: Arc<BTreeSet<u16>>,
    /// Tasks of the same service (or group) that it already holds.
    pub tasks_of_group: u32,
    /// All tasks that it holds: among equals the emptiest is taken.
    pub tasks: u32,
    /// What constraints may ask besides attributes.
    pub about: About,
}

/// What a task takes from an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// CPU units.
    pub cpu: u32,
    /// MiB.
    pub memory: u32,
    /// Fixed host ports; ephemeral ones (host port 0) are always found.
    pub ports: Vec<u16>,
}

/// One placement strategy; several are applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Evenly over the values of an attribute, or over `instanceId` (alias `host`).
    Spread(String),
    /// On the instance with the least left of a resource that still fits.
    Binpack(Resource),
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Cpu,
    Memory,
}

/// One placement constraint; all must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// Each task of the group on an instance of its own.
    DistinctInstance,
    MemberOf(Expression),
}

/// Why an instance does not fit, in the order in which they are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    Attribute,
    DistinctInstance,
    Cpu,
    Memory,
    Port,
}

/// Nothing fits. Displays as the words that ECS puts into the service's event after
/// `was unable to place a task because `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlace {
    NoInstances,
    /// Fargate has no room for it.
    NoCapacity,
    /// The instance that came closest, and what it lacks.
    Closest {
        instance: String,
        lack: Lack,
    },
}

/// The strategies ECS applies where a service names none.
pub fn default_strategies() -> Vec<Strategy> {
    vec![Strategy::Spread("attribute:ecs.availability-zone".into()), Strategy::Spread("instanceId".into())]
}

impl Strategy {
    /// From the API's `type` and `field`; the error is ECS's message.
    pub fn parse(kind: &str, field: &str) -> Result<Self, String> {
        match kind {
            "random" if field.is_empty() => Ok(Self::Random),
            "random" => Err("A placement strategy of type 'random' does not take a field.".into()),
            "spread" if field.is_empty() => Err("Placement strategy of type 'spread' requires a field.".into()),
            "spread" if matches!(field, "instanceId" | "host") => Ok(Self::Spread("instanceId".into())),
            "spread" if field.starts_with("attribute:") => Ok(Self::Spread(field.into())),
            "binpack" if field.eq_ignore_ascii_case("cpu") => Ok(Self::Binpack(Resource::Cpu)),
            "binpack" if field.eq_ignore_ascii_case("memory") => Ok(Self::Binpack(Resource::Memory)),
            "spread" | "binpack" => Err(format!("Invalid placement strategy field '{field}' for type '{kind}'.")),
            _ => Err(format!("Invalid placement strategy type '{kind}'.")),
        }
    }
}

impl Instance {
    /// The first requirement that the instance does not meet.
    pub fn lacks(&self, demand: &Demand, constraints: &[Constraint]) -> Option<Lack> {
        for constraint in constraints {
            match constraint {
                Constraint::MemberOf(expression) if !expression.holds(&self.attributes, &self.about) => {
                    return Some(Lack::Attribute);
                }
                Constraint::DistinctInstance if self.tasks_of_group > 0 => return Some(Lack::DistinctInstance),
                Constraint::MemberOf(_) | Constraint::DistinctInstance => {}
            }
        }
        if demand.cpu > self.cpu {
            Some(Lack::Cpu)
        } else if demand.memory > self.memory {
            Some(Lack::Memory)
        } else if demand.ports.iter().any(|port| self.ports.contains(port)) {
            Some(Lack::Port)
        } else {
            None
        }
    }

    /// Counts a task that was placed here.
    pub fn take(&mut self, demand: &Demand) {
        self.cpu = self.cpu.saturating_sub(demand.cpu);
        self.memory = self.memory.saturating_sub(demand.memory);
        if !demand.ports.is_empty() {
            Arc::make_mut(&mut self.ports).extend(&demand.ports);
        }
        self.tasks_of_group += 1;
        self.tasks += 1;
    }

    fn field(&self, field: &str) -> Option<&str> {
        match field.strip_prefix("attribute:") {
            Some(name) => self.attributes.get(name).map(String::as_str),
            None => Some(&self.id),
        }
    }
}

/// Chooses the instance for one task; returns its index. `random` decides between equals for
/// [`Strategy::Random`]; otherwise among equals the one with the fewest tasks is taken, so that the
/// first tasks of several services do not meet on one instance, and then the first of `instances`.
pub fn place(
    instances: &[Instance],
    demand: &Demand,
    strategies: &[Strategy],
    constraints: &[Constraint],
    random: u64,
) -> Result<usize, NoPlace> {
    let mut closest: Option<(Lack, &Instance)> = None;
    let mut candidates = Vec::new();
    for (index, instance) in instances.iter().enumerate() {
        match instance.lacks(demand, constraints) {
            None => candidates.push(index),
            Some(lack) if closest.is_none_or(|(so_far, _)| lack > so_far) => closest = Some((lack, instance)),
            Some(_) => {}
        }
    }
    if candidates.is_empty() {
        return Err(match closest {
            None => NoPlace::NoInstances,
            Some((lack, instance)) => NoPlace::Closest { instance: instance.id.clone(), lack },
        });
    }
    for strategy in strategies {
        candidates = narrow(instances, candidates, strategy, random);
    }
    Ok(candidates.into_iter().min_by_key(|&index| instances[index].tasks).expect("a strategy leaves at least one"))
}

/// Keeps the candidates that a strategy likes best. Never empty if `candidates` is not.
fn narrow(instances: &[Instance], candidates: Vec<usize>, strategy: &Strategy, random: u64) -> Vec<usize> {
    match strategy {
        Strategy::Random => vec![candidates[(random % candidates.len() as u64) as usize]],
        Strategy::Binpack(resource) => {
            let left = |index: usize| match resource {
                Resource::Cpu => instances[index].cpu,
                Resource::Memory => instances[index].memory,
            };
            let least = candidates.iter().map(|&index| left(index)).min();
            candidates.into_iter().filter(|&index| Some(left(index)) == least).collect()
        }
        Strategy::Spread(field) => {
            // How many tasks of the group each value of the field has, over all instances.
            let mut count: BTreeMap<Option<&str>, u32> = BTreeMap::new();
            for instance in instances {
                *count.entry(instance.field(field)).or_default() += instance.tasks_of_group;
            }
            let held = |index: usize| count[&instances[index].field(field)];
            let least = candidates.iter().map(|&index| held(index)).min();
            candidates.into_iter().filter(|&index| Some(held(index)) == least).collect()
        }
    }
}

impl Lack {
    /// The reason code of a `RunTask` failure.
    pub fn code(self) -> &'static str {
        match self {
            Self::Attribute => "ATTRIBUTE",
            Self::DistinctInstance => "DISTINCT_INSTANCE",
            Self::Cpu => "RESOURCE:CPU",
            Self::Memory => "RESOURCE:MEMORY",
            Self::Port => "RESOURCE:PORTS",
        }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NoCapacity {
            return f.write_str(
                "Capacity is unavailable at this time. Please try again later or in a different availability zone",
            );
        }
        f.write_str("no container instance met all of its requirements. ")?;
        match self {
            Self::NoCapacity => {}
            Self::NoInstances => f.write_str("Reason: No Container Instances were found in your cluster.")?,
            Self::Closest { instance, lack } => {
                let lack = match lack {
                    Lack::Attribute => "is missing an attribute required by your task",
                    Lack::DistinctInstance => {
                        "already holds a task of the group and the placement constraint is distinctInstance"
                    }
                    Lack::Cpu => "has insufficient CPU units available",
                    Lack::Memory => "has insufficient memory available",
                    Lack::Port => "is already using a port required by your task",
                };
                write!(f, "The closest matching (container-instance {instance}) {lack}.")?;
            }
        }
        f.write_str(" For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, proptest};

    fn instance(id: &str, zone: &str, cpu: u32, memory: u32) -> Instance {
        let attributes = BTreeMap::from([
            ("ecs.availability-zone".to_owned(), zone.to_owned()),
            ("ecs.instance-type".to_owned(), "t2.micro".to_owned()),
        ]);
        let about = About { ec2_instance_id: format!("i-{id}"), ..About::default() };
        Instance { id: id.into(), attributes, cpu, memory, ports: Arc::default(), tasks_of_group: 0, tasks: 0, about }
    }

    fn demand(cpu: u32, memory: u32) -> Demand {
        Demand { cpu, memory, ports: Vec::new() }
    }

    #[test]
    fn spreads_over_zones_first_and_then_over_instances() {
        let mut instances =
            vec![instance("a1", "a", 1024, 983), instance("a2", "a", 1024, 983), instance("b1", "b", 1024, 983)];
        let mut order = Vec::new();
        for _ in 0..6 {
            let index = place(&instances, &demand(100, 100), &default_strategies(), &[], 0).unwrap();
            instances[index].take(&demand(100, 100));
            order.push(instances[index].id.clone());
        }
        assert_eq!(order, ["a1", "b1", "a2", "b1", "a1", "b1"]);
    }

    #[test]
    fn binpack_fills_the_fullest_that_fits() {
        let mut instances = vec![instance("a", "a", 1024, 983), instance("b", "b", 1024, 500)];
        let strategies = [Strategy::Binpack(Resource::Memory)];
        for expected in ["b", "b", "a"] {
            let index = place(&instances, &demand(10, 250), &strategies, &[], 0).unwrap();
            assert_eq!(instances[index].id, expected);
            instances[index].take(&demand(10, 250));
        }
    }

    #[test]
    fn says_what_the_closest_instance_lacks() {
        let words = |instances: &[Instance], demand: &Demand, constraints: &[Constraint]| {
            place(instances, demand, &[], constraints, 0).unwrap_err().to_string()
        };
        let end = " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";
        let begin = "no container instance met all of its requirements. ";
        assert_eq!(
            words(&[], &demand(1, 1), &[]),
            format!("{begin}Reason: No Container Instances were found in your cluster.{end}")
        );
        let two = [instance("a", "a", 10, 983), instance("b", "b", 1024, 100)];
        assert_eq!(
            words(&two, &demand(256, 256), &[]),
            format!("{begin}The closest matching (container-instance b) has insufficient memory available.{end}")
        );
        let mut used = instance("c", "a", 1024, 983);
        Arc::make_mut(&mut used.ports).insert(8080);
        let fixed = Demand { ports: vec![8080], ..demand(1, 1) };
        assert_eq!(
            words(&[used.clone()], &fixed, &[]),
            format!(
                "{begin}The closest matching (container-instance c) is already using a port required by your task.{end}"
            )
        );
        let m5 = Constraint::MemberOf("attribute:ecs.instance-type == m5.large".parse().unwrap());
        assert!(words(&[used], &demand(1, 1), &[m5]).contains("is missing an attribute required by your task."));
    }

    #[test]
    fn distinct_instance_holds_one_task_each() {
        let mut instances = vec![instance("a", "a", 1024, 983), instance("b", "a", 1024, 983)];
        for _ in 0..2 {
            let index = place(&instances, &demand(1, 1), &[], &[Constraint::DistinctInstance], 0).unwrap();
            instances[index].take(&demand(1, 1));
        }
        let refused = place(&instances, &demand(1, 1), &[], &[Constraint::DistinctInstance], 0);
        assert!(matches!(refused, Err(NoPlace::Closest { lack: Lack::DistinctInstance, .. })));
    }

    #[test]
    fn tasks_go_where_their_constraints_find_others() {
        let mut instances = vec![instance("a", "a", 1024, 983), instance("b", "b", 1024, 983)];
        Arc::make_mut(&mut instances[1].about.groups).insert("database".into());
        let near: Constraint = Constraint::MemberOf("task:group == database".parse().unwrap());
        let far = Constraint::MemberOf("not(task:group == database)".parse().unwrap());
        let on = Constraint::MemberOf("ec2InstanceId == i-a".parse().unwrap());
        for (constraint, expected) in [(near, 1), (far, 0), (on, 0)] {
            assert_eq!(place(&instances, &demand(1, 1), &[], &[constraint], 0), Ok(expected));
        }
    }

    #[test]
    fn several_strategies_apply_in_their_order() {
        // Evenly over the racks, and within a rack on the instance with the least memory left.
        let mut instances: Vec<Instance> =
            [("a", 900), ("b", 500), ("c", 900), ("d", 500)].map(|(id, memory)| instance(id, "z", 1024, memory)).into();
        for (index, rack) in ["1", "1", "2", "2"].into_iter().enumerate() {
            instances[index].attributes.insert("rack".into(), rack.into());
        }
        let strategies = [Strategy::Spread("attribute:rack".into()), Strategy::Binpack(Resource::Memory)];
        let mut order = Vec::new();
        for _ in 0..6 {
            let index = place(&instances, &demand(1, 250), &strategies, &[], 0).unwrap();
            instances[index].take(&demand(1, 250));
            order.push(instances[index].id.clone());
        }
        assert_eq!(order, ["b", "d", "b", "d", "a", "c"]);
    }

    #[test]
    fn strategies_are_parsed_or_refused() {
        assert_eq!(Strategy::parse("spread", "host"), Ok(Strategy::Spread("instanceId".into())));
        assert_eq!(Strategy::parse("binpack", "MEMORY"), Ok(Strategy::Binpack(Resource::Memory)));
        for (kind, field) in [("spread", ""), ("spread", "zone"), ("binpack", "disk"), ("random", "x"), ("best", "")] {
            assert!(Strategy::parse(kind, field).is_err(), "{kind} {field}");
        }
    }

    #[test]
    fn first_tasks_of_several_groups_spread() {
        let mut instances = vec![instance("a", "a", 1024, 983), instance("b", "b", 1024, 983)];
        let mut order = Vec::new();
        for _ in 0..4 {
            let index = place(&instances, &demand(10, 10), &default_strategies(), &[], 0).unwrap();
            instances[index].take(&demand(10, 10));
            // The next task is of another group.
            instances.iter_mut().for_each(|i| i.tasks_of_group = 0);
            order.push(instances[index].id.clone());
        }
        assert_eq!(order, ["a", "b", "a", "b"]);
    }

    proptest! {
        /// Whatever is placed fits, and if something fits then something is placed.
        #[test]
        fn never_overcommits(
            sizes in prop::collection::vec((0u32..2000, 0u32..2000, 0u8..3), 0..6),
            tasks in prop::collection::vec((0u32..700, 0u32..700), 0..20),
            strategy in 0u8..4, random: u64,
        ) {
            let mut instances: Vec<Instance> = sizes.iter().enumerate()
                .map(|(i, &(cpu, memory, zone))| instance(&format!("i{i}"), &format!("z{zone}"), cpu, memory)).collect();
            let strategies = match strategy {
                0 => default_strategies(),
                1 => vec![Strategy::Binpack(Resource::Cpu)],
                2 => vec![Strategy::Random],
                _ => vec![],
            };
            for (cpu, memory) in tasks {
                let demand = demand(cpu, memory);
                match place(&instances, &demand, &strategies, &[], random) {
                    Ok(index) => {
                        prop_assert!(instances[index].cpu >= cpu && instances[index].memory >= memory);
                        instances[index].take(&demand);
                    }
                    Err(_) => prop_assert!(instances.iter().all(|i| i.cpu < cpu || i.memory < memory)),
                }
            }
        }
    }
}
