//! What a task definition must be to run with launch type FARGATE. Sizes are those of the ECS
//! developer guide's table of task CPU and memory.

use super::resources::{network_mode, task_size};
use super::volume::host_path;
use super::{Invalid, aws_logs, containers, options, refuse};
use quarry_aws::ecs::{TaskDefinition, TaskOverride};

/// Ephemeral storage of a task that asks for none, in GiB.
pub const EPHEMERAL_STORAGE: i32 = 20;
/// What a task may ask for.
const EPHEMERAL_STORAGES: std::ops::RangeInclusive<i32> = 21..=200;

/// The first reason why tasks of this otherwise valid definition cannot run on Fargate.
pub fn check_fargate(definition: &TaskDefinition) -> Result<(), Invalid> {
    if network_mode(definition) != "awsvpc" {
        return refuse("Fargate only supports network mode ‘awsvpc’.".into());
    }
    check_fargate_size(definition, &TaskOverride::default())?;
    if definition.placement_constraints.iter().flatten().next().is_some() {
        return refuse("Fargate compatible task definitions do not support placementConstraints.".into());
    }
    if definition.volumes.iter().flatten().any(|volume| volume.docker_volume_configuration.is_some()) {
        return refuse("Fargate compatible task definitions do not support dockerVolumeConfiguration.".into());
    }
    if definition.volumes.iter().flatten().any(|volume| host_path(volume).is_some()) {
        return refuse("host.sourcePath should not be set for volumes in Fargate.".into());
    }
    containers(definition).iter().try_for_each(options::check_fargate)?;
    let role = definition.execution_role_arn.as_deref().is_some_and(|arn| !arn.is_empty());
    if !role && containers(definition).iter().any(|container| aws_logs(container).is_some()) {
        return refuse(
            "Fargate requires task definition to have execution role ARN to support log driver awslogs.".into(),
        );
    }
    Ok(())
}

/// Whether Fargate has tasks of this size, overrides applied.
pub fn check_fargate_size(definition: &TaskDefinition, overrides: &TaskOverride) -> Result<(), Invalid> {
    let (cpu, memory) = match task_size(definition, overrides) {
        (None, _) => return refuse("Fargate requires that 'cpu' be defined at the task level.".into()),
        (_, None) => return refuse("Fargate requires that 'memory' be defined at the task level.".into()),
        (Some(cpu), Some(memory)) => (cpu, memory),
    };
    let (least, most, step) = match cpu {
        256 => (512, 2048, 512),
        512 => (1024, 4096, 1024),
        1024 => (2048, 8192, 1024),
        2048 => (4096, 16_384, 1024),
        4096 => (8192, 30_720, 1024),
        8192 => (16_384, 61_440, 4096),
        16_384 => (32_768, 122_880, 8192),
        _ => (u32::MAX, 0, 1),
    };
    // Of the smallest size there are 0.5, 1 and 2 GB.
    let exists =
        (least..=most).contains(&memory) && (memory - least).is_multiple_of(step) && (cpu, memory) != (256, 1536);
    if exists { Ok(()) } else { refuse("No Fargate configuration exists for given values.".into()) }
}

/// The ephemeral storage of a request or a task definition, in GiB.
pub(super) fn check_storage(size: Option<i32>) -> Result<(), Invalid> {
    match size {
        Some(gib) if !EPHEMERAL_STORAGES.contains(&gib) => {
            refuse("Ephemeral storage size must be between 21 and 200 GiB.".into())
        }
        _ => Ok(()),
    }
}
