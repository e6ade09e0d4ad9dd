//! NAT gateways.

use super::call::{call, refused, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::NatGateway`.
pub struct NatGateway;

impl ResourceType for NatGateway {
    fn name(&self) -> &'static str {
        "AWS::EC2::NatGateway"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["AllocationId", "ConnectivityType", "PrivateIpAddress", "SubnetId", "Tags"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["SubnetId"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["NatGatewayId", "EniId"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["Tags"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["Tags"]);
        input.insert("TagSpecifications".into(), wanted.tag_specifications("natgateway"));
        let output = call::<op::CreateNatGateway>(ctx, input.into())?;
        let id = text(&output, "/NatGateway/NatGatewayId")?;
        let seen = describe(ctx, &id)?;
        let interface = seen.pointer("/NatGatewayAddresses/0/NetworkInterfaceId").cloned().unwrap_or_default();
        Ok(Made::new(&id).with("NatGatewayId", id).with("EniId", interface))
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let seen = describe(ctx, &made.physical_id)?;
        match seen["State"].as_str() {
            Some("available") => Ok(Progress::Done),
            Some("failed") => Err(refused(text(&seen, "/FailureMessage").unwrap_or_default())),
            _ => Ok(Progress::Waiting),
        }
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        retag_ec2(ctx, &change, &made.physical_id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let gateway = describe(ctx, &made.physical_id)?;
        if gateway["State"] == "deleted" {
            return Err(absent("The NAT gateway is deleted"));
        }
        let mut seen = members(&gateway, self.properties());
        let address = gateway.pointer("/NatGatewayAddresses/0").cloned().unwrap_or_default();
        seen.insert("AllocationId".into(), address["AllocationId"].clone());
        seen.insert("PrivateIpAddress".into(), address["PrivateIp"].clone());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let state = |seen: Result<Value>| match seen {
            Ok(gateway) => Ok(gateway["State"].as_str().unwrap_or("deleted").to_owned()),
            Err(error) if super::is_absent(&error) => Ok("deleted".to_owned()),
            Err(error) => Err(error),
        };
        let now = state(describe(ctx, &made.physical_id))?;
        if !matches!(now.as_str(), "deleted" | "deleting") {
            deleted(call::<op::DeleteNatGateway>(ctx, json!({"NatGatewayId": made.physical_id})))?;
        }
        let now = state(describe(ctx, &made.physical_id))?;
        Ok(if now == "deleted" { Progress::Done } else { Progress::Waiting })
    }
}

fn describe(ctx: &mut Ctx<'_>, id: &str) -> Result<Value> {
    let output = call::<op::DescribeNatGateways>(ctx, json!({"NatGatewayIds": [id]}))?;
    Ok(output["NatGateways"][0].clone())
}
