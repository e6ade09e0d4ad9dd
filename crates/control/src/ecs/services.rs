//! Deployments of a service.

use super::capacity::Launch;
use super::deployments;
use super::records::{Deployment, Service};
use crate::api::{Ctx, Result};
use quarry_domain::service::{Rollout, Throttle};

/// Makes a new primary deployment of a task definition; the others go on until it has taken over.
pub fn deploy(ctx: &mut Ctx<'_>, service: &mut Service, task_definition: &str, launch: Launch) -> Result<()> {
    let now = ctx.platform.now_ms();
    let sources = service.deployments.iter().map(|deployment| deployment.id.clone()).collect();
    let alternate = service.primary().is_some_and(|primary| primary.alternate);
    for deployment in &mut service.deployments {
        if deployment.primary {
            deployment.primary = false;
            deployment.updated_ms = now;
        }
    }
    let id = deployment_id(ctx);
    service.deployments.push(Deployment {
        rollout_reason: format!("ECS deployment {id} in progress."),
        id,
        task_definition: task_definition.to_owned(),
        launch,
        alternate,
        primary: true,
        rollout: Rollout::InProgress,
        failed_tasks: 0,
        throttle: Throttle::default(),
        created_ms: now,
        updated_ms: now,
    });
    service.blocked = false;
    deployments::begin(ctx, service, sources)
}

/// `ecs-svc/` and 19 digits.
fn deployment_id(ctx: &Ctx<'_>) -> String {
    let mut bytes = [0; 8];
    ctx.platform.door.entropy.fill(&mut bytes);
    let lowest = 1_000_000_000_000_000_000;
    format!("ecs-svc/{}", lowest + u64::from_le_bytes(bytes) % (8 * lowest))
}
