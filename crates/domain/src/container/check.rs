//! Container health checks and the order in which containers start, as the ECS developer guide says.

use super::{Invalid, containers, refuse};
use crate::task::{Dependency, DependsOn, HealthCheckSpec};
use quarry_aws::ecs::{ContainerDefinition, HealthCheck, TaskDefinition};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Seconds where nothing is said: interval, timeout, start period; and the number of retries.
const USUAL: (u32, u32, u32, u32) = (30, 5, 0, 3);

/// A valid health check as the runtime carries it out; none where there is none.
pub(super) fn health_check(container: &ContainerDefinition) -> Result<Option<HealthCheckSpec>, Invalid> {
    let Some(check) = &container.health_check else { return Ok(None) };
    let name = container.name.as_deref().unwrap_or_default();
    let words = check.command.as_deref().unwrap_or_default();
    let command = match words.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        Some(("CMD", rest)) if !rest.is_empty() => rest.to_vec(),
        Some(("CMD-SHELL", [line])) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        Some(("NONE", [])) => return Ok(None),
        _ => {
            return Err(Invalid(format!(
                "Invalid health check command for container '{name}': it must begin with CMD or CMD-SHELL and name a command."
            )));
        }
    };
    let number = |what: &str, given: Option<i32>, usual: u32, allowed: RangeInclusive<u32>| {
        let value = given.map_or(usual, |n| u32::try_from(n).unwrap_or(u32::MAX));
        if allowed.contains(&value) {
            return Ok(value);
        }
        let (least, most) = allowed.into_inner();
        Err(Invalid(format!(
            "Invalid health check {what} for container '{name}': it must be between {least} and {most}."
        )))
    };
    let HealthCheck { interval, timeout, retries, start_period, .. } = check;
    Ok(Some(HealthCheckSpec {
        command,
        interval: number("interval", *interval, USUAL.0, 5..=300)?,
        timeout: number("timeout", *timeout, USUAL.1, 2..=60)?,
        start_period: number("startPeriod", *start_period, USUAL.2, 0..=300)?,
        retries: number("retries", *retries, USUAL.3, 1..=10)?,
    }))
}

/// What a container of a valid definition waits for.
pub(super) fn depends_on(container: &ContainerDefinition) -> Vec<DependsOn> {
    let parse = |one: &quarry_aws::ecs::ContainerDependency| {
        let condition = dependency(one.condition.as_deref().unwrap_or_default())?;
        Some(DependsOn { container: one.container_name.clone().unwrap_or_default(), condition })
    };
    container.depends_on.iter().flatten().filter_map(parse).collect()
}

fn dependency(text: &str) -> Option<Dependency> {
    Some(match text {
        "START" => Dependency::Start,
        "COMPLETE" => Dependency::Complete,
        "SUCCESS" => Dependency::Success,
        "HEALTHY" => Dependency::Healthy,
        _ => return None,
    })
}

/// Checks health checks and dependencies of all containers.
pub(super) fn check(definition: &TaskDefinition) -> Result<(), Invalid> {
    let mut waits: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in containers(definition) {
        health_check(container)?;
        let name = container.name.as_deref().unwrap_or_default();
        for one in container.depends_on.iter().flatten() {
            let on = one.container_name.as_deref().unwrap_or_default();
            let condition = one.condition.as_deref().unwrap_or_default();
            let Some(other) = containers(definition).iter().find(|c| c.name.as_deref() == Some(on)) else {
                return refuse(format!("Container '{name}' depends on container '{on}', which does not exist."));
            };
            let Some(condition) = dependency(condition) else {
                return refuse(format!("Invalid dependency condition '{condition}' of container '{name}'."));
            };
            match condition {
                Dependency::Healthy if health_check(other)?.is_none() => {
                    return refuse(format!(
                        "Container '{name}' depends on container '{on}' to be HEALTHY, which has no health check."
                    ));
                }
                Dependency::Complete | Dependency::Success if super::is_essential(other) => {
                    return refuse(format!(
                        "Container '{name}' depends on the end of container '{on}', which is essential: its end is the task's."
                    ));
                }
                Dependency::Start | Dependency::Complete | Dependency::Success | Dependency::Healthy => {}
            }
            waits.entry(name).or_default().insert(on);
        }
    }
    // Those that wait for nobody left are taken away until nothing moves any more.
    while let Some(free) = waits.iter().find(|(_, on)| on.iter().all(|on| !waits.contains_key(on))).map(|(n, _)| *n) {
        waits.remove(free);
    }
    match waits.keys().next() {
        None => Ok(()),
        Some(name) => refuse(format!("The dependencies of container '{name}' form a cycle.")),
    }
}
