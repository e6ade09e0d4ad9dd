//! CreateLogStream.

use super::find;
use super::records::{LogStream, stream_key};
use crate::api::{Ctx, Result};
use quarry_aws::logs::{CreateLogStreamRequest, error};
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: CreateLogStreamRequest) -> Result<Empty> {
    let group = find::group(ctx.tx, find::group_name(input.log_group_name.as_deref())?)?;
    let name = find::stream_name(input.log_stream_name.as_deref())?;
    if ctx.tx.get::<LogStream>(&stream_key(&group.name, name))?.is_some() {
        return Err(error::resource_already_exists_exception("The specified log stream already exists"));
    }
    ctx.tx.put(&LogStream { group: group.name, name: name.to_owned(), created_ms: ctx.platform.now_ms() })?;
    Ok(Empty {})
}
