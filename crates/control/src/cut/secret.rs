//! The secret of a task's admin listener: derived from the installation's key and the task's id, so that it is kept
//! nowhere and a restart of `serve` knows it still.

use crate::platform::Platform;
use cut_kit::contract::{PORT_VARIABLE, SECRET_VARIABLE};
use quarry_aws::ecs::TaskDefinition;
use quarry_domain::container;
use quarry_domain::task::ContainerSpec;

/// What the platform's requests to the admin listener of this task carry.
pub fn of(platform: &Platform, task: &str) -> String {
    platform.vault.derive(&format!("cut admin {task}"))
}

/// Hands the secret to every container that names an admin port, the way secrets are handed over.
pub fn give(platform: &Platform, task: &str, containers: &mut [ContainerSpec]) {
    for container in containers {
        if variable(&container.env, PORT_VARIABLE).is_none() {
            continue;
        }
        let other = |entry: &String| !entry.starts_with(&format!("{SECRET_VARIABLE}="));
        container.env.retain(other);
        container.secrets.0.retain(other);
        container.secrets.0.push(format!("{SECRET_VARIABLE}={}", of(platform, task)));
    }
}

/// The admin port that a task definition names.
pub fn port(definition: &TaskDefinition) -> Option<u16> {
    let variables = container::containers(definition).iter().flat_map(|one| one.environment.iter().flatten());
    let mut named = variables.filter(|pair| pair.name.as_deref() == Some(PORT_VARIABLE));
    named.find_map(|pair| pair.value.as_deref()?.parse().ok()).filter(|port| *port != 0)
}

fn variable<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}
