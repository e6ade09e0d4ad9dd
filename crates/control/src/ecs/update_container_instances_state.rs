//! UpdateContainerInstancesState: a draining instance takes no new task, and services move theirs away.

use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{UpdateContainerInstancesStateRequest, UpdateContainerInstancesStateResponse, error};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: UpdateContainerInstancesStateRequest,
) -> Result<UpdateContainerInstancesStateResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let draining = match input.status.as_deref() {
        Some("ACTIVE") => false,
        Some("DRAINING") => true,
        _ => return Err(error::invalid_parameter_exception("Container instance status must be ACTIVE or DRAINING.")),
    };
    let ids = input.container_instances.unwrap_or_default();
    if ids.is_empty() || ids.len() > 10 {
        return Err(error::invalid_parameter_exception("From 1 to 10 container instances can be updated at once."));
    }
    let (mut instances, mut failures) = (Vec::new(), Vec::new());
    for id in ids {
        match find::container_instance(ctx.tx, &cluster, &id)? {
            Some(mut instance) => {
                instance.version += i64::from(instance.draining != draining);
                instance.draining = draining;
                ctx.tx.put(&instance)?;
                instances.push(view::container_instance(ctx, &instance, false)?);
            }
            None => failures.push(view::failure(&id, "MISSING")),
        }
    }
    Ok(UpdateContainerInstancesStateResponse { container_instances: Some(instances), failures: Some(failures) })
}
