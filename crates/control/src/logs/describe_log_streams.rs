//! DescribeLogStreams.

use super::records::LogStream;
use super::{events, find};
use crate::api::{Ctx, Result};
use quarry_aws::logs::{self, DescribeLogStreamsRequest, DescribeLogStreamsResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeLogStreamsRequest) -> Result<DescribeLogStreamsResponse> {
    let limit = find::limit(input.limit, 50)?;
    let name = find::group_of(input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    let group = find::group(ctx.tx, name)?;
    let by_time = match input.order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(other) => {
            let rule = "Member must satisfy enum value set: [LogStreamName, LastEventTime]";
            return Err(find::constraint(other, "orderBy", rule));
        }
    };
    if by_time && input.log_stream_name_prefix.is_some() {
        return Err(error::invalid_parameter_exception("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let prefix = input.log_stream_name_prefix.unwrap_or_default();
    let mut streams = Vec::new();
    for stream in ctx.tx.children::<LogStream>(&group.name)? {
        if stream.name.starts_with(&prefix) {
            streams.push((events::extent(ctx.tx, &group.name, &stream.name)?, stream));
        }
    }
    let key =
        |(extent, stream): &(events::Extent, LogStream)| (extent.last_ms.filter(|_| by_time), stream.name.clone());
    streams.sort_by_key(key);
    if input.descending == Some(true) {
        streams.reverse();
    }
    // The token is the name of the last stream that was shown.
    if let Some(token) = input.next_token {
        let at = streams.iter().position(|(_, stream)| stream.name == token);
        let at = at.ok_or_else(|| error::invalid_parameter_exception("The specified nextToken is invalid."))?;
        streams.drain(..=at);
    }
    let more = streams.len() > limit;
    streams.truncate(limit);
    let next_token = streams.last().filter(|_| more).map(|(_, stream)| stream.name.clone());
    let show = |(extent, stream): (events::Extent, LogStream)| logs::LogStream {
        arn: Some(format!("{}:log-stream:{}", find::group_arn(ctx, &group.name), stream.name)),
        creation_time: Some(stream.created_ms),
        first_event_timestamp: extent.first_ms,
        last_event_timestamp: extent.last_ms,
        last_ingestion_time: extent.ingested_ms,
        log_stream_name: Some(stream.name),
        stored_bytes: Some(0),
        ..logs::LogStream::default()
    };
    Ok(DescribeLogStreamsResponse { log_streams: Some(streams.into_iter().map(show).collect()), next_token })
}
