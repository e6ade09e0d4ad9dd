//! Deployment strategies, alarms and lifecycle hooks of a request: checked, and refused where they ask for what is not
//! offered.

use super::blue_green::is_blue_green;
use super::service_options::offered;
use crate::api::{Ctx, Result};
use crate::elbv2::weights;
use http::Uri;
use quarry_aws::ecs as aws;
use quarry_aws::ecs::error;
use quarry_domain::service::blue_green::Stage;
use quarry_wire::ServiceError;
use std::net::IpAddr;

/// Bake times in minutes.
const BAKE_TIMES: std::ops::RangeInclusive<i32> = 0..=1440;
/// Timeouts of hooks in minutes: 14 days at most.
const TIMEOUTS: std::ops::RangeInclusive<i32> = 1..=20_160;

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// Alarms, or those of before where the request has none.
pub fn alarms(
    given: Option<aws::DeploymentAlarms>,
    old: Option<&aws::DeploymentAlarms>,
) -> Result<Option<aws::DeploymentAlarms>> {
    let Some(given) = given else { return Ok(old.cloned()) };
    let names = given.alarm_names.as_deref().unwrap_or_default();
    if given.enable == Some(true) && names.is_empty() {
        return Err(invalid("alarmNames must not be empty where the alarms are enabled."));
    }
    if names.iter().any(String::is_empty) {
        return Err(invalid("An alarm name must not be empty."));
    }
    Ok(Some(given))
}

/// Strategy, bake time and lifecycle hooks; members left out keep the value of `old`.
pub fn strategy(
    given: &aws::DeploymentConfiguration,
    old: Option<&aws::DeploymentConfiguration>,
) -> Result<(String, Option<i32>, Option<Vec<aws::DeploymentLifecycleHook>>)> {
    let old_strategy = old.and_then(|old| old.strategy.as_deref());
    let strategy = match given.strategy.as_deref().or(old_strategy) {
        None | Some("ROLLING") => "ROLLING",
        Some("BLUE_GREEN") => "BLUE_GREEN",
        Some(other @ ("LINEAR" | "CANARY")) => {
            return Err(error::unsupported_feature_exception(format!(
                "The deployment strategy {other} is not supported here. Use ROLLING or BLUE_GREEN."
            )));
        }
        Some(other) => return Err(invalid(format!("Invalid deployment strategy '{other}'."))),
    };
    let hooks = match &given.lifecycle_hooks {
        Some(hooks) => Some(hooks.clone()),
        None => old.and_then(|old| old.lifecycle_hooks.clone()),
    };
    let bake = given.bake_time_in_minutes.or(old.and_then(|old| old.bake_time_in_minutes));
    if strategy == "ROLLING" {
        if given.bake_time_in_minutes.is_some_and(|minutes| minutes != 0) {
            return Err(invalid("bakeTimeInMinutes is not for the deployment strategy ROLLING."));
        }
        if given.lifecycle_hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()) {
            return Err(invalid("lifecycleHooks are not for the deployment strategy ROLLING."));
        }
        return Ok((strategy.into(), Some(0), None));
    }
    let bake = bake.unwrap_or(0);
    if !BAKE_TIMES.contains(&bake) {
        return Err(invalid("bakeTimeInMinutes must be between 0 and 1440."));
    }
    for hook in hooks.iter().flatten() {
        check_hook(hook)?;
    }
    Ok((strategy.into(), Some(bake), hooks))
}

/// `roleArn` makes no difference: hooks are asked by this installation, over loopback.
fn check_hook(hook: &aws::DeploymentLifecycleHook) -> Result<()> {
    match hook.target_type.as_deref() {
        None | Some("AWS_LAMBDA") => {}
        Some(other) => {
            return Err(error::unsupported_feature_exception(format!(
                "Lifecycle hooks of type {other} are not supported here."
            )));
        }
    }
    offered(
        hook,
        &["hookDetails", "hookTargetArn", "lifecycleStages", "roleArn", "targetType", "timeoutConfiguration"],
        "lifecycleHooks",
    )?;
    let target = hook.hook_target_arn.as_deref().unwrap_or_default();
    hook_address(target).map_err(invalid)?;
    let stages = hook.lifecycle_stages.as_deref().unwrap_or_default();
    if stages.is_empty() {
        return Err(invalid("lifecycleStages of a lifecycle hook must not be empty."));
    }
    for stage in stages {
        match Stage::ALL.into_iter().find(|known| known.as_str() == stage) {
            Some(known) if known.takes_hooks() => {}
            _ => return Err(invalid(format!("A lifecycle hook cannot be for the stage '{stage}'."))),
        }
    }
    if hook.hook_details.as_ref().is_some_and(|details| !details.is_object()) {
        return Err(invalid("hookDetails must be a JSON object."));
    }
    if let Some(timeout) = &hook.timeout_configuration {
        if timeout.timeout_in_minutes.is_some_and(|minutes| !TIMEOUTS.contains(&minutes)) {
            return Err(invalid("timeoutInMinutes must be between 1 and 20160."));
        }
        if !matches!(timeout.action.as_deref(), None | Some("ROLLBACK" | "CONTINUE")) {
            return Err(invalid("The action of timeoutConfiguration must be ROLLBACK or CONTINUE."));
        }
    }
    Ok(())
}

/// Host, port and path of a hook: there is no Lambda here, an HTTP server on this machine's loopback is in its place.
pub fn hook_address(target: &str) -> std::result::Result<(String, u16, String), String> {
    if target.starts_with("arn:") {
        return Err(format!(
            "The hookTargetArn {target} cannot be called: there are no Lambda functions here. Name a URL of this machine, such as http://127.0.0.1:8080/hook."
        ));
    }
    let wrong =
        || format!("The hookTargetArn '{target}' must be a URL of this machine, such as http://127.0.0.1:8080/hook.");
    let uri: Uri = target.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !loopback || authority.as_str().contains('@') {
        return Err(wrong());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((host.to_owned(), authority.port_u16().unwrap_or(80), path.to_owned()))
}

/// Checks the rules of a load balancer's `advancedConfiguration`; with BLUE_GREEN there has to be one.
pub fn advanced(
    ctx: &mut Ctx<'_>,
    balancer: &aws::LoadBalancer,
    configuration: Option<&aws::DeploymentConfiguration>,
) -> Result<Option<String>> {
    let Some(advanced) = &balancer.advanced_configuration else {
        return match is_blue_green(configuration) {
            true => Err(invalid(
                "With the deployment strategy BLUE_GREEN each load balancer needs an advancedConfiguration.",
            )),
            false => Ok(None),
        };
    };
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let (Some(alternate), Some(production)) =
        (given(&advanced.alternate_target_group_arn), given(&advanced.production_listener_rule))
    else {
        return Err(invalid("advancedConfiguration needs alternateTargetGroupArn and productionListenerRule."));
    };
    if Some(&alternate) == balancer.target_group_arn.as_ref() {
        return Err(invalid("alternateTargetGroupArn must differ from targetGroupArn."));
    }
    let test = given(&advanced.test_listener_rule);
    if test.as_ref() == Some(&production) {
        return Err(invalid("testListenerRule must differ from productionListenerRule."));
    }
    for rule in [Some(production), test].into_iter().flatten() {
        if weights::of(ctx.tx, &rule)?.is_none() {
            return Err(invalid(format!("The listener rule {rule} does not exist or does not forward requests.")));
        }
    }
    Ok(Some(alternate))
}
