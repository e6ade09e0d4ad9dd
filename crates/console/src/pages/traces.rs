//! Traces: who calls whom and how that goes, and one request as a waterfall.

use super::Ctx;
use crate::api::{Data, Told, Trouble};
use crate::chart::number;
use crate::diagram::fitted;
use crate::html::{self, Page, live, part, section, table, text};
use crate::metrics;
use crate::service_map;
use futures_util::future::join;
use maud::{Markup, html};
use quarry_aws::xray::op::{BatchGetTraces, GetServiceGraph, GetTraceSummaries};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Traces shown, the newest ones.
const SHOWN: usize = 100;
const MINUTES: i64 = 15;
const CHOICES: [i64; 4] = [5, 15, 60, 360];
/// Spans that are drawn of one trace.
const SPANS: usize = 400;
/// Characters of a name that fit beside the bars.
const FITS: usize = 28;
/// The waterfall: width of names and of bars, height of a row.
const NAMES: f64 = 210.0;
const BARS: f64 = 520.0;
const ROW: f64 = 24.0;
/// Room for the scale above.
const SCALE: f64 = 20.0;

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let minutes = ctx.query.given("minutes").and_then(|m| m.parse::<i64>().ok()).unwrap_or(MINUTES).clamp(1, 360);
    let end = metrics::now();
    let times = json!({"StartTime": end - minutes * 60, "EndTime": end});
    let mut wanted = times.clone();
    if let Some(filter) = ctx.query.given("filter") {
        wanted["FilterExpression"] = json!(filter);
    }
    let (traces, services) = join(
        ctx.api.all::<GetTraceSummaries>(wanted, "TraceSummaries"),
        ctx.api.all::<GetServiceGraph>(times, "Services"),
    )
    .await;
    let options = CHOICES.map(|minutes| (minutes.to_string(), format!("{minutes} minutes")));
    let examples = ["fault", "error", "responsetime > 0.5", "http.status = 404"];
    let body = html! {
        (section("which", "Which", html! {
            form.action method="get" {
                (html::choice("minutes", "Of the last", &options, &minutes.to_string()))
                (html::field("filter", "Filter expression", ctx.query.text("filter"), "text"))
                button type="submit" { "Show" }
            }
            p.none { "Such as " @for (i, example) in examples.iter().enumerate() {
                @if i > 0 { ", " }
                a href={ "?minutes=" (minutes) "&filter=" (crate::form::encoded(example)) } { code { (example) } }
            } "." }
        }))
        (live("map", "Service map", part(&services, |all| html! {
            @if all.is_empty() { p.none { "No trace in this time." } } @else { (service_map::draw(all, minutes, "/traces")) }
            (html::folded("The same as a table", services_table(all)))
        })))
        (live("traces", "Traces", part(&traces, |all| traces_table(all))))
    };
    Ok(Page::new("Traces", body))
}

fn services_table(services: &[Value]) -> Markup {
    let names: BTreeMap<i64, &str> = services.iter().map(|s| (s.whole("ReferenceId"), s.text("Name"))).collect();
    let rows = services.iter().filter(|s| s.text("Type") != "client").map(|service| {
        let statistics = service.at("SummaryStatistics");
        let total = statistics.whole("TotalCount");
        let average = statistics.at("TotalResponseTime").as_f64().filter(|_| total > 0);
        let calls = service.list("Edges").iter().filter_map(|edge| {
            let name = names.get(&edge.whole("ReferenceId"))?;
            Some(format!("{name} ({})", edge.whole("SummaryStatistics.TotalCount")))
        });
        vec![
            text(service.text("Name")),
            text(service.text("Type")),
            text(total),
            text(statistics.whole("ErrorStatistics.TotalCount")),
            text(statistics.whole("FaultStatistics.TotalCount")),
            text(average.map_or_else(String::new, |seconds| number(seconds * 1000.0 / total as f64))),
            text(service_map::slow(service).unwrap_or_default()),
            text(calls.collect::<Vec<_>>().join(", ")),
        ]
    });
    let columns = ["Service", "Type", "#Requests", "#Errors", "#Faults", "#Average in ms", "#95 % within ms", "Calls"];
    table("Services and whom they call", &columns, rows.collect())
}

fn traces_table(traces: &[Value]) -> Markup {
    let mut newest: Vec<&Value> = traces.iter().collect();
    newest.sort_by_key(|trace| Reverse(trace.time("StartTime").map(|at| at.millis())));
    let rows = newest.iter().take(SHOWN).map(|trace| {
        vec![
            html::link_in("/traces", trace.text("Id")),
            html::when(trace.time("StartTime")),
            text(format!("{} {}", trace.text("Http.HttpMethod"), trace.text("Http.HttpURL"))),
            text(trace.at("Http.HttpStatus").as_i64().map_or_else(String::new, |status| status.to_string())),
            text(trace.at("ResponseTime").as_f64().map_or_else(String::new, |seconds| number(seconds * 1000.0))),
            html::state(outcome(trace.flag("HasFault"), trace.flag("HasError"), trace.flag("HasThrottle"))),
        ]
    });
    html! {
        (table("Traces", &["Trace", "At", "Request", "#Status", "#ms", "Outcome"], rows.collect()))
        @if traces.len() > SHOWN { p.none { "The newest " (SHOWN) " of " (traces.len()) "." } }
    }
}

fn outcome(fault: bool, error: bool, throttle: bool) -> &'static str {
    match (fault, throttle, error) {
        (true, _, _) => "FAILED",
        (_, true, _) => "throttled",
        (_, _, true) => "error",
        _ => "OK",
    }
}

pub async fn one(ctx: &Ctx<'_>, id: &str) -> Told<Page> {
    let found = ctx.api.ask::<BatchGetTraces>(json!({"TraceIds": [id]})).await?;
    let trace = found.list("Traces").first().ok_or_else(|| Trouble::Missing(format!("trace {id}")))?;
    let documents = trace.list("Segments").iter().filter_map(|s| serde_json::from_str(s.text("Document")).ok());
    let spans = in_order(documents.collect());
    let rows = spans.iter().map(|span| {
        vec![
            text(format!("{}{}", "· ".repeat(span.depth), span.name)),
            text(&span.what),
            text(number(span.milliseconds())),
            html::state(span.outcome),
        ]
    });
    let first = spans.iter().map(|span| span.start).fold(f64::INFINITY, f64::min);
    let body = html! {
        (section("waterfall", "Waterfall", waterfall(&spans)))
        (section("spans", "Segments", table("Segments in the order of their calls", &["Segment", "What", "#ms", "Outcome"], rows.collect())))
        @if first.is_finite() {
            p.none { "Began " (html::when_ms((first * 1000.0) as i64)) ", " (number(trace.at("Duration").as_f64().unwrap_or_default() * 1000.0)) " ms in all." }
        }
    };
    Ok(Page::new(id, body).under("Traces", "/traces"))
}

/// A segment or subsegment.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    name: String,
    what: String,
    /// Unix seconds.
    start: f64,
    end: f64,
    outcome: &'static str,
    /// How many called it, one the other.
    depth: usize,
}

impl Span {
    fn milliseconds(&self) -> f64 {
        (self.end - self.start).max(0.0) * 1000.0
    }
}

/// Each before those that it called, by the time they began.
fn in_order(documents: Vec<Value>) -> Vec<Span> {
    // Subsegments lie in their segment; segments of other services name the subsegment that called them.
    let mut all: Vec<(String, String, Value)> = Vec::new();
    let mut open: Vec<(String, Value)> =
        documents.into_iter().map(|document| (document.text("parent_id").to_owned(), document)).collect();
    while let Some((parent, mut document)) = open.pop() {
        let id = document.text("id").to_owned();
        open.extend(crate::api::items(document["subsegments"].take()).into_iter().map(|sub| (id.clone(), sub)));
        all.push((id, parent, document));
        if all.len() >= SPANS {
            break;
        }
    }
    all.sort_by(|a, b| real(&a.2, "start_time").total_cmp(&real(&b.2, "start_time")));
    let is_there = |id: &str| all.iter().any(|(other, _, _)| other == id);
    let mut stack: Vec<(usize, usize)> =
        (0..all.len()).rev().filter(|i| !is_there(&all[*i].1)).map(|i| (i, 0)).collect();
    let mut seen = vec![false; all.len()];
    let mut spans = Vec::new();
    while let Some((i, depth)) = stack.pop() {
        // What calls itself in a circle is shown once.
        if std::mem::replace(&mut seen[i], true) {
            continue;
        }
        let (id, _, document) = &all[i];
        spans.push(span(document, depth));
        stack.extend((0..all.len()).rev().filter(|j| !seen[*j] && all[*j].1 == *id).map(|j| (j, depth + 1)));
    }
    spans
}

fn span(document: &Value, depth: usize) -> Span {
    let start = real(document, "start_time");
    let status = document.at("http.response.status").as_i64().map_or_else(String::new, |status| format!(" → {status}"));
    let request = format!("{} {}", document.text("http.request.method"), document.text("http.request.url"));
    Span {
        name: document.text("name").to_owned(),
        what: format!("{}{status}", request.trim()),
        start,
        end: document.at("end_time").as_f64().unwrap_or(start),
        outcome: outcome(document.flag("fault"), document.flag("error"), document.flag("throttle")),
        depth,
    }
}

fn real(document: &Value, name: &str) -> f64 {
    document[name].as_f64().unwrap_or_default()
}

fn waterfall(spans: &[Span]) -> Markup {
    let first = spans.iter().map(|span| span.start).fold(f64::INFINITY, f64::min);
    let last = spans.iter().map(|span| span.end).fold(f64::NEG_INFINITY, f64::max);
    let whole = (last - first).max(1e-6);
    let x = |at: f64| NAMES + (at - first) / whole * BARS;
    let height = SCALE + spans.len() as f64 * ROW + 4.0;
    let width = NAMES + BARS + 70.0;
    html! {
        div.drawing tabindex="0" role="group" aria-label="Waterfall of the trace" {
            svg width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) role="img" aria-label="Bars from when each segment began to when it ended; the table below says the same" {
                @if whole.is_finite() { @for quarter in 0..=4 {
                    @let (x, part) = (NAMES + BARS / 4.0 * f64::from(quarter), whole / 4.0 * f64::from(quarter));
                    text.small x=(x) y="11" text-anchor="middle" { (service_map::milliseconds(part)) }
                    path.grid d=(format!("M{x},{SCALE} V{height}")) {}
                } }
                @for (i, span) in spans.iter().enumerate() {
                    @let y = SCALE + i as f64 * ROW;
                    @let bar = ((span.end - span.start) / whole * BARS).max(2.0);
                    text x=(4.0 + span.depth.min(12) as f64 * 12.0) y=(y + 15.0) { (fitted(&span.name, FITS)) }
                    rect class=(if span.outcome == "OK" { "bar" } else { "bar bad" }) x=(x(span.start)) y=(y + 5.0) width=(bar) height=(ROW - 10.0) rx="3" {}
                    text.small x=(x(span.start) + bar + 5.0) y=(y + 15.0) { (number(span.milliseconds())) " ms" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_told_in_the_order_of_its_calls() {
        let front = json!({"id": "a", "name": "demo", "start_time": 1.0, "end_time": 2.0, "subsegments": [
            {"id": "c", "name": "users", "start_time": 1.5, "end_time": 1.9, "fault": true},
            {"id": "b", "name": "posts", "start_time": 1.1, "end_time": 1.4},
        ]});
        let posts = json!({"id": "d", "parent_id": "b", "name": "posts", "start_time": 1.2, "end_time": 1.3,
            "http": {"request": {"method": "GET", "url": "/api/posts"}, "response": {"status": 200}}});
        let circle = json!({"id": "x", "parent_id": "x", "name": "odd", "start_time": 1.0});
        let told = in_order(vec![posts, circle, front]);
        let order: Vec<_> = told.iter().map(|span| (span.name.as_str(), span.depth)).collect();
        assert_eq!(order, [("demo", 0), ("posts", 1), ("posts", 2), ("users", 1)]);
        assert_eq!((told[2].what.as_str(), told[3].outcome), ("GET /api/posts → 200", "FAILED"));
        assert!(waterfall(&told).into_string().contains("1000 ms"));
        assert!(waterfall(&[]).into_string().contains("svg"));
    }
}
