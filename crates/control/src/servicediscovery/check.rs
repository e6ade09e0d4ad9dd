//! The forms of names and attributes, which the model gives as patterns.

use super::find::invalid;
use super::records::Tags;
use crate::api::Result;
use quarry_aws::servicediscovery::{Tag, error};
use std::collections::BTreeMap;

/// Tags that one resource can have.
const MOST_TAGS: usize = 50;

/// Custom attributes of one instance; the total of all its keys and values, in characters.
const MOST_ATTRIBUTES: usize = 30;
const MOST_ATTRIBUTE_TEXT: usize = 5000;

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `NamespaceNameHttp` and `NamespaceNamePrivate`.
pub fn namespace_name(name: &str) -> Result<()> {
    if name.is_empty() || !is_visible(name) || name.starts_with("arn:") {
        return Err(invalid(format!("The namespace name '{name}' is not valid.")));
    }
    Ok(())
}

/// Whether a hosted zone can have this name.
pub fn is_domain_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// `ServiceName`: labels of letters, digits, hyphens and underscores that neither begin nor end with a
/// hyphen, 127 characters in all. A label of one character is a letter or digit.
pub fn service_name(name: &str) -> Result<()> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        match label.as_bytes() {
            [] => false,
            [only] => only.is_ascii_alphanumeric(),
            [first, .., last] => label.len() <= 63 && *first != b'-' && *last != b'-' && label.bytes().all(inner),
        }
    };
    if name != "." && (name.len() > 127 || !name.split('.').all(label)) {
        return Err(invalid(format!("The service name '{name}' is not valid.")));
    }
    Ok(())
}

/// `InstanceId`: at most 64 of letters, digits and `_/:.@-`.
pub fn instance_id(id: &str) -> Result<()> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_/:.@-".contains(&byte);
    if id.is_empty() || id.len() > 64 || !id.bytes().all(valid) {
        return Err(invalid(format!("The instance ID '{id}' is not valid.")));
    }
    Ok(())
}

/// The attributes of an instance: `AttrKey`, `AttrValue`, how many and how much.
pub fn attributes(attributes: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in attributes {
        if key.is_empty() || !is_visible(key) {
            return Err(invalid(format!("The attribute name '{key}' is not valid.")));
        }
        attribute_value(key, value)?;
    }
    let custom = attributes.keys().filter(|key| !key.starts_with("AWS_")).count();
    if custom > MOST_ATTRIBUTES {
        return Err(invalid(format!("An instance can have at most {MOST_ATTRIBUTES} custom attributes.")));
    }
    let text: usize = attributes.iter().map(|(key, value)| key.chars().count() + value.chars().count()).sum();
    if text > MOST_ATTRIBUTE_TEXT {
        return Err(invalid(format!("All attributes together can have at most {MOST_ATTRIBUTE_TEXT} characters.")));
    }
    Ok(())
}

/// Visible characters, with spaces and tabs between them.
fn attribute_value(key: &str, value: &str) -> Result<()> {
    let blank = |byte: u8| matches!(byte, b' ' | b'\t');
    let inside = value.bytes().all(|byte| byte.is_ascii_graphic() || blank(byte));
    if !inside || value.bytes().next().is_some_and(blank) {
        return Err(invalid(format!("The value of the attribute '{key}' is not valid.")));
    }
    Ok(())
}

/// The tags of a request.
pub fn tags(tags: Option<Vec<Tag>>, resource: &str) -> Result<Tags> {
    let mut read = Tags::new();
    add_tags(&mut read, tags, resource)?;
    Ok(read)
}

/// Adds the tags of a request to those of a resource.
pub fn add_tags(to: &mut Tags, tags: Option<Vec<Tag>>, resource: &str) -> Result<()> {
    for Tag { key, value } in tags.unwrap_or_default() {
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys that begin with aws: are reserved."));
        }
        to.insert(key, value);
    }
    if to.len() > MOST_TAGS {
        return Err(error::too_many_tags_exception(format!("A resource can have at most {MOST_TAGS} tags."))
            .with("ResourceName", resource));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_models_patterns() {
        for good in ["posts", "a", "_http._tcp", "a.b", "a_-b", &"a".repeat(63), "."] {
            assert!(service_name(good).is_ok(), "{good}");
        }
        for bad in ["", "_", "-a", "a-", "a..b", "a b", &"a".repeat(64), &"a.".repeat(64), "é"] {
            assert!(service_name(bad).is_err(), "{bad}");
        }
        assert!(namespace_name("board.local").is_ok() && namespace_name("arn:x").is_err());
        assert!(namespace_name("a b").is_err() && namespace_name("").is_err());
        assert!(is_domain_name("board.local") && is_domain_name("local."));
        assert!(!is_domain_name("a..b") && !is_domain_name(&"a".repeat(64)) && !is_domain_name("a!b"));
        assert!(instance_id("i-1/a:b.c@d_").is_ok() && instance_id("a b").is_err() && instance_id("").is_err());
    }

    #[test]
    fn attributes_keep_their_bounds() {
        let pairs = |n: usize, size: usize| (0..n).map(|n| (format!("k{n}"), "v".repeat(size))).collect();
        assert!(attributes(&pairs(30, 10)).is_ok());
        assert!(attributes(&pairs(31, 10)).is_err());
        assert!(attributes(&pairs(10, 600)).is_err());
        let one = |key: &str, value: &str| attributes(&BTreeMap::from([(key.to_owned(), value.to_owned())]));
        assert!(one("a", "b c").is_ok() && one("a", "").is_ok());
        assert!(one("a b", "c").is_err() && one("a", " b").is_err() && one("a", "é").is_err());
    }
}
