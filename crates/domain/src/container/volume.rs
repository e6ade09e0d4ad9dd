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
    /// A folder of the host, which must be among those that tasks may see.
    Host(String),
}

/// `host.sourcePath`, if there is one.
pub(super) fn host_path(volume: &Volume) -> Option<&str> {
    volume.host.as_ref()?.source_path.as_deref().filter(|path| !path.is_empty())
}

/// Whether a folder is one that tasks may see, or lies in one: `allowed` are whole paths.
pub fn is_allowed(path: &str, allowed: &[std::path::PathBuf]) -> bool {
    let path = std::path::Path::new(path);
    allowed.iter().any(|root| path.starts_with(root))
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
    if let Some(path) = host_path(volume) {
        let plain = path.starts_with('/') && !path.split('/').any(|part| matches!(part, "." | ".."));
        if !plain || path.len() > 1024 || path.contains('\0') {
            return Err(Invalid(format!("The sourcePath of volume '{name}' must be an absolute path.")));
        }
        if volume.docker_volume_configuration.is_none() {
            return Ok(VolumeSource::Host(path.to_owned()));
        }
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
