//! `DescribeTargetGroups`: all, by ARN, by name, or those that a load balancer uses.

use super::records::{TargetGroup};
use super::{errors, find, page, target_groups, uses};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeTargetGroupsInput, DescribeTargetGroupsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeTargetGroupsInput) -> Result<DescribeTargetGroupsOutput> {
    let arns = input.target_group_arns.unwrap_or_default();
    let names = input.names.unwrap_or_default();
    let ways = [input.load_balancer_arn.is_some(), !arns.is_empty(), !names.is_empty()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err(errors::validation(
            "Target group names, target group ARNs, and a load balancer ARN cannot be specified at the same time",
        ));
    }
    for arn in &arns {
        find::check(arn, "targetgroup/", "target group")?;
    }
    let uses = uses::uses(ctx.tx)?;
    let mut groups: Vec<TargetGroup> = ctx.tx.all()?;
    if let Some(arn) = &input.load_balancer_arn {
        find::load_balancer(ctx.tx, Some(arn))?;
        groups.retain(|group| uses.get(&group.arn).is_some_and(|by| by.contains(arn)));
    } else if !arns.is_empty() || !names.is_empty() {
        let known = arns.iter().all(|arn| groups.iter().any(|group| group.arn == *arn))
            && names.iter().all(|name| groups.iter().any(|group| group.name == *name));
        if !known {
            return Err(errors::target_group_not_found("One or more target groups not found"));
        }
        groups.retain(|group| arns.contains(&group.arn) || names.contains(&group.name));
    }
    let (groups, next_marker) = page::page(groups, |group| &group.arn, input.marker.as_deref(), input.page_size)?;
    let shown = groups.iter().map(|group| target_groups::show(group, uses.get(&group.arn).cloned().unwrap_or_default())).collect();
    Ok(DescribeTargetGroupsOutput { target_groups: Some(shown), next_marker })
}
