//! `DescribeAccountLimits`: the quotas that are enforced.

use super::{limits, page};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeAccountLimitsInput, DescribeAccountLimitsOutput, Limit};

/// Those that are fixed.
const FIXED: [(&str, usize); 5] = [
    ("condition-values-per-alb-rule", limits::VALUES_PER_RULE),
    ("condition-wildcards-per-alb-rule", limits::WILDCARDS_PER_RULE),
    ("target-groups-per-action-on-application-load-balancer", limits::TARGET_GROUPS_PER_ACTION),
    ("target-groups-per-application-load-balancer", limits::TARGET_GROUPS_PER_LOAD_BALANCER),
    ("targets-per-target-group", limits::TARGETS_PER_GROUP),
];

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeAccountLimitsInput) -> Result<DescribeAccountLimitsOutput> {
    let mut all: Vec<(&str, usize)> = ctx.platform.config.quotas.all().chain(FIXED).collect();
    all.sort_unstable();
    let (limits, next_marker) = page::page(all, |(name, _)| name, input.marker.as_deref(), input.page_size)?;
    let limits = limits.into_iter().map(|(name, max)| Limit { name: Some(name.into()), max: Some(max.to_string()) });
    Ok(DescribeAccountLimitsOutput { limits: Some(limits.collect()), next_marker })
}
