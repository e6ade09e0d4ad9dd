//! `DescribeLoadBalancers`.

use super::load_balancers::show;
use super::records::LoadBalancer;
use super::{errors, find, page};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeLoadBalancersInput, DescribeLoadBalancersOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeLoadBalancersInput) -> Result<DescribeLoadBalancersOutput> {
    let arns = input.load_balancer_arns.unwrap_or_default();
    let names = input.names.unwrap_or_default();
    if !arns.is_empty() && !names.is_empty() {
        return Err(errors::validation(
            "Load balancer names and load balancer ARNs cannot be specified at the same time",
        ));
    }
    for arn in &arns {
        find::check(arn, "loadbalancer/", "load balancer")?;
    }
    let mut balancers: Vec<LoadBalancer> = ctx.tx.all()?;
    if !arns.is_empty() || !names.is_empty() {
        let missing: Vec<&str> = arns
            .iter()
            .filter(|arn| balancers.iter().all(|b| b.arn != **arn))
            .chain(names.iter().filter(|name| balancers.iter().all(|b| b.name != **name)))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(errors::load_balancer_not_found(format!(
                "Load balancers '[{}]' not found",
                missing.join(", ")
            )));
        }
        balancers.retain(|b| arns.contains(&b.arn) || names.contains(&b.name));
    }
    let (balancers, next_marker) = page::page(balancers, |b| &b.arn, input.marker.as_deref(), input.page_size)?;
    let shown = balancers.iter().map(|b| show(ctx.platform, ctx.tx, b)).collect::<Result<_>>()?;
    Ok(DescribeLoadBalancersOutput { load_balancers: Some(shown), next_marker })
}
