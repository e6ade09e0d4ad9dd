//! ListStackResources.

use super::page::page;
use super::records::StackResource;
use super::{intake, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{
    ListStackResourcesInput, ListStackResourcesOutput, StackResourceDriftInformationSummary, StackResourceSummary,
};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: ListStackResourcesInput) -> Result<ListStackResourcesOutput> {
    let stack = intake::existing(ctx, input.stack_name.as_deref())?;
    let mut records = ctx.tx.children::<StackResource>(&stack.id)?;
    records.sort_by(|a, b| a.logical_id.cmp(&b.logical_id));
    let (records, next_token) = page(records, input.next_token.as_deref(), 100)?;
    let summary = |record: StackResource| StackResourceSummary {
        drift_information: Some(StackResourceDriftInformationSummary {
            stack_resource_drift_status: Some(show::resource_drift(&record).into()),
            last_check_timestamp: record.drift.as_ref().map(|d| Timestamp::from_millis(d.at_ms)),
        }),
        logical_resource_id: Some(record.logical_id),
        physical_resource_id: record.state.physical_id,
        resource_type: Some(record.type_name),
        last_updated_timestamp: Some(Timestamp::from_millis(record.updated_ms)),
        resource_status: Some(record.status.as_str().to_owned()),
        resource_status_reason: record.status_reason,
        ..Default::default()
    };
    Ok(ListStackResourcesOutput {
        stack_resource_summaries: Some(records.into_iter().map(summary).collect()),
        next_token,
    })
}
