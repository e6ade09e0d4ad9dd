//! TagLogGroup.

use super::{find, tags};
use crate::api::{Ctx, Result};
use quarry_aws::logs::TagLogGroupRequest;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: TagLogGroupRequest) -> Result<Empty> {
    let group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    tags::add(ctx, group, input.tags)?;
    Ok(Empty {})
}
