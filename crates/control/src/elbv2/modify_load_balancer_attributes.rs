//! `ModifyLoadBalancerAttributes`.

use super::{find, load_balancer_attributes};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{ModifyLoadBalancerAttributesInput, ModifyLoadBalancerAttributesOutput};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: ModifyLoadBalancerAttributesInput,
) -> Result<ModifyLoadBalancerAttributesOutput> {
    let mut balancer = find::load_balancer(ctx.tx, input.load_balancer_arn.as_deref())?;
    load_balancer_attributes::set(&mut balancer, input.attributes.unwrap_or_default())?;
    ctx.tx.put(&balancer)?;
    Ok(ModifyLoadBalancerAttributesOutput { attributes: Some(load_balancer_attributes::show(&balancer)) })
}
