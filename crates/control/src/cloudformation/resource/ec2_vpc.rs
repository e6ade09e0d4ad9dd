//! Virtual private clouds.

use super::call::{call, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::VPC`.
pub struct Vpc;

impl ResourceType for Vpc {
    fn name(&self) -> &'static str {
        "AWS::EC2::VPC"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["CidrBlock", "EnableDnsHostnames", "EnableDnsSupport", "InstanceTenancy", "Tags"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["CidrBlock"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["VpcId", "CidrBlock", "CidrBlockAssociations", "DefaultNetworkAcl", "DefaultSecurityGroup", "Ipv6CidrBlocks"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["EnableDnsHostnames", "EnableDnsSupport", "Tags"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["CidrBlock", "InstanceTenancy"]);
        input.insert("TagSpecifications".into(), wanted.tag_specifications("vpc"));
        let output = call::<op::CreateVpc>(ctx, input.into())?;
        let id = text(&output, "/Vpc/VpcId")?;
        for name in ["EnableDnsSupport", "EnableDnsHostnames"] {
            if let Some(value) = wanted.properties.get(name) {
                call::<op::ModifyVpcAttribute>(ctx, json!({"VpcId": id, name: {"Value": value}}))?;
            }
        }
        let of_vpc = |more: &str| json!({"Filters": [{"Name": "vpc-id", "Values": [id]}, {"Name": more, "Values": [if more == "default" { "true" } else { "default" }]}]});
        let group = call::<op::DescribeSecurityGroups>(ctx, of_vpc("group-name"))?;
        let acl = call::<op::DescribeNetworkAcls>(ctx, of_vpc("default"))?;
        let blocks = output["Vpc"]["CidrBlockAssociationSet"].as_array().into_iter().flatten();
        let blocks: Vec<Value> = blocks.map(|block| block["AssociationId"].clone()).collect();
        Ok(Made::new(&id)
            .with("VpcId", id)
            .with("CidrBlock", text(&output, "/Vpc/CidrBlock")?)
            .with("CidrBlockAssociations", blocks)
            .with("DefaultNetworkAcl", text(&acl, "/NetworkAcls/0/NetworkAclId")?)
            .with("DefaultSecurityGroup", text(&group, "/SecurityGroups/0/GroupId")?)
            .with("Ipv6CidrBlocks", json!([])))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let id = &made.physical_id;
        for (name, default) in [("EnableDnsSupport", true), ("EnableDnsHostnames", false)] {
            if let Some(value) = change.value(name, default) {
                call::<op::ModifyVpcAttribute>(ctx, json!({"VpcId": id, name: {"Value": value}}))?;
            }
        }
        retag_ec2(ctx, &change, id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeVpcs>(ctx, json!({"VpcIds": [made.physical_id]}))?;
        let mut seen = members(&output["Vpcs"][0], &["CidrBlock", "InstanceTenancy", "Tags"]);
        for (name, attribute) in
            [("EnableDnsSupport", "enableDnsSupport"), ("EnableDnsHostnames", "enableDnsHostnames")]
        {
            let input = json!({"VpcId": made.physical_id, "Attribute": attribute});
            let output = call::<op::DescribeVpcAttribute>(ctx, input)?;
            seen.insert(name.into(), output[name]["Value"].clone());
        }
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteVpc>(ctx, json!({"VpcId": made.physical_id})))
    }
}
