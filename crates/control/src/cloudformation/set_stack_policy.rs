//! SetStackPolicy.

use super::world::refused;
use super::{intake, policy};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::SetStackPolicyInput;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: SetStackPolicyInput) -> Result<Empty> {
    let mut stack = intake::existing(ctx, input.stack_name.as_deref())?;
    if stack.deleted_ms.is_some() {
        return Err(intake::missing(&stack.id));
    }
    let given = policy::given(input.stack_policy_body, input.stack_policy_url)?;
    stack.policy = Some(given.ok_or_else(|| refused("StackPolicyBody or StackPolicyURL must be given."))?);
    ctx.tx.put(&stack)?;
    Ok(Empty {})
}
