//! TagResource.

use super::tags;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{TagResourceRequest, TagResourceResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: TagResourceRequest) -> Result<TagResourceResponse> {
    let added = tags::read(input.tags)?;
    tags::change(ctx, input.resource_arn.as_deref().unwrap_or_default(), |tags| {
        tags.extend(added);
        if tags.len() > 50 {
            return Err(error::invalid_parameter_exception("At most 50 tags are allowed."));
        }
        Ok(())
    })?;
    Ok(TagResourceResponse::default())
}
