//! VPC endpoints.

use super::call::{call, refused, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, document, members};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::VPCEndpoint`.
pub struct Endpoint;

/// Lists that are changed by naming what comes and what goes: property, what adds, what removes.
const LISTS: [(&str, &str, &str); 3] = [
    ("RouteTableIds", "AddRouteTableIds", "RemoveRouteTableIds"),
    ("SecurityGroupIds", "AddSecurityGroupIds", "RemoveSecurityGroupIds"),
    ("SubnetIds", "AddSubnetIds", "RemoveSubnetIds"),
];

impl ResourceType for Endpoint {
    fn name(&self) -> &'static str {
        "AWS::EC2::VPCEndpoint"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "PolicyDocument",
            "PrivateDnsEnabled",
            "RouteTableIds",
            "SecurityGroupIds",
            "ServiceName",
            "SubnetIds",
            "Tags",
            "VpcEndpointType",
            "VpcId",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["ServiceName", "VpcId"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["CreationTimestamp", "DnsEntries", "Id", "NetworkInterfaceIds"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["PolicyDocument", "PrivateDnsEnabled", "RouteTableIds", "SecurityGroupIds", "SubnetIds", "Tags"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["PolicyDocument", "Tags"]);
        if let Some(policy) = wanted.properties.get("PolicyDocument") {
            input.insert("PolicyDocument".into(), document(policy).into());
        }
        input.insert("TagSpecifications".into(), wanted.tag_specifications("vpc-endpoint"));
        let output = call::<op::CreateVpcEndpoint>(ctx, input.into())?;
        let endpoint = &output["VpcEndpoint"];
        let id = text(endpoint, "/VpcEndpointId")?;
        let entries = endpoint["DnsEntries"].as_array().into_iter().flatten();
        let entries =
            entries.filter_map(|e| Some(format!("{}:{}", e["HostedZoneId"].as_str()?, e["DnsName"].as_str()?)));
        let entries: Vec<Value> = entries.map(Value::from).collect();
        Ok(Made::new(&id)
            .with("Id", id)
            .with("CreationTimestamp", text(endpoint, "/CreationTimestamp").unwrap_or_default())
            .with("DnsEntries", entries)
            .with("NetworkInterfaceIds", endpoint["NetworkInterfaceIds"].as_array().cloned().unwrap_or_default()))
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let state = describe(ctx, &made.physical_id)?["State"].as_str().unwrap_or_default().to_ascii_lowercase();
        match state.as_str() {
            "available" => Ok(Progress::Done),
            "failed" | "rejected" => Err(refused(format!("The endpoint is {state}"))),
            _ => Ok(Progress::Waiting),
        }
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let id = &made.physical_id;
        let mut input = Map::new();
        for (property, add, remove) in LISTS {
            let (came, went) = change.list(property);
            for (member, list) in [(add, came), (remove, went)] {
                if !list.is_empty() {
                    input.insert(member.into(), list.into());
                }
            }
        }
        input.extend(change.values(&[("PrivateDnsEnabled", false.into())]));
        match change.value("PolicyDocument", Value::Null) {
            None => {}
            Some(Value::Null) => drop(input.insert("ResetPolicy".into(), true.into())),
            Some(policy) => drop(input.insert("PolicyDocument".into(), document(&policy).into())),
        }
        if !input.is_empty() {
            input.insert("VpcEndpointId".into(), id.clone().into());
            call::<op::ModifyVpcEndpoint>(ctx, input.into())?;
        }
        retag_ec2(ctx, &change, id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let endpoint = describe(ctx, &made.physical_id)?;
        let mut seen = members(&endpoint, self.properties());
        let groups = endpoint["Groups"].as_array().into_iter().flatten().map(|group| group["GroupId"].clone());
        seen.insert("SecurityGroupIds".into(), groups.collect());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        match describe(ctx, &made.physical_id) {
            Err(error) if super::is_absent(&error) => return Ok(Progress::Done),
            Ok(endpoint) if endpoint["State"] == "deleted" => return Ok(Progress::Done),
            Ok(endpoint) if endpoint["State"] == "deleting" => return Ok(Progress::Waiting),
            other => other?,
        };
        let output = call::<op::DeleteVpcEndpoints>(ctx, json!({"VpcEndpointIds": [made.physical_id]}))?;
        if let Ok(message) = text(&output, "/Unsuccessful/0/Error/Message") {
            return Err(refused(message));
        }
        Ok(match describe(ctx, &made.physical_id) {
            Ok(endpoint) if endpoint["State"] != "deleted" => Progress::Waiting,
            other => deleted(other)?,
        })
    }
}

fn describe(ctx: &mut Ctx<'_>, id: &str) -> Result<Value> {
    let output = call::<op::DescribeVpcEndpoints>(ctx, json!({"VpcEndpointIds": [id]}))?;
    output.pointer("/VpcEndpoints/0").cloned().ok_or_else(|| absent("The endpoint is not there"))
}
