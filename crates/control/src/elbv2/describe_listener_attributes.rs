//! `DescribeListenerAttributes`.

use super::{find, listener_attributes};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeListenerAttributesInput, DescribeListenerAttributesOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeListenerAttributesInput) -> Result<DescribeListenerAttributesOutput> {
    let listener = find::listener(ctx.tx, input.listener_arn.as_deref())?;
    Ok(DescribeListenerAttributesOutput { attributes: Some(listener_attributes::show(&listener)) })
}
