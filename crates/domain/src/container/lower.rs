//! From a task definition, overrides and images to the specification that the runtime starts.

use super::resources::{container_size, task_size};
use super::{VolumeSource, check, containers, options, override_of, volume_source};
use crate::image::{ImageConfig, ResolvedImage};
use crate::task::{ContainerSpec, Limits, Mount, SecretEnv, TaskSpec};
use quarry_aws::ecs::{ContainerDefinition, KeyValuePair, TaskDefinition, TaskOverride};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What the task gets from its surroundings.
pub struct Context<'a> {
    pub task_id: &'a str,
    pub address: Option<Ipv4Addr>,
    pub private_address: Option<Ipv4Addr>,
    pub dns: Option<Ipv4Addr>,
    /// Namespaces that short names are looked for in, after the container's own search domains.
    pub search: &'a [String],
    /// Variables that every container gets; the image's and the task definition's go before them.
    pub environment: &'a [(String, String)],
    /// By container name.
    pub images: &'a BTreeMap<String, ResolvedImage>,
    /// By container name: the variables that come from `secrets`, resolved. They go before all others.
    pub secrets: &'a BTreeMap<String, SecretEnv>,
    /// The directory of a volume.
    pub volume: &'a dyn Fn(&VolumeSource) -> std::io::Result<PathBuf>,
}

/// Why there is nothing to start; the text of the task's stopped reason.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    #[error(
        "CannotStartContainerError: no command is specified for container {container}, neither by its image nor by the task definition"
    )]
    NoCommand { container: String },
    #[error("ResourceInitializationError: the volume {volume} cannot be made: {source}")]
    Volume { volume: String, source: std::io::Error },
    #[error("CannotPullContainerError: the image of container {container} was not resolved")]
    NoImage { container: String },
}

/// Processes that one task may have at a time.
const PIDS: u32 = 4096;

/// Makes the specification of a valid task definition.
pub fn lower(
    definition: &TaskDefinition,
    overrides: &TaskOverride,
    context: &Context<'_>,
) -> Result<TaskSpec, LowerError> {
    let (cpu, memory) = task_size(definition, overrides);
    let mut specs = Vec::new();
    for container in containers(definition) {
        specs.push(container_spec(container, definition, overrides, context)?);
    }
    let hostname = containers(definition).iter().find_map(|c| c.hostname.clone());
    Ok(TaskSpec {
        id: context.task_id.to_owned(),
        hostname: hostname.unwrap_or_else(|| context.task_id.chars().take(12).collect()),
        containers: specs,
        address: context.address,
        private_address: context.private_address,
        dns: context.dns,
        limits: Limits { cpu_shares: cpu, cpu_quota: cpu, memory, pids: Some(PIDS), ..Limits::default() },
    })
}

fn container_spec(
    container: &ContainerDefinition,
    definition: &TaskDefinition,
    overrides: &TaskOverride,
    context: &Context<'_>,
) -> Result<ContainerSpec, LowerError> {
    let name = container.name.clone().unwrap_or_default();
    let over = override_of(overrides, &name);
    let image = context.images.get(&name).ok_or_else(|| LowerError::NoImage { container: name.clone() })?.clone();
    let command = over.and_then(|o| o.command.as_deref()).or(container.command.as_deref());
    let args = arguments(&image.config, container.entry_point.as_deref(), command);
    if args.is_empty() {
        return Err(LowerError::NoCommand { container: name });
    }
    let size = container_size(container, overrides);
    let linux = container.linux_parameters.as_ref();
    let own = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let secrets = context.secrets.get(&name).cloned().unwrap_or_default();
    let mut env = environment(
        &image.config,
        context.environment,
        [container.environment.as_deref(), over.and_then(|o| o.environment.as_deref())],
    );
    let named = |entry: &String| entry.split_once('=').map(|(name, _)| name.to_owned());
    let secret: BTreeSet<String> = secrets.0.iter().filter_map(named).collect();
    env.retain(|entry| named(entry).is_none_or(|name| !secret.contains(&name)));
    Ok(ContainerSpec {
        args,
        env,
        secrets,
        working_dir: own(&container.working_directory).or(own(&image.config.working_dir)).unwrap_or_else(|| "/".into()),
        user: own(&container.user).or(own(&image.config.user)).unwrap_or_default(),
        health_check: check::health_check(container).ok().flatten(),
        depends_on: check::depends_on(container),
        start_timeout: container.start_timeout.and_then(|seconds| u32::try_from(seconds).ok()),
        read_only_root: container.readonly_root_filesystem.unwrap_or(false),
        init: linux.and_then(|l| l.init_process_enabled).unwrap_or(false),
        mounts: mounts(container, definition, context)?,
        options: options::options(container, definition).unwrap_or_default(),
        limits: Limits {
            cpu_shares: Some(size.cpu).filter(|&cpu| cpu > 0),
            memory: size.memory,
            memory_reservation: size.reservation,
            ..Limits::default()
        },
        search: container.dns_search_domains.iter().flatten().chain(context.search).cloned().collect(),
        ports: container
            .port_mappings
            .iter()
            .flatten()
            .filter_map(|mapping| mapping.container_port.and_then(|port| u16::try_from(port).ok()))
            .collect(),
        image,
        name,
    })
}

/// An entry point of the task definition also replaces the image's command, as Docker does it.
fn arguments(image: &ImageConfig, entry_point: Option<&[String]>, command: Option<&[String]>) -> Vec<String> {
    let entry_point = entry_point.filter(|e| !e.is_empty());
    let command = command.filter(|c| !c.is_empty());
    let program = entry_point.unwrap_or(&image.entrypoint);
    let arguments = match (command, entry_point) {
        (Some(command), _) => command,
        (None, Some(_)) => &[],
        (None, None) => &image.cmd,
    };
    program.iter().chain(arguments).cloned().collect()
}

/// Later ones replace earlier ones: surroundings, image, task definition, overrides.
fn environment(
    image: &ImageConfig,
    surroundings: &[(String, String)],
    own: [Option<&[KeyValuePair]>; 2],
) -> Vec<String> {
    let mut variables: BTreeMap<String, String> = surroundings.iter().cloned().collect();
    for entry in &image.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        variables.insert(name.to_owned(), value.to_owned());
    }
    for pair in own.into_iter().flatten().flatten() {
        variables.insert(pair.name.clone().unwrap_or_default(), pair.value.clone().unwrap_or_default());
    }
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn mounts(
    container: &ContainerDefinition,
    definition: &TaskDefinition,
    context: &Context<'_>,
) -> Result<Vec<Mount>, LowerError> {
    let mut out = Vec::new();
    for point in container.mount_points.iter().flatten() {
        let named = |volume: &&quarry_aws::ecs::Volume| volume.name == point.source_volume;
        let Some(volume) = definition.volumes.iter().flatten().find(named) else { continue };
        let fail = |source| LowerError::Volume { volume: volume.name.clone().unwrap_or_default(), source };
        let from = volume_source(volume).map_err(|error| fail(std::io::Error::other(error)))?;
        out.push(Mount {
            source: (context.volume)(&from).map_err(fail)?,
            target: point.container_path.clone().unwrap_or_default(),
            read_only: point.read_only.unwrap_or(false),
            no_links: matches!(from, VolumeSource::Host(_)),
        });
    }
    Ok(out)
}
