//! Network interfaces: the one that each instance has. Those of load balancers are not shown.

use super::instance::InstanceRecord;
use super::resource::{error, page};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::ec2::{
    DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult, NetworkInterface, NetworkInterfaceAttachment,
    NetworkInterfacePrivateIpAddress,
};
use quarry_domain::rule::Pattern;

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeNetworkInterfacesRequest) -> Result<DescribeNetworkInterfacesResult> {
    let owner = &ctx.platform.place().account;
    let instances = ctx.tx.all::<InstanceRecord>()?;
    let mut shown: Vec<_> = instances.iter().filter(|i| i.is_live()).map(|i| primary(i, owner)).collect();
    let ids = input.network_interface_ids.unwrap_or_default();
    if let Some(missing) = ids.iter().find(|id| !shown.iter().any(|i| i.network_interface_id.as_ref() == Some(id))) {
        let message = format!("The networkInterface ID '{missing}' does not exist");
        return Err(error("InvalidNetworkInterfaceID.NotFound", message));
    }
    shown.retain(|i| ids.is_empty() || i.network_interface_id.as_ref().is_some_and(|id| ids.contains(id)));
    for filter in input.filters.iter().flatten() {
        let field = field(filter.name.as_deref().unwrap_or_default())?;
        let wanted: Vec<_> = filter.values.iter().flatten().map(|v| Pattern::case_sensitive(v)).collect();
        shown.retain(|i| field(i).iter().any(|value| wanted.iter().any(|w| w.matches(value.as_bytes()))));
    }
    let (interfaces, next_token) = page(shown, input.max_results, input.next_token)?;
    Ok(DescribeNetworkInterfacesResult { network_interfaces: Some(interfaces), next_token })
}

fn field(name: &str) -> Result<fn(&NetworkInterface) -> Vec<String>> {
    fn one(value: &Option<String>) -> Vec<String> {
        value.iter().cloned().collect()
    }
    Ok(match name {
        "network-interface-id" => |i| one(&i.network_interface_id),
        "vpc-id" => |i| one(&i.vpc_id),
        "subnet-id" => |i| one(&i.subnet_id),
        "availability-zone" => |i| one(&i.availability_zone),
        "private-ip-address" | "addresses.private-ip-address" => |i| one(&i.private_ip_address),
        "description" => |i| one(&i.description),
        "interface-type" => |i| one(&i.interface_type),
        "status" => |i| one(&i.status),
        "owner-id" => |i| one(&i.owner_id),
        "requester-managed" => |i| vec![i.requester_managed.unwrap_or_default().to_string()],
        "group-id" => |i| i.groups.iter().flatten().filter_map(|g| g.group_id.clone()).collect(),
        "attachment.instance-id" => |i| i.attachment.iter().filter_map(|a| a.instance_id.clone()).collect(),
        "attachment.status" => |i| i.attachment.iter().filter_map(|a| a.status.clone()).collect(),
        "attachment.instance-owner-id" => |i| i.attachment.iter().filter_map(|a| a.instance_owner_id.clone()).collect(),
        // Instances' interfaces have no tags and no requester.
        "requester-id" | "tag-key" => |_| Vec::new(),
        tag if tag.starts_with("tag:") => |_| Vec::new(),
        other => return Err(error("InvalidParameterValue", format!("The filter '{other}' is invalid"))),
    })
}

fn primary(record: &InstanceRecord, owner: &str) -> NetworkInterface {
    let id = record.key();
    let instance = record.instance.clone();
    NetworkInterface {
        network_interface_id: Some(id.replacen("i-", "eni-", 1)),
        attachment: Some(NetworkInterfaceAttachment {
            attachment_id: Some(id.replacen("i-", "eni-attach-", 1)),
            attach_time: instance.launch_time,
            delete_on_termination: Some(true),
            device_index: Some(0),
            instance_id: Some(id),
            instance_owner_id: Some(owner.into()),
            network_card_index: Some(0),
            status: Some("attached".into()),
            ..Default::default()
        }),
        availability_zone: instance.placement.and_then(|p| p.availability_zone),
        description: Some(String::new()),
        groups: instance.security_groups,
        interface_type: Some("interface".into()),
        owner_id: Some(owner.into()),
        private_dns_name: instance.private_dns_name.clone(),
        private_ip_addresses: Some(vec![NetworkInterfacePrivateIpAddress {
            primary: Some(true),
            private_dns_name: instance.private_dns_name,
            private_ip_address: instance.private_ip_address.clone(),
            ..Default::default()
        }]),
        private_ip_address: instance.private_ip_address,
        requester_managed: Some(false),
        source_dest_check: Some(true),
        status: Some("in-use".into()),
        subnet_id: instance.subnet_id,
        vpc_id: instance.vpc_id,
        tag_set: Some(Vec::new()),
        ..Default::default()
    }
}
