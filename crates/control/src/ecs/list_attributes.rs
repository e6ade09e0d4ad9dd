//! ListAttributes.

use super::page::page;
use super::records::ContainerInstance;
use super::{attributes, find};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{Attribute, ListAttributesRequest, ListAttributesResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: ListAttributesRequest) -> Result<ListAttributesResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    match input.target_type.as_deref() {
        Some(attributes::TARGET_TYPE) => {}
        other => return Err(attributes::invalid(format!("Invalid targetType '{}'.", other.unwrap_or_default()))),
    }
    if input.attribute_value.is_some() && input.attribute_name.is_none() {
        return Err(attributes::invalid("An attributeValue needs an attributeName."));
    }
    let mut found = Vec::new();
    for instance in ctx.tx.children::<ContainerInstance>(&cluster.arn)? {
        let wanted = instance.attributes.iter().filter(|(name, value)| {
            input.attribute_name.as_ref().is_none_or(|wanted| wanted == *name)
                && input.attribute_value.as_ref().is_none_or(|wanted| wanted == *value)
        });
        found.extend(wanted.map(|(name, value)| attributes::show(&instance, name, value)));
    }
    let key = |attribute: &Attribute| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} {}", text(&attribute.target_id), text(&attribute.name))
    };
    found.sort_by_key(key);
    let (attributes, next_token) = page(found, key, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListAttributesResponse { attributes: Some(attributes), next_token })
}
