//! NAT gateways. They hold an address and an interface and can be routed to; where a task may go is
//! decided by its allow-list, with or without one.

use super::address;
use super::network_interface::{self, NewInterface};
use super::resource::{Resource, error, find, new_id, page, required, select, tags_for};
use super::subnet::SubnetRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    CreateNatGatewayRequest, CreateNatGatewayResult, DeleteNatGatewayRequest, DeleteNatGatewayResult,
    DescribeNatGatewaysRequest, DescribeNatGatewaysResult, NatGateway, NatGatewayAddress, Tag,
};
use quarry_wire::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a deleted gateway stays visible, as on EC2.
const SHOWN_AFTER_DELETION_MS: i64 = 3_600_000;

#[derive(Clone, Serialize, Deserialize)]
pub struct NatGatewayRecord {
    pub gateway: NatGateway,
    pub deleted_at_ms: Option<i64>,
    /// A repeated request with it makes nothing twice.
    pub client_token: Option<String>,
}

impl Item for NatGatewayRecord {
    const KIND: &'static str = "ec2.nat-gateway";
    fn key(&self) -> String {
        self.gateway.nat_gateway_id.clone().unwrap_or_default()
    }
    fn parent(&self) -> String {
        self.gateway.vpc_id.clone().unwrap_or_default()
    }
}

impl Resource for NatGatewayRecord {
    const TYPE: &'static str = "natgateway";
    const NOUN: &'static str = "NatGateway ID";
    const NOT_FOUND: &'static str = "NatGatewayNotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.gateway.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.gateway.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        Some(match name {
            "nat-gateway-id" => vec![self.key()],
            "state" => one(&self.gateway.state),
            "subnet-id" => one(&self.gateway.subnet_id),
            "vpc-id" => one(&self.gateway.vpc_id),
            _ => return None,
        })
    }
}

impl NatGatewayRecord {
    pub fn is_live(&self) -> bool {
        self.deleted_at_ms.is_none()
    }

    fn is_forgotten(&self, now_ms: i64) -> bool {
        self.deleted_at_ms.is_some_and(|at| now_ms - at > SHOWN_AFTER_DELETION_MS)
    }
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateNatGatewayRequest) -> Result<CreateNatGatewayResult> {
    let token = input.client_token;
    let made = ctx.tx.all::<NatGatewayRecord>()?;
    if let Some(made) = made.into_iter().find(|made| token.is_some() && made.client_token == token) {
        return Ok(CreateNatGatewayResult { nat_gateway: Some(made.gateway), client_token: token });
    }
    let several = input.secondary_allocation_ids.is_some()
        || input.secondary_private_ip_addresses.is_some()
        || input.secondary_private_ip_address_count.is_some();
    let regional = input.availability_mode.is_some_and(|mode| mode != "zonal");
    if several || regional || input.availability_zone_addresses.is_some() || input.vpc_id.is_some() {
        let message = "Regional NAT gateways and secondary addresses are not supported.";
        return Err(error("UnsupportedOperation", message));
    }
    let subnet = find::<SubnetRecord>(ctx, &required(input.subnet_id, "SubnetId")?)?;
    let connectivity = input.connectivity_type.unwrap_or_else(|| "public".into());
    let allocation = match (connectivity.as_str(), input.allocation_id) {
        ("public", allocation) => Some(required(allocation, "AllocationId")?),
        ("private", None) => None,
        ("private", Some(_)) => {
            let message = "AllocationId must not be given for a private NAT gateway.";
            return Err(error("InvalidParameterCombination", message));
        }
        (other, _) => {
            let message = format!("Value ({other}) for parameter connectivityType is invalid.");
            return Err(error("InvalidParameterValue", message));
        }
    };
    if allocation.is_some() && !super::internet_gateway::is_attached_to(ctx, &subnet.parent())? {
        let message = format!("Network {} has no Internet gateway attached", subnet.parent());
        return Err(error("Gateway.NotAttached", message));
    }
    let given = |text: String| {
        text.parse().map_err(|_| error("InvalidParameterValue", format!("Value ({text}) is not an IP address.")))
    };
    let id = new_id(ctx, "nat");
    let new = NewInterface {
        subnet: subnet.key(),
        description: format!("Interface for NAT Gateway {id}"),
        interface_type: "nat_gateway".into(),
        address: input.private_ip_address.map(given).transpose()?,
        ..Default::default()
    };
    let interface = network_interface::attach(ctx, new)?;
    let tied = allocation.as_ref().map(|id| address::take(ctx, id, &interface.id)).transpose()?;
    let (public_ip, association_id) = tied.unzip();
    let gateway = NatGateway {
        nat_gateway_id: Some(id),
        availability_mode: Some("zonal".into()),
        connectivity_type: Some(connectivity),
        create_time: Some(Timestamp::from_millis(ctx.platform.now_ms())),
        nat_gateway_addresses: Some(vec![NatGatewayAddress {
            allocation_id: allocation,
            association_id,
            is_primary: Some(true),
            network_interface_id: Some(interface.id),
            private_ip: Some(interface.address.to_string()),
            public_ip,
            status: Some("succeeded".into()),
            ..Default::default()
        }]),
        state: Some("available".into()),
        subnet_id: subnet.subnet.subnet_id.clone(),
        vpc_id: subnet.subnet.vpc_id.clone(),
        tags: tags_for::<NatGatewayRecord>(input.tag_specifications)?,
        ..Default::default()
    };
    let record = NatGatewayRecord { gateway, deleted_at_ms: None, client_token: token.clone() };
    ctx.tx.put(&record)?;
    // The answer says pending; whoever asks afterwards sees it available.
    let gateway = NatGateway { state: Some("pending".into()), ..record.gateway };
    Ok(CreateNatGatewayResult { nat_gateway: Some(gateway), client_token: token })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeNatGatewaysRequest) -> Result<DescribeNatGatewaysResult> {
    let now = ctx.platform.now_ms();
    let mut found = select::<NatGatewayRecord>(ctx, input.nat_gateway_ids, input.filter)?;
    found.retain(|record| !record.is_forgotten(now));
    let (found, next_token) = page(found, input.max_results, input.next_token)?;
    let nat_gateways = Some(found.into_iter().map(|record| record.gateway).collect());
    Ok(DescribeNatGatewaysResult { nat_gateways, next_token })
}

/// It lets go of its address and interface; routes that lead to it become black holes. It stays
/// visible as deleted for an hour.
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteNatGatewayRequest) -> Result<DeleteNatGatewayResult> {
    let now = ctx.platform.now_ms();
    for record in ctx.tx.all::<NatGatewayRecord>()? {
        if record.is_forgotten(now) {
            ctx.tx.delete::<NatGatewayRecord>(&record.key())?;
        }
    }
    let id = required(input.nat_gateway_id, "NatGatewayId")?;
    let mut record = find::<NatGatewayRecord>(ctx, &id)?;
    if record.is_live() {
        for interface in record.gateway.nat_gateway_addresses.iter().flatten() {
            network_interface::detach(ctx, interface.network_interface_id.as_deref().unwrap_or_default())?;
        }
        record.gateway.state = Some("deleted".into());
        record.gateway.delete_time = Some(Timestamp::from_millis(now));
        record.deleted_at_ms = Some(now);
        ctx.tx.put(&record)?;
    }
    Ok(DeleteNatGatewayResult { nat_gateway_id: Some(id) })
}

/// Whether this gateway exists, lives and is in that VPC.
pub fn serves(ctx: &Ctx<'_>, id: &str, vpc: &str) -> Result<bool> {
    let record = find::<NatGatewayRecord>(ctx, id)?;
    Ok(record.is_live() && record.parent() == vpc)
}
