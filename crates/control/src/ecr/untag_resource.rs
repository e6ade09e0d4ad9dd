//! `UntagResource`.

use super::repositories;
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{UntagResourceRequest, UntagResourceResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: UntagResourceRequest) -> Result<UntagResourceResponse> {
    let mut repository = repositories::by_arn(ctx, input.resource_arn.as_deref())?;
    for key in input.tag_keys.unwrap_or_default() {
        repository.tags.remove(&key);
    }
    ctx.tx.put(&repository)?;
    Ok(UntagResourceResponse::default())
}
