//! DescribeTaskDefinition.

use super::{find, tags, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DescribeTaskDefinitionRequest, DescribeTaskDefinitionResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeTaskDefinitionRequest) -> Result<DescribeTaskDefinitionResponse> {
    let found = find::task_definition(ctx, input.task_definition.as_deref().unwrap_or_default())?;
    let record = found.ok_or_else(|| error::client_exception("Unable to describe task definition."))?;
    let with_tags = input.include.iter().flatten().any(|include| include == "TAGS");
    Ok(DescribeTaskDefinitionResponse {
        task_definition: Some(view::task_definition(&record)),
        tags: Some(if with_tags { tags::show(&record.tags) } else { Vec::new() }),
    })
}
