//! Virtual private clouds. A new one comes with a main route table, a default security group and
//! a default network ACL, and takes them along when it is deleted.

use super::cidr::Block;
use super::resource::{Resource, error, find, new_id, page, required, select, tags_for};
use super::vpc_endpoint::EndpointRecord;
use super::{dhcp_options, internet_gateway, route_table, security_group, subnet};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    AttributeBooleanValue, CreateVpcRequest, CreateVpcResult, DeleteVpcRequest, DescribeVpcAttributeRequest,
    DescribeVpcAttributeResult, DescribeVpcsRequest, DescribeVpcsResult, ModifyVpcAttributeRequest, Tag, Vpc,
    VpcCidrBlockAssociation, VpcCidrBlockState,
};
use quarry_wire::Empty;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct VpcRecord {
    pub vpc: Vpc,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    /// Id of its default network ACL.
    pub network_acl: String,
}

impl Item for VpcRecord {
    const KIND: &'static str = "ec2.vpc";
    fn key(&self) -> String {
        self.vpc.vpc_id.clone().unwrap_or_default()
    }
}

impl Resource for VpcRecord {
    const TYPE: &'static str = "vpc";
    const NOUN: &'static str = "vpc ID";
    const NOT_FOUND: &'static str = "InvalidVpcID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.vpc.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.vpc.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "vpc-id" => vec![self.key()],
            "cidr" | "cidr-block" | "cidrBlock" | "cidr-block-association.cidr-block" => {
                self.vpc.cidr_block.clone().into_iter().collect()
            }
            "state" => vec!["available".into()],
            "is-default" | "isDefault" => vec!["false".into()],
            "dhcp-options-id" | "dhcpOptionsId" => self.vpc.dhcp_options_id.clone().into_iter().collect(),
            "cidr-block-association.association-id" | "cidr-block-association.state" => {
                let of = |a: &VpcCidrBlockAssociation| match name {
                    "cidr-block-association.state" => a.cidr_block_state.as_ref()?.state.clone(),
                    _ => a.association_id.clone(),
                };
                self.vpc.cidr_block_association_set.iter().flatten().filter_map(of).collect()
            }
            "owner-id" => self.vpc.owner_id.clone().into_iter().collect(),
            _ => return None,
        })
    }
}

impl VpcRecord {
    pub fn block(&self) -> Option<Block> {
        Block::parse(self.vpc.cidr_block.as_deref()?)
    }
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateVpcRequest) -> Result<CreateVpcResult> {
    let text = required(input.cidr_block, "cidrBlock")?;
    let block = Block::parse(&text).ok_or_else(|| {
        error(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."),
        )
    })?;
    if !(16..=28).contains(&block.prefix()) {
        return Err(error("InvalidVpc.Range", format!("The CIDR '{text}' is invalid.")));
    }
    if input.amazon_provided_ipv6_cidr_block == Some(true) || input.ipv6_cidr_block.is_some() {
        return Err(error("UnsupportedOperation", "IPv6 address blocks are not supported."));
    }
    let id = new_id(ctx, "vpc");
    let owner = ctx.platform.place().account.clone();
    let vpc = Vpc {
        vpc_id: Some(id.clone()),
        cidr_block: Some(block.to_string()),
        cidr_block_association_set: Some(vec![VpcCidrBlockAssociation {
            association_id: Some(new_id(ctx, "vpc-cidr-assoc")),
            cidr_block: Some(block.to_string()),
            cidr_block_state: Some(VpcCidrBlockState { state: Some("associated".into()), ..Default::default() }),
        }]),
        dhcp_options_id: Some(dhcp_options::default_id(ctx.platform.place())),
        instance_tenancy: Some(input.instance_tenancy.unwrap_or_else(|| "default".into())),
        is_default: Some(false),
        owner_id: Some(owner),
        state: Some("available".into()),
        tags: tags_for::<VpcRecord>(input.tag_specifications)?,
        ..Default::default()
    };
    let network_acl = new_id(ctx, "acl");
    ctx.tx.put(&VpcRecord { vpc: vpc.clone(), dns_support: true, dns_hostnames: false, network_acl })?;
    route_table::create_main(ctx, &id, &block.to_string())?;
    security_group::create_default(ctx, &id)?;
    // The answer says pending; whoever asks afterwards sees it available.
    Ok(CreateVpcResult { vpc: Some(Vpc { state: Some("pending".into()), ..vpc }) })
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeVpcsRequest) -> Result<DescribeVpcsResult> {
    let found = select::<VpcRecord>(ctx, input.vpc_ids, input.filters)?;
    let (vpcs, next_token) = page(found, input.max_results, input.next_token)?;
    Ok(DescribeVpcsResult { vpcs: Some(vpcs.into_iter().map(|r| r.vpc).collect()), next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: DeleteVpcRequest) -> Result<Empty> {
    let id = required(input.vpc_id, "vpcId")?;
    find::<VpcRecord>(ctx, &id)?;
    let used = !ctx.tx.children::<subnet::SubnetRecord>(&id)?.is_empty()
        || internet_gateway::is_attached_to(ctx, &id)?
        || route_table::has_more_than_main(ctx, &id)?
        || security_group::has_more_than_default(ctx, &id)?
        || !ctx.tx.children::<EndpointRecord>(&id)?.is_empty();
    if used {
        return Err(error("DependencyViolation", format!("The vpc '{id}' has dependencies and cannot be deleted.")));
    }
    route_table::delete_main(ctx, &id)?;
    security_group::delete_default(ctx, &id)?;
    ctx.tx.delete::<VpcRecord>(&id)?;
    Ok(Empty {})
}

pub fn describe_attribute(ctx: &mut Ctx<'_>, input: DescribeVpcAttributeRequest) -> Result<DescribeVpcAttributeResult> {
    let record = find::<VpcRecord>(ctx, &required(input.vpc_id, "vpcId")?)?;
    let attribute = required(input.attribute, "attribute")?;
    let boolean = |value| Some(AttributeBooleanValue { value: Some(value) });
    let mut result = DescribeVpcAttributeResult { vpc_id: record.vpc.vpc_id, ..Default::default() };
    match attribute.as_str() {
        "enableDnsSupport" => result.enable_dns_support = boolean(record.dns_support),
        "enableDnsHostnames" => result.enable_dns_hostnames = boolean(record.dns_hostnames),
        "enableNetworkAddressUsageMetrics" => result.enable_network_address_usage_metrics = boolean(false),
        _ => {
            return Err(error(
                "InvalidParameterValue",
                format!("Value ({attribute}) for parameter attribute is invalid. Unknown attribute."),
            ));
        }
    }
    Ok(result)
}

pub fn modify_attribute(ctx: &mut Ctx<'_>, input: ModifyVpcAttributeRequest) -> Result<Empty> {
    let mut record = find::<VpcRecord>(ctx, &required(input.vpc_id, "vpcId")?)?;
    if input.enable_network_address_usage_metrics.and_then(|v| v.value) == Some(true) {
        return Err(error("UnsupportedOperation", "Network address usage metrics are not supported."));
    }
    if let Some(value) = input.enable_dns_support.and_then(|v| v.value) {
        record.dns_support = value;
    }
    if let Some(value) = input.enable_dns_hostnames.and_then(|v| v.value) {
        record.dns_hostnames = value;
    }
    ctx.tx.put(&record)?;
    Ok(Empty {})
}
