//! DeleteLogStream, with its events.

use super::records::LogStream;
use super::{events, find};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::logs::DeleteLogStreamRequest;
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteLogStreamRequest) -> Result<Empty> {
    let group = find::group_name(input.log_group_name.as_deref())?;
    let stream = find::stream(ctx.tx, group, find::stream_name(input.log_stream_name.as_deref())?)?;
    events::delete_stream(ctx.tx, group, &stream.name)?;
    ctx.tx.delete::<LogStream>(&stream.key())?;
    Ok(Empty {})
}
