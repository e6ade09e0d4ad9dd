//! Tags of sampling rules and groups.

use super::records::{Group, Rule};
use super::{invalid, named, rules};
use crate::api::{Ctx, Result};
use quarry_aws::xray::{
    ListTagsForResourceRequest, ListTagsForResourceResponse, Tag, TagResourceRequest, TagResourceResponse,
    UntagResourceRequest, UntagResourceResponse, error,
};
use quarry_domain::arn::resource_part;
use std::collections::BTreeMap;

const MAX_TAGS: usize = 50;

/// Those that are there with new ones, within AWS's limits.
pub fn checked(mut tags: BTreeMap<String, String>, new: Option<Vec<Tag>>) -> Result<BTreeMap<String, String>> {
    for tag in new.unwrap_or_default() {
        let key = tag.key.unwrap_or_default();
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys that begin with aws: are reserved."));
        }
        tags.insert(key, tag.value.unwrap_or_default());
    }
    if tags.len() > MAX_TAGS {
        return Err(error::too_many_tags_exception("A resource can have at most 50 tags."));
    }
    Ok(tags)
}

pub fn add(ctx: &mut Ctx<'_>, input: TagResourceRequest) -> Result<TagResourceResponse> {
    change(ctx, input.resource_arn, |tags| checked(tags, input.tags))?;
    Ok(TagResourceResponse::default())
}

pub fn remove(ctx: &mut Ctx<'_>, input: UntagResourceRequest) -> Result<UntagResourceResponse> {
    let keys = input.tag_keys.unwrap_or_default();
    change(ctx, input.resource_arn, |mut tags| {
        tags.retain(|key, _| !keys.contains(key));
        Ok(tags)
    })?;
    Ok(UntagResourceResponse::default())
}

pub fn list(ctx: &mut Ctx<'_>, input: ListTagsForResourceRequest) -> Result<ListTagsForResourceResponse> {
    let tags = match found(ctx, input.resource_arn)? {
        Tagged::Rule(rule) => rule.tags,
        Tagged::Group(group) => group.tags,
    };
    let shown = tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) });
    Ok(ListTagsForResourceResponse { tags: Some(shown.collect()), next_token: None })
}

enum Tagged {
    Rule(Rule),
    Group(Group),
}

fn found(ctx: &Ctx<'_>, arn: Option<String>) -> Result<Tagged> {
    let arn = arn.unwrap_or_default();
    let unknown =
        || error::resource_not_found_exception("The resource was not found.").with("ResourceName", arn.clone());
    if !arn.starts_with("arn:") {
        return Err(unknown());
    }
    if resource_part(&arn).starts_with("sampling-rule/") {
        let rule = rules::find(ctx.tx, ctx.platform, named(None, Some(&arn), "sampling-rule")?);
        return rule.map(Tagged::Rule).map_err(|_| unknown());
    }
    let group: Option<Group> = ctx.tx.get(named(None, Some(&arn), "group")?)?;
    group.filter(|group| group.arn == arn).map(Tagged::Group).ok_or_else(unknown)
}

fn change(
    ctx: &Ctx<'_>,
    arn: Option<String>,
    change: impl FnOnce(BTreeMap<String, String>) -> Result<BTreeMap<String, String>>,
) -> Result<()> {
    match found(ctx, arn)? {
        Tagged::Rule(mut rule) => {
            rule.tags = change(rule.tags)?;
            Ok(ctx.tx.put(&rule)?)
        }
        Tagged::Group(mut group) => {
            group.tags = change(group.tags)?;
            Ok(ctx.tx.put(&group)?)
        }
    }
}
