//! UpdateService. What changes how tasks are made starts a new deployment.

use super::capacity::{Asked, Launch};
use super::network::Network;
use super::records::{Cluster, Deployment, ServiceStatus, TaskDefinition};
use super::{blue_green, daemon, find, registries, service_options as options, services, view};
use crate::api::{Ctx, Result};
use crate::cut;
use quarry_aws::ecs::{UpdateServiceRequest, UpdateServiceResponse, error};

const OFFERED: &[&str] = &[
    "availabilityZoneRebalancing",
    "capacityProviderStrategy",
    "cluster",
    "deploymentConfiguration",
    "deploymentController",
    "desiredCount",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "forceNewDeployment",
    "healthCheckGracePeriodSeconds",
    "loadBalancers",
    "networkConfiguration",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "propagateTags",
    "service",
    "serviceRegistries",
    "taskDefinition",
];

pub fn handle(ctx: &mut Ctx<'_>, mut input: UpdateServiceRequest) -> Result<UpdateServiceResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let found = find::service(ctx, &cluster, input.service.as_deref().unwrap_or_default())?;
    let mut service = found.ok_or_else(|| error::service_not_found_exception("Service not found."))?;
    if service.status != ServiceStatus::Active {
        return Err(error::service_not_active_exception("Service was not ACTIVE."));
    }
    options::no_service_connect(input.service_connect_configuration.take().as_ref())?;
    options::offered(&input, OFFERED, "")?;
    options::fixed_options(
        None,
        input.deployment_controller.as_ref(),
        input.availability_zone_rebalancing.as_deref(),
        input.propagate_tags.as_deref(),
    )?;

    let current = service.primary().map(|deployment| deployment.task_definition.clone()).unwrap_or_default();
    let definition = match input.task_definition.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => find::active_task_definition(ctx, name)?,
        None => {
            find::task_definition(ctx, &current)?.ok_or_else(|| error::client_exception("TaskDefinition not found."))?
        }
    };
    let placement =
        [input.placement_constraints.as_ref().map(Vec::len), input.placement_strategy.as_ref().map(Vec::len)];
    let launch = new_launch(
        ctx,
        &cluster,
        &definition,
        service.primary(),
        &Asked {
            launch_type: None,
            strategy: input.capacity_provider_strategy.as_deref(),
            platform_version: input.platform_version.as_deref(),
            network: input.network_configuration.as_ref(),
            placement: placement.iter().flatten().any(|&n| n > 0),
        },
    )?;
    let exec = input.enable_execute_command.or(service.config.enable_execute_command);
    options::exec_role(exec, &definition, &Default::default(), "service couldn't be updated")?;
    if daemon::is_daemon(&service) {
        daemon::check(input.desired_count, input.placement_strategy.as_deref().unwrap_or_default(), &launch)?;
        if input.deployment_configuration.is_some() {
            let old = service.config.deployment_configuration.as_ref();
            input.deployment_configuration = Some(daemon::configuration(input.deployment_configuration, old)?);
        }
    }
    let mut renew = input.force_new_deployment == Some(true) || definition.arn != current;
    renew |= service.primary().is_none_or(|primary| primary.launch != launch);
    if let Some(count) = input.desired_count {
        service.desired_count = options::desired_count(count)?;
        if service.desired_count == 0 {
            cut::rule::guard_service(ctx.tx, &service.arn, error::client_exception)?;
        }
    }
    let shifting = blue_green::is_shifting(ctx.tx, &service)?;
    if input.deployment_configuration.is_some() {
        let old = service.config.deployment_configuration.as_ref();
        let new = options::deployment_configuration(input.deployment_configuration, old)?;
        if shifting && !blue_green::is_blue_green(Some(&new)) {
            return Err(error::invalid_parameter_exception(
                "The deployment strategy cannot be changed while a blue/green deployment is in progress.",
            ));
        }
        service.config.deployment_configuration = Some(new);
        service.blocked = false;
    }
    if let Some(strategy) = input.placement_strategy {
        options::strategies(Some(&strategy))?;
        service.config.placement_strategy = Some(strategy);
    }
    if let Some(constraints) = input.placement_constraints {
        service.config.placement_constraints = Some(constraints);
    }
    options::constraints(service.config.placement_constraints.as_deref(), &definition.definition)?;
    if let Some(load_balancers) = input.load_balancers {
        if load_balancers != service.load_balancers() {
            cut::rule::guard_service(ctx.tx, &service.arn, error::client_exception)?;
            if shifting {
                return Err(error::invalid_parameter_exception(
                    "The load balancers cannot be changed while a blue/green deployment is in progress.",
                ));
            }
            renew = true;
        }
        service.config.load_balancers = Some(load_balancers);
    }
    let load_balancers = service.load_balancers().to_vec();
    if let Some(registries) = input.service_registries {
        renew |= Some(&registries) != service.config.service_registries.as_ref();
        service.config.service_registries = Some(registries);
    }
    if renew {
        let configuration = service.config.deployment_configuration.as_ref();
        options::load_balancers(ctx, &load_balancers, &definition, configuration)?;
        registries::check(ctx, service.config.service_registries.as_deref().unwrap_or_default(), &definition)?;
    }
    options::grace_period(input.health_check_grace_period_seconds, !load_balancers.is_empty())?;
    let config = &mut service.config;
    config.health_check_grace_period_seconds =
        input.health_check_grace_period_seconds.or(config.health_check_grace_period_seconds);
    config.propagate_tags = input.propagate_tags.or(config.propagate_tags.take());
    config.enable_ecs_managed_tags = input.enable_ecs_managed_tags.or(config.enable_ecs_managed_tags);
    config.enable_execute_command = input.enable_execute_command.or(config.enable_execute_command);
    config.launch_type = view::launch_type(&launch);
    config.capacity_provider_strategy = Some(launch.strategy.clone()).filter(|items| !items.is_empty());
    config.platform_version = launch.platform_version.clone();
    config.platform_family = launch.platform_version.as_ref().map(|_| "Linux".to_owned());
    config.network_configuration = launch.network.as_ref().map(Network::shown);
    if renew {
        services::deploy(ctx, &mut service, &definition.arn, launch)?;
    }
    ctx.tx.put(&service)?;
    Ok(UpdateServiceResponse { service: Some(view::service(ctx.tx, &service, true)?) })
}

/// What is asked for, and otherwise as the current deployment has it.
fn new_launch(
    ctx: &mut Ctx<'_>,
    cluster: &Cluster,
    definition: &TaskDefinition,
    current: Option<&Deployment>,
    asked: &Asked<'_>,
) -> Result<Launch> {
    let Some(old) = current.map(|deployment| &deployment.launch) else {
        return Launch::of(ctx, cluster, definition, asked);
    };
    let strategy = asked.strategy.filter(|strategy| !strategy.is_empty()).unwrap_or(&old.strategy);
    let network = old.network.as_ref().map(Network::shown);
    // A definition of another network mode leaves the old configuration behind.
    let network = network.filter(|_| quarry_domain::container::network_mode(&definition.definition) == "awsvpc");
    Launch::of(
        ctx,
        cluster,
        definition,
        &Asked {
            launch_type: strategy.is_empty().then_some(old.launch_type.as_str()),
            strategy: Some(strategy),
            platform_version: asked.platform_version.or(old.platform_version.as_deref()),
            network: asked.network.or(network.as_ref()),
            placement: asked.placement,
        },
    )
}
