//! `DescribeListeners`.

use super::records::Listener;
use super::{errors, find, listeners, page};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeListenersInput, DescribeListenersOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeListenersInput) -> Result<DescribeListenersOutput> {
    let arns = input.listener_arns.unwrap_or_default();
    let found: Vec<Listener> = match (&input.load_balancer_arn, arns.as_slice()) {
        (Some(_), [_, ..]) => {
            return Err(errors::validation(
                "Listener ARNs and a load balancer ARN cannot be specified at the same time",
            ));
        }
        (None, []) => {
            return Err(errors::validation("You must specify either listener ARNs or a load balancer ARN"));
        }
        (Some(arn), []) => {
            find::check(arn, "loadbalancer/", "load balancer")?;
            if ctx.tx.get::<super::records::LoadBalancer>(arn)?.is_none() {
                return Err(errors::load_balancer_not_found("One or more load balancers not found"));
            }
            ctx.tx.children(arn)?
        }
        (None, arns) => {
            let mut found = Vec::new();
            for arn in arns {
                find::check(arn, "listener/", "listener")?;
                found.push(
                    ctx.tx.get(arn)?.ok_or_else(|| errors::listener_not_found("One or more listeners not found"))?,
                );
            }
            found
        }
    };
    let (found, next_marker) = page::page(found, |l| &l.arn, input.marker.as_deref(), input.page_size)?;
    Ok(DescribeListenersOutput { listeners: Some(found.iter().map(listeners::show).collect()), next_marker })
}
