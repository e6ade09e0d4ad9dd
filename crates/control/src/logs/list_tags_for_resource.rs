//! ListTagsForResource.

use super::tags;
use crate::api::{Ctx, Result};
use quarry_aws::logs::{ListTagsForResourceRequest, ListTagsForResourceResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: ListTagsForResourceRequest) -> Result<ListTagsForResourceResponse> {
    let group = tags::group_by_arn(ctx, input.resource_arn.as_deref())?;
    Ok(ListTagsForResourceResponse { tags: Some(group.tags) })
}
