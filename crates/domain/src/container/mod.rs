//! Task definitions and container definitions: checked as ECS checks them, completed with its
//! defaults, counted for placement and lowered to what the runtime starts.
//!
//! A member that would change how a task runs and that is not offered is refused when the task
//! definition is registered; none is stored and then passed over. What is offered is listed in
//! [`support`], so a new member of the API is refused until it is built.

mod check;
mod defaults;
mod fargate;
mod lower;
mod options;
mod resources;
mod secret;
mod support;
mod validate;
mod volume;

pub use defaults::complete;
pub use fargate::{EPHEMERAL_STORAGE, check_fargate, check_fargate_size};
pub use lower::{Context, LowerError, lower};
pub use resources::{Demands, PortWanted, demands, network_mode};
pub use secret::{SecretSource, secrets};
pub use support::only;
pub use validate::{check_overrides, validate};
pub use volume::{VolumeSource, is_allowed, volume_source};

use crate::task::Signal;
use quarry_aws::ecs::{ContainerDefinition, ContainerOverride, TaskDefinition, TaskOverride};
use std::time::Duration;

/// Refused: the text of ECS's `ClientException`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// How long a container has between SIGTERM and SIGKILL, unless it names a `stopTimeout`.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the output of a container goes, from its `logConfiguration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsLogs {
    pub group: String,
    /// `awslogs-stream-prefix`.
    pub prefix: Option<String>,
    /// `awslogs-create-group`.
    pub create_group: bool,
}

/// The container definitions of a task definition, in order.
pub fn containers(definition: &TaskDefinition) -> &[ContainerDefinition] {
    definition.container_definitions.as_deref().unwrap_or_default()
}

/// A container whose end stops the whole task; the default.
pub fn is_essential(container: &ContainerDefinition) -> bool {
    container.essential.unwrap_or(true)
}

/// Whether a valid container definition has a health check.
pub fn has_health_check(container: &ContainerDefinition) -> bool {
    check::health_check(container).is_ok_and(|check| check.is_some())
}

/// The longest `stopTimeout` of the task's containers.
pub fn stop_timeout(definition: &TaskDefinition) -> Duration {
    let of = |c: &ContainerDefinition| match c.stop_timeout {
        Some(seconds) => Duration::from_secs(u64::from(seconds.max(0).unsigned_abs())),
        None => DEFAULT_STOP_TIMEOUT,
    };
    containers(definition).iter().map(of).max().unwrap_or(DEFAULT_STOP_TIMEOUT)
}

/// The signal that asks a container to stop, from its image's stop signal (a name with or without
/// `SIG`, or a number): SIGTERM where there is none or it is unknown.
pub fn stop_signal(image: Option<&str>) -> Signal {
    let name = image.unwrap_or_default().trim().to_ascii_uppercase();
    let number = match name.strip_prefix("SIG").unwrap_or(&name) {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "KILL" => 9,
        "USR1" => 10,
        "USR2" => 12,
        "WINCH" => 28,
        text => text.parse().ok().filter(|n| (1..=64).contains(n)).unwrap_or(15),
    };
    match number {
        15 => Signal::Term,
        9 => Signal::Kill,
        other => Signal::Other(other),
    }
}

/// The container's `awslogs` configuration, if it has one.
pub fn aws_logs(container: &ContainerDefinition) -> Option<AwsLogs> {
    let configuration = container.log_configuration.as_ref()?;
    if configuration.log_driver.as_deref() != Some("awslogs") {
        return None;
    }
    let option = |name: &str| configuration.options.as_ref().and_then(|options| options.get(name)).cloned();
    Some(AwsLogs {
        group: option("awslogs-group")?,
        prefix: option("awslogs-stream-prefix"),
        create_group: option("awslogs-create-group").as_deref() == Some("true"),
    })
}

fn refuse(message: String) -> Result<(), Invalid> {
    Err(Invalid(message))
}

/// The override for a container of this name.
fn override_of<'a>(overrides: &'a TaskOverride, name: &str) -> Option<&'a ContainerOverride> {
    overrides.container_overrides.as_deref().unwrap_or_default().iter().find(|o| o.name.as_deref() == Some(name))
}

#[cfg(test)]
mod tests;
