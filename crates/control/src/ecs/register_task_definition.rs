//! RegisterTaskDefinition.

use super::records::{DefinitionStatus, TaskDefinition};
use super::{find, tags, task_role, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs as aws;
use quarry_aws::ecs::{RegisterTaskDefinitionRequest, RegisterTaskDefinitionResponse, error};
use quarry_domain::container::{self, VolumeSource};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: RegisterTaskDefinitionRequest) -> Result<RegisterTaskDefinitionResponse> {
    let tags = tags::read(input.tags)?;
    let mut definition = aws::TaskDefinition {
        container_definitions: input.container_definitions,
        cpu: input.cpu,
        enable_fault_injection: input.enable_fault_injection,
        ephemeral_storage: input.ephemeral_storage,
        execution_role_arn: task_role::named(ctx, input.execution_role_arn)?,
        family: input.family,
        inference_accelerators: input.inference_accelerators,
        ipc_mode: input.ipc_mode,
        memory: input.memory,
        network_mode: input.network_mode,
        pid_mode: input.pid_mode,
        placement_constraints: input.placement_constraints,
        proxy_configuration: input.proxy_configuration,
        requires_compatibilities: input.requires_compatibilities,
        runtime_platform: input.runtime_platform,
        task_role_arn: task_role::named(ctx, input.task_role_arn)?,
        volumes: input.volumes,
        ..aws::TaskDefinition::default()
    };
    let region = &ctx.platform.place().region;
    container::validate(&definition, region).map_err(|invalid| error::client_exception(invalid.0))?;
    for volume in definition.volumes.iter().flatten() {
        if let Ok(VolumeSource::Host(path)) = container::volume_source(volume)
            && !container::is_allowed(&path, &ctx.platform.config.host_folders)
        {
            return Err(error::client_exception(format!(
                "The folder '{path}' of this machine may not be seen by tasks: allow it when Quarry is started, with --host-folder. For data that outlives a task, dockerVolumeConfiguration with scope shared and autoprovision true needs no folder."
            )));
        }
    }
    container::complete(&mut definition);

    let family = definition.family.clone().unwrap_or_default();
    let revision = ctx.tx.next(&format!("ecs.task-definition/{family}"))? as i32;
    let arn = find::task_definition_arn(ctx, &family, revision);
    definition.task_definition_arn = Some(arn.clone());
    definition.revision = Some(revision);
    let mut compatibilities = vec!["EC2".to_owned()];
    if container::check_fargate(&definition).is_ok() {
        compatibilities.push("FARGATE".into());
    }
    definition.compatibilities = Some(compatibilities);
    definition.registered_at = Some(Timestamp::from_millis(ctx.platform.now_ms()));
    definition.registered_by = Some(ctx.caller.arn.clone());
    definition.requires_attributes = Some(required_attributes(&definition));
    let record = TaskDefinition { arn, family, revision, status: DefinitionStatus::Active, definition, tags };
    ctx.tx.put(&record)?;
    Ok(RegisterTaskDefinitionResponse {
        task_definition: Some(view::task_definition(&record)),
        tags: Some(tags::show(&record.tags)),
    })
}

fn required_attributes(definition: &aws::TaskDefinition) -> Vec<aws::Attribute> {
    let awslogs = container::containers(definition).iter().any(|c| container::aws_logs(c).is_some());
    let attribute = |name: &str| aws::Attribute { name: Some(name.into()), ..aws::Attribute::default() };
    let names = awslogs.then_some("com.amazonaws.ecs.capability.logging-driver.awslogs");
    names.into_iter().map(attribute).collect()
}
