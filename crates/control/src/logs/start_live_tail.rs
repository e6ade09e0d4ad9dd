//! StartLiveTail: whom a session follows. What it sends then: [`super::live_tail`].

use super::find;
use crate::api::{Ctx, Result};
use quarry_aws::logs::{
    LiveTailSessionStart, StartLiveTailRequest, StartLiveTailResponse, StartLiveTailResponseStream, error,
};
use quarry_domain::log_pattern::Pattern;

pub fn handle(ctx: &mut Ctx<'_>, input: StartLiveTailRequest) -> Result<StartLiveTailResponse> {
    let invalid = |message: &str| error::invalid_parameter_exception(message);
    let groups = input.log_group_identifiers.unwrap_or_default();
    for identifier in &groups {
        if identifier.ends_with('*') {
            return Err(invalid(&format!("The log group identifier {identifier} must not end with an asterisk.")));
        }
        find::group(ctx.tx, find::group_of(None, Some(identifier))?)?;
    }
    let (names, prefixes) = (input.log_stream_names, input.log_stream_name_prefixes);
    if names.is_some() && prefixes.is_some() {
        return Err(invalid("logStreamNames and logStreamNamePrefixes are mutually exclusive parameters."));
    }
    if groups.len() > 1 && (names.is_some() || prefixes.is_some()) {
        return Err(invalid("Log streams can be specified only together with exactly one log group."));
    }
    Pattern::parse(input.log_event_filter_pattern.as_deref().unwrap_or_default())
        .map_err(|mistake| invalid(&mistake.to_string()))?;
    let session_start = LiveTailSessionStart {
        // The endpoint knows it.
        request_id: None,
        session_id: Some(ctx.platform.door.uuid()),
        log_group_identifiers: Some(groups),
        log_stream_names: names,
        log_stream_name_prefixes: prefixes,
        log_event_filter_pattern: input.log_event_filter_pattern,
    };
    let stream = StartLiveTailResponseStream { session_start: Some(session_start), ..Default::default() };
    Ok(StartLiveTailResponse { response_stream: Some(stream) })
}
