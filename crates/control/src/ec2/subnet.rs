//! Subnets: a part of a VPC's addresses in one availability zone.

use super::cidr::Block;
use super::resource::{Resource, error, find, load_balancers, new_id, page, required, select, tags_for};
use super::vpc::VpcRecord;
use super::{network_interface, route_table, zone};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    CreateSubnetRequest, CreateSubnetResult, DeleteSubnetRequest, DescribeSubnetsRequest, DescribeSubnetsResult,
    ModifySubnetAttributeRequest, Subnet, Tag,
};
use quarry_wire::Empty;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct SubnetRecord {
    pub subnet: Subnet,
}

impl Item for SubnetRecord {
    const KIND: &'static str = "ec2.subnet";
    fn key(&self) -> String {
        self.subnet.subnet_id.clone().unwrap_or_default()
    }
    fn parent(&self) -> String {
        self.subnet.vpc_id.clone().unwrap_or_default()
    }
}

impl Resource for SubnetRecord {
    const TYPE: &'static str = "subnet";
    const NOUN: &'static str = "subnet ID";
    const NOT_FOUND: &'static str = "InvalidSubnetID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.subnet.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.subnet.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let one = |v: &Option<String>| v.clone().into_iter().collect();
        Some(match name {
            "subnet-id" => one(&self.subnet.subnet_id),
            "vpc-id" => one(&self.subnet.vpc_id),
            "availability-zone" | "availabilityZone" => one(&self.subnet.availability_zone),
            "availability-zone-id" => one(&self.subnet.availability_zone_id),
            "cidr" | "cidr-block" | "cidrBlock" => one(&self.subnet.cidr_block),
            "state" => vec!["available".into()],
            "default-for-az" | "defaultForAz" => vec!["false".into()],
            "owner-id" => one(&self.subnet.owner_id),
            "map-public-ip-on-launch" => vec![self.subnet.map_public_ip_on_launch.unwrap_or_default().to_string()],
            _ => return None,
        })
    }
}

impl SubnetRecord {
    pub fn block(&self) -> Option<Block> {
        Block::parse(self.subnet.cidr_block.as_deref()?)
    }
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateSubnetRequest) -> Result<CreateSubnetResult> {
    let vpc = find::<VpcRecord>(ctx, &required(input.vpc_id, "vpcId")?)?;
    let text = required(input.cidr_block, "cidrBlock")?;
    let block = Block::parse(&text).ok_or_else(|| {
        error(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."),
        )
    })?;
    let inside = vpc.block().is_some_and(|v| v.contains(block)) && (16..=28).contains(&block.prefix());
    if !inside {
        return Err(error("InvalidSubnet.Range", format!("The CIDR '{text}' is invalid.")));
    }
    let siblings = ctx.tx.children::<SubnetRecord>(&vpc.key())?;
    if siblings.iter().filter_map(SubnetRecord::block).any(|b| b.overlaps(block)) {
        return Err(error("InvalidSubnet.Conflict", format!("The CIDR '{text}' conflicts with another subnet")));
    }
    let place = ctx.platform.place();
    let wanted = input.availability_zone.or(input.availability_zone_id);
    let (zone, zone_id) = zone::find(place, wanted.as_deref())?;
    let id = new_id(ctx, "subnet");
    let subnet = Subnet {
        subnet_arn: Some(place.arn("ec2", format_args!("subnet/{id}"))),
        subnet_id: Some(id),
        vpc_id: vpc.vpc.vpc_id.clone(),
        cidr_block: Some(block.to_string()),
        availability_zone: Some(zone),
        availability_zone_id: Some(zone_id),
        available_ip_address_count: Some((block.size() - 5) as i32),
        default_for_az: Some(false),
        map_public_ip_on_launch: Some(false),
        map_customer_owned_ip_on_launch: Some(false),
        assign_ipv6_address_on_creation: Some(false),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        owner_id: Some(place.account.clone()),
        state: Some("available".into()),
        tags: tags_for::<SubnetRecord>(input.tag_specifications)?,
        ..Default::default()
    };
    ctx.tx.put(&SubnetRecord { subnet: subnet.clone() })?;
    Ok(CreateSubnetResult { subnet: Some(subnet) })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeSubnetsRequest) -> Result<DescribeSubnetsResult> {
    let found = select::<SubnetRecord>(ctx, input.subnet_ids, input.filters)?;
    let (mut subnets, next_token) = page(found, input.max_results, input.next_token)?;
    let interfaces = network_interface::all(ctx)?;
    for record in &mut subnets {
        let used = interfaces.iter().filter(|i| i.interface.subnet_id == record.subnet.subnet_id).count();
        let free = record.subnet.available_ip_address_count.unwrap_or_default() - used as i32;
        record.subnet.available_ip_address_count = Some(free);
    }
    Ok(DescribeSubnetsResult { subnets: Some(subnets.into_iter().map(|r| r.subnet).collect()), next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteSubnetRequest) -> Result<Empty> {
    let id = required(input.subnet_id, "subnetId")?;
    find::<SubnetRecord>(ctx, &id)?;
    let lived_in = network_interface::all(ctx)?.iter().any(|i| i.interface.subnet_id.as_deref() == Some(&id));
    let balanced = load_balancers(ctx)?
        .iter()
        .any(|b| b.availability_zones.iter().flatten().any(|zone| zone.subnet_id.as_deref() == Some(&id)));
    if lived_in || balanced {
        return Err(error("DependencyViolation", format!("The subnet '{id}' has dependencies and cannot be deleted.")));
    }
    route_table::forget_subnet(ctx, &id)?;
    ctx.tx.delete::<SubnetRecord>(&id)?;
    Ok(Empty {})
}

pub fn modify_attribute(ctx: &mut Ctx<'_>, input: ModifySubnetAttributeRequest) -> Result<Empty> {
    let mut record = find::<SubnetRecord>(ctx, &required(input.subnet_id, "subnetId")?)?;
    let on = |v: &Option<quarry_aws::ec2::AttributeBooleanValue>| v.as_ref().and_then(|v| v.value) == Some(true);
    if on(&input.assign_ipv6_address_on_creation)
        || on(&input.enable_dns64)
        || on(&input.map_customer_owned_ip_on_launch)
    {
        return Err(error("UnsupportedOperation", "IPv6 and customer-owned addresses are not supported."));
    }
    if let Some(value) = input.map_public_ip_on_launch.and_then(|v| v.value) {
        record.subnet.map_public_ip_on_launch = Some(value);
    }
    ctx.tx.put(&record)?;
    Ok(Empty {})
}
