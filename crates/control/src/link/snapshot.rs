//! From stored records to a routing snapshot.

use crate::cut;
use crate::ec2::{self, security};
use crate::elbv2::listeners::tls;
use crate::elbv2::records::{self, Listener, LoadBalancer, Rule, Target, TargetGroup, TargetType};
use crate::endpoint::DISCOVERY_PREFIX;
use crate::platform::{HUB_ENDPOINT_PORT, PlatformConfig};
use crate::servicediscovery;
use crate::store::{StoreError, Tx};
use crate::xray;
use quarry_domain::address::{self, METADATA, is_of_tasks};
use quarry_domain::block::Block;
use quarry_domain::security_group::{Interface, Outside, Security};
use quarry_domain::snapshot::{self, Endpoint, NameRecord, Relay, RelayListen, Snapshot};
use quarry_domain::task::{TaskEntry, TaskId};
use quarry_domain::trace::daemon;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

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
    /// The network interface that each task uses, by both its addresses.
    pub interfaces: BTreeMap<Ipv4Addr, Interface>,
    /// Cluster and group of each task, by the address its own connections come from.
    pub askers: BTreeMap<Ipv4Addr, (String, String)>,
    /// By instance id.
    pub instances: HashMap<String, Interface>,
    /// By subnet id.
    pub subnets: HashMap<String, Block>,
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
    built.traces = xray::sampling(tx)?;
    built.security.groups = security::groups(tx)?;
    built.security.interfaces = endpoints.interfaces.clone();
    let mut fronts = HashMap::new();
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
        let interface = front(&balancer, endpoints);
        for address in hub_address.into_iter().chain([balancer.address]) {
            built.security.interfaces.insert(address, interface.clone());
        }
        fronts.insert(balancer.arn.clone(), interface);
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
        let askers: Vec<&Interface> =
            uses.get(&group.arn).into_iter().flatten().filter_map(|arn| fronts.get(arn)).collect();
        let stored: Vec<Target> = tx.children(&group.arn)?;
        let mut targets = Vec::with_capacity(stored.len());
        for stored in stored {
            let is_barred = is_barred(&built.security, &askers, &group, &stored, endpoints);
            let mut target = target(&group, stored, probe, endpoints, &addresses);
            if is_barred && !matches!(target.endpoint, Endpoint::Nowhere { .. }) {
                target.endpoint = Endpoint::Barred;
            }
            targets.push(target);
        }
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
            tells_source: true,
        });
        built.relays.push(Relay {
            listen: RelayListen::Hub(SocketAddr::from((METADATA, 80))),
            to: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port))),
            tells_source: true,
        });
        // Where X-Ray's SDKs ask for sampling rules.
        built.relays.push(Relay {
            listen: RelayListen::Hub(SocketAddr::from((hub.address, daemon::PORT))),
            to: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port))),
            tells_source: true,
        });
    }
    outside(&mut built, config, endpoints);
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

/// A load balancer as security groups see it: with an address in each of its subnets.
fn front(balancer: &LoadBalancer, endpoints: &Endpoints) -> Interface {
    let subnets = balancer.zones.iter().filter_map(|zone| endpoints.subnets.get(&zone.subnet_id)).copied();
    Interface {
        vpc: balancer.vpc_id.clone(),
        groups: balancer.security_groups.clone(),
        blocks: subnets.chain([Block::of(balancer.hub_address)]).collect(),
        public: balancer.scheme != "internal",
    }
}

/// Whether security groups keep every load balancer of the group from this target, or its health checks.
fn is_barred(
    security: &Security,
    askers: &[&Interface],
    group: &TargetGroup,
    target: &Target,
    endpoints: &Endpoints,
) -> bool {
    let address = target.id.parse::<Ipv4Addr>().ok();
    let interface = match group.target_type {
        TargetType::Instance => endpoints.instances.get(&target.id),
        TargetType::Ip => address.and_then(|address| endpoints.interfaces.get(&address)),
    };
    let ports = [Some(target.port), group.health_check.port.filter(|_| group.health_check.enabled)];
    let reaches = |asker: &Interface| {
        ports.into_iter().flatten().all(|port| match (interface, address) {
            (Some(interface), _) => security.connects(asker, interface, port),
            (None, Some(address)) => security.reaches(asker, Block::of(address), port),
            // Nobody is there.
            (None, None) => true,
        })
    };
    !askers.is_empty() && !askers.iter().any(|asker| reaches(asker))
}

/// What lies outside: a name and an address for each name of the allow-list, and a relay for each port of it.
fn outside(built: &mut Snapshot, config: &PlatformConfig, endpoints: &Endpoints) {
    if config.hub.is_none() {
        return;
    }
    let mut addresses: BTreeMap<&str, Ipv4Addr> = config.outside.iter().map(|o| (o.name.as_str(), METADATA)).collect();
    for (n, (name, address)) in addresses.iter_mut().enumerate() {
        *address = address::outside(n as u64);
        let name = (*name).to_owned();
        built.names.push(NameRecord { name, addresses: vec![*address], ttl: NAME_TTL, ..NameRecord::default() });
    }
    for allowed in &config.outside {
        let address = addresses[allowed.name.as_str()];
        let sources = endpoints.askers.iter().filter(|(_, (cluster, group))| allowed.is_for(cluster, group));
        let at = SocketAddrV4::new(address, allowed.port);
        let known = Outside { block: allowed.block(), sources: BTreeSet::new() };
        built.security.outside.entry(at).or_insert(known).sources.extend(sources.map(|(source, _)| *source));
        let to = match allowed.address() {
            Some(address) => Endpoint::Tcp(address.into()),
            None => Endpoint::Host { name: allowed.host.clone(), port: allowed.host_port },
        };
        let relay = Relay { listen: RelayListen::Hub(at.into()), to, tells_source: false };
        if !built.relays.iter().any(|other| other.listen == relay.listen) {
            built.relays.push(relay);
        }
    }
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
