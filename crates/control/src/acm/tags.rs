//! Tags of certificates.

use super::find;
use crate::api::{Ctx, Result};
use quarry_aws::acm::{
    AddTagsToCertificateRequest, ListTagsForCertificateRequest, ListTagsForCertificateResponse,
    RemoveTagsFromCertificateRequest, Tag, error,
};
use quarry_wire::Empty;
use std::collections::BTreeMap;

const TAGS: usize = 50;

pub fn add(ctx: &mut Ctx<'_>, input: AddTagsToCertificateRequest) -> Result<Empty> {
    let mut certificate = find::certificate(ctx, input.certificate_arn.as_deref())?;
    add_tags(&mut certificate.tags, input.tags)?;
    ctx.tx.put(&certificate)?;
    Ok(Empty::default())
}

/// A tag with a value is removed only where it has that value.
pub fn remove(ctx: &mut Ctx<'_>, input: RemoveTagsFromCertificateRequest) -> Result<Empty> {
    let mut certificate = find::certificate(ctx, input.certificate_arn.as_deref())?;
    for tag in input.tags.unwrap_or_default() {
        let key = tag.key.unwrap_or_default();
        if tag.value.is_none() || certificate.tags.get(&key) == tag.value.as_ref() {
            certificate.tags.remove(&key);
        }
    }
    ctx.tx.put(&certificate)?;
    Ok(Empty::default())
}

pub fn list(ctx: &mut Ctx<'_>, input: ListTagsForCertificateRequest) -> Result<ListTagsForCertificateResponse> {
    let certificate = find::certificate(ctx, input.certificate_arn.as_deref())?;
    let tags = certificate.tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) });
    Ok(ListTagsForCertificateResponse { tags: Some(tags.collect()) })
}

/// Adds tags to those that are there, within AWS's limits.
pub fn add_tags(tags: &mut BTreeMap<String, String>, new: Option<Vec<Tag>>) -> Result<()> {
    for tag in new.unwrap_or_default() {
        let key = tag.key.unwrap_or_default();
        if key.is_empty() || key.to_ascii_lowercase().starts_with("aws:") {
            return Err(error::invalid_tag_exception(format!("The tag key '{key}' is not valid.")));
        }
        tags.insert(key, tag.value.unwrap_or_default());
    }
    if tags.len() > TAGS {
        return Err(error::too_many_tags_exception(format!("A certificate can have at most {TAGS} tags.")));
    }
    Ok(())
}
