//! `SetSubnets`.

use super::load_balancers::{check_ip_address_type, resolve_subnets, show_zones};
use super::{errors, find};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{SetSubnetsInput, SetSubnetsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: SetSubnetsInput) -> Result<SetSubnetsOutput> {
    let mut balancer = find::load_balancer(ctx.tx, input.load_balancer_arn.as_deref())?;
    check_ip_address_type(input.ip_address_type.as_deref())?;
    let (zones, vpc_id) = resolve_subnets(ctx, input.subnets, input.subnet_mappings)?;
    if vpc_id != balancer.vpc_id {
        return Err(errors::invalid_configuration("The subnets must belong to the load balancer's VPC"));
    }
    balancer.zones = zones;
    ctx.tx.put(&balancer)?;
    Ok(SetSubnetsOutput {
        availability_zones: Some(show_zones(&balancer.zones)),
        ip_address_type: Some("ipv4".into()),
        ..Default::default()
    })
}
