//! `ListTagsForResource`.

use super::repositories;
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{ListTagsForResourceRequest, ListTagsForResourceResponse, Tag};

pub fn handle(ctx: &mut Ctx<'_>, input: ListTagsForResourceRequest) -> Result<ListTagsForResourceResponse> {
    let repository = repositories::by_arn(ctx, input.resource_arn.as_deref())?;
    let tags = repository.tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) });
    Ok(ListTagsForResourceResponse { tags: Some(tags.collect()) })
}
