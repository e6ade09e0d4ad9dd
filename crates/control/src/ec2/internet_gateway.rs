//! Internet gateways.

use super::network_interface;
use super::resource::{Resource, error, find, new_id, page, required, select, tags_for};
use super::vpc::VpcRecord;
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    AttachInternetGatewayRequest, CreateInternetGatewayRequest, CreateInternetGatewayResult,
    DeleteInternetGatewayRequest, DescribeInternetGatewaysRequest, DescribeInternetGatewaysResult,
    DetachInternetGatewayRequest, InternetGateway, InternetGatewayAttachment, Tag,
};
use quarry_wire::Empty;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct GatewayRecord {
    pub gateway: InternetGateway,
}

impl Item for GatewayRecord {
    const KIND: &'static str = "ec2.internet-gateway";
    fn key(&self) -> String {
        self.gateway.internet_gateway_id.clone().unwrap_or_default()
    }
}

impl Resource for GatewayRecord {
    const TYPE: &'static str = "internet-gateway";
    const NOUN: &'static str = "internetGateway ID";
    const NOT_FOUND: &'static str = "InvalidInternetGatewayID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.gateway.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.gateway.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let attached = self.gateway.attachments.iter().flatten();
        Some(match name {
            "internet-gateway-id" => vec![self.key()],
            "attachment.vpc-id" => attached.filter_map(|a| a.vpc_id.clone()).collect(),
            "attachment.state" => attached.filter_map(|a| a.state.clone()).collect(),
            "owner-id" => self.gateway.owner_id.clone().into_iter().collect(),
            _ => return None,
        })
    }
}

impl GatewayRecord {
    fn vpc(&self) -> Option<&str> {
        self.gateway.attachments.iter().flatten().find_map(|a| a.vpc_id.as_deref())
    }
}

pub fn is_attached_to(ctx: &Ctx<'_>, vpc: &str) -> Result<bool> {
    Ok(ctx.tx.all::<GatewayRecord>()?.iter().any(|g| g.vpc() == Some(vpc)))
}

/// Whether this gateway exists and is attached to that VPC.
pub fn serves(ctx: &Ctx<'_>, gateway: &str, vpc: &str) -> Result<bool> {
    Ok(find::<GatewayRecord>(ctx, gateway)?.vpc() == Some(vpc))
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateInternetGatewayRequest) -> Result<CreateInternetGatewayResult> {
    let gateway = InternetGateway {
        internet_gateway_id: Some(new_id(ctx, "igw")),
        attachments: Some(Vec::new()),
        owner_id: Some(ctx.platform.place().account.clone()),
        tags: tags_for::<GatewayRecord>(input.tag_specifications)?,
    };
    ctx.tx.put(&GatewayRecord { gateway: gateway.clone() })?;
    Ok(CreateInternetGatewayResult { internet_gateway: Some(gateway) })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeInternetGatewaysRequest) -> Result<DescribeInternetGatewaysResult> {
    let found = select::<GatewayRecord>(ctx, input.internet_gateway_ids, input.filters)?;
    let (gateways, next_token) = page(found, input.max_results, input.next_token)?;
    let internet_gateways = Some(gateways.into_iter().map(|r| r.gateway).collect());
    Ok(DescribeInternetGatewaysResult { internet_gateways, next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteInternetGatewayRequest) -> Result<Empty> {
    let id = required(input.internet_gateway_id, "internetGatewayId")?;
    if find::<GatewayRecord>(ctx, &id)?.vpc().is_some() {
        return Err(error(
            "DependencyViolation",
            format!("The internetGateway '{id}' has dependencies and cannot be deleted."),
        ));
    }
    ctx.tx.delete::<GatewayRecord>(&id)?;
    Ok(Empty {})
}

pub fn attach(ctx: &mut Ctx<'_>, input: AttachInternetGatewayRequest) -> Result<Empty> {
    let id = required(input.internet_gateway_id, "internetGatewayId")?;
    let vpc = required(input.vpc_id, "vpcId")?;
    let mut record = find::<GatewayRecord>(ctx, &id)?;
    find::<VpcRecord>(ctx, &vpc)?;
    if record.vpc().is_some() {
        return Err(error("Resource.AlreadyAssociated", format!("resource {id} is already attached to network {vpc}")));
    }
    if is_attached_to(ctx, &vpc)? {
        return Err(error("InvalidParameterValue", format!("Network {vpc} already has an internet gateway attached")));
    }
    record.gateway.attachments =
        Some(vec![InternetGatewayAttachment { state: Some("available".into()), vpc_id: Some(vpc) }]);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn detach(ctx: &mut Ctx<'_>, input: DetachInternetGatewayRequest) -> Result<Empty> {
    let id = required(input.internet_gateway_id, "internetGatewayId")?;
    let vpc = required(input.vpc_id, "vpcId")?;
    let mut record = find::<GatewayRecord>(ctx, &id)?;
    if record.vpc() != Some(&vpc) {
        return Err(error("Gateway.NotAttached", format!("resource {id} is not attached to network {vpc}")));
    }
    let interfaces = network_interface::all(ctx)?.into_iter().map(|record| record.interface);
    if interfaces.filter(|i| i.association.is_some()).any(|i| i.vpc_id.as_ref() == Some(&vpc)) {
        let message = format!(
            "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
        );
        return Err(error("DependencyViolation", message));
    }
    record.gateway.attachments = Some(Vec::new());
    ctx.tx.put(&record)?;
    Ok(Empty {})
}
