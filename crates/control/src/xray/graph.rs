//! The service graph: of a time (GetServiceGraph), and of some traces (GetTraceGraph).

use super::store::During;
use super::{filter, invalid, range, timestamp};
use crate::api::{Ctx, Result};
use quarry_aws::xray::{
    Alias, Edge, EdgeStatistics, ErrorStatistics, FaultStatistics, GetServiceGraphRequest, GetServiceGraphResult,
    GetTraceGraphRequest, GetTraceGraphResult, HistogramEntry, Service, ServiceStatistics,
};
use quarry_domain::trace::filter::Filter;
use quarry_domain::trace::graph::{Graph, Seen};

/// Traces read at a time.
const BATCH: usize = 500;
/// Trace ids that one call may give.
const MAX_IDS: usize = 100;

pub fn of_time(ctx: &mut Ctx<'_>, input: GetServiceGraphRequest) -> Result<GetServiceGraphResult> {
    let within = range(input.start_time, input.end_time, 6)?;
    no_token(input.next_token.as_deref())?;
    let filter = match (&input.group_name, &input.group_arn) {
        (None, None) => None,
        // The group that holds all traces.
        (Some(name), None) if name == "Default" => None,
        (name, arn) => {
            let name = super::named(name.as_deref(), arn.as_deref(), "group")?;
            Some(filter(ctx.tx, &super::groups::find(ctx.tx, name)?.filter)?)
        }
    };
    let graph = during(ctx, within, filter.as_ref())?;
    Ok(GetServiceGraphResult {
        start_time: input.start_time,
        end_time: input.end_time,
        services: Some(shown(ctx, &graph)),
        contains_old_group_versions: Some(false),
        next_token: None,
    })
}

pub fn of_traces(ctx: &mut Ctx<'_>, input: GetTraceGraphRequest) -> Result<GetTraceGraphResult> {
    let ids = input.trace_ids.unwrap_or_default();
    if ids.len() > MAX_IDS {
        return Err(invalid(format!("At most {MAX_IDS} trace IDs may be given.")));
    }
    no_token(input.next_token.as_deref())?;
    let mut graph = Graph::default();
    for trace in ctx.platform.traces.get(ctx.platform.now_ms(), &ids)? {
        graph.add(&trace.read());
    }
    Ok(GetTraceGraphResult { services: Some(shown(ctx, &graph)), next_token: None })
}

fn no_token(token: Option<&str>) -> Result<()> {
    // A graph comes in one piece.
    if token.is_some_and(|token| !token.is_empty()) { Err(invalid("Invalid NextToken.")) } else { Ok(()) }
}

fn during(ctx: &Ctx<'_>, within: (i64, i64), filter: Option<&Filter>) -> Result<Graph> {
    let mut graph = Graph::default();
    let mut after = None;
    let account = &ctx.platform.place().account;
    loop {
        let traces =
            ctx.platform.traces.during(ctx.platform.now_ms(), within, During::Active, after.as_ref(), BATCH)?;
        for stored in &traces {
            let trace = stored.read();
            if filter.is_none_or(|filter| filter.matches(&trace, account)) {
                graph.add(&trace);
            }
        }
        match traces.last() {
            Some(last) if traces.len() == BATCH => after = Some((last.start_ms, last.id.clone())),
            _ => return Ok(graph),
        }
    }
}

fn shown(ctx: &Ctx<'_>, graph: &Graph) -> Vec<Service> {
    let account = &ctx.platform.place().account;
    let reference = |number: usize| i32::try_from(number).ok();
    let one = |(number, service, seen): (usize, &quarry_domain::trace::Service, &Seen)| {
        let edges = graph.edges_of(service).map(|(to, seen)| Edge {
            reference_id: reference(to),
            start_time: seen.extent.map(|(start, _)| timestamp(start)),
            end_time: seen.extent.map(|(_, end)| timestamp(end)),
            summary_statistics: Some(EdgeStatistics {
                ok_count: Some(count(seen.ok)),
                error_statistics: Some(errors(seen)),
                fault_statistics: Some(faults(seen)),
                total_count: Some(count(seen.total())),
                total_response_time: Some(seen.total_seconds),
            }),
            response_time_histogram: Some(histogram(seen)),
            aliases: Some(Vec::<Alias>::new()),
            edge_type: None,
            received_event_age_histogram: None,
        });
        Service {
            reference_id: reference(number),
            name: Some(service.name.clone()),
            names: Some(vec![service.name.clone()]),
            root: seen.root.then_some(true),
            account_id: seen.active.then(|| account.clone()),
            r#type: Some(service.kind.clone()).filter(|kind| !kind.is_empty()),
            state: Some(if seen.active { "active" } else { "unknown" }.to_owned()),
            start_time: seen.extent.map(|(start, _)| timestamp(start)),
            end_time: seen.extent.map(|(_, end)| timestamp(end)),
            edges: Some(edges.collect()),
            summary_statistics: (seen.total() > 0).then(|| ServiceStatistics {
                ok_count: Some(count(seen.ok)),
                error_statistics: Some(errors(seen)),
                fault_statistics: Some(faults(seen)),
                total_count: Some(count(seen.total())),
                total_response_time: Some(seen.total_seconds),
            }),
            duration_histogram: Some(histogram(seen)),
            response_time_histogram: Some(histogram(seen)),
        }
    };
    graph.nodes().map(one).collect()
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn errors(seen: &Seen) -> ErrorStatistics {
    ErrorStatistics {
        throttle_count: Some(count(seen.throttle)),
        other_count: Some(count(seen.error.saturating_sub(seen.throttle))),
        total_count: Some(count(seen.error)),
    }
}

fn faults(seen: &Seen) -> FaultStatistics {
    FaultStatistics { other_count: Some(count(seen.fault)), total_count: Some(count(seen.fault)) }
}

fn histogram(seen: &Seen) -> Vec<HistogramEntry> {
    let entry =
        |(value, n): (f64, u64)| HistogramEntry { value: Some(value), count: i32::try_from(n).ok().or(Some(i32::MAX)) };
    seen.histogram().map(entry).collect()
}
