//! The names of private DNS namespaces, for the routing snapshot.

use super::instance::{ALIAS, CNAME, IPV4, IPV6, PORT, alias_target};
use super::records::{Instance, Namespace, NamespaceKind, RecordType, RoutingPolicy, Service};
use crate::store::{StoreError, Tx};
use quarry_domain::snapshot::{NameRecord, ServiceAddress, Zone};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Answers of one type that a name with routing policy MULTIVALUE gives at a time.
const MOST: usize = 8;

/// The zone of a namespace, if it has one.
pub fn zone(namespace: &Namespace) -> Option<Zone> {
    let NamespaceKind::DnsPrivate { vpc, soa_ttl, .. } = &namespace.kind else { return None };
    Some(Zone { name: plain(&namespace.name), vpc: vpc.clone(), soa_ttl: *soa_ttl as u32 })
}

/// All names of a service in its zone. `balancers`: hub addresses by DNS name in lower case.
pub fn of_service(
    tx: &Tx<'_>,
    service: &Service,
    balancers: &HashMap<String, Ipv4Addr>,
) -> Result<Vec<NameRecord>, StoreError> {
    let namespace = tx.find::<Namespace>(&service.namespace_id)?;
    let Some(zone) = namespace.and_then(|namespace| zone(&namespace)) else { return Ok(Vec::new()) };
    let instances: Vec<Instance> = tx.children(&service.id)?;
    let mut found = Vec::new();
    names(service, &instances, &zone.name, &zone.vpc, balancers, &mut found);
    Ok(found)
}

/// The names of one service: its own with one record for each of its types, and its instances' hosts.
fn names(
    service: &Service,
    instances: &[Instance],
    zone: &str,
    vpc: &str,
    balancers: &HashMap<String, Ipv4Addr>,
    names: &mut Vec<NameRecord>,
) {
    let Some(dns) = &service.dns else { return };
    let name = match service.name.as_str() {
        "." => zone.to_owned(),
        name => format!("{}.{zone}", name.to_ascii_lowercase()),
    };
    let host = |instance: &Instance| format!("{}.{name}", instance.id.to_ascii_lowercase());
    let answered = answered(instances);
    for record in &dns.records {
        let mut own = NameRecord {
            name: name.clone(),
            ttl: record.ttl,
            vpc: Some(vpc.to_owned()),
            most: Some(match dns.policy {
                RoutingPolicy::Multivalue => MOST,
                RoutingPolicy::Weighted => 1,
            }),
            ..NameRecord::default()
        };
        for instance in &answered {
            let alias = instance.attributes.get(ALIAS).and_then(|name| balancers.get(&alias_target(name)));
            match record.kind {
                RecordType::A => own.addresses.extend(value::<Ipv4Addr>(instance, IPV4).or(alias.copied())),
                RecordType::Aaaa => own.addresses6.extend(value::<Ipv6Addr>(instance, IPV6)),
                RecordType::Cname => own.canonical.extend(instance.attributes.get(CNAME).map(|name| plain(name))),
                RecordType::Srv => own
                    .services
                    .extend(value(instance, PORT).map(|port| ServiceAddress { port, target: host(instance) })),
            }
        }
        names.push(own);
    }
    let Some(srv) = service.record(RecordType::Srv) else { return };
    for instance in instances {
        names.push(NameRecord {
            name: host(instance),
            ttl: srv.ttl,
            vpc: Some(vpc.to_owned()),
            addresses: value(instance, IPV4).into_iter().collect(),
            addresses6: value(instance, IPV6).into_iter().collect(),
            ..NameRecord::default()
        });
    }
}

/// The healthy ones; if there is none, all: some answer may be better than none.
fn answered(instances: &[Instance]) -> Vec<&Instance> {
    let healthy: Vec<&Instance> = instances.iter().filter(|instance| instance.healthy).collect();
    if healthy.is_empty() { instances.iter().collect() } else { healthy }
}

fn value<T: FromStr>(instance: &Instance, key: &str) -> Option<T> {
    instance.attributes.get(key)?.parse().ok()
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
