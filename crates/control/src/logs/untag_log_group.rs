//! UntagLogGroup.

use super::{find, tags};
use crate::api::{Ctx, Result};
use quarry_aws::logs::UntagLogGroupRequest;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: UntagLogGroupRequest) -> Result<Empty> {
    let group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    tags::remove(ctx, group, &input.tags.unwrap_or_default())?;
    Ok(Empty {})
}
