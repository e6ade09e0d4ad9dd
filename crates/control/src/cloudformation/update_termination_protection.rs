//! UpdateTerminationProtection.

use super::intake;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{UpdateTerminationProtectionInput, UpdateTerminationProtectionOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: UpdateTerminationProtectionInput) -> Result<UpdateTerminationProtectionOutput> {
    let mut stack = intake::existing(ctx, input.stack_name.as_deref())?;
    if stack.deleted_ms.is_some() {
        return Err(intake::missing(&stack.id));
    }
    stack.termination_protection = input.enable_termination_protection.unwrap_or_default();
    ctx.tx.put(&stack)?;
    Ok(UpdateTerminationProtectionOutput { stack_id: Some(stack.id) })
}
