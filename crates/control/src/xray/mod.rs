//! AWS X-Ray: traces taken in and looked at, the service graph, groups and sampling rules; and OpenTelemetry's protocol
//! over HTTP ([`otlp`]), whose spans become segments.

mod graph;
mod groups;
pub mod otlp;
pub mod records;
mod rules;
mod segments;
pub mod store;
mod summaries;
mod tags;
mod targets;
#[cfg(test)]
mod tests;

use crate::api::{Operations, Result};
use crate::platform::Platform;
use crate::store::Tx;
use http::{header, request};
use quarry_aws::xray::{self as aws, error, op};
use quarry_domain::trace::{Segment, Service};
use quarry_wire::{ServiceError, Timestamp, server};

pub use rules::sampling;

/// Serves the operations of X-Ray.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::BatchGetTraces>(segments::batch_get);
    operations.serve::<op::CreateGroup>(groups::create);
    operations.serve::<op::CreateSamplingRule>(rules::create);
    operations.serve::<op::DeleteGroup>(groups::delete);
    operations.serve::<op::DeleteSamplingRule>(rules::delete);
    operations.serve::<op::GetGroup>(groups::get);
    operations.serve::<op::GetGroups>(groups::list);
    operations.serve::<op::GetSamplingRules>(rules::list);
    operations.serve::<op::GetSamplingStatisticSummaries>(targets::summaries);
    operations.serve::<op::GetSamplingTargets>(targets::targets);
    operations.serve::<op::GetServiceGraph>(graph::of_time);
    operations.serve::<op::GetTraceGraph>(graph::of_traces);
    operations.serve::<op::GetTraceSummaries>(summaries::handle);
    operations.serve::<op::ListTagsForResource>(tags::list);
    operations.serve::<op::PutTelemetryRecords>(segments::telemetry);
    operations.serve::<op::PutTraceSegments>(segments::put);
    operations.serve::<op::TagResource>(tags::add);
    operations.serve::<op::UntagResource>(tags::remove);
    operations.serve::<op::UpdateGroup>(groups::update);
    operations.serve::<op::UpdateSamplingRule>(rules::update);
}

/// Keeps documents that the platform itself has made, or that came by datagrams.
pub fn receive(platform: &Platform, documents: Vec<String>) {
    let read = |document: String| Segment::parse(&document).ok().map(|segment| (segment, document));
    let documents: Vec<_> = documents.into_iter().filter_map(read).collect();
    if let Err(error) = platform.traces.put(platform.now_ms(), &documents) {
        tracing::warn!(%error, "segments were not kept");
    }
}

/// Whether this is what X-Ray's SDKs ask the daemon for, without a signature, since the daemon signs for them: the sampling
/// rules, and its share of their reservoirs.
pub fn is_for_daemon(head: &request::Parts, call: &server::Call<'_>) -> bool {
    let is_signed = head.headers.contains_key(header::AUTHORIZATION)
        || head.uri.query().is_some_and(|query| query.contains("X-Amz-"));
    (call.is::<op::GetSamplingRules>() || call.is::<op::GetSamplingTargets>()) && !is_signed
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_request_exception(message)
}

/// Seconds since 1970 as the API has them, to the millisecond.
fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0) as i64)
}

/// A time of at most so many hours, in ms.
fn range(start: Option<Timestamp>, end: Option<Timestamp>, hours: i64) -> Result<(i64, i64)> {
    let (start, end) = (start.unwrap_or_default().millis(), end.unwrap_or_default().millis());
    if end <= start {
        return Err(invalid("EndTime must be after StartTime."));
    }
    if end - start > hours * 3_600_000 {
        return Err(invalid(format!("Time range cannot be longer than {hours} hours.")));
    }
    Ok((start, end))
}

/// What is found by name or ARN, and how a request names it.
fn named<'a>(name: Option<&'a str>, arn: Option<&'a str>, of: &str) -> Result<&'a str> {
    match (name, arn) {
        (Some(name), None) => Ok(name),
        (None, Some(arn)) => {
            let resource = quarry_domain::arn::resource_part(arn);
            let name = resource.strip_prefix(of).and_then(|rest| rest.strip_prefix('/')).unwrap_or(resource);
            Ok(name.split('/').next().unwrap_or(name))
        }
        (None, None) => Err(invalid("A name or an ARN is required.")),
        (Some(_), Some(_)) => Err(invalid("Only one of name and ARN may be given.")),
    }
}

/// The filter expression of a request, in which groups may be named.
fn filter(tx: &Tx<'_>, text: &str) -> Result<quarry_domain::trace::filter::Filter> {
    let groups: Vec<records::Group> = tx.all()?;
    let of = |name: &str| {
        let found = groups.iter().find(|group| group.name == name || group.arn == name);
        found.map(|group| group.filter.clone())
    };
    quarry_domain::trace::filter::Filter::parse(text, &of).map_err(|mistake| invalid(mistake.to_string()))
}

fn service_id(service: Service, account: &str) -> aws::ServiceId {
    aws::ServiceId {
        names: Some(vec![service.name.clone()]),
        name: Some(service.name),
        account_id: Some(account.to_owned()),
        r#type: Some(service.kind).filter(|kind| !kind.is_empty()),
    }
}
