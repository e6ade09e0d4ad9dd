//! DescribeStackResource.

use super::records::StackResource;
use super::world::refused;
use super::{intake, show};
use crate::api::{Ctx, Result};
use quarry_aws::cloudformation::{
    DescribeStackResourceInput, DescribeStackResourceOutput, StackResourceDetail, StackResourceDriftInformation,
};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeStackResourceInput) -> Result<DescribeStackResourceOutput> {
    let name = input.stack_name.unwrap_or_default();
    let stack = intake::find(ctx, &name)?.ok_or_else(|| refused(format!("Stack '{name}' does not exist")))?;
    let logical = input.logical_resource_id.unwrap_or_default();
    let record = ctx
        .tx
        .get::<StackResource>(&StackResource::key_of(&stack.id, &logical))?
        .ok_or_else(|| refused(format!("Resource {logical} does not exist for stack {}", stack.name)))?;
    let detail = StackResourceDetail {
        drift_information: Some(StackResourceDriftInformation {
            stack_resource_drift_status: Some(show::resource_drift(&record).into()),
            last_check_timestamp: record.drift.as_ref().map(|d| Timestamp::from_millis(d.at_ms)),
        }),
        stack_name: Some(stack.name),
        stack_id: Some(stack.id),
        logical_resource_id: Some(record.logical_id),
        physical_resource_id: record.state.physical_id,
        resource_type: Some(record.type_name),
        last_updated_timestamp: Some(Timestamp::from_millis(record.updated_ms)),
        resource_status: Some(record.status.as_str().to_owned()),
        resource_status_reason: record.status_reason,
        metadata: record.state.metadata.map(|metadata| metadata.to_string()),
        ..Default::default()
    };
    Ok(DescribeStackResourceOutput { stack_resource_detail: Some(detail) })
}
