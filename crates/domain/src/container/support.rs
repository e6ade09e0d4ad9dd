//! Which members are offered. Anything else that is present and not empty is refused.

use super::Invalid;
use quarry_wire::{Structure, View};

/// Members of a task definition that are carried out, or that make no difference to how its tasks
/// run here (roles of the agent, declared compatibilities).
pub const TASK_DEFINITION: &[&str] = &[
    "containerDefinitions",
    "cpu",
    "ephemeralStorage",
    "executionRoleArn",
    "family",
    "memory",
    "networkMode",
    "placementConstraints",
    "requiresCompatibilities",
    "runtimePlatform",
    "taskRoleArn",
    "volumes",
];

/// Members of a container definition, in the same sense. `startTimeout` counts only with `dependsOn`.
pub const CONTAINER: &[&str] = &[
    "command",
    "cpu",
    "dependsOn",
    "dnsSearchDomains",
    "dockerLabels",
    "entryPoint",
    "environment",
    "essential",
    "extraHosts",
    "healthCheck",
    "hostname",
    "image",
    "linuxParameters",
    "logConfiguration",
    "memory",
    "memoryReservation",
    "mountPoints",
    "name",
    "portMappings",
    "readonlyRootFilesystem",
    "secrets",
    "startTimeout",
    "stopTimeout",
    "systemControls",
    "ulimits",
    "user",
    "workingDirectory",
];

pub const LINUX_PARAMETERS: &[&str] =
    &["capabilities", "initProcessEnabled", "maxSwap", "sharedMemorySize", "swappiness", "tmpfs"];
pub const CAPABILITIES: &[&str] = &["add", "drop"];
/// `name` and `appProtocol` matter to Service Connect only.
pub const PORT_MAPPING: &[&str] = &["appProtocol", "containerPort", "hostPort", "name", "protocol"];
pub const LOG_CONFIGURATION: &[&str] = &["logDriver", "options"];
pub const VOLUME: &[&str] = &["dockerVolumeConfiguration", "host", "name"];
pub const DOCKER_VOLUME: &[&str] = &["autoprovision", "driver", "labels", "scope"];
pub const TASK_OVERRIDE: &[&str] =
    &["containerOverrides", "cpu", "ephemeralStorage", "executionRoleArn", "memory", "taskRoleArn"];
pub const CONTAINER_OVERRIDE: &[&str] = &["command", "cpu", "environment", "memory", "memoryReservation", "name"];

/// Refuses the first member that says something and is not in `offered`. `path`: where, for the message.
pub fn only(shape: &dyn Structure, offered: &[&str], path: &str) -> Result<(), Invalid> {
    for (index, member) in shape.schema().members.iter().enumerate() {
        if !offered.contains(&member.name) && says_something(shape.member(index).view()) {
            let dot = if path.is_empty() { "" } else { "." };
            return Err(Invalid(format!("The parameter '{path}{dot}{}' is not supported here.", member.name)));
        }
    }
    Ok(())
}

fn says_something(view: View<'_>) -> bool {
    match view {
        View::Absent | View::Boolean(false) => false,
        View::String(text) => !text.is_empty(),
        View::List(list) => !list.is_empty(),
        View::Map(map) => !map.entries().is_empty(),
        View::Structure(inner) => {
            (0..inner.schema().members.len()).any(|index| says_something(inner.member(index).view()))
        }
        View::Boolean(true)
        | View::Integer(_)
        | View::Long(_)
        | View::Double(_)
        | View::Timestamp(_)
        | View::Blob(_)
        | View::Document(_) => true,
    }
}
