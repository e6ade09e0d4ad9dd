//! GetTraceSummaries: the traces of a time that fit a filter expression, those that began last first.

use super::store::{During, Position, Stored};
use super::{filter, invalid, range, service_id, timestamp};
use crate::api::{Ctx, Result};
use quarry_aws::xray::{
    AnnotationValue, AvailabilityZoneDetail, GetTraceSummariesRequest, GetTraceSummariesResult, Http, InstanceIdDetail,
    ResourceARNDetail, TraceSummary, TraceUser, ValueWithServiceIds,
};
use quarry_domain::trace::{Annotation, Segment, Service, Trace};
use std::collections::BTreeMap;

/// Traces that are looked at for one answer.
const LOOKED_AT: usize = 1000;
/// Summaries in an answer.
const PAGE: usize = 100;

pub fn handle(ctx: &mut Ctx<'_>, input: GetTraceSummariesRequest) -> Result<GetTraceSummariesResult> {
    let within = range(input.start_time, input.end_time, 24)?;
    let filter = filter(ctx.tx, input.filter_expression.as_deref().unwrap_or_default())?;
    let during = match input.time_range_type.as_deref() {
        None | Some("TraceId") => During::Begun,
        Some(_) => During::Active,
    };
    let share = share(&input)?;
    let after = input.next_token.as_deref().filter(|token| !token.is_empty()).map(position).transpose()?;
    let (platform, account) = (ctx.platform, &ctx.platform.place().account);
    let traces = platform.traces.during(platform.now_ms(), within, during, after.as_ref(), LOOKED_AT)?;
    let (mut processed, mut summaries, mut last) = (0, Vec::new(), None);
    for stored in &traces {
        processed += 1;
        last = Some(stored);
        let trace = stored.read();
        if is_in_share(&stored.id, share) && filter.matches(&trace, account) {
            summaries.push(summary(stored, &trace, account));
        }
        if summaries.len() == PAGE {
            break;
        }
    }
    let more = (processed as usize) < traces.len() || traces.len() == LOOKED_AT;
    let last = last.filter(|_| more);
    Ok(GetTraceSummariesResult {
        approximate_time: input.start_time.map(|start| quarry_wire::Timestamp::from_secs(start.secs())),
        traces_processed_count: Some(processed),
        next_token: last.map(|stored| format!("{}/{}", stored.start_ms, stored.id)),
        trace_summaries: Some(summaries),
    })
}

/// The share of all traces that is asked for, 0 to 1. A partial scan looks at all of them here.
fn share(input: &GetTraceSummariesRequest) -> Result<f64> {
    let strategy = input.sampling_strategy.as_ref();
    let rate = match strategy.and_then(|strategy| strategy.name.as_deref()) {
        Some("FixedRate") => strategy.and_then(|strategy| strategy.value).unwrap_or(1.0),
        _ => 1.0,
    };
    if !(0.0..=1.0).contains(&rate) {
        return Err(invalid("The value of SamplingStrategy must be between 0 and 1."));
    }
    Ok(if input.sampling == Some(true) { rate } else { 1.0 })
}

/// The digits after the time of an id are random, and the same each time one asks.
fn is_in_share(id: &str, share: f64) -> bool {
    let drawn = id.get(id.len().saturating_sub(8)..).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    share >= 1.0 || drawn.is_some_and(|drawn| f64::from(drawn) < share * f64::from(u32::MAX))
}

fn position(token: &str) -> Result<Position> {
    let parsed = token.split_once('/').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    parsed.ok_or_else(|| invalid("Invalid NextToken."))
}

fn summary(stored: &Stored, trace: &Trace, account: &str) -> TraceSummary {
    let root = trace.root();
    let (start, end) = trace.extent();
    let ids = |services: Vec<Service>| services.into_iter().map(|service| service_id(service, account)).collect();
    let annotations = trace.annotations().into_iter().map(|(key, values)| {
        let shown = values.into_iter().map(|(value, services)| ValueWithServiceIds {
            annotation_value: Some(annotation(value)),
            service_ids: Some(ids(services)),
        });
        (key.to_owned(), shown.collect())
    });
    let texts = |get: fn(&Segment) -> &Option<String>| {
        let mut found: Vec<String> = trace.spans().iter().filter_map(|span| get(span).clone()).collect();
        found.sort();
        found.dedup();
        found
    };
    TraceSummary {
        id: Some(stored.id.clone()),
        start_time: Some(timestamp(start)),
        duration: Some(end - start),
        response_time: root.and_then(Segment::duration),
        has_fault: Some(root.is_some_and(|root| root.fault)),
        has_error: Some(root.is_some_and(|root| root.error)),
        has_throttle: Some(root.is_some_and(|root| root.throttle)),
        is_partial: Some(trace.is_partial()),
        http: trace.http().map(|http| Http {
            http_url: http.url.clone(),
            http_status: http.status,
            http_method: http.method.clone(),
            user_agent: http.user_agent.clone(),
            client_ip: http.client_ip.clone(),
        }),
        annotations: Some(annotations.collect::<BTreeMap<_, _>>()),
        users: Some(users(trace, account)),
        service_ids: Some(ids(trace.services())),
        resource_arns: Some(
            texts(|span| &span.resource_arn).into_iter().map(|arn| ResourceARNDetail { arn: Some(arn) }).collect(),
        ),
        instance_ids: Some(
            texts(|span| &span.instance_id).into_iter().map(|id| InstanceIdDetail { id: Some(id) }).collect(),
        ),
        availability_zones: Some(
            texts(|span| &span.availability_zone)
                .into_iter()
                .map(|name| AvailabilityZoneDetail { name: Some(name) })
                .collect(),
        ),
        entry_point: root.and_then(|root| trace.service_of(root)).map(|service| service_id(service, account)),
        revision: Some(stored.revision),
        ..TraceSummary::default()
    }
}

fn annotation(value: &Annotation) -> AnnotationValue {
    match value {
        Annotation::Text(text) => AnnotationValue { string_value: Some(text.clone()), ..Default::default() },
        Annotation::Number(number) => AnnotationValue { number_value: Some(*number), ..Default::default() },
        Annotation::Flag(flag) => AnnotationValue { boolean_value: Some(*flag), ..Default::default() },
    }
}

fn users(trace: &Trace, account: &str) -> Vec<TraceUser> {
    let mut found: BTreeMap<&str, Vec<Service>> = BTreeMap::new();
    for span in trace.spans() {
        let Some(user) = &span.user else { continue };
        let services = found.entry(user).or_default();
        services.extend(trace.service_of(span).filter(|service| !services.contains(service)));
    }
    let user = |(name, services): (&str, Vec<Service>)| TraceUser {
        user_name: Some(name.to_owned()),
        service_ids: Some(services.into_iter().map(|service| service_id(service, account)).collect()),
    };
    found.into_iter().map(user).collect()
}
