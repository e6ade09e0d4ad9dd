//! DeregisterTaskDefinition.

use super::records::DefinitionStatus;
use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DeregisterTaskDefinitionRequest, DeregisterTaskDefinitionResponse, error};
use quarry_domain::arn::resource_part;
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: DeregisterTaskDefinitionRequest) -> Result<DeregisterTaskDefinitionResponse> {
    let name = input.task_definition.unwrap_or_default();
    if !resource_part(&name).contains(':') {
        return Err(error::client_exception("The specified task definition must name a revision (family:revision)."));
    }
    let found = find::task_definition(ctx, &name)?;
    let mut record = found.ok_or_else(|| error::client_exception("The specified task definition does not exist."))?;
    if record.status == DefinitionStatus::Active {
        record.status = DefinitionStatus::Inactive;
        record.definition.deregistered_at = Some(Timestamp::from_millis(ctx.platform.now_ms()));
        ctx.tx.put(&record)?;
    }
    Ok(DeregisterTaskDefinitionResponse { task_definition: Some(view::task_definition(&record)) })
}
