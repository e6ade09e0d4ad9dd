//! Elastic addresses. They come from the blocks that are reserved for documentation: nothing outside
//! reaches them, as nothing here is reachable from outside.

use super::network_interface;
use super::resource::{Resource, error, find, new_id, page, required, select, tags_for};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    Address, AddressAttribute, AllocateAddressRequest, AllocateAddressResult, AssociateAddressRequest,
    AssociateAddressResult, DescribeAddressesAttributeRequest, DescribeAddressesAttributeResult,
    DescribeAddressesRequest, DescribeAddressesResult, DisassociateAddressRequest, ReleaseAddressRequest, Tag,
};
use quarry_wire::Empty;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::Ipv4Addr;

#[derive(Clone, Serialize, Deserialize)]
pub struct AddressRecord {
    pub address: Address,
}

/// TEST-NET-3, TEST-NET-2 and TEST-NET-1 of RFC 5737.
const BLOCKS: [[u8; 3]; 3] = [[203, 0, 113], [198, 51, 100], [192, 0, 2]];

impl Item for AddressRecord {
    const KIND: &'static str = "ec2.address";
    fn key(&self) -> String {
        self.address.allocation_id.clone().unwrap_or_default()
    }
}

impl Resource for AddressRecord {
    const TYPE: &'static str = "elastic-ip";
    const NOUN: &'static str = "allocation ID";
    const NOT_FOUND: &'static str = "InvalidAllocationID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.address.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.address.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        Some(match name {
            "allocation-id" => vec![self.key()],
            "association-id" => one(&self.address.association_id),
            "domain" => one(&self.address.domain),
            "instance-id" => one(&self.address.instance_id),
            "network-border-group" => one(&self.address.network_border_group),
            "network-interface-id" => one(&self.address.network_interface_id),
            "network-interface-owner-id" => one(&self.address.network_interface_owner_id),
            "private-ip-address" => one(&self.address.private_ip_address),
            "public-ip" => one(&self.address.public_ip),
            _ => return None,
        })
    }
}

pub fn allocate(ctx: &mut Ctx<'_>, input: AllocateAddressRequest) -> Result<AllocateAddressResult> {
    if let Some(domain) = input.domain.filter(|domain| domain != "vpc") {
        let message = format!("Value ({domain}) for parameter domain is invalid. EC2-Classic has been retired.");
        return Err(error("InvalidParameterValue", message));
    }
    let pool = input.public_ipv4_pool.filter(|pool| pool != "amazon");
    if pool.is_some()
        || input.address.is_some()
        || input.customer_owned_ipv4_pool.is_some()
        || input.ipam_pool_id.is_some()
    {
        return Err(error("UnsupportedOperation", "Addresses come from Amazon's pool only."));
    }
    let taken: HashSet<_> = ctx.tx.all::<AddressRecord>()?.into_iter().filter_map(|r| r.address.public_ip).collect();
    let candidates =
        BLOCKS.iter().flat_map(|[a, b, c]| (1..255).map(move |d| Ipv4Addr::new(*a, *b, *c, d).to_string()));
    let public_ip = candidates.into_iter().find(|address| !taken.contains(address));
    let public_ip =
        public_ip.ok_or_else(|| error("AddressLimitExceeded", "The maximum number of addresses has been reached."))?;
    let region = ctx.platform.place().region.clone();
    if input.network_border_group.as_ref().is_some_and(|group| *group != region) {
        return Err(error("InvalidParameterValue", "The network border group is not one of this region."));
    }
    let address = Address {
        allocation_id: Some(new_id(ctx, "eipalloc")),
        public_ip: Some(public_ip),
        domain: Some("vpc".into()),
        public_ipv4_pool: Some("amazon".into()),
        network_border_group: Some(region),
        tags: tags_for::<AddressRecord>(input.tag_specifications)?,
        ..Default::default()
    };
    ctx.tx.put(&AddressRecord { address: address.clone() })?;
    Ok(AllocateAddressResult {
        allocation_id: address.allocation_id,
        public_ip: address.public_ip,
        domain: address.domain,
        public_ipv4_pool: address.public_ipv4_pool,
        network_border_group: address.network_border_group,
        ..Default::default()
    })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeAddressesRequest) -> Result<DescribeAddressesResult> {
    let mut found = select::<AddressRecord>(ctx, input.allocation_ids, input.filters)?;
    let wanted = input.public_ips.unwrap_or_default();
    for address in &wanted {
        by_public_ip(ctx, address)?;
    }
    found.retain(|r| wanted.is_empty() || r.address.public_ip.as_ref().is_some_and(|ip| wanted.contains(ip)));
    Ok(DescribeAddressesResult { addresses: Some(found.into_iter().map(|r| r.address).collect()) })
}

/// Addresses have no reverse DNS names: none can be set.
pub fn describe_attribute(
    ctx: &mut Ctx<'_>,
    input: DescribeAddressesAttributeRequest,
) -> Result<DescribeAddressesAttributeResult> {
    if let Some(other) = input.attribute.filter(|attribute| attribute != "domain-name") {
        let message = format!("Value ({other}) for parameter attribute is invalid.");
        return Err(error("InvalidParameterValue", message));
    }
    let found = select::<AddressRecord>(ctx, input.allocation_ids, None)?;
    let (found, next_token) = page(found, input.max_results, input.next_token)?;
    let shown = found.into_iter().map(|r| AddressAttribute {
        allocation_id: r.address.allocation_id,
        public_ip: r.address.public_ip,
        ..Default::default()
    });
    Ok(DescribeAddressesAttributeResult { addresses: Some(shown.collect()), next_token })
}

pub fn release(ctx: &mut Ctx<'_>, input: ReleaseAddressRequest) -> Result<Empty> {
    let record = named(ctx, input.allocation_id, input.public_ip)?;
    if record.address.association_id.is_some() {
        let ip = record.address.public_ip.unwrap_or_default();
        return Err(error("InvalidIPAddress.InUse", format!("Address {ip} is in use.")));
    }
    ctx.tx.delete::<AddressRecord>(&record.key())?;
    Ok(Empty {})
}

pub fn associate(ctx: &mut Ctx<'_>, input: AssociateAddressRequest) -> Result<AssociateAddressResult> {
    let record = named(ctx, input.allocation_id, input.public_ip)?;
    let interface = match (input.instance_id, input.network_interface_id) {
        (Some(instance), None) => network_interface::of_instance(ctx, &instance)?,
        (None, Some(interface)) => interface,
        _ => {
            let message = "You must specify either an instance ID or a network interface ID, but not both.";
            return Err(error("InvalidParameterCombination", message));
        }
    };
    // Moving an address of a VPC is allowed unless it is forbidden.
    let other = record.address.network_interface_id.as_ref().is_some_and(|held| *held != interface);
    if other && input.allow_reassociation == Some(false) {
        return Err(already_associated(&record));
    }
    let id = tie(ctx, record, &interface, input.private_ip_address)?;
    Ok(AssociateAddressResult { association_id: Some(id) })
}

pub fn disassociate(ctx: &mut Ctx<'_>, input: DisassociateAddressRequest) -> Result<Empty> {
    let record = match (input.association_id, input.public_ip) {
        (Some(id), _) => {
            let mut all = ctx.tx.all::<AddressRecord>()?.into_iter();
            all.find(|r| r.address.association_id.as_ref() == Some(&id)).ok_or_else(|| {
                error("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist"))
            })?
        }
        (None, address) => by_public_ip(ctx, &required(address, "AssociationId")?)?,
    };
    let held = record.address.network_interface_id.as_deref().unwrap_or_default();
    if network_interface::is_managed(ctx, held)? {
        let message = "You do not have permission to access the specified resource.";
        return Err(error("AuthFailure", message));
    }
    untie(ctx, record)?;
    Ok(Empty {})
}

/// Gives an address that is free to a new interface; returns its public address and association.
pub(super) fn take(ctx: &mut Ctx<'_>, allocation: &str, interface: &str) -> Result<(String, String)> {
    let record = find::<AddressRecord>(ctx, allocation)?;
    if record.address.association_id.is_some() {
        return Err(already_associated(&record));
    }
    let public_ip = record.address.public_ip.clone().unwrap_or_default();
    Ok((public_ip, tie(ctx, record, interface, None)?))
}

/// An interface that goes gives its addresses back.
pub(super) fn forget_interface(ctx: &mut Ctx<'_>, interface: &str) -> Result<()> {
    for record in ctx.tx.all::<AddressRecord>()? {
        if record.address.network_interface_id.as_deref() == Some(interface) {
            untie(ctx, record)?;
        }
    }
    Ok(())
}

fn tie(ctx: &mut Ctx<'_>, mut record: AddressRecord, interface: &str, private: Option<String>) -> Result<String> {
    let found = network_interface::named(ctx, interface)?.interface;
    if private.is_some() && private != found.private_ip_address {
        let message = "The private address is not one of the network interface's.";
        return Err(error("InvalidParameterValue", message));
    }
    let id = new_id(ctx, "eipassoc");
    let address = &mut record.address;
    address.association_id = Some(id.clone());
    address.instance_id = found.attachment.and_then(|attachment| attachment.instance_id);
    address.network_interface_id = Some(interface.into());
    address.network_interface_owner_id = found.owner_id;
    address.private_ip_address = found.private_ip_address;
    ctx.tx.put(&record)?;
    Ok(id)
}

fn untie(ctx: &mut Ctx<'_>, mut record: AddressRecord) -> Result<()> {
    let address = &mut record.address;
    (address.association_id, address.instance_id, address.private_ip_address) = (None, None, None);
    (address.network_interface_id, address.network_interface_owner_id) = (None, None);
    ctx.tx.put(&record)?;
    Ok(())
}

fn named(ctx: &Ctx<'_>, allocation: Option<String>, public_ip: Option<String>) -> Result<AddressRecord> {
    match (allocation, public_ip) {
        (Some(id), None) => find(ctx, &id),
        (None, Some(ip)) => by_public_ip(ctx, &ip),
        (None, None) => Err(error("MissingParameter", "Either 'publicIp' or 'allocationId' must be specified")),
        _ => Err(error("InvalidParameterCombination", "You may specify public IP or allocation id, but not both")),
    }
}

fn by_public_ip(ctx: &Ctx<'_>, ip: &str) -> Result<AddressRecord> {
    let found = ctx.tx.all::<AddressRecord>()?.into_iter().find(|r| r.address.public_ip.as_deref() == Some(ip));
    found.ok_or_else(|| error("InvalidAddress.NotFound", format!("Address '{ip}' not found.")))
}

fn already_associated(record: &AddressRecord) -> quarry_wire::ServiceError {
    let id = record.key();
    error("Resource.AlreadyAssociated", format!("resource {id} is already associated with another network interface"))
}
