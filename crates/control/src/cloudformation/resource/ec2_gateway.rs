//! Internet gateways and their attachment to a VPC.

use super::call::{call, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::InternetGateway`.
pub struct InternetGateway;

impl ResourceType for InternetGateway {
    fn name(&self) -> &'static str {
        "AWS::EC2::InternetGateway"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Tags"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["InternetGatewayId"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        self.properties()
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let input = json!({"TagSpecifications": wanted.tag_specifications("internet-gateway")});
        let output = call::<op::CreateInternetGateway>(ctx, input)?;
        let id = text(&output, "/InternetGateway/InternetGatewayId")?;
        Ok(Made::new(&id).with("InternetGatewayId", id))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        retag_ec2(ctx, &change, &made.physical_id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeInternetGateways>(ctx, json!({"InternetGatewayIds": [made.physical_id]}))?;
        Ok(members(&output["InternetGateways"][0], &["Tags"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteInternetGateway>(ctx, json!({"InternetGatewayId": made.physical_id})))
    }
}

/// `AWS::EC2::VPCGatewayAttachment`.
pub struct Attachment;

impl ResourceType for Attachment {
    fn name(&self) -> &'static str {
        "AWS::EC2::VPCGatewayAttachment"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["InternetGatewayId", "VpcId"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["VpcId", "InternetGatewayId"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["AttachmentType"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["InternetGatewayId"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        call::<op::AttachInternetGateway>(ctx, wanted.pick(&["InternetGatewayId", "VpcId"]).into())?;
        let id = format!("IGW|{}", wanted.needed("VpcId")?);
        Ok(Made::new(&id).with("AttachmentType", "IGW"))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        if change.differs("InternetGatewayId") {
            self.delete(ctx, made, &old.properties)?;
            call::<op::AttachInternetGateway>(ctx, new.pick(&["InternetGatewayId", "VpcId"]).into())?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({"InternetGatewayIds": [properties.get("InternetGatewayId")]});
        let output = call::<op::DescribeInternetGateways>(ctx, input)?;
        let attached = output.pointer("/InternetGateways/0/Attachments/0/VpcId").cloned();
        let vpc = attached.ok_or_else(|| absent("The internet gateway is not attached"))?;
        Ok(Map::from_iter([
            ("VpcId".to_owned(), vpc),
            ("InternetGatewayId".to_owned(), output["InternetGateways"][0]["InternetGatewayId"].clone()),
        ]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let detached = call::<op::DetachInternetGateway>(ctx, Value::Object(properties.clone()));
        match detached {
            Err(error) if error.code == "Gateway.NotAttached" => Ok(Progress::Done),
            other => deleted(other),
        }
    }
}
