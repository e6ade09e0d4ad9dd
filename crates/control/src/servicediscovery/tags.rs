//! Tags of namespaces and services.

use super::check;
use super::records::{Namespace, Service, Tags};
use crate::api::{Ctx, Result};
use quarry_aws::servicediscovery as aws;
use quarry_aws::servicediscovery::error;
use quarry_domain::arn::resource_part;

pub fn list(ctx: &mut Ctx<'_>, input: aws::ListTagsForResourceRequest) -> Result<aws::ListTagsForResourceResponse> {
    let tags = change(ctx, input.resource_arn, |_| Ok(()))?;
    let tag = |(key, value)| aws::Tag { key: Some(key), value: Some(value) };
    Ok(aws::ListTagsForResourceResponse { tags: Some(tags.into_iter().map(tag).collect()) })
}

pub fn tag(ctx: &mut Ctx<'_>, input: aws::TagResourceRequest) -> Result<aws::TagResourceResponse> {
    let arn = input.resource_arn.clone().unwrap_or_default();
    change(ctx, input.resource_arn, |tags| check::add_tags(tags, input.tags, &arn))?;
    Ok(aws::TagResourceResponse {})
}

pub fn untag(ctx: &mut Ctx<'_>, input: aws::UntagResourceRequest) -> Result<aws::UntagResourceResponse> {
    let keys = input.tag_keys.unwrap_or_default();
    change(ctx, input.resource_arn, |tags| {
        tags.retain(|key, _| !keys.contains(key));
        Ok(())
    })?;
    Ok(aws::UntagResourceResponse {})
}

/// Changes the tags of a resource, and returns them.
fn change(ctx: &Ctx<'_>, arn: Option<String>, f: impl FnOnce(&mut Tags) -> Result<()>) -> Result<Tags> {
    let arn = arn.unwrap_or_default();
    let missing = || error::resource_not_found_exception(format!("The resource {arn} was not found."));
    macro_rules! change {
        ($record:ty, $id:expr) => {{
            let found: Option<$record> = ctx.tx.get($id)?;
            let mut record = found.filter(|record| record.arn == arn).ok_or_else(missing)?;
            let before = record.tags.clone();
            f(&mut record.tags)?;
            if record.tags != before {
                ctx.tx.put(&record)?;
            }
            Ok(record.tags)
        }};
    }
    match resource_part(&arn).split_once('/') {
        Some(("namespace", id)) => change!(Namespace, id),
        Some(("service", id)) => change!(Service, id),
        _ => Err(missing()),
    }
}
