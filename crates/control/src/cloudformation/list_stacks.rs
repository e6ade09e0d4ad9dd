//! ListStacks: all, deleted ones too, newest first.

use super::page::page;
use super::records::Stack;
use super::show;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{ListStacksInput, ListStacksOutput, StackDriftInformationSummary, StackSummary};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: ListStacksInput) -> Result<ListStacksOutput> {
    let filter = input.stack_status_filter.unwrap_or_default();
    let mut stacks = ctx.tx.all::<Stack>()?;
    stacks.retain(|stack| filter.is_empty() || filter.iter().any(|status| status == stack.status.as_str()));
    stacks.reverse();
    let (stacks, next_token) = page(stacks, input.next_token.as_deref(), 100)?;
    let summary = |stack: Stack| StackSummary {
        drift_information: Some(StackDriftInformationSummary {
            stack_drift_status: show::drift(&stack).stack_drift_status,
            last_check_timestamp: show::drift(&stack).last_check_timestamp,
        }),
        last_updated_time: stack.updated_ms.map(Timestamp::from_millis),
        stack_id: Some(stack.id),
        stack_name: Some(stack.name),
        template_description: stack.revision.description,
        creation_time: Some(Timestamp::from_millis(stack.created_ms)),
        deletion_time: stack.deleted_ms.map(Timestamp::from_millis),
        stack_status: Some(stack.status.as_str().to_owned()),
        stack_status_reason: stack.status_reason,
        ..Default::default()
    };
    Ok(ListStacksOutput { stack_summaries: Some(stacks.into_iter().map(summary).collect()), next_token })
}
