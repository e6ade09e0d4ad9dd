//! Subnets.

use super::call::{call, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::Subnet`.
pub struct Subnet;

impl ResourceType for Subnet {
    fn name(&self) -> &'static str {
        "AWS::EC2::Subnet"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["AvailabilityZone", "CidrBlock", "MapPublicIpOnLaunch", "Tags", "VpcId"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["VpcId", "CidrBlock"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["SubnetId", "AvailabilityZone", "CidrBlock", "Ipv6CidrBlocks", "NetworkAclAssociationId", "VpcId"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["MapPublicIpOnLaunch", "Tags"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["AvailabilityZone", "CidrBlock", "VpcId"]);
        input.insert("TagSpecifications".into(), wanted.tag_specifications("subnet"));
        let output = call::<op::CreateSubnet>(ctx, input.into())?;
        let id = text(&output, "/Subnet/SubnetId")?;
        if let Some(value) = wanted.properties.get("MapPublicIpOnLaunch") {
            call::<op::ModifySubnetAttribute>(ctx, json!({"SubnetId": id, "MapPublicIpOnLaunch": {"Value": value}}))?;
        }
        let vpc = text(&output, "/Subnet/VpcId")?;
        let acls = call::<op::DescribeNetworkAcls>(ctx, json!({"Filters": [{"Name": "vpc-id", "Values": [vpc]}]}))?;
        let association = associations(&acls).find(|association| association["SubnetId"] == id.as_str());
        let association = association.map(|association| association["NetworkAclAssociationId"].clone());
        Ok(Made::new(&id)
            .with("SubnetId", id)
            .with("Ipv6CidrBlocks", json!([]))
            .with("NetworkAclAssociationId", association.unwrap_or_default())
            .with("AvailabilityZone", text(&output, "/Subnet/AvailabilityZone")?)
            .with("CidrBlock", text(&output, "/Subnet/CidrBlock")?)
            .with("VpcId", vpc))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let id = &made.physical_id;
        if let Some(value) = change.value("MapPublicIpOnLaunch", false) {
            call::<op::ModifySubnetAttribute>(ctx, json!({"SubnetId": id, "MapPublicIpOnLaunch": {"Value": value}}))?;
        }
        retag_ec2(ctx, &change, id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeSubnets>(ctx, json!({"SubnetIds": [made.physical_id]}))?;
        Ok(members(&output["Subnets"][0], self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteSubnet>(ctx, json!({"SubnetId": made.physical_id})))
    }
}

fn associations(acls: &Value) -> impl Iterator<Item = &Value> {
    let acls = acls["NetworkAcls"].as_array().into_iter().flatten();
    acls.flat_map(|acl| acl["Associations"].as_array().into_iter().flatten())
}
