//! Amazon EC2: the network that stacks describe (VPC, subnets, gateways, routes, security groups)
//! and the container instances that Auto Scaling launches. One file per resource.
//!
//! The records keep the API's own shapes, so that describing a resource is reading it.

mod cidr;
pub mod instance;
mod internet_gateway;
mod network_acl;
mod resource;
mod route_table;
mod security_group;
mod subnet;
mod tags;
mod vpc;
mod zone;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use quarry_aws::ec2::op::*;

pub fn register(operations: &mut Operations) {
    operations.serve::<CreateVpc>(vpc::create);
    operations.serve::<DescribeVpcs>(vpc::describe);
    operations.serve::<DeleteVpc>(vpc::delete);
    operations.serve::<DescribeVpcAttribute>(vpc::describe_attribute);
    operations.serve::<ModifyVpcAttribute>(vpc::modify_attribute);
    operations.serve::<CreateSubnet>(subnet::create);
    operations.serve::<DescribeSubnets>(subnet::describe);
    operations.serve::<DeleteSubnet>(subnet::delete);
    operations.serve::<ModifySubnetAttribute>(subnet::modify_attribute);
    operations.serve::<CreateInternetGateway>(internet_gateway::create);
    operations.serve::<DescribeInternetGateways>(internet_gateway::describe);
    operations.serve::<DeleteInternetGateway>(internet_gateway::delete);
    operations.serve::<AttachInternetGateway>(internet_gateway::attach);
    operations.serve::<DetachInternetGateway>(internet_gateway::detach);
    operations.serve::<CreateRouteTable>(route_table::create);
    operations.serve::<DescribeRouteTables>(route_table::describe);
    operations.serve::<DeleteRouteTable>(route_table::delete);
    operations.serve::<CreateRoute>(route_table::create_route);
    operations.serve::<DeleteRoute>(route_table::delete_route);
    operations.serve::<AssociateRouteTable>(route_table::associate);
    operations.serve::<DisassociateRouteTable>(route_table::disassociate);
    operations.serve::<CreateSecurityGroup>(security_group::create);
    operations.serve::<DescribeSecurityGroups>(security_group::describe);
    operations.serve::<DescribeSecurityGroupRules>(security_group::describe_rules);
    operations.serve::<DeleteSecurityGroup>(security_group::delete);
    operations.serve::<AuthorizeSecurityGroupIngress>(security_group::authorize_ingress);
    operations.serve::<AuthorizeSecurityGroupEgress>(security_group::authorize_egress);
    operations.serve::<RevokeSecurityGroupIngress>(security_group::revoke_ingress);
    operations.serve::<RevokeSecurityGroupEgress>(security_group::revoke_egress);
    operations.serve::<DescribeNetworkAcls>(network_acl::describe);
    operations.serve::<DescribeInstances>(instance::describe);
    operations.serve::<DescribeAvailabilityZones>(zone::describe);
    operations.serve::<CreateTags>(tags::create);
    operations.serve::<DeleteTags>(tags::delete);
}
