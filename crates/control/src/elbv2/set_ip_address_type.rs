//! `SetIpAddressType`: only `ipv4` is served.

use super::find;
use super::load_balancers::check_ip_address_type;
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{SetIpAddressTypeInput, SetIpAddressTypeOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: SetIpAddressTypeInput) -> Result<SetIpAddressTypeOutput> {
    find::load_balancer(ctx.tx, input.load_balancer_arn.as_deref())?;
    let kind = find::required(input.ip_address_type, "ipAddressType")?;
    check_ip_address_type(Some(&kind))?;
    Ok(SetIpAddressTypeOutput { ip_address_type: Some(kind) })
}
