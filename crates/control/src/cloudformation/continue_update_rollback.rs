//! ContinueUpdateRollback: a rollback that failed is tried again, without the resources to be skipped.

use super::records::{ResourceStatus, StackResource, StackStatus};
use super::world::refused;
use super::{carry, events, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{ContinueUpdateRollbackInput, ContinueUpdateRollbackOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ContinueUpdateRollbackInput) -> Result<ContinueUpdateRollbackOutput> {
    let mut stack = intake::existing(ctx, input.stack_name.as_deref())?;
    if input.client_request_token.is_some() && stack.token == input.client_request_token {
        return Ok(ContinueUpdateRollbackOutput {});
    }
    if stack.status != StackStatus::UpdateRollbackFailed {
        return Err(refused(format!(
            "Stack:{} is in {} state and can not be rolled back.",
            stack.id,
            stack.status.as_str()
        )));
    }
    let skipped = input.resources_to_skip.unwrap_or_default();
    let records = ctx.tx.children::<StackResource>(&stack.id)?;
    let failed = |id: &String| records.iter().any(|r| r.logical_id == *id && r.status == ResourceStatus::UpdateFailed);
    if let Some(id) = skipped.iter().find(|id| !failed(id)) {
        return Err(refused(format!(
            "Resource [{id}] cannot be skipped: only resources in the UPDATE_FAILED state can be skipped."
        )));
    }
    stack.token = input.client_request_token;
    intake::check_role(ctx, input.role_arn.as_deref())?;
    if input.role_arn.is_some() {
        stack.role_arn = input.role_arn;
    }
    events::stack(ctx, &mut stack, StackStatus::UpdateRollbackInProgress, Some("User Initiated".into()))?;
    for mut record in records.into_iter().filter(|r| r.status == ResourceStatus::UpdateFailed) {
        if skipped.contains(&record.logical_id) {
            carry::restore::skip(ctx, &stack, &mut record)?;
        } else {
            record.phase = None;
            ctx.tx.put(&record)?;
        }
    }
    intake::work(ctx, stack.id)?;
    Ok(ContinueUpdateRollbackOutput {})
}
