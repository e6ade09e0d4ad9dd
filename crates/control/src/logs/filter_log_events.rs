//! FilterLogEvents: the events of several streams that match a pattern, in the order of time.

use super::events::{self, Event, Position, Query};
use super::find;
use super::records::{LogStream, stream_key};
use crate::api::{Ctx, Result};
use quarry_aws::logs::{FilterLogEventsRequest, FilterLogEventsResponse, FilteredLogEvent, error};
use quarry_domain::log_pattern::Pattern;

/// Events read at a time while looking for matches.
const BATCH: usize = 1000;

pub fn handle(ctx: &mut Ctx<'_>, input: FilterLogEventsRequest) -> Result<FilterLogEventsResponse> {
    let limit = find::limit(input.limit, 10_000)?;
    let name = find::group_of(input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    let group = find::group(ctx.tx, name)?;
    let filter = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default())
        .map_err(|mistake| error::invalid_parameter_exception(mistake.to_string()))?;
    let streams: Vec<String> = match (&input.log_stream_names, &input.log_stream_name_prefix) {
        (Some(_), Some(_)) => {
            return Err(error::invalid_parameter_exception(
                "Cannot specify both logStreamNames and logStreamNamePrefix.",
            ));
        }
        (Some(names), None) if names.len() > 100 => {
            return Err(find::constraint(names.len(), "logStreamNames", "Member must have length at most 100"));
        }
        (Some(names), None) => {
            let key = |name: &String| Ok(stream_key(&group.name, &find::stream(ctx.tx, &group.name, name)?.name));
            names.iter().map(key).collect::<Result<_>>()?
        }
        (None, prefix) => {
            let prefix = prefix.as_deref().unwrap_or_default();
            let all: Vec<LogStream> = ctx.tx.children(&group.name)?;
            let named = all.into_iter().filter(|stream| stream.name.starts_with(prefix));
            named.map(|stream| stream_key(&group.name, &stream.name)).collect()
        }
    };
    let mut after = input.next_token.as_deref().filter(|token| !token.is_empty()).map(parse).transpose()?;
    let mut matching: Vec<Event> = Vec::new();
    let next_token = loop {
        let batch = events::find(
            ctx.tx,
            &Query {
                streams: &streams,
                start_ms: input.start_time,
                end_ms: input.end_time,
                after,
                before: None,
                newest_first: false,
                limit: BATCH,
            },
        )?;
        let over = batch.len() < BATCH;
        for event in batch {
            after = Some((event.at_ms, event.seq));
            if filter.matches(&event.message) {
                matching.push(event);
                if matching.len() == limit {
                    break;
                }
            }
        }
        match after {
            Some((at, seq)) if matching.len() == limit => break Some(format!("{at}/{seq}")),
            _ if over => break None,
            _ => {}
        }
    };
    let show = |event: Event| FilteredLogEvent {
        event_id: Some(format!("{:056}", event.seq)),
        log_stream_name: event.stream.split_once(':').map(|(_, stream)| stream.to_owned()),
        timestamp: Some(event.at_ms),
        ingestion_time: Some(event.ingested_ms),
        message: Some(event.message),
    };
    Ok(FilterLogEventsResponse {
        events: Some(matching.into_iter().map(show).collect()),
        next_token,
        searched_log_streams: Some(Vec::new()),
    })
}

fn parse(token: &str) -> Result<Position> {
    let parsed = token.split_once('/').and_then(|(at, seq)| Some((at.parse().ok()?, seq.parse().ok()?)));
    parsed.ok_or_else(|| error::invalid_parameter_exception("The specified nextToken is invalid."))
}
