//! `ModifyListenerAttributes`: accepts AWS's defaults and refuses every other value.

use super::load_balancer_attributes::only_default;
use super::{errors, find, listener_attributes};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{ModifyListenerAttributesInput, ModifyListenerAttributesOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ModifyListenerAttributesInput) -> Result<ModifyListenerAttributesOutput> {
    find::listener(ctx.tx, input.listener_arn.as_deref())?;
    for attribute in input.attributes.unwrap_or_default() {
        let key = attribute.key.ok_or_else(|| errors::validation("An attribute key must be specified"))?;
        let value = attribute.value.unwrap_or_default();
        only_default("Listener", listener_attributes::FIXED, &key, &value)?;
    }
    Ok(ModifyListenerAttributesOutput { attributes: Some(listener_attributes::show()) })
}
