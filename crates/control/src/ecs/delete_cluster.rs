//! DeleteCluster.

use super::records::{ContainerInstance, Service, ServiceStatus, Task};
use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DeleteClusterRequest, DeleteClusterResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteClusterRequest) -> Result<DeleteClusterResponse> {
    let mut cluster = find::cluster(ctx, input.cluster.as_deref())?;
    if !ctx.tx.children::<ContainerInstance>(&cluster.arn)?.is_empty() {
        return Err(error::cluster_contains_container_instances_exception(
            "The Cluster cannot be deleted while Container Instances are active or draining.",
        ));
    }
    let services: Vec<Service> = ctx.tx.children(&cluster.arn)?;
    if services.iter().any(|service| service.status != ServiceStatus::Inactive) {
        return Err(error::cluster_contains_services_exception(
            "The Cluster cannot be deleted while Services are active.",
        ));
    }
    if !ctx.tx.children::<Task>(&cluster.arn)?.is_empty() {
        return Err(error::cluster_contains_tasks_exception("The Cluster cannot be deleted while Tasks are active."));
    }
    cluster.active = false;
    ctx.tx.put(&cluster)?;
    Ok(DeleteClusterResponse { cluster: Some(view::cluster(ctx.tx, &cluster, &[])?) })
}
