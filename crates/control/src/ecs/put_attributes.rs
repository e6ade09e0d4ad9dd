//! PutAttributes: what an attribute was before is replaced.

use super::{attributes, find};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{PutAttributesRequest, PutAttributesResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: PutAttributesRequest) -> Result<PutAttributesResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let given = input.attributes.unwrap_or_default();
    attributes::count(&given)?;
    let mut shown = Vec::new();
    for attribute in &given {
        let (name, value) = (attributes::name(attribute)?, attributes::value(attribute)?);
        let mut instance = attributes::target(ctx, &cluster, attribute)?;
        let before = instance.attributes.insert(name.to_owned(), value.to_owned());
        if instance.attributes.keys().filter(|name| attributes::is_custom(name)).count() > attributes::MOST {
            return Err(error::attribute_limit_exceeded_exception(format!(
                "A container instance can have at most {} custom attributes.",
                attributes::MOST
            )));
        }
        if before.as_deref() != Some(value) {
            instance.version += 1;
            ctx.tx.put(&instance)?;
        }
        shown.push(attributes::show(&instance, name, value));
    }
    Ok(PutAttributesResponse { attributes: Some(shown) })
}
