//! DescribeServiceDeployments.

use super::deployment_records::{AlarmWatch, ServiceDeployment};
use super::deployments::{self, revision_arn};
use super::records::Service;
use super::{blue_green, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs as aws;
use quarry_aws::ecs::{DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse, error};
use quarry_domain::service::blue_green::Color;
use quarry_wire::Timestamp;

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: DescribeServiceDeploymentsRequest,
) -> Result<DescribeServiceDeploymentsResponse> {
    let arns = input.service_deployment_arns.unwrap_or_default();
    if arns.is_empty() {
        return Err(error::invalid_parameter_exception("serviceDeploymentArns cannot be empty."));
    }
    if arns.len() > 20 {
        return Err(error::invalid_parameter_exception("At most 20 service deployments can be described at once."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        match ctx.tx.get::<ServiceDeployment>(&arn)? {
            Some(deployment) => found.push(show(ctx, &deployment)?),
            None => failures.push(view::failure(&arn, "MISSING")),
        }
    }
    Ok(DescribeServiceDeploymentsResponse { service_deployments: Some(found), failures: Some(failures) })
}

fn show(ctx: &Ctx<'_>, deployment: &ServiceDeployment) -> Result<aws::ServiceDeployment> {
    let at = |ms: i64| Timestamp::from_millis(ms);
    let ended = deployment.status.has_ended();
    let service: Option<Service> = ctx.tx.get(&deployment.service_arn)?;
    let summary = |id: &String| -> Result<aws::ServiceRevisionSummary> {
        let kept = deployment.counts.iter().find(|(of, _)| of == id).map(|(_, counts)| *counts);
        let [requested, running, pending] = match (kept, &service) {
            (Some(kept), _) if ended => kept,
            (_, Some(service)) => deployments::counts(ctx.tx, service, id)?,
            (_, None) => [0; 3],
        };
        Ok(aws::ServiceRevisionSummary {
            arn: Some(revision_arn(&deployment.service_arn, id)),
            requested_task_count: Some(requested),
            running_task_count: Some(running),
            pending_task_count: Some(pending),
            requested_production_traffic_weight: weight(deployment, id, false),
            requested_test_traffic_weight: weight(deployment, id, true),
        })
    };
    let configuration = &deployment.configuration;
    let breaker = configuration.deployment_circuit_breaker.as_ref().is_some_and(|b| b.enable == Some(true));
    let in_progress = service
        .as_ref()
        .filter(|_| !ended)
        .and_then(|service| service.deployments.iter().find(|of| of.id == deployment.target).map(|of| of.failed_tasks));
    let alarms = configuration.alarms.as_ref().map(|alarms| aws::ServiceDeploymentAlarms {
        alarm_names: alarms.alarm_names.clone(),
        status: Some(
            match &deployment.alarms {
                None | Some(AlarmWatch::Ignored) => "DISABLED",
                Some(AlarmWatch::Triggered(_)) => "TRIGGERED",
                Some(AlarmWatch::Watched) if ended => "MONITORING_COMPLETE",
                Some(AlarmWatch::Watched) => "MONITORING",
            }
            .into(),
        ),
        triggered_alarm_names: match &deployment.alarms {
            Some(AlarmWatch::Triggered(names)) => Some(names.clone()),
            None | Some(AlarmWatch::Ignored | AlarmWatch::Watched) => Some(Vec::new()),
        },
    });
    let hooks = deployment.shift.iter().flat_map(|shift| &shift.hooks).map(|hook| aws::DeploymentLifecycleHookDetail {
        hook_id: Some(hook.id.clone()),
        target_type: Some("AWS_LAMBDA".into()),
        target_arn: Some(blue_green::target(configuration, hook)),
        status: Some(hook.status.as_str().into()),
        expires_at: Some(at(hook.expires_ms)),
        timeout_action: Some(blue_green::timeout_action(configuration, hook).into()),
    });
    Ok(aws::ServiceDeployment {
        service_deployment_arn: Some(deployment.arn.clone()),
        service_arn: Some(deployment.service_arn.clone()),
        cluster_arn: Some(deployment.cluster_arn.clone()),
        created_at: Some(at(deployment.created_ms)),
        started_at: deployment.started_ms.map(at),
        finished_at: deployment.finished_ms.map(at),
        stopped_at: deployment.stopped_ms.map(at),
        updated_at: Some(at(deployment.updated_ms)),
        source_service_revisions: Some(deployment.sources.iter().map(summary).collect::<Result<_>>()?),
        target_service_revision: Some(summary(&deployment.target)?),
        status: Some(deployment.status.as_str().into()),
        status_reason: deployment.reason.clone(),
        lifecycle_stage: deployment.shift.as_ref().map(|shift| shift.stage.as_str().into()),
        lifecycle_hook_details: Some(hooks.collect()),
        deployment_configuration: Some(configuration.clone()),
        rollback: deployment.rollback.as_ref().map(|rollback| aws::Rollback {
            reason: Some(rollback.reason.clone()),
            started_at: Some(at(rollback.started_ms)),
            service_revision_arn: Some(revision_arn(&deployment.service_arn, &rollback.to)),
        }),
        deployment_circuit_breaker: Some(aws::ServiceDeploymentCircuitBreaker {
            failure_count: Some(in_progress.unwrap_or(deployment.failed_tasks) as i32),
            status: Some(
                match (breaker, deployment.broken) {
                    (false, _) => "DISABLED",
                    (true, true) => "TRIGGERED",
                    (true, false) if ended => "MONITORING_COMPLETE",
                    (true, false) => "MONITORING",
                }
                .into(),
            ),
            threshold: Some(deployment.threshold as i32),
        }),
        alarms,
    })
}

/// The percentage of the requests that go to a revision of a blue/green deployment.
fn weight(deployment: &ServiceDeployment, id: &str, test: bool) -> Option<f64> {
    let shift = deployment.shift.as_ref()?;
    let rule = shift.rules.iter().find(|rule| rule.test == test)?;
    let color = if shift.green == id { Color::Green } else { Color::Blue };
    let known = color == Color::Green || shift.blue.as_deref() == Some(id);
    Some(if known && rule.at == color { 100.0 } else { 0.0 })
}
