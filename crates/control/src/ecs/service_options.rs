//! The options that CreateService, UpdateService and RunTask share: read, checked, and refused where
//! they ask for what is not offered.

use super::deployment_options;
use super::records::TaskDefinition;
use crate::api::{Ctx, Result};
use quarry_aws::ecs as aws;
use quarry_aws::ecs::error;
use quarry_aws::elbv2;
use quarry_domain::container::{containers, network_mode, only};
use quarry_domain::placement::{Constraint, Expression, Strategy, default_strategies};
use quarry_domain::service::CircuitBreaker;
use quarry_wire::{ServiceError, Structure};

/// Target groups that one service can have.
const MOST_TARGET_GROUPS: usize = 5;

/// Refuses members of a request that are not offered.
pub fn offered(input: &dyn Structure, members: &[&str], path: &str) -> Result<()> {
    only(input, members, path).map_err(|invalid| error::client_exception(invalid.0))
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// Refuses `enableExecuteCommand` for tasks without a role, as ECS does: its agent acts with it.
pub fn exec_role(
    enabled: Option<bool>,
    definition: &TaskDefinition,
    overrides: &aws::TaskOverride,
    what: &str,
) -> Result<()> {
    if enabled == Some(true) && super::task_role::of(definition, overrides).is_none() {
        return Err(invalid(format!(
            "The {what} because a valid taskRoleArn is not being used. Specify a valid task role in your task definition and try again."
        )));
    }
    Ok(())
}

/// Placement of a request, or ECS's default.
pub fn strategies(given: Option<&[aws::PlacementStrategy]>) -> Result<Vec<Strategy>> {
    let given = given.unwrap_or_default();
    if given.len() > 5 {
        return Err(invalid("At most 5 placement strategies are allowed."));
    }
    let parse = |strategy: &aws::PlacementStrategy| {
        Strategy::parse(strategy.r#type.as_deref().unwrap_or_default(), strategy.field.as_deref().unwrap_or_default())
            .map_err(invalid)
    };
    let parsed: Vec<Strategy> = given.iter().map(parse).collect::<Result<_>>()?;
    Ok(if parsed.is_empty() { default_strategies() } else { parsed })
}

/// The constraints of a request and of its task definition.
pub fn constraints(
    given: Option<&[aws::PlacementConstraint]>,
    definition: &aws::TaskDefinition,
) -> Result<Vec<Constraint>> {
    let given = given.unwrap_or_default();
    if given.len() > 10 {
        return Err(invalid("At most 10 placement constraints are allowed."));
    }
    let member_of = |expression: Option<&str>| -> Result<Constraint> {
        let parsed: Result<Expression, _> = expression.unwrap_or_default().parse();
        parsed.map(Constraint::MemberOf).map_err(|error| invalid(error.to_string()))
    };
    let mut all = Vec::new();
    for constraint in given {
        all.push(match (constraint.r#type.as_deref(), constraint.expression.as_deref()) {
            (Some("distinctInstance"), None | Some("")) => Constraint::DistinctInstance,
            (Some("distinctInstance"), Some(_)) => {
                return Err(invalid("The distinctInstance constraint does not take an expression."));
            }
            (Some("memberOf"), expression) => member_of(expression)?,
            (other, _) => {
                return Err(invalid(format!("Invalid placement constraint type '{}'.", other.unwrap_or_default())));
            }
        });
    }
    for constraint in definition.placement_constraints.iter().flatten() {
        all.push(member_of(constraint.expression.as_deref())?);
    }
    Ok(all)
}

/// Completes and checks a deployment configuration. Members left out keep the value of `old`.
pub fn deployment_configuration(
    given: Option<aws::DeploymentConfiguration>,
    old: Option<&aws::DeploymentConfiguration>,
) -> Result<aws::DeploymentConfiguration> {
    let given = given.unwrap_or_default();
    let (strategy, bake_time_in_minutes, lifecycle_hooks) = deployment_options::strategy(&given, old)?;
    let members = [
        "alarms",
        "bakeTimeInMinutes",
        "deploymentCircuitBreaker",
        "lifecycleHooks",
        "maximumPercent",
        "minimumHealthyPercent",
        "strategy",
    ];
    offered(&given, &members, "deploymentConfiguration")?;
    let alarms = deployment_options::alarms(given.alarms.clone(), old.and_then(|old| old.alarms.as_ref()))?;
    let pick = |given: Option<i32>, old: Option<i32>, usual| given.or(old).unwrap_or(usual);
    let minimum = pick(given.minimum_healthy_percent, old.and_then(|old| old.minimum_healthy_percent), 100);
    let maximum = pick(given.maximum_percent, old.and_then(|old| old.maximum_percent), 200);
    if !(0..=100).contains(&minimum) {
        return Err(invalid("minimumHealthyPercent must be between 0 and 100."));
    }
    if !(100..=100_000).contains(&maximum) {
        return Err(invalid("maximumPercent must be at least 100."));
    }
    if minimum == 100 && maximum == 100 {
        return Err(invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        ));
    }
    let breaker =
        given.deployment_circuit_breaker.or_else(|| old.and_then(|old| old.deployment_circuit_breaker.clone()));
    let off = || aws::DeploymentCircuitBreaker { enable: Some(false), rollback: Some(false) };
    Ok(aws::DeploymentConfiguration {
        deployment_circuit_breaker: Some(breaker.unwrap_or_else(off)),
        maximum_percent: Some(maximum),
        minimum_healthy_percent: Some(minimum),
        alarms,
        strategy: Some(strategy),
        bake_time_in_minutes,
        lifecycle_hooks,
        ..aws::DeploymentConfiguration::default()
    })
}

/// The circuit breaker of a completed configuration, if it is on.
pub fn circuit_breaker(configuration: Option<&aws::DeploymentConfiguration>) -> Option<CircuitBreaker> {
    let breaker = configuration?.deployment_circuit_breaker.as_ref().filter(|breaker| breaker.enable == Some(true))?;
    Some(CircuitBreaker { rollback: breaker.rollback == Some(true) })
}

/// Checks a service's load balancers against its task definition and the target groups.
pub fn load_balancers(
    ctx: &mut Ctx<'_>,
    given: &[aws::LoadBalancer],
    definition: &TaskDefinition,
    configuration: Option<&aws::DeploymentConfiguration>,
) -> Result<()> {
    if given.len() > MOST_TARGET_GROUPS {
        return Err(invalid("load balancers can have at most 5 items."));
    }
    for balancer in given {
        let members = ["advancedConfiguration", "containerName", "containerPort", "targetGroupArn"];
        offered(balancer, &members, "loadBalancers")?;
        let arn = balancer.target_group_arn.as_deref().unwrap_or_default();
        if arn.is_empty() {
            return Err(invalid("targetGroupArn should not be null or empty."));
        }
        let mode = network_mode(&definition.definition);
        let alternate = deployment_options::advanced(ctx, balancer, configuration)?;
        target_group(ctx, arn, mode, alternate.is_none())?;
        if let Some(alternate) = alternate {
            target_group(ctx, &alternate, mode, false)?;
        }
        let name = balancer.container_name.as_deref().unwrap_or_default();
        let container = containers(&definition.definition).iter().find(|c| c.name.as_deref() == Some(name));
        let container =
            container.ok_or_else(|| invalid(format!("The container {name} does not exist in the task definition.")))?;
        let port = balancer.container_port;
        if !container.port_mappings.iter().flatten().any(|mapping| mapping.container_port == port) {
            let port = port.map_or_else(String::new, |port| port.to_string());
            return Err(invalid(format!("The container {name} did not have a container port {port} defined.")));
        }
    }
    Ok(())
}

/// `used`: a load balancer has to forward to it already.
fn target_group(ctx: &mut Ctx<'_>, arn: &str, mode: &str, used: bool) -> Result<()> {
    let input = elbv2::DescribeTargetGroupsInput {
        target_group_arns: Some(vec![arn.to_owned()]),
        ..elbv2::DescribeTargetGroupsInput::default()
    };
    let missing = || invalid(format!("The specified target group does not exist: {arn}"));
    let found = match ctx.invoke::<elbv2::op::DescribeTargetGroups>(input) {
        Ok(output) => output.target_groups.into_iter().flatten().next().ok_or_else(missing)?,
        Err(error) if error.status < 500 => return Err(missing()),
        Err(error) => return Err(error),
    };
    if used && found.load_balancer_arns.iter().flatten().next().is_none() {
        return Err(invalid(format!(
            "The target group with targetGroupArn {arn} does not have an associated load balancer."
        )));
    }
    let needed = if mode == "awsvpc" { "ip" } else { "instance" };
    match found.target_type.as_deref().unwrap_or("instance") {
        fits if fits == needed => Ok(()),
        other => Err(invalid(format!(
            "The provided target group {arn} has target type {other}, which is incompatible with the {mode} network mode specified in the task definition."
        ))),
    }
}

/// Service Connect may be left out or switched off.
pub fn no_service_connect(given: Option<&aws::ServiceConnectConfiguration>) -> Result<()> {
    match given {
        Some(given) if given.enabled == Some(true) => Err(error::unsupported_feature_exception(
            "Service Connect (serviceConnectConfiguration) is not supported here. Use serviceRegistries.",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Checks the options that a service may have with one value only.
pub fn fixed_options(
    scheduling: Option<&str>,
    controller: Option<&aws::DeploymentController>,
    rebalancing: Option<&str>,
    propagate_tags: Option<&str>,
) -> Result<()> {
    if !matches!(scheduling, None | Some("REPLICA" | "DAEMON")) {
        return Err(invalid(format!("Invalid schedulingStrategy '{}'.", scheduling.unwrap_or_default())));
    }
    if !matches!(controller.and_then(|c| c.r#type.as_deref()), None | Some("ECS")) {
        return Err(error::unsupported_feature_exception("Only the deployment controller ECS is supported here."));
    }
    if !matches!(rebalancing, None | Some("DISABLED")) {
        return Err(error::unsupported_feature_exception("availabilityZoneRebalancing can only be DISABLED here."));
    }
    match propagate_tags {
        None | Some("SERVICE" | "TASK_DEFINITION" | "NONE") => Ok(()),
        Some(other) => Err(invalid(format!("Invalid propagateTags '{other}'."))),
    }
}

/// A desired count.
pub fn desired_count(count: i32) -> Result<u32> {
    match u32::try_from(count) {
        Ok(count) if count <= 5000 => Ok(count),
        _ => Err(invalid("desiredCount must be between 0 and 5000.")),
    }
}

/// A grace period in seconds, which only services with load balancers have.
pub fn grace_period(seconds: Option<i32>, has_load_balancers: bool) -> Result<()> {
    match seconds {
        None => Ok(()),
        Some(_) if !has_load_balancers => {
            Err(invalid("Health check grace period is only valid for services configured to use load balancers"))
        }
        Some(seconds) if seconds >= 0 => Ok(()),
        Some(_) => Err(invalid("healthCheckGracePeriodSeconds must not be negative.")),
    }
}
