//! GetStackPolicy: the text as it was given, or nothing.

use super::intake;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{GetStackPolicyInput, GetStackPolicyOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: GetStackPolicyInput) -> Result<GetStackPolicyOutput> {
    let stack = intake::existing(ctx, input.stack_name.as_deref())?;
    Ok(GetStackPolicyOutput { stack_policy_body: stack.policy })
}
