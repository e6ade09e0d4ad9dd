//! DeregisterContainerInstance.

use super::records::Task;
use super::{container_instances, find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DeregisterContainerInstanceRequest, DeregisterContainerInstanceResponse, error};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: DeregisterContainerInstanceRequest,
) -> Result<DeregisterContainerInstanceResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let found = find::container_instance(ctx.tx, &cluster, input.container_instance.as_deref().unwrap_or_default())?;
    let instance = found.ok_or_else(|| error::client_exception("Referenced container instance not found."))?;
    let tasks = ctx.tx.children_of::<Task>(&cluster.arn)?;
    let busy = tasks.iter().any(|task| task.container_instance_arn.as_ref() == Some(&instance.arn));
    if busy && input.force != Some(true) {
        return Err(error::invalid_parameter_exception("Found running tasks on the instance."));
    }
    let mut shown = view::container_instance(ctx, &instance, false)?;
    container_instances::remove(ctx, &instance, "Container instance was deregistered forcibly by the user.")?;
    shown.status = Some("INACTIVE".into());
    Ok(DeregisterContainerInstanceResponse { container_instance: Some(shown) })
}
