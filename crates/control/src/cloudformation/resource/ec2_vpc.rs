//! Virtual private clouds.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
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
        &["VpcId", "CidrBlock", "CidrBlockAssociations", "DefaultSecurityGroup"]
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
        let group = default_of::<op::DescribeSecurityGroups>(
            ctx,
            json!({"Filters": [{"Name": "vpc-id", "Values": [id]}, {"Name": "group-name", "Values": ["default"]}]}),
            "/SecurityGroups/0/GroupId",
        );
        let cidr = text(&output, "/Vpc/CidrBlock")?;
        Ok(Made::new(&id)
            .with("VpcId", id)
            .with("CidrBlock", cidr.clone())
            .with("CidrBlockAssociations", json!([]))
            .with("DefaultSecurityGroup", group?))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteVpc>(ctx, json!({"VpcId": made.physical_id})))
    }
}

fn default_of<O: quarry_wire::Operation>(ctx: &mut Ctx<'_>, filters: Value, pointer: &str) -> Result<String> {
    text(&call::<O>(ctx, filters)?, pointer)
}
