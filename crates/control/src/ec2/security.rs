//! Security groups and network interfaces as connections are decided by.

use super::cidr::Block;
use super::instance::{self, InstanceRecord};
use super::network_interface::InterfaceRecord;
use super::security_group::SecurityGroupRecord;
use super::subnet::SubnetRecord;
use crate::store::{Item, StoreError, Tx};
use quarry_aws::ec2::{GroupIdentifier, SecurityGroupRule};
use quarry_domain::security_group::{Interface, Peer, Permission, SecurityGroup};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What is known of instances and subnets.
#[derive(Default)]
pub struct Known {
    /// The interfaces of live instances, by instance id.
    pub instances: HashMap<String, Interface>,
    /// The private addresses of live instances, by instance id.
    pub addresses: HashMap<String, Ipv4Addr>,
    /// By subnet id.
    pub subnets: HashMap<String, Block>,
    /// The VPC of instances and subnets, by their ids.
    pub vpcs: HashMap<String, String>,
}

/// The rules of all groups, by group id.
pub fn groups(tx: &Tx<'_>) -> Result<BTreeMap<String, SecurityGroup>, StoreError> {
    let compiled = |group: SecurityGroupRecord| {
        let of = |egress| {
            let rules = group.rules.iter().filter(move |rule| rule.is_egress == Some(egress));
            rules.filter_map(permission).collect()
        };
        let compiled = SecurityGroup { ingress: of(false), egress: of(true) };
        (group.id, compiled)
    };
    Ok(tx.all::<SecurityGroupRecord>()?.into_iter().map(compiled).collect())
}

/// Made again only after one of them has changed.
pub fn known(tx: &Tx<'_>) -> Result<Arc<Known>, StoreError> {
    tx.derived("instances and subnets", &[InstanceRecord::KIND, SubnetRecord::KIND], || {
        let mut known = Known { vpcs: instance::vpcs(tx)?, addresses: instance::addresses(tx)?, ..Known::default() };
        let subnets = tx.all::<SubnetRecord>()?.into_iter().map(|record| record.subnet);
        known.subnets.extend(subnets.filter_map(|s| Some((s.subnet_id?, Block::parse(&s.cidr_block?)?))));
        for instance in tx.all::<InstanceRecord>()?.into_iter().filter(InstanceRecord::is_live).map(|one| one.instance)
        {
            let interface = of(instance.vpc_id, instance.security_groups, instance.private_ip_address, None);
            known.instances.extend(instance.instance_id.zip(interface));
        }
        Ok(known)
    })
}

/// An interface that a service attached.
pub fn attached(tx: &Tx<'_>, known: &Known, id: &str) -> Result<Option<Interface>, StoreError> {
    let Some(record) = tx.find::<InterfaceRecord>(id)? else { return Ok(None) };
    let interface = &record.interface;
    let subnet = interface.subnet_id.as_ref().and_then(|id| known.subnets.get(id)).copied();
    Ok(of(interface.vpc_id.clone(), interface.groups.clone(), interface.private_ip_address.clone(), subnet))
}

fn of(
    vpc: Option<String>,
    groups: Option<Vec<GroupIdentifier>>,
    address: Option<String>,
    subnet: Option<Block>,
) -> Option<Interface> {
    let groups = groups.into_iter().flatten().filter_map(|group| group.group_id).collect();
    let address = address.and_then(|text| text.parse().ok()).map(Block::of);
    Some(Interface { vpc: vpc?, groups, blocks: address.into_iter().chain(subnet).collect(), public: false })
}

fn permission(rule: &SecurityGroupRule) -> Option<Permission> {
    let group = || rule.referenced_group_info.as_ref()?.group_id.clone();
    let peer = match rule.cidr_ipv4.as_deref() {
        Some(block) => Peer::Block(Block::parse(block)?),
        None => Peer::Group(group()?),
    };
    let port = |port: Option<i32>| port.unwrap_or(-1);
    Permission::of(rule.ip_protocol.as_deref()?, port(rule.from_port), port(rule.to_port), peer)
}
