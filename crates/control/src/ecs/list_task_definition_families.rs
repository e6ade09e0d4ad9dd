//! ListTaskDefinitionFamilies.

use super::page::page;
use super::records::{DefinitionStatus, TaskDefinition};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListTaskDefinitionFamiliesRequest, ListTaskDefinitionFamiliesResponse, error};
use std::collections::BTreeMap;

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: ListTaskDefinitionFamiliesRequest,
) -> Result<ListTaskDefinitionFamiliesResponse> {
    let status = input.status.as_deref().unwrap_or("ACTIVE");
    if !matches!(status, "ACTIVE" | "INACTIVE" | "ALL") {
        return Err(error::invalid_parameter_exception(format!("Invalid task definition family status '{status}'.")));
    }
    // A family is active while one of its revisions is.
    let mut families: BTreeMap<String, bool> = BTreeMap::new();
    for record in ctx.tx.all::<TaskDefinition>()? {
        *families.entry(record.family).or_default() |= record.status == DefinitionStatus::Active;
    }
    let prefix = input.family_prefix.unwrap_or_default();
    let wanted = |(family, active): (String, bool)| {
        let shown = status == "ALL" || active == (status == "ACTIVE");
        (shown && family.starts_with(&prefix)).then_some(family)
    };
    let families = families.into_iter().filter_map(wanted).collect();
    let (families, next_token) = page(families, String::clone, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListTaskDefinitionFamiliesResponse { families: Some(families), next_token })
}
