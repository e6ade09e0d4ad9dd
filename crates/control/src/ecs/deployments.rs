//! The life of service deployments, as far as both strategies share it.

use super::deployment_records::{AlarmWatch, DeploymentStatus, RolledBack, ServiceDeployment, ServiceRevision};
use super::network::Network;
use super::records::{Deployment, LastStatus, Service, Task, TaskDefinition};
use super::{blue_green, view};
use crate::api::{Ctx, Result};
use crate::cloudwatch::records::Alarm;
use crate::store::{Item, StoreError, Tx};
use quarry_aws::ecs as aws;
use quarry_domain::arn::short_name;
use quarry_domain::metric::alarm::State;
use quarry_wire::Timestamp;
use std::sync::Arc;

/// Service deployments that are kept of a service, and how long.
const KEPT: usize = 100;
const KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Of a service, newest first.
pub fn all(tx: &Tx<'_>, service_arn: &str) -> Result<Vec<ServiceDeployment>, StoreError> {
    let mut all: Vec<ServiceDeployment> = tx.children(service_arn)?;
    all.sort_by_key(|deployment| std::cmp::Reverse(deployment.order));
    Ok(all)
}

/// The newest one of a service.
pub fn current(tx: &Tx<'_>, service: &Service) -> Result<Option<ServiceDeployment>, StoreError> {
    match &service.service_deployment {
        Some(arn) => tx.get(arn),
        None => Ok(None),
    }
}

/// Records that the service's primary deployment, which was just made, replaces those before it.
pub fn begin(ctx: &mut Ctx<'_>, service: &mut Service, sources: Vec<String>) -> Result<()> {
    if let Some(mut unfinished) = current(ctx.tx, service)? {
        blue_green::leave(&mut unfinished);
        if !unfinished.status.has_ended() {
            let reason = "The service deployment was replaced by a newer one.";
            end(ctx, service, &mut unfinished, DeploymentStatus::Stopped, Some(reason))?;
        }
        ctx.tx.put(&unfinished)?;
    }
    let Some(target) = service.primary().map(|primary| primary.id.clone()) else { return Ok(()) };
    let now = ctx.platform.now_ms();
    let configuration = service.config.deployment_configuration.clone().unwrap_or_default();
    let alarms = match alarms_of(&configuration) {
        None => None,
        Some((names, _)) if in_alarm(ctx.tx, names)?.is_empty() => Some(AlarmWatch::Watched),
        Some(_) => Some(AlarmWatch::Ignored),
    };
    let mut deployment = ServiceDeployment {
        arn: format!("{}/{}", of_kind(&service.arn, "service-deployment"), id(ctx)),
        service_arn: service.arn.clone(),
        cluster_arn: service.cluster_arn.clone(),
        order: ctx.tx.next("ecs.service-deployment")?,
        status: DeploymentStatus::Pending,
        reason: None,
        created_ms: now,
        updated_ms: now,
        started_ms: None,
        finished_ms: None,
        stopped_ms: None,
        sources,
        target,
        configuration,
        failed_tasks: 0,
        threshold: 3,
        broken: false,
        alarms,
        baking_since_ms: None,
        rollback: None,
        shift: None,
        counts: Vec::new(),
    };
    blue_green::begin(ctx, service, &mut deployment)?;
    if let Some(primary) = service.primary() {
        let definition: Option<TaskDefinition> = ctx.tx.get(&primary.task_definition)?;
        ctx.tx.put(&revision(service, primary, definition.as_ref()))?;
    }
    service.service_deployment = Some(deployment.arn.clone());
    ctx.tx.put(&deployment)?;
    prune(ctx, service)
}

/// It is over. The counts of tasks are those of this moment.
pub fn end(
    ctx: &Ctx<'_>,
    service: &Service,
    deployment: &mut ServiceDeployment,
    status: DeploymentStatus,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    let now = ctx.platform.now_ms();
    deployment.status = status;
    deployment.updated_ms = now;
    if let Some(reason) = reason {
        deployment.reason = Some(reason.to_owned());
    }
    deployment.finished_ms = Some(now);
    if status == DeploymentStatus::Stopped {
        deployment.stopped_ms = Some(now);
    }
    let ids = deployment.sources.iter().chain([&deployment.target]).cloned();
    deployment.counts =
        ids.map(|id| Ok((id.clone(), counts(ctx.tx, service, &id)?))).collect::<Result<_, StoreError>>()?;
    Ok(())
}

/// It goes back to another revision.
pub fn roll_back(ctx: &Ctx<'_>, deployment: &mut ServiceDeployment, reason: &str, to: &str) {
    let now = ctx.platform.now_ms();
    deployment.status = DeploymentStatus::RollbackInProgress;
    deployment.reason = Some(reason.to_owned());
    deployment.updated_ms = now;
    deployment.rollback = Some(RolledBack { reason: reason.to_owned(), started_ms: now, to: to.to_owned() });
}

/// Wanted, running and pending tasks of a deployment.
pub fn counts(tx: &Tx<'_>, service: &Service, id: &str) -> Result<[i32; 3], StoreError> {
    Ok(count(&tx.owned(&service.arn)?, service, id))
}

/// The same among tasks that were read already.
pub fn count(tasks: &[Arc<Task>], service: &Service, id: &str) -> [i32; 3] {
    let is_own = |task: &&Arc<Task>| task.service.as_ref().is_some_and(|(arn, of)| *arn == service.arn && of == id);
    let number = |f: &dyn Fn(&Task) -> bool| tasks.iter().filter(is_own).filter(|task| f(task)).count() as i32;
    let wanted = match service.primary() {
        Some(primary) if primary.id == id => service.desired_count as i32,
        _ => number(&|task| task.wanted),
    };
    [wanted, number(&|task| task.status == LastStatus::Running), number(&|task| task.status.is_pending())]
}

/// The alarms that are watched, and whether one of them rolls a deployment back.
pub fn alarms_of(configuration: &aws::DeploymentConfiguration) -> Option<(&[String], bool)> {
    let alarms = configuration.alarms.as_ref().filter(|alarms| alarms.enable == Some(true))?;
    Some((alarms.alarm_names.as_deref().unwrap_or_default(), alarms.rollback == Some(true)))
}

/// Those of the alarms that are in ALARM.
pub fn in_alarm(tx: &Tx<'_>, names: &[String]) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for name in names {
        if tx.get::<Alarm>(name)?.is_some_and(|alarm| alarm.state == State::Alarm) {
            found.push(name.clone());
        }
    }
    Ok(found)
}

/// How long after the last task alarms are watched still, in ms: as long as the slowest takes to tell.
pub fn bake_ms(ctx: &Tx<'_>, names: &[String], speed: u32) -> Result<i64, StoreError> {
    let mut longest = 0;
    for name in names {
        if let Some(alarm) = ctx.get::<Alarm>(name)? {
            let period = crate::cloudwatch::query::compressed(alarm.period(), speed);
            longest = longest.max(period * i64::from(alarm.evaluation_periods));
        }
    }
    Ok(longest * 1000)
}

/// Of a service that is gone.
pub fn forget(tx: &Tx<'_>, service_arn: &str) -> Result<(), StoreError> {
    for deployment in tx.children::<ServiceDeployment>(service_arn)? {
        tx.delete::<ServiceDeployment>(&deployment.key())?;
    }
    for revision in tx.children::<ServiceRevision>(service_arn)? {
        tx.delete::<ServiceRevision>(&revision.key())?;
    }
    Ok(())
}

/// The ARN of a deployment's service revision.
pub fn revision_arn(service_arn: &str, deployment: &str) -> String {
    format!("{}/{}", of_kind(service_arn, "service-revision"), short_name(deployment))
}

fn of_kind(service_arn: &str, kind: &str) -> String {
    service_arn.replacen(":service/", &format!(":{kind}/"), 1)
}

fn revision(service: &Service, deployment: &Deployment, definition: Option<&TaskDefinition>) -> ServiceRevision {
    let arn = revision_arn(&service.arn, &deployment.id);
    let config = &service.config;
    let containers = definition.and_then(|d| d.definition.container_definitions.as_deref()).unwrap_or_default();
    let images = containers.iter().map(|container| aws::ContainerImage {
        container_name: container.name.clone(),
        image: container.image.clone(),
        image_digest: None,
    });
    let resolved = service.load_balancers().iter().map(|balancer| aws::ServiceRevisionLoadBalancer {
        target_group_arn: super::records::target_group(balancer, deployment.alternate).map(str::to_owned),
        production_listener_rule: balancer
            .advanced_configuration
            .as_ref()
            .and_then(|a| a.production_listener_rule.clone()),
    });
    let resolved: Vec<_> = resolved.collect();
    let shown = aws::ServiceRevision {
        service_revision_arn: Some(arn.clone()),
        service_arn: Some(service.arn.clone()),
        cluster_arn: Some(service.cluster_arn.clone()),
        task_definition: Some(deployment.task_definition.clone()),
        launch_type: view::launch_type(&deployment.launch),
        capacity_provider_strategy: Some(deployment.launch.strategy.clone()).filter(|items| !items.is_empty()),
        platform_version: config.platform_version.clone(),
        platform_family: config.platform_family.clone(),
        load_balancers: config.load_balancers.clone(),
        service_registries: config.service_registries.clone(),
        network_configuration: deployment.launch.network.as_ref().map(Network::shown),
        container_images: Some(images.collect()),
        guard_duty_enabled: Some(false),
        created_at: Some(Timestamp::from_millis(deployment.created_ms)),
        resolved_configuration: (!resolved.is_empty())
            .then_some(aws::ResolvedConfiguration { load_balancers: Some(resolved) }),
        ..aws::ServiceRevision::default()
    };
    ServiceRevision { arn, service_arn: service.arn.clone(), shown }
}

/// 21 letters, digits, `-` and `_`.
fn id(ctx: &Ctx<'_>) -> String {
    let mut bytes = [0; 24];
    ctx.platform.door.entropy.fill(&mut bytes);
    bytes[..21].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
}

/// Old ones are forgotten, and the revisions that none of the others names.
fn prune(ctx: &Ctx<'_>, service: &Service) -> Result<()> {
    let since = ctx.platform.now_ms() - KEPT_MS;
    let (mut kept, mut gone) = (Vec::new(), false);
    for (n, deployment) in all(ctx.tx, &service.arn)?.into_iter().enumerate() {
        if n > 0 && (n >= KEPT || deployment.created_ms < since) {
            ctx.tx.delete::<ServiceDeployment>(&deployment.arn)?;
            gone = true;
        } else {
            kept.extend(deployment.sources.into_iter().chain([deployment.target]));
        }
    }
    if gone {
        kept.extend(service.deployments.iter().map(|deployment| deployment.id.clone()));
        let kept: Vec<String> = kept.iter().map(|id| revision_arn(&service.arn, id)).collect();
        for revision in ctx.tx.children::<ServiceRevision>(&service.arn)? {
            if !kept.contains(&revision.arn) {
                ctx.tx.delete::<ServiceRevision>(&revision.arn)?;
            }
        }
    }
    Ok(())
}
