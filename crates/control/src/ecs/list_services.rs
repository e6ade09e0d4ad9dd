//! ListServices.

use super::find;
use super::page::page;
use super::records::{Service, ServiceStatus};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListServicesRequest, ListServicesResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: ListServicesRequest) -> Result<ListServicesResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let mut services = ctx.tx.children_of::<Service>(&cluster.arn)?;
    services.retain(|service| service.status != ServiceStatus::Inactive);
    match input.launch_type.as_deref() {
        None => {}
        Some("EC2" | "FARGATE" | "EXTERNAL" | "MANAGED_INSTANCES") => {
            services.retain(|service| service.config.launch_type == input.launch_type);
        }
        Some(other) => return Err(error::invalid_parameter_exception(format!("Invalid launchType '{other}'."))),
    }
    match input.scheduling_strategy.as_deref() {
        None => {}
        Some("REPLICA" | "DAEMON") => {
            services.retain(|service| service.config.scheduling_strategy == input.scheduling_strategy);
        }
        Some(other) => {
            return Err(error::invalid_parameter_exception(format!("Invalid schedulingStrategy '{other}'.")));
        }
    }
    let arns = services.iter().map(|service| service.arn.clone()).collect();
    let (arns, next_token) = page(arns, String::clone, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListServicesResponse { service_arns: Some(arns), next_token })
}
