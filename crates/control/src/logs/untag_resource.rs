//! UntagResource.

use super::tags;
use crate::api::{Ctx, Result};
use quarry_aws::logs::UntagResourceRequest;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: UntagResourceRequest) -> Result<Empty> {
    let group = tags::group_by_arn(ctx, input.resource_arn.as_deref())?;
    tags::remove(ctx, group, &input.tag_keys.unwrap_or_default())?;
    Ok(Empty {})
}
