//! `ModifyLoadBalancerAttributes`.

use super::{errors, find, load_balancer_attributes};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{ModifyLoadBalancerAttributesInput, ModifyLoadBalancerAttributesOutput};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: ModifyLoadBalancerAttributesInput,
) -> Result<ModifyLoadBalancerAttributesOutput> {
    let mut balancer = find::load_balancer(ctx.tx, input.load_balancer_arn.as_deref())?;
    for attribute in input.attributes.unwrap_or_default() {
        let key = attribute.key.ok_or_else(|| errors::validation("An attribute key must be specified"))?;
        load_balancer_attributes::set(&mut balancer, &key, attribute.value.as_deref().unwrap_or_default())?;
    }
    ctx.tx.put(&balancer)?;
    Ok(ModifyLoadBalancerAttributesOutput { attributes: Some(load_balancer_attributes::show(&balancer)) })
}
