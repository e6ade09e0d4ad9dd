//! ListServices.

use super::find;
use super::page::page;
use super::records::{Service, ServiceStatus};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListServicesRequest, ListServicesResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: ListServicesRequest) -> Result<ListServicesResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let mut services = ctx.tx.children_of::<Service>(&cluster.arn)?;
    services.retain(|service| service.status != ServiceStatus::Inactive);
    // All services here are REPLICA services of launch type EC2.
    if !matches!(input.launch_type.as_deref(), None | Some("EC2"))
        || !matches!(input.scheduling_strategy.as_deref(), None | Some("REPLICA"))
    {
        services.clear();
    }
    let arns = services.iter().map(|service| service.arn.clone()).collect();
    let (arns, next_token) = page(arns, String::clone, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListServicesResponse { service_arns: Some(arns), next_token })
}
