//! The checks of RegisterTaskDefinition and of overrides, with ECS's messages where it documents them.

use super::fargate::{check_fargate, check_storage};
use super::resources::{container_size, network_mode, parse_cpu, parse_memory};
use super::support::{self, only};
use super::{Invalid, check, containers, is_essential, options, refuse, secret, volume_source};
use crate::placement::Expression;
use quarry_aws::ecs::{ContainerDefinition, TaskDefinition, TaskOverride};
use std::collections::BTreeSet;

type Check = Result<(), Invalid>;

/// Checks a task definition as it was sent. `region`: of this installation.
pub fn validate(definition: &TaskDefinition, region: &str) -> Check {
    family(definition.family.as_deref().unwrap_or_default())?;
    only(definition, support::TASK_DEFINITION, "")?;
    match network_mode(definition) {
        "bridge" | "awsvpc" | "none" => {}
        "host" => {
            return refuse(
                "The network mode 'host' is not supported here: tasks have no share in the network of the host. Use 'awsvpc' or 'bridge'."
                    .into(),
            );
        }
        mode => return refuse(format!("Invalid network mode '{mode}'.")),
    }
    platform(definition)?;
    let memory = definition.memory.as_deref().map(parse_memory).transpose()?;
    let cpu = definition.cpu.as_deref().map(parse_cpu).transpose()?;
    for constraint in definition.placement_constraints.as_deref().unwrap_or_default() {
        if constraint.r#type.as_deref() != Some("memberOf") {
            return refuse("Task definition placement constraints must be of type 'memberOf'.".into());
        }
        let expression = constraint.expression.as_deref().unwrap_or_default();
        expression.parse::<Expression>().map_err(|error| Invalid(error.to_string()))?;
    }
    volumes(definition)?;

    let all = containers(definition);
    if all.is_empty() {
        return refuse("Container list cannot be empty.".into());
    }
    if all.len() > 10 {
        return refuse("A task definition can have at most 10 containers.".into());
    }
    let mut seen = Seen::default();
    for one in all {
        container(one, definition, region, &mut seen)?;
    }
    check::check(definition)?;
    if !all.iter().any(is_essential) {
        return refuse("At least one container in the task definition must be marked as essential.".into());
    }
    let sizes: Vec<_> = all.iter().map(|c| container_size(c, &TaskOverride::default())).collect();
    if cpu.is_some_and(|cpu| sizes.iter().map(|size| size.cpu).sum::<u32>() > cpu) {
        return refuse("The sum of the containers' 'cpu' must not be greater than the 'cpu' of the task.".into());
    }
    let reserved = sizes.iter().map(|size| u64::from(size.reservation.or(size.memory).unwrap_or(0))).sum::<u64>();
    if memory.is_some_and(|memory| reserved > u64::from(memory)) {
        return refuse("The sum of the containers' memory must not be greater than the 'memory' of the task.".into());
    }
    check_storage(definition.ephemeral_storage.as_ref().and_then(|storage| storage.size_in_gib))?;
    if definition.requires_compatibilities.iter().flatten().any(|launch_type| launch_type == "FARGATE") {
        check_fargate(definition)?;
    }
    Ok(())
}

/// Checks the overrides of RunTask against the task definition.
pub fn check_overrides(definition: &TaskDefinition, overrides: &TaskOverride) -> Check {
    only(overrides, support::TASK_OVERRIDE, "overrides")?;
    check_storage(overrides.ephemeral_storage.as_ref().and_then(|storage| storage.size_in_gib))?;
    overrides.cpu.as_deref().map(parse_cpu).transpose()?;
    overrides.memory.as_deref().map(parse_memory).transpose()?;
    for over in overrides.container_overrides.as_deref().unwrap_or_default() {
        let name = over.name.as_deref().unwrap_or_default();
        let Some(container) = containers(definition).iter().find(|c| c.name.as_deref() == Some(name)) else {
            return refuse(format!("Override for container named {name} is not a container in the TaskDefinition."));
        };
        only(over, support::CONTAINER_OVERRIDE, &format!("overrides.containerOverrides[{name}]"))?;
        environment(name, over.environment.as_deref().unwrap_or_default())?;
        sizes(name, over.cpu, over.memory, over.memory_reservation)?;
        let size = container_size(container, overrides);
        memory_order(name, size.memory, size.reservation)?;
    }
    Ok(())
}

/// What must be unique over all containers.
#[derive(Default)]
struct Seen<'a> {
    names: BTreeSet<&'a str>,
    container_ports: BTreeSet<i32>,
    host_ports: BTreeSet<i32>,
    hostname: Option<&'a str>,
}

fn container<'a>(
    container: &'a ContainerDefinition,
    definition: &TaskDefinition,
    region: &str,
    seen: &mut Seen<'a>,
) -> Check {
    let name = container.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return refuse("Container.name should not be null or empty.".into());
    }
    if !is_name(name) {
        return refuse(format!(
            "Container.name contains invalid characters: '{name}'. Up to 255 letters, numbers, hyphens and underscores are allowed."
        ));
    }
    if !seen.names.insert(name) {
        return refuse(format!("Container name '{name}' is used more than once."));
    }
    let path = format!("containerDefinitions[{name}]");
    secret::refuse_others(name, container)?;
    only(container, support::CONTAINER, &path)?;
    match container.image.as_deref().unwrap_or_default() {
        "" => return refuse("Container.image should not be null or empty.".into()),
        image if image.len() > 255 || image.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            return refuse("Container.image contains invalid characters.".into());
        }
        _ => {}
    }
    sizes(name, container.cpu, container.memory, container.memory_reservation)?;
    let size = container_size(container, &TaskOverride::default());
    if definition.memory.is_none() && size.memory.is_none() && size.reservation.is_none() {
        return refuse(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
        ));
    }
    memory_order(name, size.memory, size.reservation)?;
    environment(name, container.environment.as_deref().unwrap_or_default())?;
    secret::check(name, container, definition.execution_role_arn.as_deref())?;
    ports(name, container, network_mode(definition), &path, seen)?;
    mounts(container, definition)?;
    logs(name, container, &path, region)?;
    options::options(container, definition)?;
    for (what, seconds) in [("stopTimeout", container.stop_timeout), ("startTimeout", container.start_timeout)] {
        if seconds.is_some_and(|seconds| !(0..=86_400).contains(&seconds)) {
            return refuse(format!("Invalid '{what}' setting for container '{name}'."));
        }
    }
    if container.working_directory.as_deref().is_some_and(|path| !path.starts_with('/')) {
        return refuse(format!(
            "Invalid 'workingDirectory' setting for container '{name}': it must be an absolute path."
        ));
    }
    let label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    for domain in container.dns_search_domains.iter().flatten() {
        if domain.is_empty() || domain.len() > 253 || !domain.chars().all(label) {
            return refuse(format!("Invalid 'dnsSearchDomains' setting for container '{name}'."));
        }
    }
    if let Some(hostname) = container.hostname.as_deref() {
        if network_mode(definition) == "awsvpc" {
            return refuse("hostname is not supported on container when networkMode=awsvpc.".into());
        }
        if seen.hostname.is_some_and(|other| other != hostname) {
            return refuse(
                "The containers of a task share one host name here: give all of them the same 'hostname'.".into(),
            );
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if hostname.is_empty() || hostname.len() > 64 || !hostname.chars().all(valid) {
            return refuse(format!("Invalid 'hostname' setting for container '{name}'."));
        }
        seen.hostname = Some(hostname);
    }
    Ok(())
}

fn family(family: &str) -> Check {
    if family.is_empty() {
        return refuse("Family should not be null or empty.".into());
    }
    if !is_name(family) {
        return refuse(
            "Family contains invalid characters. Up to 255 letters, numbers, hyphens and underscores are allowed."
                .into(),
        );
    }
    Ok(())
}

fn platform(definition: &TaskDefinition) -> Check {
    for compatibility in definition.requires_compatibilities.as_deref().unwrap_or_default() {
        if !matches!(compatibility.as_str(), "EC2" | "FARGATE") {
            return refuse(format!("The launch type '{compatibility}' is not supported here. Use 'EC2' or 'FARGATE'."));
        }
    }
    let Some(platform) = &definition.runtime_platform else { return Ok(()) };
    if !matches!(platform.operating_system_family.as_deref(), None | Some("" | "LINUX")) {
        return refuse("The operating system family must be LINUX.".into());
    }
    let own = match std::env::consts::ARCH {
        "x86_64" => "X86_64",
        "aarch64" => "ARM64",
        other => other,
    };
    match platform.cpu_architecture.as_deref() {
        Some(wanted) if !wanted.is_empty() && wanted != own => {
            refuse(format!("The CPU architecture '{wanted}' is not supported on this machine, which is {own}."))
        }
        _ => Ok(()),
    }
}

fn volumes(definition: &TaskDefinition) -> Check {
    let mut names = BTreeSet::new();
    for volume in definition.volumes.as_deref().unwrap_or_default() {
        volume_source(volume)?;
        let name = volume.name.as_deref().unwrap_or_default();
        if !names.insert(name) {
            return refuse(format!("Duplicate volume name '{name}'."));
        }
    }
    Ok(())
}

fn mounts(container: &ContainerDefinition, definition: &TaskDefinition) -> Check {
    let mut paths = BTreeSet::new();
    for mount in container.mount_points.as_deref().unwrap_or_default() {
        let volume = mount.source_volume.as_deref().unwrap_or_default();
        if !definition.volumes.iter().flatten().any(|v| v.name.as_deref() == Some(volume)) {
            return refuse(format!("Unknown volume '{volume}'."));
        }
        let path = mount.container_path.as_deref().unwrap_or_default();
        if !path.starts_with('/') || path == "/" || path.split('/').any(|part| part == "..") {
            return refuse(format!("Invalid containerPath '{path}': it must be an absolute path below '/'."));
        }
        if !paths.insert(path) {
            return refuse(format!("Duplicate mount point '{path}'."));
        }
    }
    Ok(())
}

fn ports<'a>(name: &str, container: &'a ContainerDefinition, mode: &str, path: &str, seen: &mut Seen<'a>) -> Check {
    if mode == "none" && container.port_mappings.iter().flatten().next().is_some() {
        return refuse("Port mappings are not supported when networkMode=none.".into());
    }
    for mapping in container.port_mappings.as_deref().unwrap_or_default() {
        only(mapping, support::PORT_MAPPING, &format!("{path}.portMappings"))?;
        let Some(port) = mapping.container_port.filter(|port| (1..=65_535).contains(port)) else {
            return refuse(format!(
                "Invalid 'containerPort' setting for container '{name}': it must be between 1 and 65535."
            ));
        };
        let host = mapping.host_port.unwrap_or(0);
        if !(0..=65_535).contains(&host) {
            return refuse(format!(
                "Invalid 'hostPort' setting for container '{name}': it must be between 0 and 65535."
            ));
        }
        if mode == "awsvpc" && host != 0 && host != port {
            return refuse(
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match.".into(),
            );
        }
        match mapping.protocol.as_deref() {
            None | Some("tcp") => {}
            Some("udp") => return refuse("Port mappings of protocol 'udp' are not supported here.".into()),
            Some(other) => return refuse(format!("Invalid 'protocol' setting for container '{name}': {other}.")),
        }
        if !seen.container_ports.insert(port) {
            return refuse(format!(
                "The container port {port} is mapped more than once: the containers of a task share their ports here."
            ));
        }
        if host != 0 && !seen.host_ports.insert(host) {
            return refuse(format!("Port mapping conflict: the host port {host} is used more than once."));
        }
    }
    Ok(())
}

fn logs(name: &str, container: &ContainerDefinition, path: &str, region: &str) -> Check {
    let Some(configuration) = &container.log_configuration else { return Ok(()) };
    only(configuration, support::LOG_CONFIGURATION, &format!("{path}.logConfiguration"))?;
    let empty = Default::default();
    let options = configuration.options.as_ref().unwrap_or(&empty);
    match configuration.log_driver.as_deref() {
        Some("awslogs") => {}
        Some("json-file") if options.is_empty() => return Ok(()),
        driver => {
            return refuse(format!(
                "The log driver '{}' of container '{name}' is not supported here with these options. Use 'awslogs'.",
                driver.unwrap_or_default()
            ));
        }
    }
    if options.get("awslogs-group").is_none_or(String::is_empty) {
        return refuse("Log driver awslogs requires options: awslogs-group.".into());
    }
    for (option, value) in options {
        match option.as_str() {
            "awslogs-region" if value == region => {}
            "awslogs-region" => {
                return refuse(format!("The option awslogs-region must be {region}, the region of this installation."));
            }
            "awslogs-create-group" if matches!(value.as_str(), "true" | "false") => {}
            // Output is kept in a file until it is delivered, so no mode loses or blocks anything.
            "awslogs-group" | "awslogs-stream-prefix" | "mode" | "max-buffer-size" => {}
            _ => return refuse(format!("The log option '{option}' of container '{name}' is not supported here.")),
        }
    }
    Ok(())
}

fn sizes(name: &str, cpu: Option<i32>, memory: Option<i32>, reservation: Option<i32>) -> Check {
    if cpu.is_some_and(|cpu| !(0..=1_000_000).contains(&cpu)) {
        return refuse(format!("Invalid 'cpu' setting for container '{name}'."));
    }
    for (what, mib) in [("memory", memory), ("memoryReservation", reservation)] {
        // Docker's own minimum, which the guide repeats.
        if mib.is_some_and(|mib| !(6..=100_000_000).contains(&mib)) {
            return refuse(format!("Invalid '{what}' setting for container '{name}'. It must be at least 6 MiB."));
        }
    }
    Ok(())
}

fn memory_order(name: &str, memory: Option<u32>, reservation: Option<u32>) -> Check {
    match (memory, reservation) {
        (Some(memory), Some(reservation)) if reservation > memory => refuse(format!(
            "Invalid setting for container '{name}'. 'memory' must be greater than or equal to 'memoryReservation'."
        )),
        _ => Ok(()),
    }
}

fn environment(name: &str, variables: &[quarry_aws::ecs::KeyValuePair]) -> Check {
    for variable in variables {
        let key = variable.name.as_deref().unwrap_or_default();
        let value = variable.value.as_deref().unwrap_or_default();
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return refuse(format!("Invalid environment variable '{key}' for container '{name}'."));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=255).contains(&name.len()) && name.chars().all(valid)
}
