//! CancelUpdateStack: an update in progress is rolled back.

use super::records::StackStatus;
use super::world::refused;
use super::{carry, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::CancelUpdateStackInput;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: CancelUpdateStackInput) -> Result<Empty> {
    let mut stack = intake::existing(ctx, input.stack_name.as_deref())?;
    if input.client_request_token.is_some() && stack.token == input.client_request_token {
        return Ok(Empty {});
    }
    if stack.status != StackStatus::UpdateInProgress {
        return Err(refused("CancelUpdateStack cannot be called from current stack status"));
    }
    stack.token = input.client_request_token;
    carry::finish::cancel_resources(ctx, &stack)?;
    carry::finish::roll_back(ctx, &mut stack, Some("User Initiated".into()))?;
    intake::work(ctx, stack.id)?;
    Ok(Empty {})
}
