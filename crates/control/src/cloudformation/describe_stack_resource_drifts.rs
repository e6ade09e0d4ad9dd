//! DescribeStackResourceDrifts: what the latest detection found. Resources whose types cannot be read
//! back are shown only when they are asked for.

use super::page::page;
use super::records::StackResource;
use super::world::refused;
use super::{drift, intake, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DescribeStackResourceDriftsInput, DescribeStackResourceDriftsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeStackResourceDriftsInput) -> Result<DescribeStackResourceDriftsOutput> {
    let stack = intake::existing(ctx, input.stack_name.as_deref())?;
    let filters = input.stack_resource_drift_status_filters.unwrap_or_default();
    let size = match input.max_results {
        None => 100,
        Some(size @ 1..=100) => size as usize,
        Some(_) => return Err(refused("MaxResults must be between 1 and 100")),
    };
    let mut records = ctx.tx.children::<StackResource>(&stack.id)?;
    records.retain(|record| match show::resource_drift(record) {
        status if filters.is_empty() => status != "NOT_CHECKED",
        status => filters.iter().any(|filter| filter == status),
    });
    records.sort_by(|a, b| a.logical_id.cmp(&b.logical_id));
    let (records, next_token) = page(records, input.next_token.as_deref(), size)?;
    let drifts = records.iter().filter_map(|record| drift::shown(&stack, record)).collect();
    Ok(DescribeStackResourceDriftsOutput { stack_resource_drifts: Some(drifts), next_token })
}
