//! ListTagsLogGroup.

use super::find;
use crate::api::{Ctx, Result};
use quarry_aws::logs::{ListTagsLogGroupRequest, ListTagsLogGroupResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: ListTagsLogGroupRequest) -> Result<ListTagsLogGroupResponse> {
    let group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    Ok(ListTagsLogGroupResponse { tags: Some(group.tags) })
}
