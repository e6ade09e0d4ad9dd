//! Network mode awsvpc: the network configuration of a request, and the interface of each task.

use super::records::{Interface, LaunchType};
use crate::api::{Ctx, Result};
use crate::ec2::network_interface::{self, NewInterface};
use quarry_aws::ec2;
use quarry_aws::ecs::{self as aws, error};
use quarry_domain::container;
use quarry_wire::ServiceError;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A valid `awsvpcConfiguration`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// At least one, all of one VPC.
    pub subnets: Vec<Subnet>,
    /// Empty: the VPC's default group.
    pub security_groups: Vec<String>,
    pub assign_public_ip: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    pub zone: String,
}

/// What ECS allows in one configuration.
const MOST_SUBNETS: usize = 16;
const MOST_SECURITY_GROUPS: usize = 5;

/// Checks a request's network configuration against the task definition's network mode, and that its
/// subnets and security groups exist in one VPC.
pub fn check(
    ctx: &mut Ctx<'_>,
    given: Option<&aws::NetworkConfiguration>,
    definition: &aws::TaskDefinition,
    launch_type: LaunchType,
) -> Result<Option<Network>> {
    let given = given.and_then(|given| given.awsvpc_configuration.as_ref());
    let given = match (container::network_mode(definition), given) {
        ("awsvpc", Some(given)) => given,
        ("awsvpc", None) => {
            return Err(invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified."));
        }
        (_, None) => return Ok(None),
        (_, Some(_)) => {
            return Err(invalid(
                "Network Configuration is not valid for the given networkMode of this task definition.",
            ));
        }
    };
    let subnets = given.subnets.clone().unwrap_or_default();
    let security_groups = given.security_groups.clone().unwrap_or_default();
    if subnets.is_empty() {
        return Err(invalid("subnets can not be empty."));
    }
    if subnets.len() > MOST_SUBNETS {
        return Err(invalid(format!("subnets can have at most {MOST_SUBNETS} items.")));
    }
    if security_groups.len() > MOST_SECURITY_GROUPS {
        return Err(invalid(format!("securityGroups can have at most {MOST_SECURITY_GROUPS} items.")));
    }
    let assign_public_ip = match given.assign_public_ip.as_deref() {
        None | Some("" | "DISABLED") => false,
        Some("ENABLED") if launch_type == LaunchType::Fargate => true,
        Some("ENABLED") => return Err(invalid("Assign public IP is not supported for this launch type.")),
        Some(other) => return Err(invalid(format!("Invalid assignPublicIp '{other}'."))),
    };
    let (vpc, subnets) = describe_subnets(ctx, subnets)?;
    check_security_groups(ctx, &vpc, &security_groups)?;
    Ok(Some(Network { subnets, security_groups, assign_public_ip }))
}

fn describe_subnets(ctx: &mut Ctx<'_>, ids: Vec<String>) -> Result<(String, Vec<Subnet>)> {
    let list = ids.join(", ");
    let input = ec2::DescribeSubnetsRequest { subnet_ids: Some(ids), ..Default::default() };
    let found = retrieved(ctx.invoke::<ec2::op::DescribeSubnets>(input), "subnet", &list)?.subnets.unwrap_or_default();
    let vpc = found.first().and_then(|subnet| subnet.vpc_id.clone()).unwrap_or_default();
    if found.iter().any(|subnet| subnet.vpc_id.as_ref() != Some(&vpc)) {
        return Err(invalid(format!("The subnets [{list}] must belong to one VPC.")));
    }
    let subnet = |subnet: ec2::Subnet| Subnet {
        id: subnet.subnet_id.unwrap_or_default(),
        zone: subnet.availability_zone.unwrap_or_default(),
    };
    Ok((vpc, found.into_iter().map(subnet).collect()))
}

fn check_security_groups(ctx: &mut Ctx<'_>, vpc: &str, ids: &[String]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let list = ids.join(", ");
    let input = ec2::DescribeSecurityGroupsRequest { group_ids: Some(ids.to_vec()), ..Default::default() };
    let found = retrieved(ctx.invoke::<ec2::op::DescribeSecurityGroups>(input), "security group", &list)?;
    let mut groups = found.security_groups.into_iter().flatten();
    match groups.find(|group| group.vpc_id.as_deref() != Some(vpc)) {
        None => Ok(()),
        Some(foreign) => Err(invalid(format!(
            "The security group {} and the subnets belong to different VPCs.",
            foreign.group_id.unwrap_or_default()
        ))),
    }
}

/// EC2's refusal as ECS passes it on.
fn retrieved<T>(result: Result<T>, what: &str, ids: &str) -> Result<T> {
    result.map_err(|refused| match refused.status {
        500.. => refused,
        _ => invalid(format!(
            "Error retrieving {what} information for [{ids}]: {} (ErrorCode: {})",
            refused.message, refused.code
        )),
    })
}

/// Makes the interface of a task in one of its subnets, with the private address that it has.
pub fn attach(
    ctx: &mut Ctx<'_>,
    network: &Network,
    subnet: &Subnet,
    address: Ipv4Addr,
    instance: Option<String>,
) -> Result<Interface> {
    let attachment = ctx.platform.door.uuid();
    let attached = network_interface::attach(
        ctx,
        NewInterface {
            subnet: subnet.id.clone(),
            security_groups: network.security_groups.clone(),
            description: ctx.platform.place().arn("ecs", format_args!("attachment/{attachment}")),
            interface_type: String::new(),
            address: Some(address),
            instance,
            tags: Vec::new(),
        },
    )?;
    Ok(Interface {
        attachment,
        id: attached.id,
        subnet: subnet.id.clone(),
        mac: attached.mac,
        private_dns_name: attached.private_dns_name,
    })
}

/// Takes the interface of a task away.
pub fn detach(ctx: &mut Ctx<'_>, interface: &Interface) -> Result<()> {
    network_interface::detach(ctx, &interface.id)
}

impl Network {
    /// As requests and answers have it.
    pub fn shown(&self) -> aws::NetworkConfiguration {
        let assign_public_ip = if self.assign_public_ip { "ENABLED" } else { "DISABLED" };
        aws::NetworkConfiguration {
            awsvpc_configuration: Some(aws::AwsVpcConfiguration {
                assign_public_ip: Some(assign_public_ip.into()),
                security_groups: Some(self.security_groups.clone()),
                subnets: Some(self.subnets.iter().map(|subnet| subnet.id.clone()).collect()),
            }),
        }
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}
