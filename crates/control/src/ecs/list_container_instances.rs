//! ListContainerInstances.

use super::container_instances::remaining;
use super::find;
use super::page::page;
use super::records::{ContainerInstance, Task};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListContainerInstancesRequest, ListContainerInstancesResponse, error};
use quarry_domain::placement::Expression;

pub fn handle(ctx: &mut Ctx<'_>, input: ListContainerInstancesRequest) -> Result<ListContainerInstancesResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let filter = input.filter.filter(|text| !text.is_empty()).map(|text| text.parse::<Expression>()).transpose();
    let filter = filter.map_err(|invalid| error::invalid_parameter_exception(invalid.to_string()))?;
    let mut found: Vec<ContainerInstance> = ctx.tx.children(&cluster.arn)?;
    match input.status.as_deref() {
        None => {}
        Some("ACTIVE") => found.retain(|instance| !instance.draining),
        Some("DRAINING") => found.retain(|instance| instance.draining),
        Some("REGISTERING" | "DEREGISTERING" | "REGISTRATION_FAILED") => found.clear(),
        Some(other) => return Err(error::invalid_parameter_exception(format!("Invalid status '{other}'."))),
    }
    if let Some(filter) = filter {
        let tasks = ctx.tx.children_of::<Task>(&cluster.arn)?;
        found.retain(|instance| filter.holds(&instance.attributes, &remaining(instance, &tasks, None).about));
    }
    let arns = found.into_iter().map(|instance| instance.arn).collect();
    let (arns, next_token) = page(arns, String::clone, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListContainerInstancesResponse { container_instance_arns: Some(arns), next_token })
}
