//! Custom attributes of container instances: what the three operations share.

use super::find;
use super::records::{Cluster, ContainerInstance};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{Attribute, error};
use quarry_wire::ServiceError;

/// The only type of target there is.
pub const TARGET_TYPE: &str = "container-instance";

/// Custom attributes that one container instance can have.
pub const MOST: usize = 10;

/// Whether somebody set it; the others are ECS's and this installation's own.
pub fn is_custom(name: &str) -> bool {
    !["ecs.", "com.amazonaws.", "quarry."].iter().any(|prefix| name.starts_with(prefix))
}

/// Checks how many attributes a request names.
pub fn count(attributes: &[Attribute]) -> Result<()> {
    match attributes.len() {
        1..=MOST => Ok(()),
        _ => Err(invalid("From 1 to 10 attributes can be given at once.")),
    }
}

/// The container instance that an attribute of a request is about.
pub fn target(ctx: &Ctx<'_>, cluster: &Cluster, attribute: &Attribute) -> Result<ContainerInstance> {
    let id = attribute.target_id.as_deref().unwrap_or_default();
    match attribute.target_type.as_deref() {
        Some(TARGET_TYPE) => {}
        None if id.starts_with("arn:") => {}
        None => return Err(invalid("The targetType is required with the short form of a targetId.")),
        Some(other) => return Err(invalid(format!("Invalid targetType '{other}'."))),
    }
    let found = find::container_instance(ctx.tx, cluster, id)?;
    found.ok_or_else(|| error::target_not_found_exception("The specified target wasn't found."))
}

/// The name of an attribute that may be set and deleted.
pub fn name(attribute: &Attribute) -> Result<&str> {
    let name = attribute.name.as_deref().unwrap_or_default();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_./\\".contains(&b);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(valid) {
        return Err(invalid(
            "An attribute's name must have from 1 to 128 letters, numbers, hyphens, underscores, slashes, backslashes and periods.",
        ));
    }
    if !is_custom(name) {
        return Err(invalid(format!("The attribute '{name}' is reserved and cannot be changed.")));
    }
    Ok(name)
}

/// A valid value, which may be absent.
pub fn value(attribute: &Attribute) -> Result<&str> {
    let value = attribute.value.as_deref().unwrap_or_default();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_.@/\\: ".contains(&b);
    if value.len() > 128 || !value.bytes().all(valid) || value.trim() != value {
        return Err(invalid(
            "An attribute's value must have at most 128 letters, numbers, hyphens, underscores, periods, at signs, slashes, backslashes, colons and spaces, with none at its ends.",
        ));
    }
    Ok(value)
}

/// An attribute as answers show it.
pub fn show(instance: &ContainerInstance, name: &str, value: &str) -> Attribute {
    Attribute {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()).filter(|value| !value.is_empty()),
        target_type: Some(TARGET_TYPE.to_owned()),
        target_id: Some(instance.arn.clone()),
    }
}

pub fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}
