//! DescribeLogGroups, in the order of their names.

use super::records::{LogGroup, MetricFilter};
use super::{events, find};
use crate::api::{Ctx, Result};
use quarry_aws::logs::{self, DescribeLogGroupsRequest, DescribeLogGroupsResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeLogGroupsRequest) -> Result<DescribeLogGroupsResponse> {
    let limit = find::limit(input.limit, 50)?;
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(error::invalid_parameter_exception(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let mut groups: Vec<LogGroup> = ctx.tx.all()?;
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    let prefix = input.log_group_name_prefix.unwrap_or_default();
    let pattern = input.log_group_name_pattern.unwrap_or_default().to_lowercase();
    groups.retain(|group| group.name.starts_with(&prefix) && group.name.to_lowercase().contains(&pattern));
    if let Some(identifiers) = input.log_group_identifiers {
        let names: Vec<&str> = identifiers.iter().map(|id| find::group_of(None, Some(id))).collect::<Result<_>>()?;
        groups.retain(|group| names.contains(&group.name.as_str()));
    }
    if !matches!(input.log_group_class.as_deref(), None | Some("STANDARD")) {
        groups.clear();
    }
    // The token is the name of the last group that was shown.
    groups.retain(|group| input.next_token.as_ref().is_none_or(|token| group.name > *token));
    let more = groups.len() > limit;
    groups.truncate(limit);
    let next_token = groups.last().filter(|_| more).map(|group| group.name.clone());
    let mut shown = Vec::new();
    for group in groups {
        let arn = find::group_arn(ctx, &group.name);
        shown.push(logs::LogGroup {
            arn: Some(format!("{arn}:*")),
            log_group_arn: Some(arn),
            creation_time: Some(group.created_ms),
            retention_in_days: group.retention_days,
            metric_filter_count: Some(ctx.tx.children::<MetricFilter>(&group.name)?.len() as i32),
            stored_bytes: Some(events::stored_bytes(ctx.tx, &group.name)?),
            log_group_class: Some("STANDARD".into()),
            log_group_name: Some(group.name),
            ..logs::LogGroup::default()
        });
    }
    Ok(DescribeLogGroupsResponse { log_groups: Some(shown), next_token })
}
