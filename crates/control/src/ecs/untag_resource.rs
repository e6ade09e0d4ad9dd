//! UntagResource.

use super::tags;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{UntagResourceRequest, UntagResourceResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: UntagResourceRequest) -> Result<UntagResourceResponse> {
    let keys = input.tag_keys.unwrap_or_default();
    tags::change(ctx, input.resource_arn.as_deref().unwrap_or_default(), |tags| {
        tags.retain(|key, _| !keys.contains(key));
        Ok(())
    })?;
    Ok(UntagResourceResponse::default())
}
