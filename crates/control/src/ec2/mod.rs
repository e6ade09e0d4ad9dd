//! Amazon EC2: the network that stacks describe (VPC, subnets, gateways, routes, security groups)
//! and the container instances that Auto Scaling launches. One file per resource.
//!
//! The records keep the API's own shapes, so that describing a resource is reading it.

mod account_attribute;
mod address;
mod cidr;
mod dhcp_options;
mod image;
pub mod instance;
mod internet_gateway;
mod key_pair;
pub mod launch_template;
mod nat_gateway;
mod network_acl;
pub mod network_interface;
mod prefix_list;
mod resource;
mod route_table;
pub mod security;
pub mod security_group;
mod security_group_rule;
pub mod subnet;
mod tags;
mod vpc;
mod vpc_endpoint;
mod zone;

#[cfg(test)]
mod tests;

use crate::api::{Ctx, Operations, Result};
use quarry_aws::ec2::op::*;
use quarry_wire::{Operation, ServiceError, Structure, View};

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    serve::<CreateVpc>(operations, vpc::create);
    serve::<DescribeVpcs>(operations, vpc::describe);
    serve::<DeleteVpc>(operations, vpc::delete);
    serve::<DescribeVpcAttribute>(operations, vpc::describe_attribute);
    serve::<ModifyVpcAttribute>(operations, vpc::modify_attribute);
    serve::<CreateSubnet>(operations, subnet::create);
    serve::<DescribeSubnets>(operations, subnet::describe);
    serve::<DeleteSubnet>(operations, subnet::delete);
    serve::<ModifySubnetAttribute>(operations, subnet::modify_attribute);
    serve::<CreateInternetGateway>(operations, internet_gateway::create);
    serve::<DescribeInternetGateways>(operations, internet_gateway::describe);
    serve::<DeleteInternetGateway>(operations, internet_gateway::delete);
    serve::<AttachInternetGateway>(operations, internet_gateway::attach);
    serve::<DetachInternetGateway>(operations, internet_gateway::detach);
    serve::<CreateRouteTable>(operations, route_table::create);
    serve::<DescribeRouteTables>(operations, route_table::describe);
    serve::<DeleteRouteTable>(operations, route_table::delete);
    serve::<CreateRoute>(operations, route_table::create_route);
    serve::<DeleteRoute>(operations, route_table::delete_route);
    serve::<AssociateRouteTable>(operations, route_table::associate);
    serve::<DisassociateRouteTable>(operations, route_table::disassociate);
    serve::<CreateSecurityGroup>(operations, security_group::create);
    serve::<DescribeSecurityGroups>(operations, security_group::describe);
    serve::<DescribeSecurityGroupRules>(operations, security_group_rule::describe);
    serve::<DeleteSecurityGroup>(operations, security_group::delete);
    serve::<AuthorizeSecurityGroupIngress>(operations, security_group_rule::authorize_ingress);
    serve::<AuthorizeSecurityGroupEgress>(operations, security_group_rule::authorize_egress);
    serve::<RevokeSecurityGroupIngress>(operations, security_group_rule::revoke_ingress);
    serve::<RevokeSecurityGroupEgress>(operations, security_group_rule::revoke_egress);
    serve::<ModifySecurityGroupRules>(operations, security_group_rule::modify);
    serve::<UpdateSecurityGroupRuleDescriptionsIngress>(operations, security_group_rule::update_ingress_descriptions);
    serve::<UpdateSecurityGroupRuleDescriptionsEgress>(operations, security_group_rule::update_egress_descriptions);
    serve::<ReplaceRoute>(operations, route_table::replace_route);
    serve::<ReplaceRouteTableAssociation>(operations, route_table::replace_association);
    serve::<AllocateAddress>(operations, address::allocate);
    serve::<DescribeAddresses>(operations, address::describe);
    serve::<DescribeAddressesAttribute>(operations, address::describe_attribute);
    serve::<AssociateAddress>(operations, address::associate);
    serve::<DisassociateAddress>(operations, address::disassociate);
    serve::<ReleaseAddress>(operations, address::release);
    serve::<CreateNatGateway>(operations, nat_gateway::create);
    serve::<DescribeNatGateways>(operations, nat_gateway::describe);
    serve::<DeleteNatGateway>(operations, nat_gateway::delete);
    serve::<CreateVpcEndpoint>(operations, vpc_endpoint::create);
    serve::<DescribeVpcEndpoints>(operations, vpc_endpoint::describe);
    serve::<ModifyVpcEndpoint>(operations, vpc_endpoint::modify);
    serve::<DeleteVpcEndpoints>(operations, vpc_endpoint::delete);
    serve::<DescribePrefixLists>(operations, prefix_list::describe);
    serve::<DescribeManagedPrefixLists>(operations, prefix_list::describe_managed);
    serve::<DescribeDhcpOptions>(operations, dhcp_options::describe);
    serve::<DescribeImages>(operations, image::describe);
    serve::<DescribeKeyPairs>(operations, key_pair::describe);
    serve::<DescribeRegions>(operations, zone::describe_regions);
    serve::<CreateLaunchTemplate>(operations, launch_template::create);
    serve::<CreateLaunchTemplateVersion>(operations, launch_template::create_version);
    serve::<DescribeLaunchTemplates>(operations, launch_template::describe);
    serve::<DescribeLaunchTemplateVersions>(operations, launch_template::describe_versions);
    serve::<ModifyLaunchTemplate>(operations, launch_template::modify);
    serve::<DeleteLaunchTemplate>(operations, launch_template::delete);
    serve::<DeleteLaunchTemplateVersions>(operations, launch_template::delete_versions);
    serve::<DescribeInstanceStatus>(operations, instance::describe_status);
    serve::<DescribeInstanceAttribute>(operations, instance::describe_attribute);
    serve::<TerminateInstances>(operations, instance::terminate_instances);
    serve::<DescribeNetworkAcls>(operations, network_acl::describe);
    serve::<DescribeInstances>(operations, instance::describe);
    serve::<DescribeNetworkInterfaces>(operations, network_interface::describe);
    serve::<DescribeAccountAttributes>(operations, account_attribute::describe);
    serve::<DescribeTags>(operations, tags::describe);
    serve::<DescribeAvailabilityZones>(operations, zone::describe);
    serve::<CreateTags>(operations, tags::create);
    serve::<DeleteTags>(operations, tags::delete);
}

/// Serves an operation with its `DryRun`: everything is checked, and what it would have done is undone.
fn serve<O: Operation>(
    operations: &mut Operations,
    handle: impl Fn(&mut Ctx<'_>, O::Input) -> Result<O::Output> + Send + Sync + 'static,
) {
    operations.serve::<O>(move |ctx, input| {
        let dry = is_dry_run(&input);
        let output = handle(ctx, input)?;
        if dry {
            let message = "Request would have succeeded, but DryRun flag is set.";
            return Err(ServiceError::new("DryRunOperation", message, 412));
        }
        Ok(output)
    });
}

fn is_dry_run(input: &dyn Structure) -> bool {
    let at = input.schema().members.iter().position(|member| member.name == "DryRun");
    at.is_some_and(|at| matches!(input.member(at).view(), View::Boolean(true)))
}
