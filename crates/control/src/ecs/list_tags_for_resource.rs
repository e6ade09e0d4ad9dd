//! ListTagsForResource.

use super::tags;
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{ListTagsForResourceRequest, ListTagsForResourceResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: ListTagsForResourceRequest) -> Result<ListTagsForResourceResponse> {
    let tags = tags::change(ctx, input.resource_arn.as_deref().unwrap_or_default(), |_| Ok(()))?;
    Ok(ListTagsForResourceResponse { tags: Some(tags::show(&tags)) })
}
