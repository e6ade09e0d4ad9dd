//! DescribeStackResources: of a stack, or of the stack that a physical resource belongs to.

use super::records::{ResourceStatus, Stack, StackResource};
use super::world::refused;
use super::{intake, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DescribeStackResourcesInput, DescribeStackResourcesOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeStackResourcesInput) -> Result<DescribeStackResourcesOutput> {
    let stack = match (&input.stack_name, &input.physical_resource_id) {
        (Some(_), Some(_)) => {
            return Err(refused("You can specify either the stack name or the physical resource id, but not both."));
        }
        (None, None) => return Err(refused("Either the stack name or the physical resource id must be specified.")),
        (Some(name), None) => intake::find(ctx, name)?.ok_or_else(|| intake::missing(name))?,
        (None, Some(physical)) => {
            let owner =
                ctx.tx.all::<StackResource>()?.into_iter().find(|r| {
                    r.state.physical_id.as_ref() == Some(physical) && r.status != ResourceStatus::DeleteComplete
                });
            let owner = owner.map(|r| ctx.tx.get::<Stack>(&r.stack_id)).transpose()?.flatten();
            owner.ok_or_else(|| refused(format!("Stack for {physical} does not exist")))?
        }
    };
    let mut records = ctx.tx.children::<StackResource>(&stack.id)?;
    if let Some(logical) = &input.logical_resource_id {
        records.retain(|r| r.logical_id == *logical);
        if records.is_empty() {
            return Err(refused(format!("Resource {logical} does not exist for stack {}", stack.name)));
        }
    }
    records.sort_by(|a, b| a.logical_id.cmp(&b.logical_id));
    let shown = records.iter().take(100).map(|record| show::resource(&stack, record)).collect();
    Ok(DescribeStackResourcesOutput { stack_resources: Some(shown) })
}
