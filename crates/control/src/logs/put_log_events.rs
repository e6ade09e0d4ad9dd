//! PutLogEvents.

use super::{events, find};
use crate::api::{Ctx, Result};
use quarry_aws::logs::{PutLogEventsRequest, PutLogEventsResponse, RejectedLogEventsInfo, error};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub fn handle(ctx: &mut Ctx<'_>, input: PutLogEventsRequest) -> Result<PutLogEventsResponse> {
    let group_name = find::group_name(input.log_group_name.as_deref())?;
    let stream = find::stream(ctx.tx, group_name, find::stream_name(input.log_stream_name.as_deref())?)?;
    let group = find::group(ctx.tx, group_name)?;
    let given = input.log_events.unwrap_or_default();
    if given.is_empty() || given.len() > 10_000 {
        let rule = "Member must have length between 1 and 10000";
        return Err(find::constraint(given.len(), "logEvents", rule));
    }
    let mut batch = Vec::new();
    for event in given {
        let (Some(at_ms), Some(message)) = (event.timestamp, event.message) else {
            return Err(find::constraint("null", "logEvents", "Member must not be null"));
        };
        if message.is_empty() {
            return Err(find::constraint(
                "",
                "logEvents.message",
                "Member must have length greater than or equal to 1",
            ));
        }
        batch.push((at_ms, message));
    }
    if batch.iter().map(|(_, message)| message.len() + 26).sum::<usize>() > 1_048_576 {
        return Err(error::invalid_parameter_exception("Upload too large: more than 1048576 bytes."));
    }
    if !batch.is_sorted_by_key(|(at_ms, _)| *at_ms) {
        return Err(error::invalid_parameter_exception(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    if let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last())
        && last - first > DAY_MS
    {
        return Err(error::invalid_parameter_exception(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    let now = ctx.platform.now_ms();
    let oldest = now - 14 * DAY_MS;
    let kept = group.retention_days.map(|days| now - i64::from(days) * DAY_MS);
    let newest = now + 2 * 60 * 60 * 1000;
    // In chronological order the refused ones are a beginning and an end.
    let index = |before: i64| batch.partition_point(|(at_ms, _)| *at_ms < before);
    let (old, expired) = (index(oldest), kept.map_or(0, index));
    let new = batch.partition_point(|(at_ms, _)| *at_ms <= newest);
    let rejected = RejectedLogEventsInfo {
        too_old_log_event_end_index: (old > 0).then_some(old as i32),
        expired_log_event_end_index: (expired > 0).then_some(expired as i32),
        too_new_log_event_start_index: (new < batch.len()).then_some(new as i32),
    };
    let from = old.max(expired).min(new);
    events::add(ctx.tx, &group.name, &stream.name, now, batch.drain(from..new))?;
    Ok(PutLogEventsResponse {
        // Tokens are accepted and not needed any more.
        next_sequence_token: Some(ctx.platform.door.hex(32)),
        rejected_log_events_info: Some(rejected).filter(|info| *info != RejectedLogEventsInfo::default()),
        rejected_entity_info: None,
    })
}
