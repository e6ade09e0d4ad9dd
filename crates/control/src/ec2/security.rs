//! Security groups and network interfaces as connections are decided by.

use super::cidr::Block;
use super::instance::InstanceRecord;
use super::network_interface::InterfaceRecord;
use super::security_group::SecurityGroupRecord;
use super::subnet::SubnetRecord;
use crate::store::{StoreError, Tx};
use quarry_aws::ec2::{GroupIdentifier, SecurityGroupRule};
use quarry_domain::security_group::{Interface, Peer, Permission, SecurityGroup};
use std::collections::{BTreeMap, HashMap};

/// Who has which groups.
#[derive(Default)]
pub struct Interfaces {
    /// By instance id: of live instances.
    pub instances: HashMap<String, Interface>,
    /// By interface id: of what services attached.
    pub attached: HashMap<String, Interface>,
    /// By subnet id.
    pub subnets: HashMap<String, Block>,
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

pub fn interfaces(tx: &Tx<'_>) -> Result<Interfaces, StoreError> {
    let subnets = tx.all::<SubnetRecord>()?.into_iter().map(|record| record.subnet);
    let subnets = subnets.filter_map(|s| Some((s.subnet_id?, Block::parse(&s.cidr_block?)?)));
    let mut all = Interfaces { subnets: subnets.collect(), ..Interfaces::default() };
    for instance in tx.all::<InstanceRecord>()?.into_iter().filter(InstanceRecord::is_live).map(|one| one.instance) {
        let interface = of(instance.vpc_id, instance.security_groups, instance.private_ip_address, None);
        all.instances.extend(instance.instance_id.zip(interface));
    }
    for interface in tx.all::<InterfaceRecord>()?.into_iter().map(|one| one.interface) {
        let subnet = interface.subnet_id.as_ref().and_then(|id| all.subnets.get(id)).copied();
        let known = of(interface.vpc_id, interface.groups, interface.private_ip_address, subnet);
        all.attached.extend(interface.network_interface_id.zip(known));
    }
    Ok(all)
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
