//! `DescribeLoadBalancerAttributes`.

use super::{find, load_balancer_attributes};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeLoadBalancerAttributesInput, DescribeLoadBalancerAttributesOutput};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: DescribeLoadBalancerAttributesInput,
) -> Result<DescribeLoadBalancerAttributesOutput> {
    let balancer = find::load_balancer(ctx.tx, input.load_balancer_arn.as_deref())?;
    Ok(DescribeLoadBalancerAttributesOutput { attributes: Some(load_balancer_attributes::show(&balancer)) })
}
