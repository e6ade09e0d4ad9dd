//! Service registries: a service's tasks are instances of a Cloud Map service while they are healthy.

use super::events;
use super::records::{Port, Registry, Service, Task, TaskDefinition};
use crate::api::{Ctx, Result};
use crate::servicediscovery::records::{RecordType, Service as CloudMapService};
use crate::servicediscovery::registry;
use quarry_aws::ecs::{self as aws, error};
use quarry_domain::arn::short_name;
use quarry_domain::container::{containers, network_mode};
use quarry_wire::ServiceError;
use std::collections::BTreeMap;

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// Checks a request's service registries against the task definition: which ports must be named depends on
/// the network mode and the registry's records, as AWS's documentation of ServiceRegistry says.
pub fn check(ctx: &Ctx<'_>, given: &[aws::ServiceRegistry], definition: &TaskDefinition) -> Result<()> {
    let given = match given {
        [] => return Ok(()),
        [given] => given,
        _ => return Err(invalid("service registries can have at most 1 items.")),
    };
    let definition = &definition.definition;
    let arn = given.registry_arn.as_deref().unwrap_or_default();
    let found = registry::service(ctx.tx, arn)?;
    let found = found.ok_or_else(|| invalid(format!("The service registry {arn} does not exist.")))?;
    let refuse = |why: String| Err(invalid(format!("{why} Registry: {arn}")));
    let names_container = given.container_name.is_some() || given.container_port.is_some();
    if given.port.is_some() && names_container {
        return Err(invalid(
            "Specify a value for either 'port' or the 'containerName' and 'containerPort' combination, but not both",
        ));
    }
    if given.port.is_some_and(|port| !(1..=65535).contains(&port)) {
        return refuse("The value for 'port' must be between 1 and 65535.".into());
    }
    match network_mode(definition) {
        "awsvpc" => {
            if needs_no_port(&found) {
                for (name, given) in [
                    ("port", given.port.is_some()),
                    ("containerPort", given.container_port.is_some()),
                    ("containerName", given.container_name.is_some()),
                ] {
                    if given {
                        return refuse(format!(
                            "The values specified for serviceRegistries do not require a value for '{name}'. Remove the value and retry."
                        ));
                    }
                }
            }
            if found.record(RecordType::Srv).is_some() && given.port.is_none() && !names_container {
                return refuse(
                    "When specifying 'awsvpc' for networkMode and a DNS record of type SRV, a value for 'port' or values for 'containerName' and 'containerPort' must be specified.".into(),
                );
            }
        }
        "none" => return refuse("Service registries cannot be used with the networkMode 'none'.".into()),
        _ => {
            if given.container_name.is_none() || given.container_port.is_none() {
                return refuse(
                    "When specifying 'host' or 'bridge' for networkMode, values for 'containerName' and 'containerPort' must be specified from the task definition.".into(),
                );
            }
            if found.dns.is_some() && found.record(RecordType::Srv).is_none() {
                return refuse(
                    "When specifying 'host' or 'bridge' for networkMode, the DNS record type must be SRV.".into(),
                );
            }
        }
    }
    if names_container {
        let (name, port) = (given.container_name.as_deref().unwrap_or_default(), given.container_port);
        let container = containers(definition).iter().find(|container| container.name.as_deref() == Some(name));
        let container =
            container.ok_or_else(|| invalid(format!("The container {name} does not exist in the task definition.")))?;
        if !container.port_mappings.iter().flatten().any(|mapping| mapping.container_port == port) {
            let port = port.map_or_else(String::new, |port| port.to_string());
            return Err(invalid(format!("The container {name} did not have a container port {port} defined.")));
        }
    }
    if found.record(RecordType::Cname).is_some() {
        return refuse("A service registry with DNS records of type CNAME cannot be used.".into());
    }
    if found.record(RecordType::Aaaa).is_some() {
        return refuse("Tasks have no IPv6 addresses here, so a registry with AAAA records cannot be used.".into());
    }
    Ok(())
}

/// DNS records without a port.
fn needs_no_port(registry: &CloudMapService) -> bool {
    registry.dns.is_some() && registry.record(RecordType::Srv).is_none()
}

/// Where a new task of a service is to be registered. `ports`: the task's.
pub fn of_task(service: &Service, ports: &[Port]) -> Option<Registry> {
    let given = service.config.service_registries.iter().flatten().next()?;
    let mapped = ports.iter().find(|port| {
        Some(&port.container) == given.container_name.as_ref()
            && Some(i32::from(port.container_port)) == given.container_port
    });
    let port = given.port.and_then(|port| u16::try_from(port).ok()).or(mapped.map(|port| port.host_port));
    Some(Registry { arn: given.registry_arn.clone().unwrap_or_default(), port, healthy: None })
}

/// Says how a running task is; the first time it is healthy it is registered. Returns whether the task's
/// record changed.
pub fn tell(ctx: &Ctx<'_>, task: &mut Task, healthy: bool) -> Result<bool> {
    let Some(of) = task.registry.clone().filter(|of| of.healthy != Some(healthy)) else { return Ok(false) };
    match of.healthy {
        None if !healthy => return Ok(false),
        Some(_) => registry::set_health(ctx.tx, &of.arn, &task.id, healthy)?,
        None => {
            let service: Option<Service> = match &task.service {
                Some((arn, _)) => ctx.tx.get(arn)?,
                None => None,
            };
            let attributes = attributes(ctx, task, service.as_ref());
            let known = registry::register(ctx.tx, &of.arn, &task.id, attributes, healthy)?;
            if let Some(service) = &service {
                match known {
                    true => {
                        events::add(
                            ctx,
                            service,
                            format_args!("registered 1 instances in (service-registry {})", of.arn),
                        )?;
                    }
                    false => {
                        let message =
                            format!("failed to register instances in (service-registry {}): it does not exist", of.arn);
                        events::repeat(ctx, service, message)?;
                        return Ok(false);
                    }
                }
            }
        }
    }
    task.registry = Some(Registry { healthy: Some(healthy), ..of });
    Ok(true)
}

/// What ECS says of a task in Cloud Map.
fn attributes(ctx: &Ctx<'_>, task: &Task, service: Option<&Service>) -> BTreeMap<String, String> {
    let port = task.registry.as_ref().and_then(|registry| registry.port);
    let pairs = [
        ("AWS_INSTANCE_IPV4", task.private_address.map(|address| address.to_string())),
        ("AWS_INSTANCE_PORT", port.map(|port| port.to_string())),
        ("AVAILABILITY_ZONE", Some(task.availability_zone.clone())),
        ("REGION", Some(ctx.platform.place().region.clone())),
        ("EC2_INSTANCE_ID", task.ec2_instance_id.clone()),
        ("ECS_CLUSTER_NAME", Some(short_name(&task.cluster_arn).to_owned())),
        ("ECS_SERVICE_NAME", service.map(|service| service.name.clone())),
        ("ECS_TASK_DEFINITION_FAMILY", Some(task.family().to_owned())),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Takes a task out of its registry; returns whether it was in it.
pub fn leave(ctx: &Ctx<'_>, task: &mut Task) -> Result<bool> {
    let Some(of) = task.registry.as_mut().filter(|of| of.healthy.is_some()) else { return Ok(false) };
    of.healthy = None;
    let arn = of.arn.clone();
    let left = registry::deregister(ctx.tx, &arn, &task.id)?;
    let service: Option<Service> = match &task.service {
        Some((service, _)) => ctx.tx.get(service)?,
        None => None,
    };
    if let Some(service) = service.filter(|_| left) {
        events::add(ctx, &service, format_args!("deregistered 1 instances in (service-registry {arn})"))?;
    }
    Ok(left)
}

/// Takes out of the registries what no running task stands for.
pub fn remove_strays(ctx: &Ctx<'_>) -> Result<()> {
    for (service, task) in registry::registered(ctx.tx)? {
        let found: Option<Task> = ctx.tx.get(&task)?;
        let of = found.as_ref().and_then(|task| task.registry.as_ref()).filter(|of| of.healthy.is_some());
        if of.is_none_or(|of| short_name(&of.arn) != service) {
            tracing::warn!(%task, %service, "a task that does not run was registered still");
            registry::deregister(ctx.tx, &service, &task)?;
        }
    }
    Ok(())
}
