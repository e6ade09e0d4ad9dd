//! Elastic IP addresses.

use super::call::{call, text};
use super::change::{Change, retag_ec2};
use super::{Made, Progress, ResourceType, Wanted, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::ec2::op;
use serde_json::{Map, Value, json};

/// `AWS::EC2::EIP`.
pub struct Address;

impl ResourceType for Address {
    fn name(&self) -> &'static str {
        "AWS::EC2::EIP"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["Domain", "InstanceId", "NetworkBorderGroup", "PublicIpv4Pool", "Tags"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["AllocationId", "PublicIp"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["InstanceId", "Tags"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.pick(&["Domain", "NetworkBorderGroup", "PublicIpv4Pool"]);
        input.insert("TagSpecifications".into(), wanted.tag_specifications("elastic-ip"));
        let output = call::<op::AllocateAddress>(ctx, input.into())?;
        let (id, address) = (text(&output, "/AllocationId")?, text(&output, "/PublicIp")?);
        if let Some(instance) = wanted.properties.get("InstanceId") {
            call::<op::AssociateAddress>(ctx, json!({"AllocationId": id, "InstanceId": instance}))?;
        }
        Ok(Made::new(&address).with("AllocationId", id).with("PublicIp", address))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let id = made.attributes["AllocationId"].as_str().unwrap_or_default().to_owned();
        if change.differs("InstanceId") {
            disassociate(ctx, &id)?;
            if let Some(instance) = new.properties.get("InstanceId") {
                call::<op::AssociateAddress>(ctx, json!({"AllocationId": id, "InstanceId": instance}))?;
            }
        }
        retag_ec2(ctx, &change, &id)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeAddresses>(ctx, json!({"PublicIps": [made.physical_id]}))?;
        Ok(members(&output["Addresses"][0], self.properties()))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let id = made.attributes["AllocationId"].as_str().unwrap_or_default();
        match disassociate(ctx, id) {
            Err(error) if !super::is_absent(&error) => return Err(error),
            _ => {}
        }
        deleted(call::<op::ReleaseAddress>(ctx, json!({"AllocationId": id})))
    }
}

/// Takes an address from the instance that has it. A NAT gateway keeps its own until it is deleted.
fn disassociate(ctx: &mut Ctx<'_>, id: &str) -> Result<()> {
    let output = call::<op::DescribeAddresses>(ctx, json!({"AllocationIds": [id]}))?;
    let address = &output["Addresses"][0];
    if address["InstanceId"].is_string() && address["AssociationId"].is_string() {
        call::<op::DisassociateAddress>(ctx, json!({"AssociationId": address["AssociationId"]}))?;
    }
    Ok(())
}
