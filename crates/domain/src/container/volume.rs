//! Volumes of a task definition.

use super::Invalid;
use super::support::{self, only};
use quarry_aws::ecs::Volume;

/// Where a volume's directory comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Kept, and shared by all tasks that name it: a Docker volume of scope `shared`.
    Shared(String),
    /// The task's own, gone with it: an empty `host` volume, or a Docker volume of scope `task`.
    Task(String),
}

/// Reads a volume, refusing what is not offered.
pub fn volume_source(volume: &Volume) -> Result<VolumeSource, Invalid> {
    let name = volume.name.as_deref().unwrap_or_default();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 255 || !name.chars().all(valid) {
        return Err(Invalid(format!(
            "Volume name '{name}' is invalid: up to 255 letters, numbers, hyphens and underscores are allowed."
        )));
    }
    only(volume, support::VOLUME, &format!("volumes[{name}]"))?;
    if volume.host.as_ref().and_then(|host| host.source_path.as_deref()).is_some_and(|path| !path.is_empty()) {
        return Err(Invalid(format!(
            "The volume '{name}' names a path of the host (host.sourcePath), which tasks may not see here. Use dockerVolumeConfiguration with scope shared and autoprovision true for data that outlives a task."
        )));
    }
    let Some(docker) = &volume.docker_volume_configuration else { return Ok(VolumeSource::Task(name.to_owned())) };
    if volume.host.is_some() {
        return Err(Invalid(format!("Volume '{name}' cannot specify both host and dockerVolumeConfiguration.")));
    }
    only(docker, support::DOCKER_VOLUME, &format!("volumes[{name}].dockerVolumeConfiguration"))?;
    if !matches!(docker.driver.as_deref(), None | Some("local")) {
        return Err(Invalid(format!("The driver of volume '{name}' is not supported here: only 'local' is.")));
    }
    match (docker.scope.as_deref().unwrap_or("task"), docker.autoprovision) {
        ("shared", Some(true)) => Ok(VolumeSource::Shared(name.to_owned())),
        ("shared", _) => Err(Invalid(format!(
            "The volume '{name}' has scope shared without autoprovision, which needs a volume made by hand on the instance. Set autoprovision to true."
        ))),
        ("task", None | Some(false)) => Ok(VolumeSource::Task(name.to_owned())),
        ("task", Some(true)) => {
            Err(Invalid("The autoprovision parameter can only be used with scope shared.".to_owned()))
        }
        (scope, _) => Err(Invalid(format!("Invalid scope '{scope}' for volume '{name}'."))),
    }
}
