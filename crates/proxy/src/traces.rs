//! Which requests are recorded as traces, and their segments on the way to `serve`.
//!
//! By X-Ray's sampling rules, and by what the client has decided before. The segment of a request is made when it has
//! ended, only of those that are recorded, and handed over by a bounded queue: no request waits for it, and where nobody
//! takes them, segments are lost.

use crate::front::Front;
use crate::http::request::Head;
use crate::http::trace::{self, Marks};
use crate::logs::access::Entry;
use arc_swap::ArcSwapOption;
use quarry_domain::snapshot::Snapshot;
use quarry_domain::trace::header::TraceHeader;
use quarry_domain::trace::sampling::{Asked, Sampler};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// What all workers ask.
pub struct Traces {
    /// Absent while there are no rules.
    sampler: ArcSwapOption<Sampler>,
    outbox: SyncSender<String>,
    /// How many bytes wait in it.
    waiting: AtomicUsize,
}

/// A request that is recorded.
#[derive(Clone, Debug)]
pub struct Traced {
    pub marks: Marks,
    /// Who asked, by the client's own word.
    parent: Option<[u8; 16]>,
}

/// X-Ray's name of what a segment is of.
const ORIGIN: &str = "AWS::ElasticLoadBalancingV2::LoadBalancer";
/// Segments that may wait, and their bytes: tasks send some of them.
const QUEUE: usize = 4096;
const MAX_WAITING: usize = 16 << 20;
/// Segments that are told in one message.
const BATCH: usize = 1000;

impl Traces {
    /// With what its segments come out of.
    pub fn new() -> (Self, Receiver<String>) {
        let (outbox, segments) = sync_channel(QUEUE);
        (Self { sampler: ArcSwapOption::empty(), outbox, waiting: AtomicUsize::new(0) }, segments)
    }

    /// Takes the rules of a snapshot over. What was taken of this second's reservoirs is forgotten.
    pub fn follow(&self, snapshot: &Snapshot) {
        let rules = &snapshot.traces;
        self.sampler.store((!rules.is_empty()).then(|| Arc::new(Sampler::new(rules.clone()))));
    }

    /// Whether it is said of each request if it is recorded.
    pub fn is_on(&self) -> bool {
        self.sampler.load().is_some()
    }

    /// Whether this request is recorded. `seconds`: since 1970; `random`: draws numbers.
    pub fn begin(&self, front: &Front, head: &Head<'_, '_>, seconds: u32, random: impl Fn() -> u64) -> Option<Traced> {
        let sampler = self.sampler.load();
        let sampler = sampler.as_ref()?;
        let field = |name: &str| {
            let found = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        let received = field("x-amzn-trace-id").and_then(TraceHeader::parse);
        let received = received.or_else(|| field("traceparent").and_then(TraceHeader::from_w3c));
        let is_sampled = received.as_ref().and_then(|received| received.sampled).unwrap_or_else(|| {
            let asked = Asked {
                service_name: &front.name,
                service_type: ORIGIN,
                host: head.host(),
                method: head.method,
                path: head.path,
                resource_arn: &front.arn,
            };
            sampler.takes(&asked, seconds, random())
        });
        if !is_sampled {
            return None;
        }
        let mut root = trace::id(seconds, (random(), random() as u32));
        if let Some(received) = &received {
            root = received.root;
        }
        let marks = Marks { root, id: trace::span_id(random()) };
        Some(Traced { marks, parent: received.and_then(|received| received.parent) })
    }

    /// Hands the segment of a request over that has ended.
    pub fn end(&self, traced: &Traced, entry: &Entry) {
        let Some(front) = &entry.front else { return };
        self.offer(document(traced, entry, front).to_string());
    }

    /// Hands a segment over. Where too much waits, it is lost.
    pub fn offer(&self, document: String) {
        let length = document.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting + length > MAX_WAITING || self.outbox.try_send(document).is_err() {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
        }
    }

    /// What waits to be told, at most [`BATCH`].
    pub fn waiting(&self, segments: &Receiver<String>) -> Vec<String> {
        let documents: Vec<String> = segments.try_iter().take(BATCH).collect();
        self.waiting.fetch_sub(documents.iter().map(String::len).sum(), Ordering::Relaxed);
        documents
    }
}

fn document(traced: &Traced, entry: &Entry, front: &Front) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let start = entry.began.unix_millis as f64 / 1000.0;
    // As the access log has it: method, URL, version.
    let line = text(&entry.request);
    let mut words = line.split(' ');
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rule =
        entry.rule.map_or_else(|| "-".to_owned(), |rule| if rule == 0 { "default".into() } else { rule.to_string() });
    let mut segment = json!({
        "id": text(&traced.marks.id),
        "trace_id": text(&traced.marks.root),
        "name": front.name,
        "start_time": start,
        "end_time": start + entry.began.at.elapsed().as_secs_f64(),
        "origin": ORIGIN,
        "http": {
            "request": {"method": method, "url": url, "client_ip": entry.began.peer.ip().to_canonical().to_string()},
            "response": {"status": entry.status, "content_length": entry.sent},
        },
        "aws": {"resource_arn": front.arn},
        "annotations": {"rule": rule, "action": entry.action},
    });
    if !entry.user_agent.is_empty() {
        segment["http"]["request"]["user_agent"] = text(&entry.user_agent).into();
    }
    if let Some(parent) = &traced.parent {
        segment["parent_id"] = text(parent).into();
    }
    if let Some((id, port)) = &entry.target {
        segment["annotations"]["target"] = format!("{id}:{port}").into();
    }
    if let Some(group) = &entry.group {
        segment["annotations"]["target_group"] = quarry_domain::arn::resource_part(&group.arn).into();
    }
    let flags: &[&str] = match entry.status {
        429 => &["error", "throttle"],
        400..=499 => &["error"],
        500..=599 => &["fault"],
        _ => &[],
    };
    for flag in flags {
        segment[*flag] = true.into();
    }
    let mut said = json!({"target_status_code": entry.target_status});
    if let Some((request, target, response)) = entry.times {
        said["request_processing_time"] = request.as_secs_f64().into();
        said["target_processing_time"] = target.as_secs_f64().into();
        said["response_processing_time"] = response.as_secs_f64().into();
    }
    segment["metadata"] = json!({"default": said});
    segment
}
