//! Where running tasks are, task by task.

use crate::ec2::security::{self, Known};
use crate::ecs::records::Task;
use crate::ecs::tasks;
use crate::store::{StoreError, Tx};
use quarry_domain::address::is_of_tasks;
use quarry_domain::block::Block;
use quarry_domain::security_group::Interface;
use quarry_domain::snapshot::{Endpoint, Relay, RelayListen};
use quarry_domain::task::{TaskEntry, TaskId};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};

/// Of all tasks.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// By private address.
    private: HashMap<Ipv4Addr, Behind>,
    /// The network interface that each task uses, by its private address.
    interfaces: HashMap<Ipv4Addr, Interface>,
    /// Cluster and group of each task, by the address its own connections come from.
    pub askers: BTreeMap<Ipv4Addr, (String, String)>,
}

/// What a snapshot has of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct OfTask {
    id: TaskId,
    /// Where its own connections come from, and where others reach it.
    pub address: Option<Ipv4Addr>,
    pub private_address: Option<Ipv4Addr>,
    /// Its own network interface's id.
    pub attached: Option<String>,
    pub interface: Option<Interface>,
    pub vpc: Option<String>,
    asker: (String, String),
    behind: Option<Behind>,
}

/// The task behind a private address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Behind {
    task: TaskId,
    entry: TaskEntry,
    /// The address is the task's alone (network mode awsvpc): each of its ports is the container's.
    own_ports: bool,
    /// Each port of the address that is relayed, and the container port it leads to.
    ports: Vec<(u16, u16)>,
}

impl Endpoints {
    pub fn put(&mut self, of: &OfTask) {
        if let Some(address) = of.address {
            self.askers.insert(address, of.asker.clone());
        }
        let Some(address) = of.private_address else { return };
        self.private.extend(of.behind.clone().map(|behind| (address, behind)));
        self.interfaces.extend(of.interface.clone().map(|interface| (address, interface)));
    }

    pub fn remove(&mut self, of: &OfTask) {
        if let Some(address) = of.address {
            self.askers.remove(&address);
        }
        if let Some(address) = of.private_address {
            self.private.remove(&address);
            self.interfaces.remove(&address);
        }
    }

    pub fn interface(&self, address: Ipv4Addr) -> Option<&Interface> {
        self.interfaces.get(&address)
    }

    /// A task at its private address, or a program on this machine. Nothing else is reached from here.
    pub fn at(&self, address: Ipv4Addr, port: u16) -> Endpoint {
        match self.private.get(&address) {
            Some(behind) => {
                let relayed = behind.ports.iter().find(|(listened, _)| *listened == port).map(|(_, inside)| *inside);
                match (relayed, &behind.own_ports) {
                    (Some(inside), _) => behind.endpoint(inside),
                    (None, true) => behind.endpoint(port),
                    (None, false) => Endpoint::Nowhere { reason: format!("the task at {address} has no port {port}") },
                }
            }
            None if is_of_tasks(address) => Endpoint::Nowhere { reason: format!("no task runs at {address}") },
            None if address.is_loopback() => Endpoint::Tcp(SocketAddr::from((address, port))),
            None => Endpoint::Nowhere {
                reason: format!("{address} is no task's address and not on this machine, and nothing else is reached"),
            },
        }
    }
}

impl OfTask {
    pub fn of(tx: &Tx<'_>, task: &Task, known: &Known) -> Result<Self, StoreError> {
        let behind = task.entry.clone().map(|entry| Behind {
            own_ports: task.interface.is_some(),
            task: task.id.clone(),
            entry,
            ports: task.ports.iter().map(|port| (port.host_port, port.container_port)).collect(),
        });
        let cluster = task.cluster_arn.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Self {
            id: task.id.clone(),
            address: task.address,
            private_address: task.private_address,
            attached: task.interface.as_ref().map(|own| own.id.clone()),
            interface: interface(tx, task, known)?,
            vpc: tasks::vpc(task, &known.vpcs).cloned(),
            asker: (cluster, task.group.clone()),
            behind,
        })
    }

    /// The ports of its private address. `hub`: there is one.
    pub fn relays(&self, hub: bool) -> Vec<Relay> {
        let (Some(address), Some(behind)) = (self.private_address, &self.behind) else { return Vec::new() };
        let relay = |(port, container_port): &(u16, u16)| {
            let listen = SocketAddr::from((address, *port));
            Relay {
                listen: if hub { RelayListen::Hub(listen) } else { RelayListen::Host(listen) },
                to: behind.endpoint(*container_port),
                tells_source: false,
            }
        };
        behind.ports.iter().map(relay).collect()
    }
}

impl Behind {
    fn endpoint(&self, container_port: u16) -> Endpoint {
        Endpoint::Task { task: self.task.clone(), entry: self.entry.clone(), container_port }
    }
}

/// The network interface that a task uses: its own, or else its container instance's.
fn interface(tx: &Tx<'_>, task: &Task, known: &Known) -> Result<Option<Interface>, StoreError> {
    let found = match (&task.interface, &task.ec2_instance_id) {
        (Some(own), _) => security::attached(tx, known, &own.id)?,
        (None, Some(instance)) => known.instances.get(instance).cloned(),
        (None, None) => None,
    };
    Ok(found.map(|mut found| {
        found.blocks.extend(task.private_address.map(Block::of).filter(|own| !found.blocks.contains(own)));
        found
    }))
}
