//! DeleteService: the service drains until its last task has stopped, then it is INACTIVE.

use super::deployment_records::DeploymentStatus;
use super::records::ServiceStatus;
use super::{blue_green, deployments, find, view};
use crate::api::{Ctx, Result};
use crate::cut;
use quarry_aws::ecs::{DeleteServiceRequest, DeleteServiceResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteServiceRequest) -> Result<DeleteServiceResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let found = find::service(ctx, &cluster, input.service.as_deref().unwrap_or_default())?;
    let mut service = found
        .filter(|service| service.status != ServiceStatus::Inactive)
        .ok_or_else(|| error::service_not_found_exception("Service not found."))?;
    if service.status == ServiceStatus::Active {
        cut::rule::guard_service(ctx.tx, &service.arn, error::client_exception)?;
        if service.desired_count > 0 && input.force != Some(true) {
            return Err(error::invalid_parameter_exception(
                "The service cannot be stopped while it is scaled above 0.",
            ));
        }
        service.status = ServiceStatus::Draining;
        service.desired_count = 0;
        if let Some(mut current) = deployments::current(ctx.tx, &service)? {
            blue_green::leave(&mut current);
            if !current.status.has_ended() {
                let reason = "The service was deleted.";
                deployments::end(ctx, &service, &mut current, DeploymentStatus::Stopped, Some(reason))?;
            }
            ctx.tx.put(&current)?;
        }
        ctx.tx.put(&service)?;
    }
    Ok(DeleteServiceResponse { service: Some(view::service(ctx.tx, &service, false)?) })
}
