//! GetLogEvents: one page of a stream, with tokens for the page after and the page before it. At the
//! end of the stream the token that was given comes back.

use super::events::{self, Position, Query};
use super::find;
use super::records::stream_key;
use crate::api::{Ctx, Result};
use quarry_aws::logs::{GetLogEventsRequest, GetLogEventsResponse, OutputLogEvent, error};

/// The most bytes of messages in a page.
const MOST_BYTES: usize = 1_048_576;

enum Token {
    Forward(Position),
    Backward(Position),
}

pub fn handle(ctx: &mut Ctx<'_>, input: GetLogEventsRequest) -> Result<GetLogEventsResponse> {
    let limit = find::limit(input.limit, 10_000)?;
    let group = find::group_of(input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    let stream = find::stream(ctx.tx, group, find::stream_name(input.log_stream_name.as_deref())?)?;
    let token = input.next_token.as_deref().filter(|token| !token.is_empty()).map(parse).transpose()?;
    let newest_first = match token {
        Some(Token::Forward(_)) => false,
        Some(Token::Backward(_)) => true,
        None => input.start_from_head != Some(true),
    };
    let mut found = events::find(
        ctx.tx,
        &Query {
            streams: &[stream_key(group, &stream.name)],
            start_ms: input.start_time,
            end_ms: input.end_time,
            after: if let Some(Token::Forward(at)) = token { Some(at) } else { None },
            before: if let Some(Token::Backward(at)) = token { Some(at) } else { None },
            newest_first,
            limit,
        },
    )?;
    let mut bytes = 0;
    found.retain(|event| {
        bytes += event.message.len() + 26;
        bytes <= MOST_BYTES
    });
    if newest_first {
        found.reverse();
    }
    // Without an event both tokens stay where they were.
    let here = match token {
        Some(Token::Forward(at) | Token::Backward(at)) => at,
        None => (0, 0),
    };
    let first = found.first().map_or(here, |event| (event.at_ms, event.seq));
    let last = found.last().map_or(here, |event| (event.at_ms, event.seq));
    let show = |event: events::Event| OutputLogEvent {
        timestamp: Some(event.at_ms),
        ingestion_time: Some(event.ingested_ms),
        message: Some(event.message),
    };
    Ok(GetLogEventsResponse {
        events: Some(found.into_iter().map(show).collect()),
        next_forward_token: Some(format!("f/{:020}/{:020}", last.0, last.1)),
        next_backward_token: Some(format!("b/{:020}/{:020}", first.0, first.1)),
    })
}

fn parse(token: &str) -> Result<Token> {
    let mut parts = token.split('/');
    let parsed = (|| {
        let direction = parts.next()?;
        let at = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        match (direction, parts.next()) {
            ("f", None) => Some(Token::Forward(at)),
            ("b", None) => Some(Token::Backward(at)),
            _ => None,
        }
    })();
    parsed.ok_or_else(|| error::invalid_parameter_exception("The specified nextToken is invalid."))
}
