//! ListChangeSets.

use super::describe_change_set::execution_status;
use super::intake;
use super::page::page;
use super::records::ChangeSet;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{ChangeSetSummary, ListChangeSetsInput, ListChangeSetsOutput};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: ListChangeSetsInput) -> Result<ListChangeSetsOutput> {
    let stack = intake::existing(ctx, input.stack_name.as_deref())?;
    let (sets, next_token) = page(ctx.tx.children::<ChangeSet>(&stack.id)?, input.next_token.as_deref(), 100)?;
    let summary = |set: ChangeSet| ChangeSetSummary {
        execution_status: Some(execution_status(&set).to_owned()),
        stack_id: Some(set.stack_id),
        stack_name: Some(set.stack_name),
        change_set_id: Some(set.id),
        change_set_name: Some(set.name),
        status: Some(set.status.as_str().to_owned()),
        status_reason: set.status_reason,
        creation_time: Some(Timestamp::from_millis(set.created_ms)),
        description: set.description,
        ..Default::default()
    };
    Ok(ListChangeSetsOutput { summaries: Some(sets.into_iter().map(summary).collect()), next_token })
}
