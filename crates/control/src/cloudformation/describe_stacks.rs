//! DescribeStacks. A deleted stack is shown by its id only.

use super::page::page;
use super::records::Stack;
use super::{intake, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DescribeStacksInput, DescribeStacksOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeStacksInput) -> Result<DescribeStacksOutput> {
    if let Some(name) = input.stack_name.as_deref().filter(|name| !name.is_empty()) {
        let stack = intake::existing(ctx, Some(name))?;
        return Ok(DescribeStacksOutput { stacks: Some(vec![show::stack(ctx.platform, &stack)?]), next_token: None });
    }
    let mut all = ctx.tx.all::<Stack>()?;
    all.retain(|stack| stack.deleted_ms.is_none());
    all.reverse();
    let (stacks, next_token) = page(all, input.next_token.as_deref(), 100)?;
    let stacks = stacks.iter().map(|stack| show::stack(ctx.platform, stack)).collect::<Result<_>>()?;
    Ok(DescribeStacksOutput { stacks: Some(stacks), next_token })
}
