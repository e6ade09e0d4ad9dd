//! Starting one task: images, specification, runtime. Runs outside of transactions.

use super::super::metadata;
use super::super::records::{LaunchType, Task, TaskDefinition};
use super::super::tasks;
use super::{execution_role, secrets};
use crate::api::Operations;
use crate::ec2;
use crate::logs;
use crate::platform::{HUB_ENDPOINT_PORT, Platform};
use crate::servicediscovery;
use crate::store::StoreError;
use crate::xray::otlp;
use quarry_domain::container::{self, Context, VolumeSource, lower};
use quarry_domain::image::{PullError, ResolvedImage};
use quarry_domain::isolation::Isolation;
use quarry_domain::trace::daemon;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A task that was handed to the runtime.
#[derive(Clone, Debug)]
pub struct Launched {
    /// Manifest digest and stop signal of the image, by container name.
    pub images: BTreeMap<String, (String, Option<String>)>,
    pub pull_started_ms: i64,
    pub pull_stopped_ms: i64,
}

/// Launches the task; the error is the text of its stopped reason.
pub fn launch(platform: &Platform, operations: &Operations, id: &str) -> Result<Launched, String> {
    let stored = platform.store.read(|tx| -> Result<_, StoreError> {
        let task: Option<Task> = tx.get(id)?;
        let Some(task) = task else { return Ok(None) };
        let definition: Option<TaskDefinition> = tx.get(&task.task_definition_arn)?;
        let search = match tasks::vpc(&task, &ec2::security::known(tx)?.vpcs) {
            Some(vpc) => servicediscovery::names_of_vpc(tx, vpc)?,
            None => Vec::new(),
        };
        Ok(definition.map(|definition| (task, definition, search)))
    });
    let stored = stored.map_err(|error| format!("ResourceInitializationError: {error}"))?;
    let (task, definition, search) = stored.ok_or("ResourceInitializationError: the task definition is gone")?;
    let definition = &definition.definition;

    for one in container::containers(definition) {
        if let Some(logs) = container::aws_logs(one) {
            logs::follow::check(platform, &logs).map_err(|reason| format!("ResourceInitializationError: {reason}"))?;
        }
    }

    let allowed = platform.store.read(|tx| -> Result<_, StoreError> {
        Ok(execution_role::check(platform, tx, definition, &task.overrides, &task.arn))
    });
    allowed.map_err(|error| format!("ResourceInitializationError: {error}"))??;
    let secrets = secrets::resolve(platform, operations, definition, &task.overrides, &task.arn)?;
    let pull_started_ms = platform.now_ms();
    let mut images: BTreeMap<String, ResolvedImage> = BTreeMap::new();
    for one in container::containers(definition) {
        let image = one.image.as_deref().unwrap_or_default();
        let resolved = platform.images.resolve(image).map_err(|error| cannot_pull(&task, image, &error))?;
        images.insert(one.name.clone().unwrap_or_default(), resolved);
    }
    let mut spec = lower(
        definition,
        &task.overrides,
        &Context {
            task_id: id,
            address: task.address,
            private_address: task.private_address,
            dns: platform.config.hub.as_ref().filter(|_| task.address.is_some()).map(|hub| hub.address),
            search: &search,
            environment: &environment(platform, &task),
            images: &images,
            secrets: &secrets,
            volume: &|volume| match volume {
                VolumeSource::Shared(name) => platform.runtime.volume_path(name),
                VolumeSource::Host(path) => host_folder(platform, path),
                VolumeSource::Task(name) => {
                    let path = own_volumes(platform, id).join(name);
                    std::fs::create_dir_all(&path)?;
                    Ok(path)
                }
            },
        },
    )
    .map_err(|error| error.to_string())?;
    for (spec, container) in spec.containers.iter_mut().zip(&task.containers) {
        let variables = metadata::environment(platform, &task, container);
        spec.env.extend(variables.into_iter().map(|(name, value)| format!("{name}={value}")));
        let is_set = |name: &str| spec.env.iter().any(|set| set.split_once('=').is_some_and(|(set, _)| set == name));
        let has_collector = is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let collector = if has_collector { Vec::new() } else { traces(platform, &task) };
        let daemon = if is_set(DAEMON) { None } else { reached(platform, &task, daemon::PORT) };
        let variables = collector.into_iter().chain(daemon.map(|address| (DAEMON.to_owned(), address.to_string())));
        spec.env.extend(variables.map(|(name, value)| format!("{name}={value}")));
    }
    crate::cut::secret::give(platform, id, &mut spec.containers);
    platform.runtime.launch(&spec).map_err(|error| error.to_string())?;
    Ok(Launched {
        images: images.into_iter().map(|(name, image)| (name, (image.digest, image.config.stop_signal))).collect(),
        pull_started_ms,
        pull_stopped_ms: platform.now_ms(),
    })
}

/// Where X-Ray's SDKs send segments; given to a container that names no daemon of its own.
const DAEMON: &str = "AWS_XRAY_DAEMON_ADDRESS";

/// The stopped reason of a task whose image is not there, as Fargate's agent words it and as an instance's does.
fn cannot_pull(task: &Task, image: &str, error: &PullError) -> String {
    match task.launch_type {
        LaunchType::Fargate => format!(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {error}"
        ),
        LaunchType::Ec2 => format!("CannotPullContainerError: {error}"),
    }
}

/// What every container finds in its environment, unless it sets it itself.
fn environment(platform: &Platform, task: &Task) -> Vec<(String, String)> {
    let mut variables = vec![
        ("AWS_EXECUTION_ENV".to_owned(), format!("AWS_ECS_{}", task.launch_type.as_str())),
        ("AWS_REGION".to_owned(), platform.place().region.clone()),
    ];
    variables.extend(endpoint(platform, task).map(|endpoint| ("AWS_ENDPOINT_URL".to_owned(), endpoint)));
    variables
}

/// Where OpenTelemetry's SDKs send spans, in a container that names no collector of its own.
fn traces(platform: &Platform, task: &Task) -> Vec<(String, String)> {
    let Some(endpoint) = endpoint(platform, task) else { return Vec::new() };
    vec![
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT".to_owned(), format!("{endpoint}{}", otlp::PATH)),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL".to_owned(), "http/protobuf".to_owned()),
    ]
}

/// Where a task reaches the AWS endpoint.
fn endpoint(platform: &Platform, task: &Task) -> Option<String> {
    reached(platform, task, HUB_ENDPOINT_PORT).map(|address| format!("http://{address}"))
}

/// Where a task reaches what listens at a port of the hub; a task that is a plain process reaches `serve` itself.
fn reached(platform: &Platform, task: &Task, port: u16) -> Option<SocketAddr> {
    // Without a network (mode none) there is no way to it.
    let hub = platform.config.hub.as_ref().filter(|_| task.address.is_some());
    match (hub, platform.runtime.isolation().isolation) {
        (Some(hub), _) => Some((hub.address, port).into()),
        (None, Isolation::None) => Some((Ipv4Addr::LOCALHOST, platform.config.port).into()),
        (None, Isolation::UserNamespaces | Isolation::Rootless) => None,
    }
}

/// A folder of this machine, made if it is missing, if it lies where tasks may see it: links are followed first.
fn host_folder(platform: &Platform, path: &str) -> std::io::Result<PathBuf> {
    let allowed = |path: &Path| container::is_allowed(&path.to_string_lossy(), &platform.config.host_folders);
    if !allowed(Path::new(path)) {
        return Err(std::io::Error::other("tasks may not see this folder any more"));
    }
    let whole = match std::fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = Path::new(path).parent().map(std::fs::canonicalize).transpose()?;
            if !parent.as_deref().is_some_and(allowed) {
                return Err(std::io::Error::other("it leads out of the folders that tasks may see"));
            }
            std::fs::create_dir(path)?;
            std::fs::canonicalize(path)?
        }
        other => other?,
    };
    if allowed(&whole) {
        Ok(whole)
    } else {
        Err(std::io::Error::other("it leads out of the folders that tasks may see"))
    }
}

/// Volumes that live as long as their task.
fn own_volumes(platform: &Platform, id: &str) -> PathBuf {
    platform.config.data_dir.join("volumes").join(format!(".task-{id}"))
}

/// Deletes the volumes that live as long as the task.
pub fn remove_volumes(platform: &Platform, id: &str) -> std::io::Result<()> {
    let path: &Path = &own_volumes(platform, id);
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
