//! GetTaskProtection.

use super::records::Task;
use super::{find, protection, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{GetTaskProtectionRequest, GetTaskProtectionResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: GetTaskProtectionRequest) -> Result<GetTaskProtectionResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let ids = input.tasks.unwrap_or_default();
    if ids.len() > 100 {
        return Err(error::invalid_parameter_exception("At most 100 tasks can be given at once."));
    }
    let (tasks, mut failures) = if ids.is_empty() {
        let all = ctx.tx.children_of::<Task>(&cluster.arn)?;
        let protectable = all.iter().filter(|task| task.service.is_some() && task.wanted);
        (protectable.take(100).map(|task| Task::clone(task)).collect(), Vec::new())
    } else {
        protection::named(ctx, &cluster, &ids)?
    };
    let now = ctx.platform.now_ms();
    let mut shown = Vec::new();
    for task in tasks {
        match task.service {
            Some(_) => shown.push(protection::show(&task, now)),
            None => failures.push(view::failure(&task.arn, "TASK_NOT_VALID")),
        }
    }
    Ok(GetTaskProtectionResponse { protected_tasks: Some(shown), failures: Some(failures) })
}
