//! Services with the scheduling strategy DAEMON: what they may not ask for, where their tasks belong, and
//! the room that is kept for those.

use super::capacity::Launch;
use super::records::{Cluster, ContainerInstance, LaunchType, Service, ServiceStatus, Task, TaskDefinition};
use super::{container_instances, service_options as options, tasks};
use crate::api::Result;
use crate::store::tally::Tally;
use crate::store::{StoreError, Tx};
use quarry_aws::ecs::{self as aws, error};
use quarry_domain::container;
use quarry_domain::placement::{Constraint, Instance};
use quarry_domain::service::Host;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

const NAME: &str = "DAEMON";

/// The active daemons of each cluster, by its ARN.
#[derive(Default)]
pub struct Daemons(HashMap<String, BTreeSet<String>>);

impl Tally for Daemons {
    type Of = Service;

    fn add(&mut self, service: &Service) {
        if counts(service) {
            self.0.entry(service.cluster_arn.clone()).or_default().insert(service.arn.clone());
        }
    }

    fn remove(&mut self, service: &Service) {
        if counts(service)
            && let Some(of) = self.0.get_mut(&service.cluster_arn)
        {
            of.remove(&service.arn);
        }
    }
}

fn counts(service: &Service) -> bool {
    is_daemon(service) && service.status == ServiceStatus::Active
}

pub fn is_daemon(service: &Service) -> bool {
    service.config.scheduling_strategy.as_deref() == Some(NAME)
}

/// Whether a request's scheduling strategy is DAEMON.
pub fn is_asked(strategy: Option<&str>) -> bool {
    strategy == Some(NAME)
}

/// Refuses what only replicas have.
pub fn check(desired: Option<i32>, strategy: &[aws::PlacementStrategy], launch: &Launch) -> Result<()> {
    if desired.is_some() {
        return Err(error::invalid_parameter_exception(
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again",
        ));
    }
    if !strategy.is_empty() {
        return Err(error::invalid_parameter_exception(
            "The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and try again",
        ));
    }
    if launch.launch_type == LaunchType::Fargate {
        return Err(error::invalid_parameter_exception(
            "The daemon scheduling strategy does not support the launch type FARGATE.",
        ));
    }
    if !launch.strategy.is_empty() {
        return Err(error::invalid_parameter_exception(
            "Specifying a capacity provider strategy is not supported when you create a service using the DAEMON scheduling strategy.",
        ));
    }
    Ok(())
}

/// A deployment configuration with a daemon's percentages where it names none: 0 and 100.
pub fn configuration(
    given: Option<aws::DeploymentConfiguration>,
    old: Option<&aws::DeploymentConfiguration>,
) -> Result<aws::DeploymentConfiguration> {
    let mut given = given.unwrap_or_default();
    if given.maximum_percent.is_some_and(|percent| percent > 100) {
        return Err(error::invalid_parameter_exception(
            "The daemon scheduling strategy does not support values above 100 for maximumPercent on a deployment configuration. Change the maximumPercent value to 100, and try again",
        ));
    }
    if given.strategy.as_deref().is_some_and(|strategy| strategy != "ROLLING") {
        return Err(error::invalid_parameter_exception(
            "The daemon scheduling strategy does not support deployment strategies other than ROLLING.",
        ));
    }
    given.maximum_percent = Some(100);
    let before = old.and_then(|old| old.minimum_healthy_percent);
    given.minimum_healthy_percent = given.minimum_healthy_percent.or(before).or(Some(0));
    Ok(given)
}

/// The container instances of the cluster as a daemon service sees them. One that is being deleted belongs
/// nowhere.
pub fn hosts(tx: &Tx<'_>, service: &Service) -> Result<Vec<Host>> {
    if service.status != ServiceStatus::Active {
        return Ok(Vec::new());
    }
    let all = tx.children_of::<Task>(&service.cluster_arn)?;
    let services = tx.children_of::<Service>(&service.cluster_arn)?;
    let daemons: Vec<&str> = services.iter().filter(|service| is_daemon(service)).map(|s| s.arn.as_str()).collect();
    let of_daemon = |task: &Task| task.service.as_ref().is_some_and(|(arn, _)| daemons.contains(&arn.as_str()));
    let constraints = constraints(tx, service)?;
    let host = |instance: ContainerInstance| {
        let left = container_instances::remaining(&instance, &all, None);
        Host {
            wanted: !instance.draining && meets(&left, &constraints),
            busy: all.iter().any(|t| t.container_instance_arn.as_ref() == Some(&instance.arn) && !of_daemon(t)),
            id: instance.arn,
        }
    };
    Ok(tx.children::<ContainerInstance>(&service.cluster_arn)?.into_iter().map(host).collect())
}

/// Takes from what is left on the instances what the daemons take that are to come there: they come first.
pub fn reserve(
    tx: &Tx<'_>,
    cluster_arn: &str,
    instances: &[Arc<ContainerInstance>],
    left: &mut [Instance],
) -> Result<(), StoreError> {
    let daemons = tx.tally(|daemons: &Daemons| daemons.0.get(cluster_arn).cloned())?.unwrap_or_default();
    for arn in daemons {
        let Some(service) = tx.find::<Service>(&arn)? else { continue };
        let Some(definition) = definition(tx, &service)? else { continue };
        // One whose constraints cannot be read has no tasks.
        let Ok(constraints) = constraints(tx, &service) else { continue };
        let demand = container::demands(&definition.definition, &Default::default()).demand;
        let tasks = tx.owned::<Task>(&service.arn)?;
        for (instance, left) in instances.iter().zip(left.iter_mut()) {
            let is_here = |task: &Arc<Task>| task.container_instance_arn.as_ref() == Some(&instance.arn);
            if meets(left, &constraints) && !tasks.iter().any(is_here) {
                left.cpu = left.cpu.saturating_sub(demand.cpu);
                left.memory = left.memory.saturating_sub(demand.memory);
                Arc::make_mut(&mut left.ports).extend(&demand.ports);
            }
        }
    }
    Ok(())
}

fn meets(instance: &Instance, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|constraint| match constraint {
        Constraint::MemberOf(expression) => expression.holds(&instance.attributes, &instance.about),
        // It is one on each anyway.
        Constraint::DistinctInstance => true,
    })
}

fn definition(tx: &Tx<'_>, service: &Service) -> Result<Option<TaskDefinition>, StoreError> {
    match service.primary() {
        Some(primary) => tx.get(&primary.task_definition),
        None => Ok(None),
    }
}

/// Of the service, its task definition and its network.
fn constraints(tx: &Tx<'_>, service: &Service) -> Result<Vec<Constraint>> {
    let Some(definition) = definition(tx, service)? else { return Ok(Vec::new()) };
    let given = service.config.placement_constraints.as_deref();
    let mut all = options::constraints(given, &definition.definition)?;
    let network = service.primary().and_then(|primary| primary.launch.network.as_ref());
    all.extend(network.and_then(tasks::in_zones));
    Ok(all)
}

/// Cluster defaults for capacity providers are not a daemon's.
pub fn launch_type<'a>(
    asked: Option<&'a str>,
    given: Option<&[aws::CapacityProviderStrategyItem]>,
    cluster: &Cluster,
) -> Option<&'a str> {
    let defaulted = asked.is_none() && given.is_none_or(<[_]>::is_empty) && !cluster.default_strategy.is_empty();
    if defaulted { Some(LaunchType::Ec2.as_str()) } else { asked }
}
