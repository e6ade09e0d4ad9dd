//! Tags of scalable targets.

use super::error::validation;
use super::records::Target;
use crate::api::{Ctx, Result};
use quarry_aws::application_autoscaling::{
    ListTagsForResourceRequest, ListTagsForResourceResponse, TagResourceRequest, TagResourceResponse,
    UntagResourceRequest, UntagResourceResponse, error,
};
use std::collections::BTreeMap;

/// Tags that a target may have.
const TAGS: usize = 50;

pub fn list(ctx: &mut Ctx<'_>, input: ListTagsForResourceRequest) -> Result<ListTagsForResourceResponse> {
    let target = find(ctx, input.resource_arn.as_deref())?;
    Ok(ListTagsForResourceResponse { tags: Some(target.tags) })
}

pub fn tag(ctx: &mut Ctx<'_>, input: TagResourceRequest) -> Result<TagResourceResponse> {
    let mut target = find(ctx, input.resource_arn.as_deref())?;
    put(&mut target.tags, input.tags.unwrap_or_default())?;
    ctx.tx.put(&target)?;
    Ok(TagResourceResponse {})
}

pub fn untag(ctx: &mut Ctx<'_>, input: UntagResourceRequest) -> Result<UntagResourceResponse> {
    let mut target = find(ctx, input.resource_arn.as_deref())?;
    for key in input.tag_keys.iter().flatten() {
        target.tags.remove(key);
    }
    ctx.tx.put(&target)?;
    Ok(UntagResourceResponse {})
}

pub fn put(present: &mut BTreeMap<String, String>, given: BTreeMap<String, String>) -> Result<()> {
    if let Some(key) = given.keys().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(validation(format!("The tag key {key} begins with aws:, which is reserved")));
    }
    present.extend(given);
    if present.len() > TAGS {
        return Err(error::too_many_tags_exception(format!("A resource has at most {TAGS} tags")));
    }
    Ok(())
}

fn find(ctx: &Ctx<'_>, arn: Option<&str>) -> Result<Target> {
    let arn = arn.unwrap_or_default();
    ctx.tx
        .all::<Target>()?
        .into_iter()
        .find(|target| target.arn == arn)
        .ok_or_else(|| error::resource_not_found_exception(format!("The specified resource doesn't exist: {arn}")))
}
