//! Services and whom they call, as a drawing of X-Ray's service graph. Pure.

use crate::api::Data;
use crate::chart::number;
use crate::diagram::{busy, fitted};
use crate::form::encoded;
use maud::{Markup, html};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A service's box, and the way from one column and row to the next.
const BOX: (f64, f64) = (164.0, 66.0);
const STEP: (f64, f64) = (296.0, 94.0);
const EDGE: f64 = 8.0;
/// Characters that fit into a box.
const FITS: usize = 21;

/// Requests, those of them that went wrong, and their times.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    total: i64,
    /// 4XX and 5XX.
    errors: i64,
    faults: i64,
    seconds: f64,
    /// Times in seconds with their counts.
    times: Vec<(f64, i64)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    name: String,
    kind: String,
    seen: Seen,
}

/// What is drawn: services, and calls between them by their places.
#[derive(Clone, Debug, Default, PartialEq)]
struct Map {
    nodes: Vec<Node>,
    calls: Vec<(usize, usize, Seen)>,
}

/// Draws what GetServiceGraph answered of so many minutes. `traces`: the path of the page that lists traces by a filter.
pub fn draw(services: &[Value], minutes: i64, traces: &str) -> Markup {
    let map = Map::read(services);
    let places = map.places();
    let at = |node: usize| (EDGE + places[node].0 as f64 * STEP.0, EDGE + places[node].1 * STEP.1);
    let width = EDGE * 2.0 + BOX.0 + STEP.0 * places.iter().map(|place| place.0).max().unwrap_or(0) as f64;
    let height = EDGE * 2.0 + BOX.1 + STEP.1 * places.iter().map(|place| place.1).fold(0.0, f64::max);
    let filtered = |expression: &str| format!("{traces}?minutes={minutes}&filter={}", encoded(expression));
    html! {
        div.drawing tabindex="0" role="group" aria-label="Service map" {
            svg.fitted width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) role="group" aria-label="Services and whom they call; the table below says the same" {
                @for (from, to, seen) in &map.calls {
                    (call(at(*from), at(*to), places[*from].0 < places[*to].0, seen, minutes))
                }
                @for (i, node) in map.nodes.iter().enumerate() {
                    @let (x, y) = at(i);
                    @if node.kind == CLIENTS { (clients(x, y)) } @else {
                        a href=(filtered(&format!("service(\"{}\")", node.name))) { (service(x, y, node, minutes)) }
                    }
                }
            }
        }
    }
}

/// The kind of whoever called first.
const CLIENTS: &str = "client";

fn clients(x: f64, y: f64) -> Markup {
    html! {
        g {
            rect.box x=(x + BOX.0 - 84.0) y=(y + 11.0) width="84" height=(BOX.1 - 22.0) rx="8" {}
            text.name x=(x + BOX.0 - 42.0) y=(y + BOX.1 / 2.0 + 4.5) text-anchor="middle" { "Clients" }
        }
    }
}

fn service(x: f64, y: f64, node: &Node, minutes: i64) -> Markup {
    let seen = &node.seen;
    // What went well, and what did not, as parts of a bar.
    let part = |count: i64| count as f64 / seen.total.max(1) as f64 * (BOX.0 - 20.0);
    let (faults, errors) = (part(seen.faults), part(seen.errors));
    let well = (BOX.0 - 20.0 - faults - errors).max(0.0);
    let bars = [("dot-good", 0.0, well), ("dot-wait", well, errors), ("dot-bad", well + errors, faults)];
    html! {
        rect.box x=(x) y=(y) width=(BOX.0) height=(BOX.1) rx="8" {}
        text.name x=(x + 10.0) y=(y + 19.0) { (fitted(&node.name, FITS)) }
        text.small x=(x + 10.0) y=(y + 34.0) { (fitted(kind(&node.kind), FITS)) }
        @if seen.total > 0 {
            text.small x=(x + 10.0) y=(y + 50.0) { (rate(seen, minutes)) " · " (average(seen)) }
            @for (class, from, width) in bars {
                @if width > 0.0 { rect class=(class) x=(x + 10.0 + from) y=(y + 56.0) width=(width) height="3.5" rx="1" {} }
            }
        }
    }
}

/// `AWS::ElasticLoadBalancingV2::LoadBalancer` → `LoadBalancer`.
fn kind(kind: &str) -> &str {
    match kind {
        "" => "service",
        "remote" => "remote service",
        kind => kind.rsplit("::").next().unwrap_or(kind),
    }
}

fn call(from: (f64, f64), to: (f64, f64), forwards: bool, seen: &Seen, minutes: i64) -> Markup {
    let per_minute = seen.total as f64 / minutes.max(1) as f64;
    let class = if seen.faults > 0 { "failing" } else { busy(Some(per_minute)) };
    let below = (BOX.1 / 2.0, from.1 + BOX.1);
    let (line, tip, middle) = match forwards {
        true => {
            let (x1, y1, x2, y2) = (from.0 + BOX.0, from.1 + BOX.1 / 2.0, to.0, to.1 + BOX.1 / 2.0);
            // Past what stands between them the line goes level, and turns in the last gap.
            let (turn, middle) = (x2 - (STEP.0 - BOX.0), (x2 + x2 - (STEP.0 - BOX.0)) / 2.0);
            let line = format!("M{x1},{y1} L{turn},{y1} C{middle},{y1} {middle},{y2} {},{y2}", x2 - 8.0);
            (line, format!("M{x2},{y2} l-8,-4.5 v9 z"), (middle, (y1 + y2) / 2.0))
        }
        // Back, or to itself: below both.
        false => {
            let (x1, x2, y2) = (from.0 + BOX.0 / 2.0, to.0 + BOX.0 / 2.0 - 14.0, to.1 + BOX.1);
            let deep = below.1.max(y2) + 18.0;
            let line = format!("M{x1},{} C{x1},{deep} {x2},{deep} {x2},{}", below.1, y2 + 8.0);
            (line, format!("M{x2},{y2} l-4.5,8 h9 z"), ((x1 + x2) / 2.0, deep))
        }
    };
    let wrong = seen.errors + seen.faults;
    html! {
        g {
            title { (in_words(seen, minutes)) }
            path class={ "arrow " (class) } d=(line) {}
            path class={ "tip " (class) } d=(tip) {}
            text.rate x=(middle.0) y=(middle.1 - 6.0) text-anchor="middle" { (rate(seen, minutes)) }
            text.latency x=(middle.0) y=(middle.1 + 14.0) text-anchor="middle" {
                (average(seen))
                @if wrong > 0 { tspan.wrong { " · " (percent(wrong, seen.total)) " failed" } }
            }
        }
    }
}

fn in_words(seen: &Seen, minutes: i64) -> String {
    let slow = seen.percentile(0.95).map_or_else(String::new, |slow| format!(", 95 % within {}", milliseconds(slow)));
    format!(
        "{} requests in {minutes} minutes, {} errors, {} faults, {} on average{slow}",
        seen.total,
        seen.errors,
        seen.faults,
        average(seen)
    )
}

fn rate(seen: &Seen, minutes: i64) -> String {
    match seen.total as f64 / minutes.max(1) as f64 {
        rate if rate < 1.0 => format!("{} in {minutes} min", seen.total),
        rate => format!("{}/min", number(rate)),
    }
}

fn average(seen: &Seen) -> String {
    milliseconds(seen.seconds / seen.total.max(1) as f64)
}

/// Seconds as milliseconds.
pub fn milliseconds(seconds: f64) -> String {
    format!("{} ms", number(seconds * 1000.0))
}

fn percent(part: i64, all: i64) -> String {
    match part as f64 / all.max(1) as f64 * 100.0 {
        share if share < 1.0 => "<1 %".into(),
        share => format!("{share:.0} %"),
    }
}

impl Seen {
    fn read(of: &Value, times: &str) -> Self {
        let statistics = of.at("SummaryStatistics");
        let times =
            of.list(times).iter().map(|entry| (entry.at("Value").as_f64().unwrap_or(0.0), entry.whole("Count")));
        Self {
            total: statistics.whole("TotalCount"),
            errors: statistics.whole("ErrorStatistics.TotalCount"),
            faults: statistics.whole("FaultStatistics.TotalCount"),
            seconds: statistics.at("TotalResponseTime").as_f64().unwrap_or(0.0),
            times: times.collect(),
        }
    }

    fn add(&mut self, other: Self) {
        self.total += other.total;
        self.errors += other.errors;
        self.faults += other.faults;
        self.seconds += other.seconds;
        self.times.extend(other.times);
    }

    /// The time in seconds in which this part of all were done.
    fn percentile(&self, part: f64) -> Option<f64> {
        let mut times = self.times.clone();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all: i64 = times.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        times
            .into_iter()
            .find(|(_, count)| {
                seen += count;
                seen as f64 >= all as f64 * part
            })
            .map(|(seconds, _)| seconds)
    }
}

/// The time in which 95 % of a service's requests were answered, in milliseconds.
pub fn slow(service: &Value) -> Option<String> {
    Seen::read(service, "ResponseTimeHistogram").percentile(0.95).map(|seconds| number(seconds * 1000.0))
}

impl Map {
    /// Whoever called first is one, however many services X-Ray counts it for.
    fn read(services: &[Value]) -> Self {
        let mut map = Self::default();
        let mut places: BTreeMap<i64, usize> = BTreeMap::new();
        let first = services.iter().filter(|service| service.text("Type") == CLIENTS);
        for service in first.chain(services.iter().filter(|service| service.text("Type") != CLIENTS)) {
            let is_client = service.text("Type") == CLIENTS;
            let known = map.nodes.iter().position(|node| is_client && node.kind == CLIENTS);
            let place = known.unwrap_or_else(|| {
                map.nodes.push(Node {
                    name: service.text("Name").to_owned(),
                    kind: service.text("Type").to_owned(),
                    seen: Seen::read(service, "ResponseTimeHistogram"),
                });
                map.nodes.len() - 1
            });
            places.insert(service.whole("ReferenceId"), place);
        }
        let mut calls: BTreeMap<(usize, usize), Seen> = BTreeMap::new();
        for service in services {
            for edge in service.list("Edges") {
                let ends = (places.get(&service.whole("ReferenceId")), places.get(&edge.whole("ReferenceId")));
                if let (Some(from), Some(to)) = ends {
                    calls.entry((*from, *to)).or_default().add(Seen::read(edge, "ResponseTimeHistogram"));
                }
            }
        }
        map.calls = calls.into_iter().map(|((from, to), seen)| (from, to, seen)).collect();
        map
    }

    /// Columns and rows: each service right of all that call it, except where calls go in a circle.
    fn places(&self) -> Vec<(usize, f64)> {
        let forwards = self.forwards();
        let mut column = vec![0; self.nodes.len()];
        for _ in 0..self.nodes.len() {
            for (from, to) in &forwards {
                column[*to] = column[*to].max(column[*from] + 1);
            }
        }
        let columns = column.iter().max().map_or(0, |last| last + 1);
        let mut row = vec![0.0; self.nodes.len()];
        let mut tallest = 0;
        for here in 0..columns {
            let mut those: Vec<usize> = (0..self.nodes.len()).filter(|node| column[*node] == here).collect();
            tallest = tallest.max(those.len());
            // In the order of those who call them, so that few lines cross.
            let middle = |node: usize| {
                let callers: Vec<f64> =
                    forwards.iter().filter(|(_, to)| *to == node).map(|(from, _)| row[*from]).collect();
                callers.iter().sum::<f64>() / callers.len().max(1) as f64
            };
            let order: BTreeMap<usize, f64> = those.iter().map(|node| (*node, middle(*node))).collect();
            those.sort_by(|a, b| order[a].total_cmp(&order[b]));
            those.iter().enumerate().for_each(|(i, node)| row[*node] = i as f64);
        }
        // Each column in the middle of the tallest.
        let height = |here: usize| column.iter().filter(|of| **of == here).count();
        let shift: Vec<f64> = (0..columns).map(|here| (tallest - height(here)) as f64 / 2.0).collect();
        (0..self.nodes.len()).map(|node| (column[node], row[node] + shift[column[node]])).collect()
    }

    /// The calls without those that close a circle.
    fn forwards(&self) -> Vec<(usize, usize)> {
        let mut kept: Vec<(usize, usize)> = Vec::new();
        let (mut open, mut done) = (BTreeSet::new(), BTreeSet::new());
        // Whoever nobody calls comes first.
        let called: BTreeSet<usize> = self.calls.iter().filter(|(from, to, _)| from != to).map(|call| call.1).collect();
        let (roots, others): (Vec<usize>, Vec<usize>) = (0..self.nodes.len()).partition(|node| !called.contains(node));
        for node in roots.into_iter().chain(others) {
            self.descend(node, &mut open, &mut done, &mut kept);
        }
        kept
    }

    fn descend(
        &self,
        node: usize,
        open: &mut BTreeSet<usize>,
        done: &mut BTreeSet<usize>,
        kept: &mut Vec<(usize, usize)>,
    ) {
        if done.contains(&node) || !open.insert(node) {
            return;
        }
        for (_, to, _) in self.calls.iter().filter(|(from, _, _)| *from == node) {
            if !open.contains(to) {
                kept.push((node, *to));
                self.descend(*to, open, done, kept);
            }
        }
        open.remove(&node);
        done.insert(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn statistics(total: i64, errors: i64, faults: i64, seconds: f64) -> Value {
        json!({"TotalCount": total, "TotalResponseTime": seconds,
            "ErrorStatistics": {"TotalCount": errors}, "FaultStatistics": {"TotalCount": faults}})
    }

    /// Clients → demo → posts → users → posts (a circle), posts → database.
    fn services() -> Vec<Value> {
        let edge = |to: i64, total: i64, faults: i64| {
            json!({"ReferenceId": to,
            "SummaryStatistics": statistics(total, 0, faults, total as f64 * 0.02),
            "ResponseTimeHistogram": [{"Value": 0.01, "Count": total - 1}, {"Value": 0.5, "Count": 1}]})
        };
        let service = |id: i64, name: &str, kind: &str, edges: Vec<Value>| {
            json!({"ReferenceId": id, "Name": name,
            "Type": kind, "SummaryStatistics": statistics(30, 3, 1, 0.9), "Edges": edges})
        };
        vec![
            service(0, "posts", "", vec![edge(1, 30, 1), edge(3, 60, 0)]),
            service(1, "users", "", vec![edge(0, 10, 0)]),
            service(2, "demo", "AWS::ElasticLoadBalancingV2::LoadBalancer", vec![edge(0, 30, 0)]),
            service(3, "posts.db", "Database::SQL", vec![]),
            service(4, "demo", "client", vec![edge(2, 30, 0)]),
            service(5, "other", "client", vec![edge(2, 15, 0)]),
        ]
    }

    #[test]
    fn services_stand_right_of_their_callers_and_circles_end() {
        let map = Map::read(&services());
        let places = map.places();
        let column = |name: &str, kind: &str| {
            places[map.nodes.iter().position(|node| node.name == name && node.kind == kind).unwrap()].0
        };
        assert_eq!(map.nodes.iter().filter(|node| node.kind == CLIENTS).count(), 1);
        let lb = "AWS::ElasticLoadBalancingV2::LoadBalancer";
        assert_eq!([column("demo", "client"), column("demo", lb), column("posts", "")], [0, 1, 2]);
        assert_eq!([column("users", ""), column("posts.db", "Database::SQL")], [3, 3]);
        assert!(Map::default().places().is_empty());
        // Two that only call each other.
        let pair = [
            json!({"ReferenceId": 0, "Name": "a", "Edges": [{"ReferenceId": 1}, {"ReferenceId": 0}]}),
            json!({"ReferenceId": 1, "Name": "b", "Edges": [{"ReferenceId": 0}]}),
        ];
        assert_eq!(Map::read(&pair).places().iter().map(|place| place.0).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn rates_times_and_failures_are_on_the_arrows() {
        let drawn = draw(&services(), 15, "/traces").into_string();
        for expected in [
            // Both kinds of clients together.
            "3/min",
            "20 ms",
            "3 % failed",
            "30 requests in 15 minutes, 0 errors, 1 faults, 20 ms on average, 95 % within 10 ms",
            "href=\"/traces?minutes=15&amp;filter=service%28%22users%22%29\"",
            "LoadBalancer",
            "SQL",
            "Clients",
        ] {
            assert!(drawn.contains(expected), "{expected}: {drawn}");
        }
        assert!(draw(&[], 15, "/traces").into_string().contains("svg"));
    }
}
