//! TagResource.

use super::tags;
use crate::api::{Ctx, Result};
use quarry_aws::logs::TagResourceRequest;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: TagResourceRequest) -> Result<Empty> {
    let group = tags::group_by_arn(ctx, input.resource_arn.as_deref())?;
    tags::add(ctx, group, input.tags)?;
    Ok(Empty {})
}
