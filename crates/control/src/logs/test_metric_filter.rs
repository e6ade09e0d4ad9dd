//! TestMetricFilter: which of some messages a pattern matches, and what it takes out of them.

use crate::api::{Ctx, Result};
use quarry_aws::logs::{MetricFilterMatchRecord, TestMetricFilterRequest, TestMetricFilterResponse, error};
use quarry_domain::log_pattern::Pattern;

pub fn handle(_: &mut Ctx<'_>, input: TestMetricFilterRequest) -> Result<TestMetricFilterResponse> {
    let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default())
        .map_err(|mistake| error::invalid_parameter_exception(mistake.to_string()))?;
    let messages = input.log_event_messages.unwrap_or_default();
    let matching = messages.into_iter().zip(1..).filter(|(message, _)| pattern.matches(message));
    let matches = matching.map(|(message, number)| MetricFilterMatchRecord {
        event_number: Some(number),
        extracted_values: Some(pattern.extracted(&message)),
        event_message: Some(message),
    });
    Ok(TestMetricFilterResponse { matches: Some(matches.collect()) })
}
