//! RollbackStack: a failed creation or update that was left as it was is undone.

use super::records::{ResourceStatus, StackResource, StackStatus};
use super::world::refused;
use super::{carry, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{RollbackStackInput, RollbackStackOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: RollbackStackInput) -> Result<RollbackStackOutput> {
    let mut stack = intake::existing(ctx, input.stack_name.as_deref())?;
    let answer = RollbackStackOutput { stack_id: Some(stack.id.clone()), ..Default::default() };
    if input.client_request_token.is_some() && stack.token == input.client_request_token {
        return Ok(answer);
    }
    if !matches!(stack.status, StackStatus::CreateFailed | StackStatus::UpdateFailed) {
        return Err(refused(format!(
            "Stack:{} is in {} state and can not be rolled back.",
            stack.id,
            stack.status.as_str()
        )));
    }
    stack.token = input.client_request_token;
    stack.delete_new = input.retain_except_on_create.unwrap_or(stack.delete_new);
    intake::check_role(ctx, input.role_arn.as_deref())?;
    if input.role_arn.is_some() {
        stack.role_arn = input.role_arn;
    }
    for mut record in ctx.tx.children::<StackResource>(&stack.id)? {
        if record.status == ResourceStatus::DeleteFailed {
            record.status = ResourceStatus::DeleteInProgress;
            ctx.tx.put(&record)?;
        }
    }
    carry::finish::roll_back(ctx, &mut stack, Some("User Initiated".into()))?;
    intake::work(ctx, stack.id)?;
    Ok(answer)
}
