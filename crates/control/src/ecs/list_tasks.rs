//! ListTasks.

use super::records::{StoppedTask, Task};
use super::{find, page};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListTasksRequest, ListTasksResponse, error};
use quarry_domain::arn::short_name;
use std::sync::Arc;

/// How many tasks are read at once, until a page is full.
const AT_ONCE: usize = 128;

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
    match input.launch_type.as_deref() {
        None | Some("EC2" | "FARGATE" | "EXTERNAL" | "MANAGED_INSTANCES") => {}
        Some(other) => return Err(error::invalid_parameter_exception(format!("Invalid launchType '{other}'."))),
    }
    let size = page::size(input.max_results, 100)?;
    let prefix = ctx.platform.place().arn("ecs", format_args!("task/{}/", cluster.name));
    let after = match input.next_token.as_deref().filter(|token| !token.is_empty()) {
        None => "",
        Some(token) => token.strip_prefix(&prefix).ok_or_else(page::invalid_token)?,
    };
    let instance = input.container_instance.as_deref().map(short_name);
    let is_asked = |task: &Task| {
        task.wanted == wanted
            && task.id.as_str() > after
            && service.as_ref().is_none_or(|of| task.service.as_ref().is_some_and(|(arn, _)| *arn == of.arn))
            && instance.is_none_or(|id| task.container_instance_arn.as_deref().map(short_name) == Some(id))
            && input.family.as_deref().is_none_or(|family| task.family() == family)
            && input.started_by.as_ref().is_none_or(|by| task.started_by.as_ref() == Some(by))
            && input.launch_type.as_ref().is_none_or(|launch_type| task.launch_type.as_str() == launch_type)
    };
    let asked = |tasks: Vec<Arc<Task>>| -> Vec<String> {
        tasks.iter().filter(|task| is_asked(task)).map(|task| task.id.clone()).collect()
    };
    let mut ids = match &service {
        Some(service) => asked(ctx.tx.owned(&service.arn)?),
        None if wanted => {
            let (mut ids, mut last) = (Vec::new(), after.to_owned());
            while ids.len() <= size {
                let some = ctx.tx.children_after::<Task>(&cluster.arn, &last, AT_ONCE)?;
                let Some(task) = some.last() else { break };
                last.clone_from(&task.id);
                ids.extend(asked(some));
            }
            ids
        }
        None => asked(ctx.tx.children_of(&cluster.arn)?),
    };
    if !wanted {
        let stopped = ctx.tx.children_of::<StoppedTask>(&cluster.arn)?;
        let tasks = stopped.iter().map(|stopped| &stopped.0);
        ids.extend(tasks.filter(|task| is_asked(task)).map(|task| task.id.clone()));
    }
    // In one order, whether they still run or have stopped: pages leave nothing out while tasks stop.
    ids.sort();
    let more = ids.len() > size;
    ids.truncate(size);
    let arns: Vec<String> = ids.into_iter().map(|id| prefix.clone() + &id).collect();
    let next_token = arns.last().filter(|_| more).cloned();
    Ok(ListTasksResponse { task_arns: Some(arns), next_token })
}
