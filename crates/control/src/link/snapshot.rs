//! From stored records to a routing snapshot.

use crate::cut;
use crate::ec2;
use crate::elbv2::listeners::tls;
use crate::elbv2::records::{self, Listener, LoadBalancer, Rule, Target, TargetGroup, TargetType};
use crate::endpoint::DISCOVERY_PREFIX;
use crate::platform::{HUB_ENDPOINT_PORT, PlatformConfig};
use crate::servicediscovery;
use crate::store::{StoreError, Tx};
use quarry_domain::address::{METADATA, is_of_tasks};
use quarry_domain::snapshot::{self, Endpoint, NameRecord, Relay, RelayListen, Snapshot};
use quarry_domain::task::{TaskEntry, TaskId};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};

/// Seconds for which a task may keep a load balancer's address.
const NAME_TTL: u32 = 60;

/// Where running tasks are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Behind the ports of EC2 instances: by instance id and port.
    pub ports: HashMap<(String, u16), Endpoint>,
    /// By private address.
    pub private: BTreeMap<Ipv4Addr, Behind>,
    /// The VPC of each task, by the address its own connections come from.
    pub networks: BTreeMap<Ipv4Addr, String>,
}

/// The task behind a private address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    pub task: TaskId,
    pub entry: TaskEntry,
    /// The address is the task's alone (network mode awsvpc): each of its ports is the container's.
    pub own_ports: bool,
    /// Each port of the address that is relayed, and the container port it leads to.
    pub ports: Vec<(u16, u16)>,
}

/// The snapshot of what is stored, its version left at 0. The same records give the same snapshot.
pub fn build(tx: &Tx<'_>, config: &PlatformConfig, endpoints: &Endpoints) -> Result<Snapshot, StoreError> {
    let uses = records::uses(tx)?;
    let mut scopes = cut::rule::scopes(tx)?;
    let networks = endpoints.networks.clone();
    let mut built = Snapshot { hub: config.hub.clone(), networks, ..Snapshot::default() };
    let mut balancers = HashMap::new();
    for balancer in tx.all::<LoadBalancer>()? {
        let mut listeners = Vec::new();
        for listener in tx.children::<Listener>(&balancer.arn)? {
            let mut rules: Vec<Rule> = tx.children(&listener.arn)?;
            rules.sort_by_key(|rule| rule.priority);
            let tls = listener.tls.as_ref().map(|own| tls(tx, own)).transpose()?;
            listeners.push(snapshot::Listener {
                arn: listener.arn,
                port: listener.port,
                protocol: listener.protocol,
                tls,
                rules: rules.into_iter().map(|one| rule(one, &mut scopes)).collect(),
                default_action: listener.default_action.action,
                attributes: listener.attributes,
            });
        }
        let hub_address = config.hub.as_ref().map(|_| balancer.hub_address);
        if let Some(address) = hub_address {
            let name = balancer.dns_name.to_ascii_lowercase();
            balancers.insert(name.clone(), address);
            built.names.push(NameRecord { name, addresses: vec![address], ttl: NAME_TTL, ..NameRecord::default() });
        }
        built.load_balancers.push(snapshot::LoadBalancer {
            arn: balancer.arn,
            name: balancer.name,
            dns_name: balancer.dns_name,
            address: balancer.address,
            hub_address,
            attributes: balancer.attributes,
            listeners,
        });
    }
    let logged = built.load_balancers.iter().any(|balancer| balancer.attributes.access_logs.is_some());
    let addresses = if logged { ec2::instance::addresses(tx)? } else { HashMap::new() };
    for group in tx.all::<TargetGroup>()? {
        let probe = uses.contains_key(&group.arn);
        let targets: Vec<Target> = tx.children(&group.arn)?;
        let targets = targets.into_iter().map(|stored| target(&group, stored, probe, endpoints, &addresses)).collect();
        built.target_groups.insert(
            group.arn.clone(),
            snapshot::TargetGroup {
                arn: group.arn,
                name: group.name,
                protocol: group.protocol,
                protocol_version: group.protocol_version,
                health_check: group.health_check,
                attributes: group.attributes,
                targets,
            },
        );
    }
    servicediscovery::dns::add(tx, &mut built, &balancers)?;
    if let Some(hub) = &config.hub {
        // Tasks reach the AWS endpoint at the hub's address, also with the prefix of DiscoverInstances.
        built.names.push(NameRecord {
            name: format!("{DISCOVERY_PREFIX}{}", hub.address),
            addresses: vec![hub.address],
            ttl: NAME_TTL,
            ..NameRecord::default()
        });
        built.relays.push(Relay {
            listen: RelayListen::Hub(SocketAddr::from((hub.address, HUB_ENDPOINT_PORT))),
            to: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port))),
            tells_source: false,
        });
        built.relays.push(Relay {
            listen: RelayListen::Hub(SocketAddr::from((METADATA, 80))),
            to: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port))),
            tells_source: true,
        });
    }
    for (address, behind) in &endpoints.private {
        for (port, container_port) in &behind.ports {
            let listen = SocketAddr::from((*address, *port));
            built.relays.push(Relay {
                listen: if config.hub.is_some() { RelayListen::Hub(listen) } else { RelayListen::Host(listen) },
                to: behind.endpoint(*container_port),
                tells_source: false,
            });
        }
    }
    Ok(built)
}

impl Behind {
    fn endpoint(&self, container_port: u16) -> Endpoint {
        Endpoint::Task { task: self.task.clone(), entry: self.entry.clone(), container_port }
    }
}

fn rule(rule: Rule, scopes: &mut BTreeMap<String, snapshot::CutScope>) -> snapshot::Rule {
    snapshot::Rule {
        cut: scopes.remove(&rule.arn),
        arn: rule.arn,
        priority: rule.priority,
        conditions: rule.conditions,
        action: rule.action.action,
    }
}

/// A task at its private address, or a program on this machine. Nothing else is reached from here.
fn behind_address(address: Ipv4Addr, port: u16, endpoints: &Endpoints) -> Endpoint {
    match endpoints.private.get(&address) {
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

fn target(
    group: &TargetGroup,
    stored: Target,
    probe: bool,
    endpoints: &Endpoints,
    addresses: &HashMap<String, Ipv4Addr>,
) -> snapshot::Target {
    let behind = || endpoints.ports.get(&(stored.id.clone(), stored.port)).cloned();
    let endpoint = match group.target_type {
        TargetType::Instance => behind().unwrap_or_else(|| Endpoint::Nowhere {
            reason: format!("no task has port {} of instance {}", stored.port, stored.id),
        }),
        TargetType::Ip => match stored.id.parse::<Ipv4Addr>() {
            Ok(address) => behind_address(address, stored.port, endpoints),
            Err(_) => Endpoint::Nowhere { reason: format!("{} is no IPv4 address", stored.id) },
        },
    };
    snapshot::Target {
        registration: stored.registration,
        address: addresses.get(&stored.id).copied(),
        id: stored.id,
        port: stored.port,
        endpoint,
        draining: stored.draining,
        probe: probe && !stored.draining,
    }
}
