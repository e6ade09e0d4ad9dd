//! DeleteLogGroup, with its streams and their events, and its metric filters.

use super::records::{LogGroup, LogStream, MetricFilter};
use super::{events, find};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::logs::DeleteLogGroupRequest;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteLogGroupRequest) -> Result<Empty> {
    let group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    for stream in ctx.tx.children::<LogStream>(&group.name)? {
        events::delete_stream(ctx.tx, &group.name, &stream.name)?;
        ctx.tx.delete::<LogStream>(&stream.key())?;
    }
    for filter in ctx.tx.children::<MetricFilter>(&group.name)? {
        ctx.tx.delete::<MetricFilter>(&filter.key())?;
    }
    ctx.tx.delete::<LogGroup>(&group.name)?;
    Ok(Empty {})
}
