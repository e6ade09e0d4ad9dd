//! What tasks take of container instances, addresses and the machine, and what is left for the next ones. It is counted on
//! with each task that is written ([`Taken`]), so that placing one does not depend on how many there are.

use super::container_instances::RESERVED_PORTS;
use super::daemon;
use super::network::{Network, Subnet};
use super::records::{ContainerInstance, LastStatus, LaunchType, Task};
use crate::store::tally::Tally;
use crate::store::{StoreError, Tx};
use quarry_domain::placement::{About, Instance};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What all tasks take.
#[derive(Default)]
pub struct Taken {
    /// By container instance ARN.
    instances: HashMap<String, OnInstance>,
    /// By cluster ARN and group: of the tasks that are wanted.
    groups: HashMap<(String, String), OfGroup>,
    addresses: HashMap<Ipv4Addr, u32>,
    /// MiB given to the tasks that have no container instance, of all clusters.
    fargate: u64,
    /// Tasks that wait for room.
    waiting: u32,
}

/// What the tasks of one container instance take.
#[derive(Clone, Debug)]
pub struct OnInstance {
    cpu: u64,
    memory: u64,
    tasks: u32,
    running: u32,
    /// Those in use, and how many more than one task hold one of them.
    ports: Arc<BTreeSet<u16>>,
    shared_ports: BTreeMap<u16, u32>,
    /// Groups of its tasks that are wanted, and how many each has.
    groups: Arc<BTreeSet<String>>,
    in_group: BTreeMap<String, u32>,
}

/// Tasks of a group by subnet, and by capacity provider.
#[derive(Clone, Debug, Default)]
struct OfGroup {
    tasks: u32,
    subnets: BTreeMap<String, u32>,
    providers: BTreeMap<String, u32>,
}

/// What there is room on, with what is left of it. Kept while several tasks are placed in one transaction.
pub struct Room {
    pub instances: Vec<Arc<ContainerInstance>>,
    /// For each of `instances`.
    pub left: Vec<Instance>,
    /// MiB given to the tasks that have no container instance, of all clusters.
    pub fargate: u64,
    group: OfGroup,
}

impl Room {
    /// `replica`: without the room that daemons are to have.
    pub fn of(tx: &Tx<'_>, cluster_arn: &str, group: &str, replica: bool) -> Result<Self, StoreError> {
        let mut instances = tx.children_of::<ContainerInstance>(cluster_arn)?;
        instances.retain(|instance| !instance.draining);
        let mut room = tx.tally(|taken: &Taken| {
            let nothing = OnInstance::default();
            let left = |instance: &Arc<ContainerInstance>| {
                taken.instances.get(&instance.arn).unwrap_or(&nothing).left(instance, Some(group))
            };
            let of_group = taken.groups.get(&(cluster_arn.to_owned(), group.to_owned()));
            Self {
                left: instances.iter().map(left).collect(),
                instances,
                fargate: taken.fargate,
                group: of_group.cloned().unwrap_or_default(),
            }
        })?;
        if replica {
            daemon::reserve(tx, cluster_arn, &room.instances, &mut room.left)?;
        }
        Ok(room)
    }

    /// There is no instance at all.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// A task of the group is there.
    pub fn count(&mut self, task: &Task) {
        self.group.count(task, |n| *n += 1);
    }

    /// Tasks of the group by capacity provider.
    pub fn providers(&self) -> &BTreeMap<String, u32> {
        &self.group.providers
    }

    /// The subnet with the fewest tasks of the group; in the zone, where one is named.
    pub fn subnet<'a>(&self, network: &'a Network, zone: Option<&str>) -> Option<&'a Subnet> {
        let in_zone = network.subnets.iter().filter(|subnet| zone.is_none_or(|zone| subnet.zone == zone));
        in_zone.min_by_key(|subnet| self.group.subnets.get(&subnet.id).copied().unwrap_or(0))
    }
}

impl Taken {
    /// Whether a task has this address.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Whether a task waits for room.
    pub fn waits(&self) -> bool {
        self.waiting > 0
    }
}

impl Tally for Taken {
    type Of = Task;

    fn add(&mut self, task: &Task) {
        if let Some(instance) = &task.container_instance_arn {
            match self.instances.get_mut(instance) {
                Some(on) => on.add(task),
                None => self.instances.entry(instance.clone()).or_default().add(task),
            }
        }
        if task.wanted {
            let key = (task.cluster_arn.clone(), task.group.clone());
            self.groups.entry(key).or_default().count(task, |n| *n += 1);
        }
        for address in [task.address, task.private_address].into_iter().flatten() {
            *self.addresses.entry(address).or_default() += 1;
        }
        if task.launch_type == LaunchType::Fargate {
            self.fargate += u64::from(task.demand.memory);
        }
        self.waiting += u32::from(waits(task));
    }

    fn remove(&mut self, task: &Task) {
        if let Some(arn) = &task.container_instance_arn
            && let Some(on) = self.instances.get_mut(arn)
        {
            on.remove(task);
            if on.tasks == 0 {
                self.instances.remove(arn);
            }
        }
        let key = (task.cluster_arn.clone(), task.group.clone());
        if task.wanted
            && let Some(of) = self.groups.get_mut(&key)
        {
            of.count(task, |n| *n -= 1);
            if of.tasks == 0 {
                self.groups.remove(&key);
            }
        }
        for address in [task.address, task.private_address].into_iter().flatten() {
            release(&mut self.addresses, &address);
        }
        if task.launch_type == LaunchType::Fargate {
            self.fargate -= u64::from(task.demand.memory);
        }
        self.waiting -= u32::from(waits(task));
    }
}

impl Default for OnInstance {
    fn default() -> Self {
        Self {
            cpu: 0,
            memory: 0,
            tasks: 0,
            running: 0,
            ports: Arc::new(BTreeSet::from(RESERVED_PORTS)),
            shared_ports: BTreeMap::new(),
            groups: Arc::default(),
            in_group: BTreeMap::new(),
        }
    }
}

impl OnInstance {
    /// Counts a task that the instance has.
    pub fn add(&mut self, task: &Task) {
        self.cpu += u64::from(task.demand.cpu);
        self.memory += u64::from(task.demand.memory);
        self.tasks += 1;
        self.running += u32::from(task.status == LastStatus::Running);
        for port in &task.demand.ports {
            if !Arc::make_mut(&mut self.ports).insert(*port) {
                *self.shared_ports.entry(*port).or_default() += 1;
            }
        }
        if task.wanted {
            if !self.groups.contains(&task.group) {
                Arc::make_mut(&mut self.groups).insert(task.group.clone());
            }
            *self.in_group.entry(task.group.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, task: &Task) {
        self.cpu -= u64::from(task.demand.cpu);
        self.memory -= u64::from(task.demand.memory);
        self.tasks -= 1;
        self.running -= u32::from(task.status == LastStatus::Running);
        for port in &task.demand.ports {
            match self.shared_ports.get_mut(port) {
                Some(1) => drop(self.shared_ports.remove(port)),
                Some(others) => *others -= 1,
                None => drop(Arc::make_mut(&mut self.ports).remove(port)),
            }
        }
        if task.wanted {
            match self.in_group.get_mut(&task.group) {
                Some(n) if *n > 1 => *n -= 1,
                Some(_) | None => {
                    self.in_group.remove(&task.group);
                    Arc::make_mut(&mut self.groups).remove(&task.group);
                }
            }
        }
    }

    /// What is left of the instance. `group`: whose tasks are counted.
    pub fn left(&self, instance: &ContainerInstance, group: Option<&str>) -> Instance {
        let less = |all: u32, taken: u64| u64::from(all).saturating_sub(taken) as u32;
        Instance {
            id: instance.id.clone(),
            attributes: instance.attributes.clone(),
            cpu: less(instance.cpu, self.cpu),
            memory: less(instance.memory, self.memory),
            ports: self.ports.clone(),
            tasks_of_group: group.and_then(|group| self.in_group.get(group)).copied().unwrap_or(0),
            tasks: self.tasks,
            about: About {
                ec2_instance_id: instance.ec2_instance_id.clone(),
                agent_connected: true,
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                registered_ms: instance.registered_ms,
                running_tasks: self.running,
                groups: self.groups.clone(),
            },
        }
    }
}

impl OfGroup {
    fn count(&mut self, task: &Task, by: impl Fn(&mut u32)) {
        by(&mut self.tasks);
        if let Some(interface) = &task.interface {
            by(self.subnets.entry(interface.subnet.clone()).or_default());
        }
        if let Some(provider) = &task.capacity_provider {
            by(self.providers.entry(provider.clone()).or_default());
        }
    }
}

fn waits(task: &Task) -> bool {
    task.wanted && task.status == LastStatus::Provisioning
}

fn release(counts: &mut HashMap<Ipv4Addr, u32>, address: &Ipv4Addr) {
    match counts.get_mut(address) {
        Some(n) if *n > 1 => *n -= 1,
        Some(_) | None => drop(counts.remove(address)),
    }
}
