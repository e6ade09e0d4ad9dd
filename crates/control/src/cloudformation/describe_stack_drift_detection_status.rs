//! DescribeStackDriftDetectionStatus, of the latest detection of each stack.

use super::records::{Stack, StackDrift};
use super::world::refused;
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{DescribeStackDriftDetectionStatusInput, DescribeStackDriftDetectionStatusOutput};
use quarry_wire::Timestamp;

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: DescribeStackDriftDetectionStatusInput,
) -> Result<DescribeStackDriftDetectionStatusOutput> {
    let id = input.stack_drift_detection_id.unwrap_or_default();
    let stacks = ctx.tx.all::<Stack>()?;
    let found = stacks.iter().find_map(|s| s.drift.as_ref().filter(|d| d.id == id).map(|d| (s, d)));
    let Some((stack, drift)): Option<(&Stack, &StackDrift)> = found else {
        return Err(refused(format!("No drift detection with id {id} found.")));
    };
    Ok(DescribeStackDriftDetectionStatusOutput {
        stack_id: Some(stack.id.clone()),
        stack_drift_detection_id: Some(id),
        detection_status: Some("DETECTION_COMPLETE".into()),
        stack_drift_status: Some(drift.status().into()),
        drifted_stack_resource_count: Some(drift.drifted),
        timestamp: Some(Timestamp::from_millis(drift.at_ms)),
        ..Default::default()
    })
}
