//! Tags of parameters: `AddTagsToResource`, `RemoveTagsFromResource`, `ListTagsForResource`.

use super::parameters::{plain_name, refuse, validation};
use super::records::Parameter;
use crate::api::{Ctx, Result};
use quarry_aws::ssm::{
    AddTagsToResourceRequest, AddTagsToResourceResult, ListTagsForResourceRequest, ListTagsForResourceResult,
    RemoveTagsFromResourceRequest, RemoveTagsFromResourceResult, Tag,
};
use std::collections::BTreeMap;

const TAGS: usize = 50;

pub fn add(ctx: &mut Ctx<'_>, input: AddTagsToResourceRequest) -> Result<AddTagsToResourceResult> {
    let mut parameter = find(ctx, input.resource_type, input.resource_id)?;
    add_tags(&mut parameter.tags, input.tags)?;
    ctx.tx.put(&parameter)?;
    Ok(AddTagsToResourceResult::default())
}

pub fn remove(ctx: &mut Ctx<'_>, input: RemoveTagsFromResourceRequest) -> Result<RemoveTagsFromResourceResult> {
    let mut parameter = find(ctx, input.resource_type, input.resource_id)?;
    for key in input.tag_keys.unwrap_or_default() {
        parameter.tags.remove(&key);
    }
    ctx.tx.put(&parameter)?;
    Ok(RemoveTagsFromResourceResult::default())
}

pub fn list(ctx: &mut Ctx<'_>, input: ListTagsForResourceRequest) -> Result<ListTagsForResourceResult> {
    let parameter = find(ctx, input.resource_type, input.resource_id)?;
    let tags = parameter.tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) });
    Ok(ListTagsForResourceResult { tag_list: Some(tags.collect()) })
}

/// Adds tags to those that are there, within AWS's limits.
pub fn add_tags(tags: &mut BTreeMap<String, String>, new: Option<Vec<Tag>>) -> Result<()> {
    for tag in new.unwrap_or_default() {
        let key = tag.key.filter(|key| !key.is_empty()).ok_or_else(|| validation("A tag key must be specified"))?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(validation("Tag keys beginning with aws: are reserved."));
        }
        tags.insert(key, tag.value.unwrap_or_default());
    }
    if tags.len() > TAGS {
        return Err(refuse("TooManyTagsError", format!("The number of tags exceeds the limit of {TAGS}.")));
    }
    Ok(())
}

fn find(ctx: &Ctx<'_>, kind: Option<String>, id: Option<String>) -> Result<Parameter> {
    if kind.as_deref() != Some("Parameter") {
        let message = format!("The resource type {} has no resources here.", kind.unwrap_or_default());
        return Err(refuse("InvalidResourceType", message));
    }
    let id = id.unwrap_or_default();
    ctx.tx.get(&plain_name(&id))?.ok_or_else(|| {
        refuse("InvalidResourceId", format!("The resource ID \"{id}\" is not valid. Verify the ID and try again."))
    })
}
