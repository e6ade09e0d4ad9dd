//! CreateService.

use super::capacity::{Asked, Launch};
use super::network::Network;
use super::records::{Service, ServiceEvents, ServiceStatus};
use super::{daemon, deployments, find, registries, service_options as options, services, tags, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs as aws;
use quarry_aws::ecs::{CreateServiceRequest, CreateServiceResponse, error};
use quarry_domain::arn::short_name;
use quarry_wire::Timestamp;

/// `role` makes no difference: the balancer and the scheduler are one installation.
const OFFERED: &[&str] = &[
    "availabilityZoneRebalancing",
    "capacityProviderStrategy",
    "clientToken",
    "cluster",
    "deploymentConfiguration",
    "deploymentController",
    "desiredCount",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "healthCheckGracePeriodSeconds",
    "launchType",
    "loadBalancers",
    "networkConfiguration",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "propagateTags",
    "role",
    "schedulingStrategy",
    "serviceName",
    "serviceRegistries",
    "tags",
    "taskDefinition",
];

pub fn handle(ctx: &mut Ctx<'_>, mut input: CreateServiceRequest) -> Result<CreateServiceResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let name = input.service_name.clone().unwrap_or_default();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 255 || !name.chars().all(valid) {
        return Err(error::invalid_parameter_exception(
            "The service name must have from 1 to 255 letters, numbers, underscores and hyphens.",
        ));
    }
    if let Some(known) = find::service(ctx, &cluster, &name)? {
        let same_token = input.client_token.is_some() && input.client_token == known.client_token;
        match known.status {
            ServiceStatus::Active if same_token => {
                return Ok(CreateServiceResponse { service: Some(view::service(ctx.tx, &known, true)?) });
            }
            ServiceStatus::Active => {
                return Err(error::invalid_parameter_exception("Creation of service was not idempotent."));
            }
            ServiceStatus::Draining => {
                return Err(error::invalid_parameter_exception("Unable to Start a service that is still Draining."));
            }
            ServiceStatus::Inactive => {}
        }
    }
    options::no_service_connect(input.service_connect_configuration.take().as_ref())?;
    options::offered(&input, OFFERED, "")?;
    options::fixed_options(
        input.scheduling_strategy.as_deref(),
        input.deployment_controller.as_ref(),
        input.availability_zone_rebalancing.as_deref(),
        input.propagate_tags.as_deref(),
    )?;
    let Some(task_definition) = input.task_definition.as_deref().filter(|name| !name.is_empty()) else {
        return Err(error::invalid_parameter_exception("TaskDefinition cannot be blank."));
    };
    let definition = find::active_task_definition(ctx, task_definition)?;
    let is_daemon = daemon::is_asked(input.scheduling_strategy.as_deref());
    let desired_count = match input.desired_count {
        None if is_daemon => 0,
        None => return Err(error::invalid_parameter_exception("The desiredCount parameter is required.")),
        Some(desired) => options::desired_count(desired)?,
    };
    let none = Default::default();
    options::exec_role(input.enable_execute_command, &definition, &none, "service couldn't be created")?;
    options::strategies(input.placement_strategy.as_deref())?;
    options::constraints(input.placement_constraints.as_deref(), &definition.definition)?;
    let load_balancers = input.load_balancers.unwrap_or_default();
    let placement =
        [input.placement_constraints.as_ref().map(Vec::len), input.placement_strategy.as_ref().map(Vec::len)];
    let mut launch_type = input.launch_type.as_deref();
    if is_daemon {
        launch_type = daemon::launch_type(launch_type, input.capacity_provider_strategy.as_deref(), &cluster);
        input.deployment_configuration = Some(daemon::configuration(input.deployment_configuration, None)?);
    }
    let asked = Asked {
        launch_type,
        strategy: input.capacity_provider_strategy.as_deref(),
        platform_version: input.platform_version.as_deref(),
        network: input.network_configuration.as_ref(),
        placement: placement.iter().flatten().any(|&n| n > 0),
    };
    let launch = Launch::of(ctx, &cluster, &definition, &asked)?;
    let deployment_configuration = options::deployment_configuration(input.deployment_configuration, None)?;
    if is_daemon {
        daemon::check(input.desired_count, input.placement_strategy.as_deref().unwrap_or_default(), &launch)?;
    }
    options::load_balancers(ctx, &load_balancers, &definition, Some(&deployment_configuration))?;
    let service_registries = input.service_registries.unwrap_or_default();
    registries::check(ctx, &service_registries, &definition)?;
    options::grace_period(input.health_check_grace_period_seconds, !load_balancers.is_empty())?;

    let config = aws::Service {
        availability_zone_rebalancing: Some("DISABLED".into()),
        created_at: Some(Timestamp::from_millis(ctx.platform.now_ms())),
        created_by: Some(ctx.caller.arn.clone()),
        deployment_configuration: Some(deployment_configuration),
        deployment_controller: Some(aws::DeploymentController { r#type: Some("ECS".into()) }),
        enable_ecs_managed_tags: Some(input.enable_ecs_managed_tags.unwrap_or(false)),
        enable_execute_command: Some(input.enable_execute_command.unwrap_or(false)),
        health_check_grace_period_seconds: match load_balancers.is_empty() {
            true => None,
            false => Some(input.health_check_grace_period_seconds.unwrap_or(0)),
        },
        launch_type: view::launch_type(&launch),
        capacity_provider_strategy: Some(launch.strategy.clone()).filter(|items| !items.is_empty()),
        platform_version: launch.platform_version.clone(),
        platform_family: launch.platform_version.as_ref().map(|_| "Linux".to_owned()),
        network_configuration: launch.network.as_ref().map(Network::shown),
        load_balancers: Some(load_balancers),
        placement_constraints: Some(input.placement_constraints.unwrap_or_default()),
        placement_strategy: Some(input.placement_strategy.unwrap_or_default()),
        propagate_tags: Some(input.propagate_tags.unwrap_or_else(|| "NONE".into())),
        role_arn: input.role.filter(|role| !role.is_empty()).map(|role| match role.starts_with("arn:") {
            true => role,
            false => ctx.platform.place().global_arn("iam", format_args!("role/{}", short_name(&role))),
        }),
        scheduling_strategy: Some(input.scheduling_strategy.unwrap_or_else(|| "REPLICA".into())),
        service_registries: Some(service_registries),
        ..aws::Service::default()
    };
    let mut service = Service {
        arn: find::service_arn(ctx, &cluster, &name),
        name,
        cluster_arn: cluster.arn,
        status: ServiceStatus::Active,
        desired_count,
        config,
        deployments: Vec::new(),
        steady: false,
        blocked: false,
        client_token: input.client_token,
        tags: tags::read(input.tags)?,
        inactive_since_ms: None,
        service_deployment: None,
    };
    ctx.tx.delete::<ServiceEvents>(&service.arn)?;
    deployments::forget(ctx.tx, &service.arn)?;
    services::deploy(ctx, &mut service, &definition.arn, launch)?;
    ctx.tx.put(&service)?;
    Ok(CreateServiceResponse { service: Some(view::service(ctx.tx, &service, true)?) })
}
