//! From stored records to the parts of a routing snapshot.

use super::endpoints::Endpoints;
use crate::ec2::security::Known;
use crate::ecs::tasks;
use crate::elbv2::listeners::tls;
use crate::elbv2::records::{Listener, LoadBalancer, Rule, Target, TargetGroup, TargetType};
use crate::endpoint::DISCOVERY_PREFIX;
use crate::platform::{HUB_ENDPOINT_PORT, PlatformConfig};
use crate::store::{StoreError, Tx};
use quarry_domain::address::{self, METADATA};
use quarry_domain::block::Block;
use quarry_domain::security_group::{Interface, Outside, Security};
use quarry_domain::snapshot::{self, CutScope, Endpoint, NameRecord, Relay, RelayListen};
use quarry_domain::trace::daemon;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

/// Seconds for which a task may keep a load balancer's address.
const NAME_TTL: u32 = 60;

/// A load balancer with its listeners and rules. `scopes`: of cuts, by rule ARN.
pub fn balancer(
    tx: &Tx<'_>,
    balancer: &LoadBalancer,
    hub: bool,
    scopes: &BTreeMap<String, CutScope>,
) -> Result<snapshot::LoadBalancer, StoreError> {
    let mut listeners = Vec::new();
    for listener in tx.children::<Listener>(&balancer.arn)? {
        let tls = listener.tls.as_ref().map(|own| tls(tx, own)).transpose()?;
        let mut rules: Vec<Rule> = tx.children(&listener.arn)?;
        rules.sort_by_key(|rule| rule.priority);
        listeners.push(snapshot::Listener {
            rules: rules.into_iter().map(|one| rule(one, scopes)).collect(),
            arn: listener.arn,
            port: listener.port,
            protocol: listener.protocol,
            tls,
            default_action: listener.default_action.action,
            attributes: listener.attributes,
        });
    }
    Ok(snapshot::LoadBalancer {
        arn: balancer.arn.clone(),
        name: balancer.name.clone(),
        dns_name: balancer.dns_name.clone(),
        address: balancer.address,
        hub_address: hub.then_some(balancer.hub_address),
        attributes: balancer.attributes.clone(),
        listeners,
    })
}

fn rule(rule: Rule, scopes: &BTreeMap<String, CutScope>) -> snapshot::Rule {
    snapshot::Rule {
        cut: scopes.get(&rule.arn).cloned(),
        arn: rule.arn,
        priority: rule.priority,
        conditions: rule.conditions,
        action: rule.action.action,
    }
}

/// A load balancer as security groups see it: with an address in each of its subnets.
pub fn front(balancer: &LoadBalancer, known: &Known) -> Interface {
    let subnets = balancer.zones.iter().filter_map(|zone| known.subnets.get(&zone.subnet_id)).copied();
    Interface {
        vpc: balancer.vpc_id.clone(),
        groups: balancer.security_groups.clone(),
        blocks: subnets.chain([Block::of(balancer.hub_address)]).collect(),
        public: balancer.scheme != "internal",
    }
}

/// What a target group is made of besides what is stored of it.
pub struct Around<'a> {
    pub security: &'a Security,
    pub known: &'a Known,
    pub endpoints: &'a Endpoints,
    /// The load balancers that use it; `None`: none does.
    pub askers: Option<Vec<&'a Interface>>,
    /// Access logs name the addresses of instances.
    pub logged: bool,
}

pub fn group(
    tx: &Tx<'_>,
    group: &TargetGroup,
    stored: &[Arc<Target>],
    around: &Around<'_>,
) -> Result<snapshot::TargetGroup, StoreError> {
    let mut targets = Vec::with_capacity(stored.len());
    for stored in stored {
        let mut endpoint = endpoint(tx, group, stored, around.endpoints)?;
        if is_barred(group, stored, around) && !matches!(endpoint, Endpoint::Nowhere { .. }) {
            endpoint = Endpoint::Barred;
        }
        targets.push(snapshot::Target {
            registration: stored.registration,
            address: around.known.addresses.get(&stored.id).copied().filter(|_| around.logged),
            id: stored.id.clone(),
            port: stored.port,
            endpoint,
            draining: stored.draining,
            probe: around.askers.is_some() && !stored.draining,
        });
    }
    Ok(snapshot::TargetGroup {
        arn: group.arn.clone(),
        name: group.name.clone(),
        protocol: group.protocol,
        protocol_version: group.protocol_version,
        health_check: group.health_check.clone(),
        attributes: group.attributes.clone(),
        targets,
    })
}

/// Whether security groups keep every load balancer of the group from this target, or its health checks.
fn is_barred(group: &TargetGroup, target: &Target, around: &Around<'_>) -> bool {
    let address = target.id.parse::<Ipv4Addr>().ok();
    let interface = match group.target_type {
        TargetType::Instance => around.known.instances.get(&target.id),
        TargetType::Ip => address.and_then(|address| around.endpoints.interface(address)),
    };
    let ports = [Some(target.port), group.health_check.port.filter(|_| group.health_check.enabled)];
    let reaches = |asker: &Interface| {
        ports.into_iter().flatten().all(|port| match (interface, address) {
            (Some(interface), _) => around.security.connects(asker, interface, port),
            (None, Some(address)) => around.security.reaches(asker, Block::of(address), port),
            // Nobody is there.
            (None, None) => true,
        })
    };
    let askers = around.askers.as_deref().unwrap_or_default();
    !askers.is_empty() && !askers.iter().any(|asker| reaches(asker))
}

fn endpoint(tx: &Tx<'_>, group: &TargetGroup, stored: &Target, endpoints: &Endpoints) -> Result<Endpoint, StoreError> {
    Ok(match group.target_type {
        TargetType::Instance => tasks::endpoint_of(tx, &stored.id, stored.port)?.unwrap_or_else(|| Endpoint::Nowhere {
            reason: format!("no task has port {} of instance {}", stored.port, stored.id),
        }),
        TargetType::Ip => match stored.id.parse::<Ipv4Addr>() {
            Ok(address) => endpoints.at(address, stored.port),
            Err(_) => Endpoint::Nowhere { reason: format!("{} is no IPv4 address", stored.id) },
        },
    })
}

pub fn name(name: String, address: Ipv4Addr) -> NameRecord {
    NameRecord { name, addresses: vec![address], ttl: NAME_TTL, ..NameRecord::default() }
}

/// Tasks reach the AWS endpoint at the hub's address, also with the prefix of DiscoverInstances.
pub fn own_names(config: &PlatformConfig) -> Vec<NameRecord> {
    config.hub.iter().map(|hub| name(format!("{DISCOVERY_PREFIX}{}", hub.address), hub.address)).collect()
}

/// To the AWS endpoint, to what tasks are told of themselves, and to X-Ray's daemon.
pub fn own_relays(config: &PlatformConfig) -> Vec<Relay> {
    let Some(hub) = &config.hub else { return Vec::new() };
    let relay = |listen: SocketAddr| Relay {
        listen: RelayListen::Hub(listen),
        to: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port))),
        tells_source: true,
    };
    // The last: where X-Ray's SDKs ask for sampling rules.
    let at = [(hub.address, HUB_ENDPOINT_PORT), (METADATA, 80), (hub.address, daemon::PORT)];
    at.map(|at| relay(at.into())).into()
}

/// What lies outside: a name and an address for each name of the allow-list, and a relay for each port of it.
#[derive(Default)]
pub struct Beyond {
    pub names: Vec<NameRecord>,
    pub relays: Vec<Relay>,
    pub outside: BTreeMap<SocketAddrV4, Outside>,
}

pub fn beyond(config: &PlatformConfig, endpoints: &Endpoints) -> Beyond {
    let mut built = Beyond::default();
    if config.hub.is_none() {
        return built;
    }
    let mut addresses: BTreeMap<&str, Ipv4Addr> = config.outside.iter().map(|o| (o.name.as_str(), METADATA)).collect();
    for (n, (known, address)) in addresses.iter_mut().enumerate() {
        *address = address::outside(n as u64);
        built.names.push(name((*known).to_owned(), *address));
    }
    for allowed in &config.outside {
        let address = addresses[allowed.name.as_str()];
        let sources = endpoints.askers.iter().filter(|(_, (cluster, group))| allowed.is_for(cluster, group));
        let at = SocketAddrV4::new(address, allowed.port);
        let known = Outside { block: allowed.block(), sources: BTreeSet::new() };
        built.outside.entry(at).or_insert(known).sources.extend(sources.map(|(source, _)| *source));
        let to = match allowed.address() {
            Some(address) => Endpoint::Tcp(address.into()),
            None => Endpoint::Host { name: allowed.host.clone(), port: allowed.host_port },
        };
        let relay = Relay { listen: RelayListen::Hub(at.into()), to, tells_source: false };
        if !built.relays.iter().any(|other| other.listen == relay.listen) {
            built.relays.push(relay);
        }
    }
    built
}
