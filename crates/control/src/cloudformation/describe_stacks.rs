//! DescribeStacks. A deleted stack is shown by its id only.

use super::page::page;
use super::records::Stack;
use super::{intake, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DescribeStacksInput, DescribeStacksOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeStacksInput) -> Result<DescribeStacksOutput> {
    if let Some(name) = input.stack_name.as_deref().filter(|name| !name.is_empty()) {
        let stack = intake::existing(ctx, Some(name))?;
        return Ok(DescribeStacksOutput { stacks: Some(vec![show::stack(&stack)]), next_token: None });
    }
    let mut all = ctx.tx.all::<Stack>()?;
    all.retain(|stack| stack.deleted_ms.is_none());
    all.reverse();
    let (stacks, next_token) = page(all, input.next_token.as_deref(), 100)?;
    Ok(DescribeStacksOutput { stacks: Some(stacks.iter().map(show::stack).collect()), next_token })
}
