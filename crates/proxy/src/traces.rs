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
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
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
        if let Some(document) = document(traced, entry, front) {
            self.offer(document);
        }
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

/// A segment document (AWS's documentation, "X-Ray segment documents"), borrowed from what was noted of the request.
#[derive(Serialize)]
struct Document<'a> {
    id: Cow<'a, str>,
    trace_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<Cow<'a, str>>,
    name: &'a str,
    start_time: f64,
    end_time: f64,
    origin: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    error: bool,
    #[serde(skip_serializing_if = "is_false")]
    throttle: bool,
    #[serde(skip_serializing_if = "is_false")]
    fault: bool,
    http: Http<'a>,
    aws: Resource<'a>,
    annotations: Annotations<'a>,
    metadata: Metadata,
}

#[derive(Serialize)]
struct Http<'a> {
    request: Request<'a>,
    response: Response,
}

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    url: &'a str,
    client_ip: IpAddr,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: Cow<'a, str>,
}

#[derive(Serialize)]
struct Response {
    status: u16,
    content_length: u64,
}

#[derive(Serialize)]
struct Resource<'a> {
    resource_arn: &'a str,
}

#[derive(Serialize)]
struct Annotations<'a> {
    rule: Shown<Rule>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Shown<Target<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_group: Option<&'a str>,
}

#[derive(Serialize)]
struct Metadata {
    default: Said,
}

/// What X-Ray has no place for.
#[derive(Serialize)]
struct Said {
    target_status_code: Option<u16>,
    #[serde(flatten)]
    times: Option<Times>,
}

/// As in the access log, in seconds.
#[derive(Serialize)]
struct Times {
    request_processing_time: f64,
    target_processing_time: f64,
    response_processing_time: f64,
}

/// What is written as text by its `Display`, without a string in between.
struct Shown<T>(T);

/// A rule's priority, as the access log has it.
struct Rule(Option<u32>);

/// A target's id and port.
struct Target<'a>(&'a str, u16);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("-"),
            Some(0) => f.write_str("default"),
            Some(priority) => priority.fmt(f),
        }
    }
}

impl Display for Target<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Most documents fit into this beside what the client has sent.
const USUAL_LENGTH: usize = 1024;

fn document(traced: &Traced, entry: &Entry, front: &Front) -> Option<String> {
    let start_time = entry.began.unix_millis as f64 / 1000.0;
    // As the access log has it: method, URL, version.
    let line = String::from_utf8_lossy(&entry.request);
    let mut words = line.split(' ');
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let document = Document {
        id: String::from_utf8_lossy(&traced.marks.id),
        trace_id: String::from_utf8_lossy(&traced.marks.root),
        parent_id: traced.parent.as_ref().map(|parent| String::from_utf8_lossy(parent)),
        name: &front.name,
        start_time,
        end_time: start_time + entry.began.at.elapsed().as_secs_f64(),
        origin: ORIGIN,
        error: (400..500).contains(&entry.status),
        throttle: entry.status == 429,
        fault: (500..600).contains(&entry.status),
        http: Http {
            request: Request {
                method,
                url,
                client_ip: entry.began.peer.ip().to_canonical(),
                user_agent: String::from_utf8_lossy(&entry.user_agent),
            },
            response: Response { status: entry.status, content_length: entry.sent },
        },
        aws: Resource { resource_arn: &front.arn },
        annotations: Annotations {
            rule: Shown(Rule(entry.rule)),
            action: entry.action,
            target: entry.target.as_ref().map(|(id, port)| Shown(Target(id, *port))),
            target_group: entry.group.as_ref().map(|group| quarry_domain::arn::resource_part(&group.arn)),
        },
        metadata: Metadata {
            default: Said {
                target_status_code: entry.target_status,
                times: entry.times.map(|(request, target, response)| Times {
                    request_processing_time: request.as_secs_f64(),
                    target_processing_time: target.as_secs_f64(),
                    response_processing_time: response.as_secs_f64(),
                }),
            },
        },
    };
    let mut out = Vec::with_capacity(USUAL_LENGTH + entry.request.len() + entry.user_agent.len());
    serde_json::to_writer(&mut out, &document).ok()?;
    String::from_utf8(out).ok()
}
