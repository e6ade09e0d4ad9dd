//! StartTask: tasks on the container instances that the caller names, without placement.

use super::capacity::{Asked, Launch};
use super::records::LaunchType;
use super::room::Room;
use super::run_task::{Common, managed_tags, shown};
use super::tasks::{self, NewTask};
use super::{find, service_options as options, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{StartTaskRequest, StartTaskResponse, error};
use quarry_domain::arn::short_name;
use quarry_domain::placement::NoPlace;

const OFFERED: &[&str] = &[
    "cluster",
    "containerInstances",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "group",
    "networkConfiguration",
    "overrides",
    "propagateTags",
    "referenceId",
    "startedBy",
    "tags",
    "taskDefinition",
];

pub fn handle(ctx: &mut Ctx<'_>, input: StartTaskRequest) -> Result<StartTaskResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let definition = find::active_task_definition(ctx, input.task_definition.as_deref().unwrap_or_default())?;
    options::offered(&input, OFFERED, "")?;
    let ids = input.container_instances.unwrap_or_default();
    if ids.is_empty() {
        return Err(error::invalid_parameter_exception("Container Instances cannot be empty."));
    }
    if ids.len() > 10 {
        return Err(error::invalid_parameter_exception("At most 10 container instances can be given."));
    }
    let asked = Asked {
        launch_type: Some(LaunchType::Ec2.as_str()),
        network: input.network_configuration.as_ref(),
        ..Asked::default()
    };
    let launch = Launch::of(ctx, &cluster, &definition, &asked)?;
    let common = Common::of(&definition, input.overrides, input.tags, input.propagate_tags.as_deref(), input.group)?;
    options::exec_role(input.enable_execute_command, &definition, &common.overrides, "task couldn't be run")?;
    let managed = input.enable_ecs_managed_tags == Some(true);
    let tags = managed_tags(common.tags, managed.then_some(cluster.name.as_str()), None);
    let mut room = Room::of(ctx.tx, &cluster.arn, &common.group, false)?;
    let (mut started, mut failures) = (Vec::new(), Vec::new());
    for id in ids {
        let Some(instance) = find::container_instance(ctx.tx, &cluster, &id)? else {
            let name = format!("container-instance/{}/{}", cluster.name, short_name(&id));
            failures.push(view::failure(&ctx.platform.place().arn("ecs", name), "MISSING"));
            continue;
        };
        if instance.draining {
            failures.push(view::failure(&instance.arn, "INACTIVE"));
            continue;
        }
        let new = NewTask {
            tags: tags.clone(),
            cluster: &cluster,
            definition: &definition,
            overrides: common.overrides.clone(),
            group: common.group.clone(),
            started_by: input.started_by.clone(),
            service: None,
            launch: &launch,
            on: Some(&instance.arn),
            strategies: &[],
            constraints: &[],
            asked: (&[], &[]),
            exec: input.enable_execute_command == Some(true),
        };
        match tasks::create(ctx, &new, &mut room)? {
            Ok(task) => started.push(shown(&task)),
            Err(NoPlace::Closest { lack, .. }) => failures.push(view::failure(&instance.arn, lack.code())),
            Err(NoPlace::NoInstances | NoPlace::NoCapacity) => {
                failures.push(view::failure(&instance.arn, "RESOURCE:*"));
            }
        }
    }
    Ok(StartTaskResponse { tasks: Some(started), failures: Some(failures) })
}
