//! `DeleteLoadBalancer`: with its listeners and rules; one that is gone already is no error.

use super::records::{Listener, LoadBalancer};
use super::{delete_listener, errors, find, tags};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DeleteLoadBalancerInput, DeleteLoadBalancerOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteLoadBalancerInput) -> Result<DeleteLoadBalancerOutput> {
    let arn = find::required(input.load_balancer_arn, "loadBalancerArn")?;
    find::check(&arn, "loadbalancer/", "load balancer")?;
    if let Some(balancer) = ctx.tx.get::<LoadBalancer>(&arn)? {
        if balancer.deletion_protection {
            return Err(errors::operation_not_permitted(format!(
                "Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
            )));
        }
        for listener in ctx.tx.children::<Listener>(&arn)? {
            delete_listener::delete(ctx, &listener)?;
        }
        ctx.tx.delete::<LoadBalancer>(&arn)?;
        tags::forget(ctx.tx, &arn)?;
    }
    Ok(DeleteLoadBalancerOutput::default())
}
