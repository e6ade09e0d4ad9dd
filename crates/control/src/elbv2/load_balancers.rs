//! What the operations on load balancers share: names, subnets, security groups, addresses, views.

use super::errors;
use super::records::{LoadBalancer, Zone};
use crate::api::{Ctx, Result};
use crate::platform::Platform;
use crate::store::{Item, Tx};
use quarry_aws::{ec2, elbv2 as aws};
use quarry_wire::{ServiceError, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The hosted zone that AWS names for Application Load Balancers in us-east-1.
const HOSTED_ZONE: &str = "Z35SXDOTRQ7X7K";

/// Where this installation's load balancers live in 127.80.0.0/16: drawn once, so that two
/// installations on one machine rarely meet.
#[derive(Clone, Serialize, Deserialize)]
struct AddressBlock {
    third_octet: u8,
}

impl Item for AddressBlock {
    const KIND: &'static str = "elbv2.address-block";
    fn key(&self) -> String {
        "own".into()
    }
}

pub fn show(platform: &Platform, tx: &Tx<'_>, balancer: &LoadBalancer) -> Result<aws::LoadBalancer> {
    let listeners: Vec<super::records::Listener> = tx.children(&balancer.arn)?;
    let live = platform.live();
    let trouble = listeners.iter().find_map(|l| live.listeners.get(&l.arn).and_then(|status| status.error.clone()));
    drop(live);
    let (code, reason) = match trouble {
        Some(error) => ("active_impaired", Some(error)),
        None => ("active", None),
    };
    Ok(shape(balancer, code, reason))
}

/// Its description with the state given.
pub fn shape(balancer: &LoadBalancer, state: &str, reason: Option<String>) -> aws::LoadBalancer {
    aws::LoadBalancer {
        load_balancer_arn: Some(balancer.arn.clone()),
        load_balancer_name: Some(balancer.name.clone()),
        dns_name: Some(balancer.dns_name.clone()),
        canonical_hosted_zone_id: Some(HOSTED_ZONE.into()),
        created_time: Some(Timestamp::from_millis(balancer.created_ms)),
        scheme: Some(balancer.scheme.clone()),
        vpc_id: Some(balancer.vpc_id.clone()),
        state: Some(aws::LoadBalancerState { code: Some(state.into()), reason }),
        r#type: Some("application".into()),
        availability_zones: Some(show_zones(&balancer.zones)),
        security_groups: Some(balancer.security_groups.clone()),
        ip_address_type: Some("ipv4".into()),
        ..Default::default()
    }
}

pub fn show_zones(zones: &[Zone]) -> Vec<aws::AvailabilityZone> {
    zones
        .iter()
        .map(|zone| aws::AvailabilityZone {
            zone_name: Some(zone.name.clone()),
            subnet_id: Some(zone.subnet_id.clone()),
            load_balancer_addresses: Some(Vec::new()),
            ..Default::default()
        })
        .collect()
}

/// At most 32 letters, digits and hyphens, not at the ends; `what` starts AWS's sentence.
pub fn check_name(name: &str, what: &str) -> Result<()> {
    if name.is_empty() {
        return Err(errors::validation(format!("{what} name must be specified")));
    }
    if name.chars().count() > 32 {
        return Err(errors::validation(format!("{what} name '{name}' cannot be longer than '32' characters")));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(errors::validation(format!(
            "{what} name '{name}' can only contain characters that are alphanumeric characters or hyphens(-)"
        )));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(errors::validation(format!("{what} name '{name}' cannot begin or end with '-'")));
    }
    if what == "Load balancer" && name.starts_with("internal-") {
        return Err(errors::validation(format!("{what} name '{name}' cannot begin with 'internal-'")));
    }
    Ok(())
}

/// The zones of the subnets named, and their VPC.
pub fn resolve_subnets(
    ctx: &mut Ctx<'_>,
    subnets: Option<Vec<String>>,
    mappings: Option<Vec<aws::SubnetMapping>>,
) -> Result<(Vec<Zone>, String)> {
    let mappings = mappings.unwrap_or_default();
    let mut ids = subnets.unwrap_or_default();
    if !ids.is_empty() && !mappings.is_empty() {
        return Err(errors::validation("You must specify either subnets or subnet mappings, but not both"));
    }
    for mapping in mappings {
        if mapping.allocation_id.is_some() || mapping.private_ipv4_address.is_some() || mapping.ipv6_address.is_some() {
            return Err(errors::invalid_configuration(
                "Elastic IP addresses and fixed addresses are not supported for load balancers with type 'application'",
            ));
        }
        ids.push(mapping.subnet_id.ok_or_else(|| errors::validation("A subnet ID must be specified"))?);
    }
    if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
        return Err(errors::invalid_configuration(
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        ));
    }
    if ids.is_empty() {
        return Err(two_zones());
    }
    let input = ec2::DescribeSubnetsRequest { subnet_ids: Some(ids.clone()), ..Default::default() };
    let found = match ctx.invoke::<ec2::op::DescribeSubnets>(input) {
        Ok(output) => output.subnets.unwrap_or_default(),
        Err(error) if error.status < 500 => return Err(errors::subnet_not_found(error.message)),
        Err(error) => return Err(error),
    };
    let (mut zones, mut vpcs) = (Vec::<Zone>::new(), BTreeSet::new());
    for id in ids {
        let subnet = found
            .iter()
            .find(|subnet| subnet.subnet_id.as_deref() == Some(&id))
            .ok_or_else(|| errors::subnet_not_found(format!("The subnet ID '{id}' does not exist")))?;
        let name = subnet.availability_zone.clone().unwrap_or_default();
        if zones.iter().any(|zone| zone.name == name) {
            return Err(errors::invalid_configuration(
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            ));
        }
        vpcs.insert(subnet.vpc_id.clone().unwrap_or_default());
        zones.push(Zone { name, subnet_id: id });
    }
    if zones.len() < 2 {
        return Err(two_zones());
    }
    if vpcs.len() > 1 {
        return Err(errors::invalid_configuration("All subnets must belong to the same VPC"));
    }
    Ok((zones, vpcs.pop_first().unwrap_or_default()))
}

/// The security groups named, or the VPC's default one.
pub fn resolve_security_groups(ctx: &mut Ctx<'_>, groups: Option<Vec<String>>, vpc_id: &str) -> Result<Vec<String>> {
    let named = groups.filter(|groups| !groups.is_empty());
    let filter = |name: &str, value: &str| ec2::Filter { name: Some(name.into()), values: Some(vec![value.into()]) };
    let input = match &named {
        Some(ids) => ec2::DescribeSecurityGroupsRequest { group_ids: Some(ids.clone()), ..Default::default() },
        None => ec2::DescribeSecurityGroupsRequest {
            filters: Some(vec![filter("vpc-id", vpc_id), filter("group-name", "default")]),
            ..Default::default()
        },
    };
    let found = match ctx.invoke::<ec2::op::DescribeSecurityGroups>(input) {
        Ok(output) => output.security_groups.unwrap_or_default(),
        Err(error) if error.status < 500 => return Err(errors::invalid_security_group(error.message)),
        Err(error) => return Err(error),
    };
    let Some(ids) = named else {
        return Ok(found.into_iter().filter_map(|group| group.group_id).collect());
    };
    for id in &ids {
        let group = found.iter().find(|group| group.group_id.as_deref() == Some(id));
        if group.is_none_or(|group| group.vpc_id.as_deref().is_some_and(|vpc| vpc != vpc_id)) {
            return Err(errors::invalid_security_group(format!("One or more security groups are invalid: '{id}'")));
        }
    }
    Ok(ids)
}

/// A loopback and a hub address that no other load balancer has.
pub fn addresses(ctx: &Ctx<'_>, taken: &[LoadBalancer]) -> Result<(Ipv4Addr, Ipv4Addr)> {
    let block = match ctx.tx.get::<AddressBlock>("own")? {
        Some(block) => block,
        None => {
            let mut byte = [0u8];
            ctx.platform.door.entropy.fill(&mut byte);
            let block = AddressBlock { third_octet: byte[0].clamp(1, 250) };
            ctx.tx.put(&block)?;
            block
        }
    };
    // Counting on before reusing keeps a deleted load balancer's clients away from the next one.
    for _ in 0..250 {
        let last = (ctx.tx.next("elbv2.address")? % 250 + 1) as u8;
        if taken.iter().all(|other| other.hub_address.octets()[3] != last) {
            return Ok((Ipv4Addr::new(127, 80, block.third_octet, last), Ipv4Addr::new(198, 19, 1, last)));
        }
    }
    Err(errors::too_many_load_balancers("No address is left for another load balancer"))
}

/// Only IPv4 is served.
pub fn check_ip_address_type(kind: Option<&str>) -> Result<()> {
    match kind {
        None | Some("ipv4") => Ok(()),
        Some(kind @ ("dualstack" | "dualstack-without-public-ipv4")) => {
            Err(errors::invalid_configuration(format!("IP address type '{kind}' is not supported here; use 'ipv4'")))
        }
        Some(other) => Err(errors::constraint(
            other,
            "ipAddressType",
            "satisfy enum value set: [ipv4, dualstack, dualstack-without-public-ipv4]",
        )),
    }
}

fn two_zones() -> ServiceError {
    errors::validation("At least two subnets in two different Availability Zones must be specified")
}
