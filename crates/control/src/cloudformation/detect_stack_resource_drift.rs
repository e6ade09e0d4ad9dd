//! DetectStackResourceDrift.

use super::records::StackResource;
use super::world::refused;
use super::{drift, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DetectStackResourceDriftInput, DetectStackResourceDriftOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DetectStackResourceDriftInput) -> Result<DetectStackResourceDriftOutput> {
    let stack = intake::existing(ctx, input.stack_name.as_deref())?;
    drift::check_state(&stack)?;
    let logical = input.logical_resource_id.unwrap_or_default();
    let mut record = ctx
        .tx
        .get::<StackResource>(&StackResource::key_of(&stack.id, &logical))?
        .ok_or_else(|| refused(format!("Resource {logical} does not exist for stack {}", stack.name)))?;
    drift::detect(ctx, &stack, &mut record)?;
    Ok(DetectStackResourceDriftOutput { stack_resource_drift: drift::shown(&stack, &record) })
}
