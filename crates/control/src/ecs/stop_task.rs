//! StopTask.

use super::records::{StopCode, Task};
use super::{find, tasks, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{StopTaskRequest, StopTaskResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: StopTaskRequest) -> Result<StopTaskResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let found = find::task(ctx.tx, &cluster, input.task.as_deref().unwrap_or_default())?;
    let mut task: Task =
        found.ok_or_else(|| error::invalid_parameter_exception("The referenced task was not found."))?;
    let reason = input.reason.filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > 1024) {
        return Err(error::invalid_parameter_exception("The reason can have at most 1024 characters."));
    }
    // Stopping a task that stops or has stopped is no error.
    if task.wanted {
        let reason = reason.as_deref().unwrap_or("Task stopped by user");
        tasks::begin_stop(ctx, &mut task, StopCode::UserInitiated, reason, false)?;
    }
    Ok(StopTaskResponse { task: Some(view::task(&task, false)) })
}
