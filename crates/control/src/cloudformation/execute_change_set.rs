//! ExecuteChangeSet: the stack goes from REVIEW_IN_PROGRESS to CREATE_IN_PROGRESS.

use super::records::{ChangeSet, ChangeSetStatus, OnFailure, Stack, StackStatus, Work};
use super::{change_set, events, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{ExecuteChangeSetInput, ExecuteChangeSetOutput, error};

pub fn handle(ctx: &mut Ctx<'_>, input: ExecuteChangeSetInput) -> Result<ExecuteChangeSetOutput> {
    let mut set = change_set::find(ctx, input.change_set_name.as_deref(), input.stack_name.as_deref())?;
    let mut stack = ctx.tx.get::<Stack>(&set.stack_id)?.ok_or_else(|| intake::missing(&set.stack_name))?;
    if set.executed || set.status != ChangeSetStatus::CreateComplete || stack.status != StackStatus::ReviewInProgress {
        return Err(error::invalid_change_set_status_exception(format!(
            "ChangeSet [{}] cannot be executed in its current status of [{}]",
            set.id,
            if set.executed { "EXECUTE_COMPLETE" } else { set.status.as_str() }
        )));
    }
    let template = intake::parse(&set.template)?;
    stack.template.clone_from(&set.template);
    stack.description = template.description.clone();
    stack.parameters.clone_from(&set.parameters);
    stack.capabilities.clone_from(&set.capabilities);
    stack.tags.clone_from(&set.tags);
    stack.on_failure = if input.disable_rollback == Some(true) { OnFailure::DoNothing } else { set.on_failure };
    stack.token = input.client_request_token;
    stack.change_set_id = Some(set.id.clone());
    // Exports may have come or gone since the change set was made.
    intake::rehearse(ctx, &mut stack, &template)?;
    for other in ctx.tx.children::<ChangeSet>(&stack.id)?.iter().filter(|other| other.id != set.id) {
        ctx.tx.delete::<ChangeSet>(&other.id)?;
    }
    set.executed = true;
    ctx.tx.put(&set)?;
    events::stack(ctx, &mut stack, StackStatus::CreateInProgress, Some("User Initiated".into()))?;
    ctx.tx.put(&Work { stack_id: stack.id })?;
    Ok(ExecuteChangeSetOutput {})
}
