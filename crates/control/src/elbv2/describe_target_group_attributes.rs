//! `DescribeTargetGroupAttributes`.

use super::{find, target_group_attributes};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeTargetGroupAttributesInput, DescribeTargetGroupAttributesOutput};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: DescribeTargetGroupAttributesInput,
) -> Result<DescribeTargetGroupAttributesOutput> {
    let group = find::target_group(ctx.tx, input.target_group_arn.as_deref())?;
    Ok(DescribeTargetGroupAttributesOutput { attributes: Some(target_group_attributes::show(&group)) })
}
