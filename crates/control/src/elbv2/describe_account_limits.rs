//! `DescribeAccountLimits`: the quotas that are enforced.

use super::{limits, page};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeAccountLimitsInput, DescribeAccountLimitsOutput, Limit};

const LIMITS: &[(&str, usize)] = &[
    ("application-load-balancers", limits::LOAD_BALANCERS),
    ("condition-values-per-alb-rule", limits::VALUES_PER_RULE),
    ("condition-wildcards-per-alb-rule", limits::WILDCARDS_PER_RULE),
    ("listeners-per-application-load-balancer", limits::LISTENERS_PER_LOAD_BALANCER),
    ("rules-per-application-load-balancer", limits::RULES_PER_LISTENER),
    ("target-groups", limits::TARGET_GROUPS),
    ("target-groups-per-action-on-application-load-balancer", limits::TARGET_GROUPS_PER_ACTION),
    ("target-groups-per-application-load-balancer", limits::TARGET_GROUPS_PER_LOAD_BALANCER),
    ("targets-per-target-group", limits::TARGETS_PER_GROUP),
];

pub fn handle(_: &mut Ctx<'_>, input: DescribeAccountLimitsInput) -> Result<DescribeAccountLimitsOutput> {
    let (limits, next_marker) =
        page::page(LIMITS.to_vec(), |(name, _)| name, input.marker.as_deref(), input.page_size)?;
    let limits = limits.into_iter().map(|(name, max)| Limit { name: Some(name.into()), max: Some(max.to_string()) });
    Ok(DescribeAccountLimitsOutput { limits: Some(limits.collect()), next_marker })
}
