//! The service graph of many traces: nodes and edges with their counts and times (GetServiceGraph, GetTraceGraph).

use super::segment::Segment;
use super::view::{Service, Trace};
use crate::link::{bucket_micros, time_bucket};
use std::collections::BTreeMap;

/// What was seen of the services that traces went through.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<Service, Seen>,
    edges: BTreeMap<(Service, Service), Seen>,
}

/// Counts and times of a service's answers, or of the calls from one to another.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// It is the first of some trace.
    pub root: bool,
    /// It reported itself.
    pub active: bool,
    /// Seconds since 1970, of the first beginning and the last end.
    pub extent: Option<(f64, f64)>,
    pub ok: u64,
    /// 4XX, those of 429 among them.
    pub error: u64,
    pub throttle: u64,
    /// 5XX.
    pub fault: u64,
    /// Sum of the times, in seconds.
    pub total_seconds: f64,
    times: BTreeMap<u16, u64>,
}

impl Graph {
    pub fn add(&mut self, trace: &Trace) {
        for node in trace.nodes() {
            let seen = self.nodes.entry(node.service).or_default();
            seen.root |= node.root;
            seen.active |= !node.inferred;
            seen.count(node.span, node.span.fault, node.span.error, node.span.throttle);
        }
        for call in trace.calls() {
            self.nodes.entry(call.from.clone()).or_default();
            let seen = self.edges.entry((call.from, call.to)).or_default();
            seen.count(call.span, call.fault, call.error, call.throttle);
        }
    }

    /// The services in an order that is the same for the same traces; their places are their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Service, &Seen)> {
        self.nodes.iter().enumerate().map(|(number, (service, seen))| (number, service, seen))
    }

    /// Whom a service called, by number.
    pub fn edges_of(&self, from: &Service) -> impl Iterator<Item = (usize, &Seen)> {
        let of = self.edges.iter().filter(move |((caller, _), _)| caller == from);
        of.filter_map(|((_, to), seen)| Some((self.nodes.keys().position(|known| known == to)?, seen)))
    }
}

impl Seen {
    fn count(&mut self, span: &Segment, fault: bool, error: bool, throttle: bool) {
        let end = span.end.unwrap_or(span.start);
        let (first, last) = self.extent.unwrap_or((span.start, end));
        self.extent = Some((first.min(span.start), last.max(end)));
        match (fault, error || throttle) {
            (true, _) => self.fault += 1,
            (false, true) => self.error += 1,
            (false, false) => self.ok += 1,
        }
        self.throttle += u64::from(throttle);
        if let Some(seconds) = span.duration() {
            self.total_seconds += seconds;
            *self.times.entry(time_bucket((seconds * 1e6) as u64)).or_default() += 1;
        }
    }

    pub fn total(&self) -> u64 {
        self.ok + self.error + self.fault
    }

    /// Times in seconds, each with how often it was seen; a time stands for those within an eighth of it.
    pub fn histogram(&self) -> impl Iterator<Item = (f64, u64)> {
        self.times.iter().map(|(bucket, count)| (bucket_micros(*bucket) / 1e6, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// balancer → posts → users, posts → database; users failed.
    fn trace() -> Trace {
        let id = "1-5759e988-bd862e3fe1be46a994272793";
        let documents = [
            json!({"id": "000000000000000a", "trace_id": id, "name": "lb", "start_time": 1.0, "end_time": 2.0,
                   "origin": "AWS::ElasticLoadBalancingV2::LoadBalancer"}),
            json!({"id": "000000000000000b", "trace_id": id, "parent_id": "000000000000000a", "name": "posts",
                   "start_time": 1.1, "end_time": 1.9, "subsegments": [
                {"id": "000000000000000c", "name": "users.local", "namespace": "remote", "start_time": 1.2,
                 "end_time": 1.5, "fault": true},
                {"id": "000000000000000d", "name": "posts.db", "namespace": "remote", "start_time": 1.6,
                 "end_time": 1.7, "sql": {}}]}),
            json!({"id": "000000000000000e", "trace_id": id, "parent_id": "000000000000000c", "name": "users",
                   "start_time": 1.3, "end_time": 1.4, "fault": true}),
        ];
        Trace::new(id, documents.iter().map(|d| Segment::parse(&d.to_string()).unwrap()))
    }

    #[test]
    fn calls_lead_from_the_client_to_the_database() {
        let mut graph = Graph::default();
        graph.add(&trace());
        graph.add(&trace());
        let names: Vec<String> = graph.nodes().map(|(_, s, _)| format!("{}/{}", s.name, s.kind)).collect();
        assert_eq!(
            names,
            ["lb/AWS::ElasticLoadBalancingV2::LoadBalancer", "lb/client", "posts/", "posts.db/Database::SQL", "users/"]
        );
        let edges: Vec<(usize, usize, u64, u64)> = graph
            .nodes()
            .flat_map(|(from, service, _)| {
                graph.edges_of(service).map(move |(to, seen)| (from, to, seen.ok, seen.fault))
            })
            .collect();
        assert_eq!(edges, [(0, 2, 2, 0), (1, 0, 2, 0), (2, 3, 2, 0), (2, 4, 0, 2)]);
        let seen: Vec<(bool, bool, u64)> = graph.nodes().map(|(_, _, s)| (s.root, s.active, s.total())).collect();
        assert_eq!(seen, [(true, true, 2), (false, false, 0), (false, true, 2), (false, false, 2), (false, true, 2)]);
        let (_, _, posts) = graph.nodes().nth(2).unwrap();
        assert!((posts.total_seconds - 1.6).abs() < 1e-9 && posts.histogram().map(|(_, n)| n).sum::<u64>() == 2);
    }

    #[test]
    fn a_trace_without_its_beginning_is_whole_in_itself() {
        let id = "1-5759e988-bd862e3fe1be46a994272793";
        let documents = [
            json!({"id": "00000000000000b1", "trace_id": id, "parent_id": "00000000000000a1", "name": "late",
                   "start_time": 5.0, "in_progress": true}),
            json!({"id": "00000000000000b2", "type": "subsegment", "trace_id": id, "parent_id": "00000000000000b3",
                   "name": "x", "namespace": "remote", "start_time": 4.0, "end_time": 5.0}),
            json!({"id": "00000000000000b3", "type": "subsegment", "trace_id": id, "parent_id": "00000000000000b2",
                   "name": "circle", "start_time": 4.0, "end_time": 5.0}),
        ];
        let trace = Trace::new(id, documents.iter().map(|d| Segment::parse(&d.to_string()).unwrap()));
        assert_eq!(trace.root().unwrap().name, "late");
        assert!(trace.is_partial());
        assert_eq!(trace.extent(), (4.0, 5.0));
        let mut graph = Graph::default();
        graph.add(&trace);
        assert_eq!(graph.nodes().count(), 3);
    }
}
