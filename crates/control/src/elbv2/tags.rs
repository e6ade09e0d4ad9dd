//! Tags of any resource of the service.

use super::records::{Listener, LoadBalancer, Rule, Tags, TargetGroup};
use super::{errors, limits};
use crate::api::Result;
use crate::store::Tx;
use quarry_aws::elbv2::Tag;
use quarry_domain::arn::resource_part;
use std::collections::BTreeMap;

/// The tags of a request.
pub fn read(tags: Option<Vec<Tag>>) -> Result<BTreeMap<String, String>> {
    let mut read = BTreeMap::new();
    for Tag { key, value } in tags.unwrap_or_default() {
        let key = key.unwrap_or_default();
        let value = value.unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 {
            return Err(errors::validation(format!("Tag key '{key}' must have from 1 to 128 characters")));
        }
        if value.chars().count() > 256 {
            return Err(errors::validation(format!("The value of tag '{key}' can have at most 256 characters")));
        }
        if read.insert(key.clone(), value).is_some() {
            return Err(errors::duplicate_tag_keys(format!("Tag key was specified more than once: {key}")));
        }
    }
    check_count(read.len())?;
    Ok(read)
}

pub fn get(tx: &Tx<'_>, arn: &str) -> Result<BTreeMap<String, String>> {
    Ok(tx.get::<Tags>(arn)?.map(|tags| tags.tags).unwrap_or_default())
}

pub fn put(tx: &Tx<'_>, arn: &str, tags: BTreeMap<String, String>) -> Result<()> {
    check_count(tags.len())?;
    if tags.is_empty() {
        return forget(tx, arn);
    }
    Ok(tx.put(&Tags { arn: arn.to_owned(), tags })?)
}

pub fn forget(tx: &Tx<'_>, arn: &str) -> Result<()> {
    tx.delete::<Tags>(arn)?;
    Ok(())
}

/// That the resource is there, with its kind's own error if not.
pub fn check_resource(tx: &Tx<'_>, arn: &str) -> Result<()> {
    let resource = resource_part(arn);
    let kind = if arn.starts_with("arn:") { resource.split('/').next().unwrap_or_default() } else { "" };
    let found = match kind {
        "loadbalancer" => tx.get::<LoadBalancer>(arn)?.is_some(),
        "targetgroup" => tx.get::<TargetGroup>(arn)?.is_some(),
        "listener" => tx.get::<Listener>(arn)?.is_some(),
        "listener-rule" => {
            tx.get::<Rule>(arn)?.is_some() || tx.all::<Listener>()?.iter().any(|l| l.default_rule_arn == arn)
        }
        _ => return Err(errors::validation(format!("'{arn}' is not a valid ARN"))),
    };
    if found {
        return Ok(());
    }
    Err(match kind {
        "loadbalancer" => errors::load_balancer_not_found(format!("Load balancer '{arn}' not found")),
        "targetgroup" => errors::target_group_not_found(format!("Target group '{arn}' not found")),
        "listener" => errors::listener_not_found(format!("Listener '{arn}' not found")),
        _ => errors::rule_not_found("One or more rules not found"),
    })
}

fn check_count(count: usize) -> Result<()> {
    if count > limits::TAGS_PER_RESOURCE {
        return Err(errors::too_many_tags(format!("A resource can have at most '{}' tags", limits::TAGS_PER_RESOURCE)));
    }
    Ok(())
}
