//! Tags of groups. An instance gets those that propagate, at its launch.

use super::error::{page, required, validation};
use super::records::{GroupRecord, find_group};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::autoscaling::{
    CreateOrUpdateTagsType, DeleteTagsType, DescribeTagsType, Filter, Tag, TagDescription, TagsType,
};
use quarry_wire::Empty;

const KIND: &str = "auto-scaling-group";
/// Tags that a group may have.
const TAGS: usize = 50;

/// The tags of a new group, as it shows them.
pub fn of_new(group: &str, tags: Vec<Tag>) -> Result<Vec<TagDescription>> {
    let mut present = Vec::new();
    tags.into_iter().try_for_each(|tag| put(&mut present, group, tag))?;
    Ok(present)
}

pub fn create_or_update(ctx: &mut Ctx<'_>, input: CreateOrUpdateTagsType) -> Result<Empty> {
    for tag in input.tags.unwrap_or_default() {
        let mut record = group_of(ctx, &tag)?;
        let name = record.key();
        put(record.group.tags.get_or_insert_default(), &name, tag)?;
        ctx.tx.put(&record)?;
    }
    Ok(Empty {})
}

/// A tag with a value goes only if the value is the same.
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteTagsType) -> Result<Empty> {
    for tag in input.tags.unwrap_or_default() {
        let mut record = group_of(ctx, &tag)?;
        let gone =
            |present: &TagDescription| present.key == tag.key && (tag.value.is_none() || tag.value == present.value);
        record.group.tags.get_or_insert_default().retain(|present| !gone(present));
        ctx.tx.put(&record)?;
    }
    Ok(Empty {})
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeTagsType) -> Result<TagsType> {
    let mut tags: Vec<_> =
        ctx.tx.all::<GroupRecord>()?.into_iter().flat_map(|record| record.group.tags.unwrap_or_default()).collect();
    for filter in input.filters.iter().flatten() {
        let field = field(filter)?;
        let wanted = filter.values.as_deref().unwrap_or_default();
        tags.retain(|tag| wanted.contains(&field(tag)));
    }
    let (tags, next_token) = page(tags, input.max_records, input.next_token)?;
    Ok(TagsType { tags: Some(tags), next_token })
}

fn field(filter: &Filter) -> Result<fn(&TagDescription) -> String> {
    Ok(match filter.name.as_deref().unwrap_or_default() {
        "auto-scaling-group" => |tag| tag.resource_id.clone().unwrap_or_default(),
        "key" => |tag| tag.key.clone().unwrap_or_default(),
        "value" => |tag| tag.value.clone().unwrap_or_default(),
        "propagate-at-launch" => |tag| tag.propagate_at_launch.unwrap_or_default().to_string(),
        other => {
            return Err(validation(format!(
                "Filter type {other} is not correct. Allowed Filter types are: auto-scaling-group, key, value, propagate-at-launch"
            )));
        }
    })
}

fn group_of(ctx: &Ctx<'_>, tag: &Tag) -> Result<GroupRecord> {
    if tag.resource_type.as_deref().is_some_and(|kind| kind != KIND) {
        return Err(validation(format!("The resource type of a tag must be {KIND}.")));
    }
    find_group(ctx, &required(tag.resource_id.clone(), "tags.member.resourceId")?)
}

fn put(present: &mut Vec<TagDescription>, group: &str, tag: Tag) -> Result<()> {
    let key = required(tag.key, "tags.member.key")?;
    if key.chars().count() > 128 {
        return Err(validation("A tag's key has 1 to 128 characters."));
    }
    present.retain(|t| t.key.as_deref() != Some(&key));
    if present.len() == TAGS {
        return Err(validation(format!("A group has at most {TAGS} tags.")));
    }
    present.push(TagDescription {
        resource_id: Some(group.into()),
        resource_type: Some(KIND.into()),
        key: Some(key),
        value: Some(tag.value.unwrap_or_default()),
        propagate_at_launch: Some(tag.propagate_at_launch.unwrap_or(false)),
    });
    Ok(())
}
