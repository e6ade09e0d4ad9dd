//! ExecuteChangeSet: the stack is made, or its update begins.

use super::changes::Changes;
use super::describe_change_set::execution_status;
use super::records::{ChangeSet, OnFailure, Stack, StackStatus};
use super::updating::{self, Manner};
use super::{carry, change_set, events, exists, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{ExecuteChangeSetInput, ExecuteChangeSetOutput, error};

pub fn handle(ctx: &mut Ctx<'_>, input: ExecuteChangeSetInput) -> Result<ExecuteChangeSetOutput> {
    let mut set = change_set::find(ctx, input.change_set_name.as_deref(), input.stack_name.as_deref())?;
    let mut stack = ctx.tx.get::<Stack>(&set.stack_id)?.ok_or_else(|| intake::missing(&set.stack_name))?;
    // The same request again, because its answer was lost.
    if set.executed && input.client_request_token.is_some() && stack.token == input.client_request_token {
        return Ok(ExecuteChangeSetOutput {});
    }
    let state = execution_status(&set);
    if state != "AVAILABLE" || (set.creates && stack.status != StackStatus::ReviewInProgress) {
        let told = if state == "UNAVAILABLE" { set.status.as_str() } else { state };
        return Err(error::invalid_change_set_status_exception(format!(
            "ChangeSet [{}] cannot be executed in its current status of [{told}]",
            set.id
        )));
    }
    let template = intake::parse(&set.revision.template)?;
    let keeps = set.on_failure == OnFailure::DoNothing || input.disable_rollback == Some(true);
    stack.change_set_id = Some(set.id.clone());
    for other in ctx.tx.children::<ChangeSet>(&stack.id)?.iter().filter(|other| other.id != set.id) {
        ctx.tx.delete::<ChangeSet>(&other.id)?;
    }
    set.executed = true;
    ctx.tx.put(&set)?;
    let delete_new = input.retain_except_on_create.unwrap_or(false);
    if !set.creates {
        updating::check_state(&stack)?;
        // Exports may have come or gone since the change set was made.
        let mut new = Stack { revision: set.revision.clone(), ..stack.clone() };
        intake::rehearse(ctx, &mut new, &template)?;
        let changes = Changes { removed: set.removed, ..Changes::default() };
        let manner = Manner { preserve: keeps, delete_new, policy: None, token: input.client_request_token };
        updating::begin(ctx, stack, new.revision, &template, &changes, manner)?;
        return Ok(ExecuteChangeSetOutput {});
    }
    stack.revision = set.revision;
    stack.on_failure = if keeps { OnFailure::DoNothing } else { set.on_failure };
    stack.token = input.client_request_token;
    stack.delete_new = delete_new;
    intake::rehearse(ctx, &mut stack, &template)?;
    events::stack(ctx, &mut stack, StackStatus::CreateInProgress, Some("User Initiated".into()))?;
    intake::work(ctx, stack.id.clone())?;
    if let Some(reason) = exists::missing(ctx, &template, &stack.revision.parameters)? {
        carry::finish::fail(ctx, &stack.id, reason)?;
    }
    Ok(ExecuteChangeSetOutput {})
}
