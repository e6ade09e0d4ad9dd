//! What all IAM entities have in common: names, paths, unique ids, tags, pages.

use crate::api::{Ctx, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quarry_aws::iam::{Tag, error};
use quarry_wire::ServiceError;

/// Tags that an entity may have.
const TAGS: usize = 50;

pub fn validation(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ValidationError", message, 400)
}

/// A member that must be there and is an entity's name of at most `longest` characters.
pub fn name(value: Option<String>, member: &str, longest: usize) -> Result<String> {
    let value = required(value, member)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if value.is_empty() || !value.chars().all(legal) {
        return Err(validation(format!(
            "The specified value for {member} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
        )));
    }
    if value.len() > longest {
        return Err(validation(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length less than or equal to {longest}"
        )));
    }
    Ok(value)
}

pub fn required<T>(value: Option<T>, member: &str) -> Result<T> {
    value.ok_or_else(|| {
        validation(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// A path such as `/` or `/team/`; `/` if none is given.
pub fn path(value: Option<String>) -> Result<String> {
    let path = value.unwrap_or_else(|| "/".into());
    let legal = path.starts_with('/') && path.ends_with('/') && path.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !legal || path.len() > 512 || path.contains("//") {
        return Err(validation(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
        ));
    }
    Ok(path)
}

/// A unique id: AWS's prefix for the kind and seventeen characters of A–Z and 2–7.
pub fn unique_id(ctx: &Ctx<'_>, prefix: &str) -> String {
    let mut bytes = [0u8; 17];
    ctx.platform.door.entropy.fill(&mut bytes);
    let characters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let tail: String = bytes.iter().map(|b| char::from(characters[usize::from(b % 32)])).collect();
    format!("{prefix}{tail}")
}

/// Puts `new` tags over the present ones.
pub fn tag(present: &mut Option<Vec<Tag>>, new: Vec<Tag>) -> Result<()> {
    let tags = present.get_or_insert_default();
    for tag in new {
        let key = required(tag.key, "tags.member.key")?;
        if key.is_empty() || key.len() > 128 {
            return Err(validation("A tag's key has 1 to 128 characters."));
        }
        // Keys are the same whatever their case, as in IAM.
        tags.retain(|t| !t.key.as_deref().unwrap_or_default().eq_ignore_ascii_case(&key));
        tags.push(Tag { key: Some(key), value: Some(tag.value.unwrap_or_default()) });
    }
    if tags.len() > TAGS {
        return Err(error::limit_exceeded_exception(format!("Cannot exceed quota for TagsPerEntity: {TAGS}")));
    }
    Ok(())
}

/// Takes away the tags of these keys, whatever their case.
pub fn untag(present: &mut Option<Vec<Tag>>, keys: &[String]) {
    let gone = |key: &str| keys.iter().any(|k| k.eq_ignore_ascii_case(key));
    present.get_or_insert_default().retain(|tag| !gone(tag.key.as_deref().unwrap_or_default()));
}

/// Refuses one more than `quota` of an account's entities.
pub fn room(present: usize, quota: usize, name: &str) -> Result<()> {
    if present >= quota {
        return Err(error::limit_exceeded_exception(format!("Cannot exceed quota for {name}: {quota}")));
    }
    Ok(())
}

/// One page of a listing and the marker of the next one.
pub struct Page<T> {
    pub items: Vec<T>,
    pub is_truncated: Option<bool>,
    pub marker: Option<String>,
}

/// The page after `marker`: `max_items` (1–1000, 100 if not given) in the order of their keys.
/// An element that is deleted between two pages moves no other one.
pub fn page<T>(
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
    marker: Option<String>,
    max_items: Option<i32>,
) -> Result<Page<T>> {
    let size = max_items.unwrap_or(100);
    if !(1..=1000).contains(&size) {
        return Err(validation("MaxItems must be between 1 and 1000."));
    }
    items.sort_by_key(&key);
    if let Some(marker) = marker {
        let decoded = URL_SAFE_NO_PAD.decode(&marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let last = decoded.ok_or_else(|| validation(format!("Invalid Marker: {marker}")))?;
        items.retain(|item| key(item) > last);
    }
    let more = items.len() > size as usize;
    items.truncate(size as usize);
    let marker = items.last().filter(|_| more).map(|item| URL_SAFE_NO_PAD.encode(key(item)));
    Ok(Page { items, is_truncated: Some(more), marker })
}
