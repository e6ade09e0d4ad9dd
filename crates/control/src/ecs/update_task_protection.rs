//! UpdateTaskProtection.

use super::{find, protection, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{UpdateTaskProtectionRequest, UpdateTaskProtectionResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: UpdateTaskProtectionRequest) -> Result<UpdateTaskProtectionResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let ids = input.tasks.unwrap_or_default();
    if ids.is_empty() || ids.len() > 10 {
        return Err(error::invalid_parameter_exception("From 1 to 10 tasks can be given at once."));
    }
    let minutes = protection::minutes(input.protection_enabled == Some(true), input.expires_in_minutes)?;
    let (tasks, mut failures) = protection::named(ctx, &cluster, &ids)?;
    let now = ctx.platform.now_ms();
    let mut shown = Vec::new();
    for mut task in tasks {
        match protection::set(ctx, &mut task, minutes)? {
            Ok(()) => shown.push(protection::show(&task, now)),
            Err(reason) => failures.push(view::failure(&task.arn, reason)),
        }
    }
    Ok(UpdateTaskProtectionResponse { protected_tasks: Some(shown), failures: Some(failures) })
}
