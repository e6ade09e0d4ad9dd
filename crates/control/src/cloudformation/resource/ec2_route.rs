//! Route tables, their routes and their association with subnets.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::RouteTable`.
pub struct RouteTable;

impl ResourceType for RouteTable {
    fn name(&self) -> &'static str {
        "AWS::EC2::RouteTable"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Tags", "VpcId"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["VpcId"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["RouteTableId"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let input = json!({
            "VpcId": wanted.needed("VpcId")?,
            "TagSpecifications": wanted.tag_specifications("route-table"),
        });
        let output = call::<op::CreateRouteTable>(ctx, input)?;
        let id = text(&output, "/RouteTable/RouteTableId")?;
        Ok(Made::new(&id).with("RouteTableId", id))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteRouteTable>(ctx, json!({"RouteTableId": made.physical_id})))
    }
}

/// `AWS::EC2::Route`.
pub struct Route;

impl ResourceType for Route {
    fn name(&self) -> &'static str {
        "AWS::EC2::Route"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["DestinationCidrBlock", "GatewayId", "RouteTableId"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["RouteTableId", "DestinationCidrBlock"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["CidrBlock"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        call::<op::CreateRoute>(ctx, Value::Object(wanted.properties.clone()))?;
        let (table, to) = (wanted.needed("RouteTableId")?, wanted.needed("DestinationCidrBlock")?);
        Ok(Made::new(format!("{table}|{to}")).with("CidrBlock", to))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let input = json!({
            "RouteTableId": properties.get("RouteTableId"),
            "DestinationCidrBlock": properties.get("DestinationCidrBlock"),
        });
        deleted(call::<op::DeleteRoute>(ctx, input))
    }
}

/// `AWS::EC2::SubnetRouteTableAssociation`.
pub struct Association;

impl ResourceType for Association {
    fn name(&self) -> &'static str {
        "AWS::EC2::SubnetRouteTableAssociation"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["RouteTableId", "SubnetId"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["RouteTableId", "SubnetId"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Id"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let output = call::<op::AssociateRouteTable>(ctx, Value::Object(wanted.properties.clone()))?;
        let id = text(&output, "/AssociationId")?;
        Ok(Made::new(&id).with("Id", id))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DisassociateRouteTable>(ctx, json!({"AssociationId": made.physical_id})))
    }
}
