//! `ModifyTargetGroupAttributes`.

use super::{find, target_group_attributes};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{ModifyTargetGroupAttributesInput, ModifyTargetGroupAttributesOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ModifyTargetGroupAttributesInput) -> Result<ModifyTargetGroupAttributesOutput> {
    let mut group = find::target_group(ctx.tx, input.target_group_arn.as_deref())?;
    target_group_attributes::set(&mut group, input.attributes.unwrap_or_default())?;
    ctx.tx.put(&group)?;
    Ok(ModifyTargetGroupAttributesOutput { attributes: Some(target_group_attributes::show(&group)) })
}
