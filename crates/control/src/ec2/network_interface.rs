//! Network interfaces: the one that each instance has, and those that other services attach — tasks in
//! `awsvpc` mode, NAT gateways, interface endpoints. Those of load balancers are not shown.

use super::address::{self, AddressRecord};
use super::instance::InstanceRecord;
use super::resource::{Resource, choose, error, find, new_id, page};
use super::security_group::SecurityGroupRecord;
use super::subnet::SubnetRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult, GroupIdentifier, NetworkInterface,
    NetworkInterfaceAssociation, NetworkInterfaceAttachment, NetworkInterfacePrivateIpAddress, Tag,
};
use quarry_wire::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// An interface that a service attached.
#[derive(Clone, Serialize, Deserialize)]
pub struct InterfaceRecord {
    pub interface: NetworkInterface,
}

/// What a service asks for.
#[derive(Clone, Debug, Default)]
pub struct NewInterface {
    pub subnet: String,
    /// Ids; the VPC's default group if there are none.
    pub security_groups: Vec<String>,
    pub description: String,
    /// As EC2 shows it: `interface`, `nat_gateway`, `vpc_endpoint`. Empty means `interface`.
    pub interface_type: String,
    /// A free one of the subnet if there is none. One outside of it only where it is a task's.
    pub address: Option<Ipv4Addr>,
    /// The instance that it is attached to, where there is one.
    pub instance: Option<String>,
    pub tags: Vec<Tag>,
}

/// An attached interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// `eni-…`.
    pub id: String,
    pub address: Ipv4Addr,
    /// Six pairs of hexadecimal digits.
    pub mac: String,
    pub private_dns_name: String,
    pub availability_zone: String,
    pub vpc: String,
}

impl Item for InterfaceRecord {
    const KIND: &'static str = "ec2.network-interface";
    fn key(&self) -> String {
        self.interface.network_interface_id.clone().unwrap_or_default()
    }
    fn parent(&self) -> String {
        self.interface.subnet_id.clone().unwrap_or_default()
    }
}

impl Resource for InterfaceRecord {
    const TYPE: &'static str = "network-interface";
    const NOUN: &'static str = "networkInterface ID";
    const NOT_FOUND: &'static str = "InvalidNetworkInterfaceID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.interface.tag_set
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.interface.tag_set
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let i = &self.interface;
        let one = |value: &Option<String>| value.iter().cloned().collect();
        let attachment =
            |f: fn(&NetworkInterfaceAttachment) -> Option<String>| i.attachment.iter().filter_map(f).collect();
        let association =
            |f: fn(&NetworkInterfaceAssociation) -> Option<String>| i.association.iter().filter_map(f).collect();
        Some(match name {
            "network-interface-id" => one(&i.network_interface_id),
            "vpc-id" => one(&i.vpc_id),
            "subnet-id" => one(&i.subnet_id),
            "availability-zone" => one(&i.availability_zone),
            "private-ip-address" | "addresses.private-ip-address" => one(&i.private_ip_address),
            "private-dns-name" => one(&i.private_dns_name),
            "mac-address" => one(&i.mac_address),
            "description" => one(&i.description),
            "interface-type" => one(&i.interface_type),
            "status" => one(&i.status),
            "owner-id" => one(&i.owner_id),
            "requester-id" => one(&i.requester_id),
            "requester-managed" => vec![i.requester_managed.unwrap_or_default().to_string()],
            "source-dest-check" => vec![i.source_dest_check.unwrap_or_default().to_string()],
            "group-id" => i.groups.iter().flatten().filter_map(|g| g.group_id.clone()).collect(),
            "group-name" => i.groups.iter().flatten().filter_map(|g| g.group_name.clone()).collect(),
            "attachment.attachment-id" => attachment(|a| a.attachment_id.clone()),
            "attachment.instance-id" => attachment(|a| a.instance_id.clone()),
            "attachment.status" => attachment(|a| a.status.clone()),
            "attachment.instance-owner-id" => attachment(|a| a.instance_owner_id.clone()),
            "association.allocation-id" => association(|a| a.allocation_id.clone()),
            "association.public-ip" | "addresses.association.public-ip" => association(|a| a.public_ip.clone()),
            _ => return None,
        })
    }
}

/// Attaches an interface in a subnet for another service.
///
/// Errors are EC2's: an unknown subnet or security group, one of another VPC, no free address,
/// `InvalidIPAddress.InUse`.
pub fn attach(ctx: &mut Ctx<'_>, new: NewInterface) -> Result<Attached> {
    let subnet = find::<SubnetRecord>(ctx, &new.subnet)?;
    let vpc = subnet.parent();
    let groups = groups(ctx, &vpc, &new.security_groups)?;
    let address = match new.address {
        None => free_address(ctx, &subnet)?,
        // Tasks are reached at an address of the hub network, whatever their subnet's block is.
        Some(address) if quarry_domain::address::is_of_tasks(address) => address,
        Some(address) if !subnet.block().is_some_and(|block| block.has(address)) => {
            let message = format!("Address {address} does not fall within the subnet's address range");
            return Err(error("InvalidParameterValue", message));
        }
        Some(address) if taken(ctx, &subnet.key())?.contains(&address.to_string()) => {
            return Err(error("InvalidIPAddress.InUse", format!("Address {address} is in use.")));
        }
        Some(address) => address,
    };
    let place = ctx.platform.place().clone();
    let id = new_id(ctx, "eni");
    let mac = mac(address);
    let private_dns_name = private_dns_name(&place.region, address);
    let zone = subnet.subnet.availability_zone.clone();
    let kind = if new.interface_type.is_empty() { "interface".into() } else { new.interface_type };
    let interface = NetworkInterface {
        network_interface_id: Some(id.clone()),
        attachment: Some(NetworkInterfaceAttachment {
            attachment_id: Some(new_id(ctx, "eni-attach")),
            attach_time: Some(Timestamp::from_millis(ctx.platform.now_ms())),
            delete_on_termination: Some(new.instance.is_some()),
            device_index: Some(1),
            instance_id: new.instance,
            instance_owner_id: Some(place.account.clone()),
            network_card_index: Some(0),
            status: Some("attached".into()),
            ..Default::default()
        }),
        description: Some(new.description),
        groups: Some(groups),
        mac_address: Some(mac.clone()),
        requester_id: Some(place.account.clone()),
        requester_managed: Some(true),
        // A NAT gateway forwards what is not addressed to it.
        source_dest_check: Some(kind != "nat_gateway"),
        interface_type: Some(kind),
        tag_set: Some(new.tags),
        ..described(&place.account, &subnet, address, &private_dns_name)
    };
    ctx.tx.put(&InterfaceRecord { interface })?;
    let availability_zone = zone.unwrap_or_default();
    Ok(Attached { id, address, mac, private_dns_name, availability_zone, vpc })
}

/// Takes an interface away that [`attach`] made; one that is gone already is no error.
pub fn detach(ctx: &mut Ctx<'_>, id: &str) -> Result<()> {
    address::forget_interface(ctx, id)?;
    ctx.tx.delete::<InterfaceRecord>(id)?;
    Ok(())
}

/// All interfaces: those of live instances and those that services attached.
pub(super) fn all(ctx: &Ctx<'_>) -> Result<Vec<InterfaceRecord>> {
    let owner = &ctx.platform.place().account;
    let instances = ctx.tx.all::<InstanceRecord>()?;
    let mut all: Vec<_> =
        instances.iter().filter(|i| i.is_live()).map(|i| InterfaceRecord { interface: primary(i, owner) }).collect();
    all.extend(ctx.tx.all::<InterfaceRecord>()?);
    for address in ctx.tx.all::<AddressRecord>()?.into_iter().map(|record| record.address) {
        let Some(held_by) = address.network_interface_id else { continue };
        let Some(holder) = all.iter_mut().find(|record| record.key() == held_by) else { continue };
        holder.interface.association = Some(NetworkInterfaceAssociation {
            allocation_id: address.allocation_id,
            association_id: address.association_id,
            ip_owner_id: Some(owner.clone()),
            public_ip: address.public_ip,
            ..Default::default()
        });
    }
    Ok(all)
}

/// An interface of whatever kind.
pub(super) fn named(ctx: &Ctx<'_>, id: &str) -> Result<InterfaceRecord> {
    Ok(choose(all(ctx)?, Some(vec![id.to_owned()]), None)?.remove(0))
}

/// The id of the interface that a live instance has.
pub(super) fn of_instance(ctx: &Ctx<'_>, instance: &str) -> Result<String> {
    let record = find::<InstanceRecord>(ctx, instance)?;
    if !record.is_live() {
        let message = format!("The instance ID '{instance}' is not in a valid state for this operation.");
        return Err(error("IncorrectInstanceState", message));
    }
    Ok(interface_of(instance))
}

/// Whether a service attached it, and not an instance has it.
pub(super) fn is_managed(ctx: &Ctx<'_>, id: &str) -> Result<bool> {
    Ok(ctx.tx.get::<InterfaceRecord>(id)?.is_some())
}

pub(super) fn set_groups(ctx: &mut Ctx<'_>, id: &str, groups: Vec<GroupIdentifier>) -> Result<()> {
    let mut record = find::<InterfaceRecord>(ctx, id)?;
    record.interface.groups = Some(groups);
    ctx.tx.put(&record)?;
    Ok(())
}

/// An instance's interface is named after it.
pub(super) fn interface_of(instance: &str) -> String {
    instance.replacen("i-", "eni-", 1)
}

/// The lowest address of the subnet that no interface has. The first four and the last are not
/// handed out, as on EC2.
pub(super) fn free_address(ctx: &Ctx<'_>, subnet: &SubnetRecord) -> Result<Ipv4Addr> {
    let taken = taken(ctx, &subnet.key())?;
    let block = subnet.block();
    let end = block.map_or(0, |b| b.size() - 1);
    let mut addresses = (4..end).map_while(|offset| block?.address(offset));
    addresses.find(|a| !taken.contains(&a.to_string())).ok_or_else(|| {
        error("InsufficientFreeAddressesInSubnet", format!("The subnet '{}' has no free address", subnet.key()))
    })
}

/// The groups with these ids in one VPC; its default group if there are none.
pub(super) fn groups(ctx: &Ctx<'_>, vpc: &str, ids: &[String]) -> Result<Vec<GroupIdentifier>> {
    let mut found = Vec::new();
    for id in ids {
        found.push(find::<SecurityGroupRecord>(ctx, id)?);
    }
    if let Some(foreign) = found.iter().find(|group| group.vpc != vpc) {
        let message = format!("Security group {} and subnet belong to different networks.", foreign.id);
        return Err(error("InvalidGroup.NotFound", message));
    }
    if ids.is_empty() {
        let of_vpc = ctx.tx.children::<SecurityGroupRecord>(vpc)?;
        found.extend(of_vpc.into_iter().filter(|group| group.name == "default"));
    }
    let shown = |group: SecurityGroupRecord| GroupIdentifier { group_id: Some(group.id), group_name: Some(group.name) };
    Ok(found.into_iter().map(shown).collect())
}

pub(super) fn private_dns_name(region: &str, address: Ipv4Addr) -> String {
    format!("ip-{}.{region}.compute.internal", address.to_string().replace('.', "-"))
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeNetworkInterfacesRequest) -> Result<DescribeNetworkInterfacesResult> {
    let shown = choose(all(ctx)?, input.network_interface_ids, input.filters)?;
    let (interfaces, next_token) = page(shown, input.max_results, input.next_token)?;
    let interfaces = interfaces.into_iter().map(|record| record.interface).collect();
    Ok(DescribeNetworkInterfacesResult { network_interfaces: Some(interfaces), next_token })
}

fn taken(ctx: &Ctx<'_>, subnet: &str) -> Result<HashSet<String>> {
    let of_subnet = all(ctx)?.into_iter().map(|record| record.interface);
    let of_subnet = of_subnet.filter(|i| i.subnet_id.as_deref() == Some(subnet));
    Ok(of_subnet.filter_map(|i| i.private_ip_address).collect())
}

/// Locally administered, one for each address.
fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:71:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn described(owner: &str, subnet: &SubnetRecord, address: Ipv4Addr, name: &str) -> NetworkInterface {
    NetworkInterface {
        availability_zone: subnet.subnet.availability_zone.clone(),
        owner_id: Some(owner.into()),
        private_dns_name: Some(name.into()),
        private_ip_address: Some(address.to_string()),
        private_ip_addresses: Some(vec![NetworkInterfacePrivateIpAddress {
            primary: Some(true),
            private_dns_name: Some(name.into()),
            private_ip_address: Some(address.to_string()),
            ..Default::default()
        }]),
        status: Some("in-use".into()),
        subnet_id: subnet.subnet.subnet_id.clone(),
        vpc_id: subnet.subnet.vpc_id.clone(),
        ..Default::default()
    }
}

fn primary(record: &InstanceRecord, owner: &str) -> NetworkInterface {
    let id = record.key();
    let instance = record.instance.clone();
    let address = instance.private_ip_address.as_deref().and_then(|text| text.parse::<Ipv4Addr>().ok());
    NetworkInterface {
        network_interface_id: Some(interface_of(&id)),
        attachment: Some(NetworkInterfaceAttachment {
            attachment_id: Some(id.replacen("i-", "eni-attach-", 1)),
            attach_time: instance.launch_time,
            delete_on_termination: Some(true),
            device_index: Some(0),
            instance_id: Some(id),
            instance_owner_id: Some(owner.into()),
            network_card_index: Some(0),
            status: Some("attached".into()),
            ..Default::default()
        }),
        availability_zone: instance.placement.and_then(|p| p.availability_zone),
        description: Some(String::new()),
        groups: instance.security_groups,
        interface_type: Some("interface".into()),
        mac_address: address.map(mac),
        owner_id: Some(owner.into()),
        private_dns_name: instance.private_dns_name.clone(),
        private_ip_addresses: Some(vec![NetworkInterfacePrivateIpAddress {
            primary: Some(true),
            private_dns_name: instance.private_dns_name,
            private_ip_address: instance.private_ip_address.clone(),
            ..Default::default()
        }]),
        private_ip_address: instance.private_ip_address,
        requester_managed: Some(false),
        source_dest_check: Some(true),
        status: Some("in-use".into()),
        subnet_id: instance.subnet_id,
        vpc_id: instance.vpc_id,
        tag_set: Some(Vec::new()),
        ..Default::default()
    }
}
