//! Tags of alarms.

use super::records::Alarm;
use crate::api::{Ctx, Result};
use quarry_aws::cloudwatch::{
    ListTagsForResourceInput, ListTagsForResourceOutput, Tag, TagResourceInput, TagResourceOutput, UntagResourceInput,
    UntagResourceOutput, error,
};
use std::collections::BTreeMap;

/// Tags that an alarm may have.
const TAGS: usize = 50;

pub fn list(ctx: &mut Ctx<'_>, input: ListTagsForResourceInput) -> Result<ListTagsForResourceOutput> {
    let alarm = find(ctx, input.resource_arn.as_deref())?;
    let tags = alarm.tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) });
    Ok(ListTagsForResourceOutput { tags: Some(tags.collect()) })
}

pub fn tag(ctx: &mut Ctx<'_>, input: TagResourceInput) -> Result<TagResourceOutput> {
    let mut alarm = find(ctx, input.resource_arn.as_deref())?;
    alarm.tags.extend(checked(input.tags)?);
    if alarm.tags.len() > TAGS {
        return Err(error::limit_exceeded_fault(format!("An alarm has at most {TAGS} tags.")));
    }
    ctx.tx.put(&alarm)?;
    Ok(TagResourceOutput {})
}

pub fn untag(ctx: &mut Ctx<'_>, input: UntagResourceInput) -> Result<UntagResourceOutput> {
    let mut alarm = find(ctx, input.resource_arn.as_deref())?;
    for key in input.tag_keys.iter().flatten() {
        alarm.tags.remove(key);
    }
    ctx.tx.put(&alarm)?;
    Ok(UntagResourceOutput {})
}

/// By their keys.
pub fn checked(tags: Option<Vec<Tag>>) -> Result<BTreeMap<String, String>> {
    let pairs = tags.unwrap_or_default().into_iter();
    let tags: BTreeMap<String, String> =
        pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect();
    if let Some(key) = tags.keys().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(error::invalid_parameter_value_exception(format!("The tag key {key} is reserved.")));
    }
    if tags.len() > TAGS {
        return Err(error::limit_exceeded_fault(format!("An alarm has at most {TAGS} tags.")));
    }
    Ok(tags)
}

fn find(ctx: &Ctx<'_>, arn: Option<&str>) -> Result<Alarm> {
    let arn = arn.unwrap_or_default();
    let name = arn.split_once(":alarm:").map(|(_, name)| name).unwrap_or_default();
    let alarm: Option<Alarm> = ctx.tx.get(name)?;
    alarm
        .filter(|alarm| alarm.arn == arn)
        .ok_or_else(|| error::resource_not_found_exception(format!("Resource {arn} does not exist")))
}
