//! DeleteTaskDefinitions.

use super::records::{DefinitionStatus, Service, ServiceStatus, Task, TaskDefinition};
use super::{find, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DeleteTaskDefinitionsRequest, DeleteTaskDefinitionsResponse, error};
use quarry_domain::arn::resource_part;
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteTaskDefinitionsRequest) -> Result<DeleteTaskDefinitionsResponse> {
    let names = input.task_definitions.unwrap_or_default();
    if names.is_empty() || names.len() > 10 {
        return Err(error::invalid_parameter_exception("From 1 to 10 task definitions can be deleted at once."));
    }
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let named = resource_part(&name).contains(':');
        match find::task_definition(ctx, &name)?.filter(|_| named) {
            None => failures.push(view::failure(&name, "MISSING")),
            Some(record) if record.status == DefinitionStatus::Active => {
                failures.push(view::failure(&record.arn, "The specified task definition is still in ACTIVE status. Please deregister the target and try again."));
            }
            Some(mut record) => {
                record.status = DefinitionStatus::DeleteInProgress;
                record.definition.delete_requested_at = Some(Timestamp::from_millis(ctx.platform.now_ms()));
                deleted.push(view::task_definition(&record));
                if is_used(ctx, &record)? {
                    ctx.tx.put(&record)?;
                } else {
                    ctx.tx.delete::<TaskDefinition>(&record.arn)?;
                }
            }
        }
    }
    Ok(DeleteTaskDefinitionsResponse { task_definitions: Some(deleted), failures: Some(failures) })
}

/// Whether a task or a deployment still refers to it.
pub fn is_used(ctx: &Ctx<'_>, record: &TaskDefinition) -> Result<bool> {
    let by_task = ctx.tx.shared::<Task>()?.iter().any(|task| task.task_definition_arn == record.arn);
    let by_service = ctx.tx.shared::<Service>()?.iter().any(|service| {
        service.status != ServiceStatus::Inactive
            && service.deployments.iter().any(|deployment| deployment.task_definition == record.arn)
    });
    Ok(by_task || by_service)
}
