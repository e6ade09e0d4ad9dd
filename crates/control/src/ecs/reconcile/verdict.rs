//! Whether a task of a service is healthy.

use super::super::records::{Deployment, Service, Task};
use super::Reconciler;
use crate::api::Result;
use crate::elbv2::targets;
use crate::store::Tx;
use quarry_domain::link::TargetState;
use quarry_domain::service::Health;
use quarry_domain::task::ContainerHealth;
use std::time::Duration;

/// A task of a service without target groups is taken to have come up well after this long.
pub const STARTED_WELL: Duration = Duration::from_secs(10);

/// A task that nobody checks counts as healthy after it has run for this long, so that one that exits at once never
/// makes a deployment complete; [`STARTED_WELL`] once tasks of its deployment have failed.
pub const SETTLED: Duration = Duration::from_secs(2);

impl Reconciler {
    /// The verdict over all target groups: unhealthy in one is unhealthy. Without a target group a
    /// running task is taken as healthy.
    pub(super) fn health(
        &self,
        tx: &Tx<'_>,
        service: &Service,
        task: &Task,
        unhealthy: &mut Vec<(String, String, u16, String)>,
    ) -> Result<Health> {
        let mut verdict = match task.health() {
            ContainerHealth::Unhealthy => return Ok(Health::Unhealthy),
            ContainerHealth::Unknown if task.is_checked() => Health::Unknown,
            ContainerHealth::Unknown | ContainerHealth::Healthy => Health::Healthy,
        };
        for target in &task.targets {
            let state = targets::state(&self.platform, tx, &target.group_arn, &target.id, target.port)?;
            match state.map(|(state, _)| state) {
                // A group that no load balancer uses checks nothing, and neither does one that is gone.
                Some(TargetState::Healthy | TargetState::Unused) => {}
                None if service.load_balancers().is_empty() => {}
                Some(TargetState::Unhealthy) => {
                    let found = targets::active(tx, &target.group_arn)?;
                    let found = found.iter().find(|t| t.id == target.id && t.port == target.port);
                    let words = found.and_then(|t| targets::health(&self.platform, t, true).description);
                    let words = words.unwrap_or_else(|| "Health checks failed".to_owned());
                    unhealthy.push((task.id.clone(), target.group_arn.clone(), target.port, words));
                    return Ok(Health::Unhealthy);
                }
                Some(TargetState::Initial | TargetState::Draining | TargetState::Unavailable) | None => {
                    verdict = Health::Unknown;
                }
            }
        }
        Ok(verdict)
    }
}

/// How long a task must run before it counts as healthy.
pub fn settles_in(service: &Service, task: &Task) -> Duration {
    if !task.targets.is_empty() || task.is_checked() {
        return Duration::ZERO;
    }
    let of = task.service.as_ref().map(|(_, deployment)| deployment);
    let failed = |d: &Deployment| Some(&d.id) == of && (d.failed_tasks > 0 || d.throttle.failures > 0);
    if service.deployments.iter().any(failed) { STARTED_WELL } else { SETTLED }
}
