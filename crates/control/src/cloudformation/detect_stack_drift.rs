//! DetectStackDrift: looks at all resources at once, so that it is complete when it answers.

use super::records::{StackDrift, StackResource};
use super::world::refused;
use super::{drift, intake};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DetectStackDriftInput, DetectStackDriftOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DetectStackDriftInput) -> Result<DetectStackDriftOutput> {
    let mut stack = intake::existing(ctx, input.stack_name.as_deref())?;
    drift::check_state(&stack)?;
    let only = input.logical_resource_ids.unwrap_or_default();
    let records = ctx.tx.children::<StackResource>(&stack.id)?;
    if let Some(unknown) = only.iter().find(|id| !records.iter().any(|r| r.logical_id == **id)) {
        return Err(refused(format!("Resource {unknown} does not exist for stack {}", stack.name)));
    }
    let (mut drifted, mut checked) = (0, 0);
    for mut record in records {
        if only.is_empty() || only.contains(&record.logical_id) {
            drift::detect(ctx, &stack, &mut record)?;
            checked += 1;
        }
        drifted += i32::from(drift::is_drifted(&record));
    }
    let id = ctx.platform.door.uuid();
    stack.drift = Some(StackDrift { id: id.clone(), drifted, checked, at_ms: ctx.platform.now_ms() });
    ctx.tx.put(&stack)?;
    Ok(DetectStackDriftOutput { stack_drift_detection_id: Some(id) })
}
