//! Subnets.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
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
        &["SubnetId", "AvailabilityZone", "CidrBlock", "VpcId"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["AvailabilityZone", "CidrBlock", "VpcId"]);
        input.insert("TagSpecifications".into(), wanted.tag_specifications("subnet"));
        let output = call::<op::CreateSubnet>(ctx, input.into())?;
        let id = text(&output, "/Subnet/SubnetId")?;
        if let Some(value) = wanted.properties.get("MapPublicIpOnLaunch") {
            call::<op::ModifySubnetAttribute>(ctx, json!({"SubnetId": id, "MapPublicIpOnLaunch": {"Value": value}}))?;
        }
        Ok(Made::new(&id)
            .with("SubnetId", id)
            .with("AvailabilityZone", text(&output, "/Subnet/AvailabilityZone")?)
            .with("CidrBlock", text(&output, "/Subnet/CidrBlock")?)
            .with("VpcId", text(&output, "/Subnet/VpcId")?))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteSubnet>(ctx, json!({"SubnetId": made.physical_id})))
    }
}
