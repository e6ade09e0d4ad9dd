//! DeleteAttributes. An attribute that is not there is no error.

use super::{attributes, find};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{DeleteAttributesRequest, DeleteAttributesResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteAttributesRequest) -> Result<DeleteAttributesResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let given = input.attributes.unwrap_or_default();
    attributes::count(&given)?;
    let mut deleted = Vec::new();
    for attribute in &given {
        let name = attributes::name(attribute)?;
        let mut instance = attributes::target(ctx, &cluster, attribute)?;
        // With a value only the attribute that has it.
        let is_it = |value: &String| attribute.value.as_ref().is_none_or(|given| given == value);
        let Some(value) = instance.attributes.get(name).filter(|value| is_it(value)).cloned() else { continue };
        instance.attributes.remove(name);
        instance.version += 1;
        ctx.tx.put(&instance)?;
        deleted.push(attributes::show(&instance, name, &value));
    }
    Ok(DeleteAttributesResponse { attributes: Some(deleted) })
}
