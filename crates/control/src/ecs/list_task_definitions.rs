//! ListTaskDefinitions.

use super::page::page;
use super::records::TaskDefinition;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListTaskDefinitionsRequest, ListTaskDefinitionsResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: ListTaskDefinitionsRequest) -> Result<ListTaskDefinitionsResponse> {
    let status = input.status.as_deref().unwrap_or("ACTIVE");
    if !matches!(status, "ACTIVE" | "INACTIVE" | "DELETE_IN_PROGRESS") {
        return Err(error::invalid_parameter_exception(format!("Invalid task definition status '{status}'.")));
    }
    let mut found: Vec<TaskDefinition> = match input.family_prefix.as_deref().filter(|family| !family.is_empty()) {
        Some(family) => ctx.tx.children(family)?,
        None => ctx.tx.all()?,
    };
    found.retain(|record| record.status.as_str() == status);
    found.sort_by(|a, b| (&a.family, a.revision).cmp(&(&b.family, b.revision)));
    if input.sort.as_deref() == Some("DESC") {
        found.reverse();
    }
    let arns = found.into_iter().map(|record| record.arn).collect();
    let (arns, next_token) = page(arns, String::clone, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListTaskDefinitionsResponse { task_definition_arns: Some(arns), next_token })
}
