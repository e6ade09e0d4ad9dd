//! `ModifyTargetGroup`: health check settings; what is not named stays.

use super::target_groups::{HealthCheckInput, read_health_check, show};
use super::{find, uses};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{ModifyTargetGroupInput, ModifyTargetGroupOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ModifyTargetGroupInput) -> Result<ModifyTargetGroupOutput> {
    let mut group = find::target_group(ctx.tx, input.target_group_arn.as_deref())?;
    let wanted = HealthCheckInput {
        enabled: input.health_check_enabled,
        protocol: input.health_check_protocol,
        port: input.health_check_port,
        path: input.health_check_path,
        interval: input.health_check_interval_seconds,
        timeout: input.health_check_timeout_seconds,
        healthy: input.healthy_threshold_count,
        unhealthy: input.unhealthy_threshold_count,
        matcher: input.matcher,
    };
    read_health_check(&mut group.health_check, wanted, group.target_type)?;
    ctx.tx.put(&group)?;
    let shown = show(&group, uses::users(ctx.tx, &group.arn)?);
    Ok(ModifyTargetGroupOutput { target_groups: Some(vec![shown]) })
}
