//! ListServiceDeployments: the newest first.

use super::page::page;
use super::{deployments, find};
use crate::api::{Ctx, Result};
use quarry_aws::ecs as aws;
use quarry_aws::ecs::{ListServiceDeploymentsRequest, ListServiceDeploymentsResponse, error};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: ListServiceDeploymentsRequest) -> Result<ListServiceDeploymentsResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let found = find::service(ctx, &cluster, input.service.as_deref().unwrap_or_default())?;
    let service = found.ok_or_else(|| error::service_not_found_exception("Service not found."))?;
    let mut all = deployments::all(ctx.tx, &service.arn)?;
    if let Some(statuses) = input.status.filter(|statuses| !statuses.is_empty()) {
        all.retain(|deployment| statuses.iter().any(|status| status == deployment.status.as_str()));
    }
    let created = input.created_at.unwrap_or_default();
    all.retain(|deployment| {
        let at = Timestamp::from_millis(deployment.created_ms);
        created.before.is_none_or(|before| at < before) && created.after.is_none_or(|after| at > after)
    });
    let max_results = input.max_results.or(Some(20));
    let (all, next_token) =
        page(all, |deployment| deployment.arn.clone(), input.next_token.as_deref(), max_results, 100)?;
    let at = |ms: i64| Timestamp::from_millis(ms);
    let brief = |deployment: super::deployment_records::ServiceDeployment| aws::ServiceDeploymentBrief {
        target_service_revision_arn: Some(deployments::revision_arn(&deployment.service_arn, &deployment.target)),
        service_deployment_arn: Some(deployment.arn),
        service_arn: Some(deployment.service_arn),
        cluster_arn: Some(deployment.cluster_arn),
        created_at: Some(at(deployment.created_ms)),
        started_at: deployment.started_ms.map(at),
        finished_at: deployment.finished_ms.map(at),
        status: Some(deployment.status.as_str().into()),
        status_reason: deployment.reason,
    };
    Ok(ListServiceDeploymentsResponse { service_deployments: Some(all.into_iter().map(brief).collect()), next_token })
}
