//! Route tables, their routes and their association with subnets.

use super::call::{call, refused, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
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

    fn mutable(&self) -> &'static [&'static str] {
        &["Tags"]
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

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        retag_ec2(ctx, &change, &made.physical_id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeRouteTables>(ctx, json!({"RouteTableIds": [made.physical_id]}))?;
        Ok(members(&output["RouteTables"][0], &["Tags", "VpcId"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteRouteTable>(ctx, json!({"RouteTableId": made.physical_id})))
    }
}

/// `AWS::EC2::Route`.
pub struct Route;

/// Where a route may lead. A route has one of these.
const TARGETS: [&str; 5] = ["GatewayId", "InstanceId", "NatGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId"];

impl ResourceType for Route {
    fn name(&self) -> &'static str {
        "AWS::EC2::Route"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "DestinationCidrBlock",
            "DestinationIpv6CidrBlock",
            "GatewayId",
            "InstanceId",
            "NatGatewayId",
            "NetworkInterfaceId",
            "RouteTableId",
            "VpcPeeringConnectionId",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["RouteTableId"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["CidrBlock"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["GatewayId", "InstanceId", "NatGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let to = wanted.text("DestinationCidrBlock").or_else(|| wanted.text("DestinationIpv6CidrBlock"));
        let to = to.ok_or_else(|| refused("Either DestinationCidrBlock or DestinationIpv6CidrBlock must be given"))?;
        call::<op::CreateRoute>(ctx, Value::Object(wanted.properties.clone()))?;
        let table = wanted.needed("RouteTableId")?;
        Ok(Made::new(format!("{table}|{to}")).with("CidrBlock", to))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        if change.any(&TARGETS) {
            call::<op::ReplaceRoute>(ctx, Value::Object(new.properties.clone()))?;
        }
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let (table, to) = made.physical_id.split_once('|').unwrap_or_default();
        let output = call::<op::DescribeRouteTables>(ctx, json!({"RouteTableIds": [table]}))?;
        let routes = output["RouteTables"][0]["Routes"].as_array().into_iter().flatten();
        let mut routes = routes.filter(|r| r["DestinationCidrBlock"] == to || r["DestinationIpv6CidrBlock"] == to);
        let route = routes.next().ok_or_else(|| absent("The route is not in its table"))?;
        let mut seen = members(route, self.properties());
        seen.insert("RouteTableId".into(), properties.get("RouteTableId").cloned().unwrap_or_default());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, _made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let named = ["RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock"];
        deleted(call::<op::DeleteRoute>(ctx, members(&Value::Object(properties.clone()), &named).into()))
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

    fn mutable(&self) -> &'static [&'static str] {
        &["RouteTableId"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let output = call::<op::AssociateRouteTable>(ctx, Value::Object(wanted.properties.clone()))?;
        let id = text(&output, "/AssociationId")?;
        Ok(Made::new(&id).with("Id", id))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        if !change.differs("RouteTableId") {
            return Ok(made.clone());
        }
        let input = json!({
            "AssociationId": made.physical_id,
            "RouteTableId": new.needed("RouteTableId")?,
        });
        let output = call::<op::ReplaceRouteTableAssociation>(ctx, input)?;
        let id = text(&output, "/NewAssociationId")?;
        Ok(Made::new(&id).with("Id", id))
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let filter = json!({"Name": "association.route-table-association-id", "Values": [made.physical_id]});
        let output = call::<op::DescribeRouteTables>(ctx, json!({"Filters": [filter]}))?;
        let associations = output["RouteTables"][0]["Associations"].as_array().into_iter().flatten();
        let mut mine = associations.filter(|a| a["RouteTableAssociationId"] == made.physical_id.as_str());
        let mine = mine.next().ok_or_else(|| absent("The subnet is not associated with the route table"))?;
        Ok(members(mine, self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DisassociateRouteTable>(ctx, json!({"AssociationId": made.physical_id})))
    }
}
