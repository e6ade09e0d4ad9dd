//! `DescribeTargetGroups`: all, by ARN, by name, or those that a load balancer uses.

use super::records::TargetGroup;
use super::target_groups::Names;
use super::{errors, find, page, target_groups, uses};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeTargetGroupsInput, DescribeTargetGroupsOutput};
use quarry_wire::ServiceError;
use std::collections::BTreeSet;
use std::sync::Arc;

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
    let found = match &input.load_balancer_arn {
        Some(arn) => {
            find::load_balancer(ctx.tx, Some(arn))?;
            Some(uses::of_balancer(ctx.tx, arn)?)
        }
        None if !arns.is_empty() => Some(arns.into_iter().collect()),
        None if !names.is_empty() => {
            let arn = |known: &Names| names.iter().map(|name| known.0.get(name).cloned()).collect();
            let known: Option<BTreeSet<String>> = ctx.tx.tally(arn)?;
            Some(known.ok_or_else(missing)?)
        }
        None => None,
    };
    let groups = match found {
        Some(arns) => {
            let found = arns.iter().map(|arn| ctx.tx.find::<TargetGroup>(arn)?.ok_or_else(missing));
            let mut groups = found.collect::<Result<Vec<_>>>()?;
            groups.sort_by_key(|group| group.created_ms);
            groups
        }
        None => ctx.tx.shared::<TargetGroup>()?.to_vec(),
    };
    let (groups, next_marker) = page::page(groups, |group| &group.arn, input.marker.as_deref(), input.page_size)?;
    let show = |group: &Arc<TargetGroup>| Ok(target_groups::show(group, uses::users(ctx.tx, &group.arn)?));
    let shown = groups.iter().map(show).collect::<Result<_>>()?;
    Ok(DescribeTargetGroupsOutput { target_groups: Some(shown), next_marker })
}

fn missing() -> ServiceError {
    errors::target_group_not_found("One or more target groups not found")
}
