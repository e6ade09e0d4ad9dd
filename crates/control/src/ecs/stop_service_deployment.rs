//! StopServiceDeployment: ROLLBACK, or ABORT, which leaves the service as it is then.

use super::deployment_records::{DeploymentStatus, ServiceDeployment};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{StopServiceDeploymentRequest, StopServiceDeploymentResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: StopServiceDeploymentRequest) -> Result<StopServiceDeploymentResponse> {
    let arn = input.service_deployment_arn.unwrap_or_default();
    let found: Option<ServiceDeployment> = ctx.tx.get(&arn)?;
    let mut deployment =
        found.ok_or_else(|| error::service_deployment_not_found_exception("Service deployment not found."))?;
    let asked = match input.stop_type.as_deref() {
        None | Some("ROLLBACK") => DeploymentStatus::RollbackRequested,
        Some("ABORT") => DeploymentStatus::StopRequested,
        Some(other) => return Err(error::invalid_parameter_exception(format!("Invalid stopType '{other}'."))),
    };
    match deployment.status {
        DeploymentStatus::Pending | DeploymentStatus::InProgress => {
            deployment.status = asked;
            deployment.reason = Some("The service deployment was stopped by StopServiceDeployment.".to_owned());
            deployment.updated_ms = ctx.platform.now_ms();
            ctx.tx.put(&deployment)?;
        }
        // It goes on as it was asked before.
        DeploymentStatus::StopRequested
        | DeploymentStatus::RollbackRequested
        | DeploymentStatus::RollbackInProgress => {}
        DeploymentStatus::Successful
        | DeploymentStatus::Stopped
        | DeploymentStatus::RollbackSuccessful
        | DeploymentStatus::RollbackFailed => {
            return Err(error::conflict_exception(format!(
                "The service deployment has ended with the status {} and cannot be stopped.",
                deployment.status.as_str()
            )));
        }
    }
    Ok(StopServiceDeploymentResponse { service_deployment_arn: Some(arn) })
}
