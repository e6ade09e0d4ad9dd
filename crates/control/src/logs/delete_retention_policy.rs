//! DeleteRetentionPolicy: events are kept for ever from then on.

use super::find;
use crate::api::{Ctx, Result};
use quarry_aws::logs::DeleteRetentionPolicyRequest;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteRetentionPolicyRequest) -> Result<Empty> {
    let mut group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    group.retention_days = None;
    ctx.tx.put(&group)?;
    Ok(Empty {})
}
