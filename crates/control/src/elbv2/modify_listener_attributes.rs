//! `ModifyListenerAttributes`.

use super::{errors, find, listener_attributes};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{ModifyListenerAttributesInput, ModifyListenerAttributesOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ModifyListenerAttributesInput) -> Result<ModifyListenerAttributesOutput> {
    let mut listener = find::listener(ctx.tx, input.listener_arn.as_deref())?;
    for attribute in input.attributes.unwrap_or_default() {
        let key = attribute.key.ok_or_else(|| errors::validation("An attribute key must be specified"))?;
        listener_attributes::set(&mut listener, &key, attribute.value.as_deref().unwrap_or_default())?;
    }
    ctx.tx.put(&listener)?;
    Ok(ModifyListenerAttributesOutput { attributes: Some(listener_attributes::show(&listener)) })
}
