//! ListTasks.

use super::find;
use super::page::page;
use super::records::{StoppedTask, Task};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListTasksRequest, ListTasksResponse, error};
use quarry_domain::arn::short_name;

pub fn handle(ctx: &mut Ctx<'_>, input: ListTasksRequest) -> Result<ListTasksResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let wanted = match input.desired_status.as_deref() {
        None | Some("RUNNING") => true,
        Some("STOPPED") => false,
        // ECS never sets a desired status of PENDING.
        Some("PENDING") => {
            return Ok(ListTasksResponse { task_arns: Some(Vec::new()), next_token: None });
        }
        Some(other) => return Err(error::invalid_parameter_exception(format!("Invalid desiredStatus '{other}'."))),
    };
    let service = match &input.service_name {
        None => None,
        Some(name) => Some(
            find::service(ctx, &cluster, name)?
                .ok_or_else(|| error::service_not_found_exception("Service not found."))?,
        ),
    };
    let live = match &service {
        Some(service) => ctx.tx.owned::<Task>(&service.arn)?,
        None => ctx.tx.children_of::<Task>(&cluster.arn)?,
    };
    let stopped = if wanted { Vec::new() } else { ctx.tx.children_of::<StoppedTask>(&cluster.arn)? };
    let mut tasks: Vec<&Task> = live.iter().map(|task| &**task).collect();
    tasks.extend(stopped.iter().map(|stopped| &stopped.0));
    tasks.retain(|task| task.wanted == wanted);
    if let Some(service) = &service {
        tasks.retain(|task| task.service.as_ref().is_some_and(|(arn, _)| *arn == service.arn));
    }
    if let Some(instance) = &input.container_instance {
        let id = short_name(instance);
        tasks.retain(|task| task.container_instance_arn.as_deref().map(short_name) == Some(id));
    }
    if let Some(family) = &input.family {
        let of = |task: &&Task| short_name(&task.task_definition_arn).split(':').next() == Some(family.as_str());
        tasks.retain(of);
    }
    if let Some(started_by) = &input.started_by {
        tasks.retain(|task| task.started_by.as_ref() == Some(started_by));
    }
    match input.launch_type.as_deref() {
        None => {}
        Some(wanted @ ("EC2" | "FARGATE")) => tasks.retain(|task| task.launch_type.as_str() == wanted),
        Some("EXTERNAL" | "MANAGED_INSTANCES") => tasks.clear(),
        Some(other) => return Err(error::invalid_parameter_exception(format!("Invalid launchType '{other}'."))),
    }
    // In one order, whether they still run or have stopped: pages leave nothing out while tasks stop.
    let mut arns: Vec<String> = tasks.into_iter().map(|task| task.arn.clone()).collect();
    arns.sort();
    let (arns, next_token) = page(arns, String::clone, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListTasksResponse { task_arns: Some(arns), next_token })
}
