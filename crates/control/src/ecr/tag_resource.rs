//! `TagResource`.

use super::repositories;
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{TagResourceRequest, TagResourceResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: TagResourceRequest) -> Result<TagResourceResponse> {
    let mut repository = repositories::by_arn(ctx, input.resource_arn.as_deref())?;
    repository.tags.extend(repositories::read_tags(input.tags)?);
    repositories::check_tags(&repository.tags)?;
    ctx.tx.put(&repository)?;
    Ok(TagResourceResponse::default())
}
