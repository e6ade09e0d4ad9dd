//! DescribeTasks.

use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DescribeTasksRequest, DescribeTasksResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeTasksRequest) -> Result<DescribeTasksResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let ids = input.tasks.unwrap_or_default();
    if ids.is_empty() {
        return Err(error::invalid_parameter_exception("Tasks cannot be empty."));
    }
    if ids.len() > 100 {
        return Err(error::invalid_parameter_exception("At most 100 tasks can be described at once."));
    }
    let with_tags = input.include.iter().flatten().any(|include| include == "TAGS");
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for id in ids {
        match find::task(ctx.tx, &cluster, &id)? {
            Some(task) => tasks.push(view::task(&task, with_tags)),
            None => {
                let id = quarry_domain::arn::short_name(&id);
                let name = format!("task/{}/{id}", cluster.name);
                failures.push(view::failure(&ctx.platform.place().arn("ecs", name), "MISSING"));
            }
        }
    }
    Ok(DescribeTasksResponse { tasks: Some(tasks), failures: Some(failures) })
}
