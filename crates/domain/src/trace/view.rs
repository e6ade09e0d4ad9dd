//! What the documents of one trace say together: which services took part, and who called whom.

use super::segment::{Annotation, Http, Segment};
use std::collections::{BTreeMap, HashMap};

/// The documents of a trace, flat: a subsegment stands beside its segment.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub id: String,
    /// By their beginning.
    spans: Vec<Segment>,
    by_id: HashMap<String, usize>,
}

/// A service, or what was called and did not report itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    pub name: String,
    /// The kind of AWS resource; `client`, `remote`, `Database::SQL`; empty where it is not known.
    pub kind: String,
}

/// One stay of a trace at a service.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    pub service: Service,
    /// The segment; of what did not report itself the subsegment that called it.
    pub span: &'a Segment,
    /// Known only by who called it.
    pub inferred: bool,
    /// The trace began here.
    pub root: bool,
}

/// One service's call of another.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub from: Service,
    pub to: Service,
    /// What the caller saw: its subsegment, or the other's segment where it has none.
    pub span: &'a Segment,
    pub fault: bool,
    pub error: bool,
    pub throttle: bool,
}

impl Trace {
    /// Of one trace's documents, in any order; of two with one id the later one counts.
    pub fn new(id: &str, documents: impl IntoIterator<Item = Segment>) -> Self {
        let mut trace = Self { id: id.to_owned(), ..Self::default() };
        for document in documents {
            trace.add(document);
        }
        trace.spans.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.is_subsegment.cmp(&b.is_subsegment)));
        trace.by_id = trace.spans.iter().enumerate().map(|(i, span)| (span.id.clone(), i)).collect();
        trace
    }

    fn add(&mut self, mut span: Segment) {
        for mut inner in std::mem::take(&mut span.subsegments) {
            inner.parent_id = Some(span.id.clone());
            self.add(inner);
        }
        match self.by_id.get(&span.id) {
            Some(at) => self.spans[*at] = span,
            None => {
                self.by_id.insert(span.id.clone(), self.spans.len());
                self.spans.push(span);
            }
        }
    }

    pub fn spans(&self) -> &[Segment] {
        &self.spans
    }

    /// The first segment that nobody of the trace called; where there is none, the first that is there.
    pub fn root(&self) -> Option<&Segment> {
        let is_root = |span: &&Segment| !span.is_subsegment && self.parent(span).is_none();
        self.spans
            .iter()
            .find(is_root)
            .or_else(|| self.spans.iter().find(|span| !span.is_subsegment))
            .or(self.spans.first())
    }

    /// Seconds since 1970 of its beginning and its end; an end that is not there is the latest of what is.
    pub fn extent(&self) -> (f64, f64) {
        let start = self.spans.iter().map(|span| span.start).fold(f64::INFINITY, f64::min);
        let end = self.spans.iter().map(|span| span.end.unwrap_or(span.start)).fold(0.0, f64::max);
        if start.is_finite() { (start, end.max(start)) } else { (0.0, 0.0) }
    }

    /// Something is in progress.
    pub fn is_partial(&self) -> bool {
        self.spans.iter().any(|span| span.end.is_none())
    }

    fn parent(&self, span: &Segment) -> Option<&Segment> {
        let parent = self.by_id.get(span.parent_id.as_ref()?).map(|at| &self.spans[*at])?;
        (parent.id != span.id).then_some(parent)
    }

    /// The segment whose work a span is a part of: itself where it is one.
    fn segment_of<'a>(&'a self, span: &'a Segment) -> Option<&'a Segment> {
        let mut at = span;
        // Ids that lead in a circle end.
        for _ in 0..=self.spans.len() {
            if !at.is_subsegment {
                return Some(at);
            }
            at = self.parent(at)?;
        }
        None
    }

    /// Whose work a span is. Of a subsegment whose segment did not come it is not known.
    pub fn service_of(&self, span: &Segment) -> Option<Service> {
        self.segment_of(span).map(service)
    }

    /// Each stay at a service, by its beginning. Who asked first is not among them.
    pub fn nodes(&self) -> Vec<Node<'_>> {
        let called: Vec<&str> = self.reporting_parents();
        let root = self.root().map(|root| root.id.as_str());
        let node = |span| {
            let service = if is_inferred(span, &called) { inferred(span) } else { service(span) };
            Node {
                service,
                span,
                inferred: span.is_subsegment,
                root: Some(span.id.as_str()) == root && !span.is_subsegment,
            }
        };
        self.spans.iter().filter(|span| !span.is_subsegment || is_inferred(span, &called)).map(node).collect()
    }

    /// Each call, by its beginning; the first is that of a client who is not a part of the trace.
    pub fn calls(&self) -> Vec<Call<'_>> {
        let called: Vec<&str> = self.reporting_parents();
        let mut calls = Vec::new();
        for span in &self.spans {
            if is_inferred(span, &called) {
                if let Some(from) = self.service_of(span) {
                    calls.push(Call::new(from, inferred(span), span, None));
                }
            } else if !span.is_subsegment {
                let to = service(span);
                match self.parent(span) {
                    Some(parent) => {
                        let Some(from) = self.service_of(parent) else { continue };
                        let seen = if parent.is_subsegment { parent } else { span };
                        calls.push(Call::new(from, to, seen, Some(span)));
                    }
                    None => {
                        let client = Service { name: to.name.clone(), kind: "client".to_owned() };
                        calls.push(Call::new(client, to, span, None));
                    }
                }
            }
        }
        calls
    }

    /// The ids of spans that a segment names as its parent.
    fn reporting_parents(&self) -> Vec<&str> {
        let segments = self.spans.iter().filter(|span| !span.is_subsegment);
        let mut ids: Vec<&str> = segments.filter_map(|span| span.parent_id.as_deref()).collect();
        ids.sort_unstable();
        ids
    }

    /// The services that took part, each once.
    pub fn services(&self) -> Vec<Service> {
        let mut found: Vec<Service> = Vec::new();
        for node in self.nodes() {
            if !found.contains(&node.service) {
                found.push(node.service);
            }
        }
        found
    }

    /// The request that began the trace.
    pub fn http(&self) -> Option<&Http> {
        self.root().map(|root| &root.http)
    }

    /// Values of annotations by key, with the services that gave them.
    pub fn annotations(&self) -> BTreeMap<&str, Vec<(&Annotation, Vec<Service>)>> {
        let mut found: BTreeMap<&str, Vec<(&Annotation, Vec<Service>)>> = BTreeMap::new();
        for span in &self.spans {
            let service = self.service_of(span);
            for (key, value) in &span.annotations {
                let values = found.entry(key).or_default();
                let at = values.iter().position(|(known, _)| *known == value).unwrap_or_else(|| {
                    values.push((value, Vec::new()));
                    values.len() - 1
                });
                if let Some(service) = service.clone().filter(|service| !values[at].1.contains(service)) {
                    values[at].1.push(service);
                }
            }
        }
        found
    }
}

impl<'a> Call<'a> {
    fn new(from: Service, to: Service, seen: &'a Segment, answered: Option<&Segment>) -> Self {
        let either = |get: fn(&Segment) -> bool| get(seen) || answered.is_some_and(get);
        Self {
            from,
            to,
            span: seen,
            fault: either(|span| span.fault),
            error: either(|span| span.error),
            throttle: either(|span| span.throttle),
        }
    }
}

fn service(segment: &Segment) -> Service {
    Service { name: segment.name.clone(), kind: segment.origin.clone().unwrap_or_default() }
}

/// A call of something that did not report itself.
fn is_inferred(span: &Segment, called: &[&str]) -> bool {
    span.is_subsegment && span.namespace.is_some() && called.binary_search(&span.id.as_str()).is_err()
}

/// The service that a call is of, as far as the caller knows it.
fn inferred(span: &Segment) -> Service {
    let kind = match (&span.database, span.namespace.as_deref(), &span.origin) {
        (_, _, Some(origin)) => origin.clone(),
        (Some(_), ..) => "Database::SQL".to_owned(),
        (None, Some("aws"), None) => format!("AWS::{}", span.name),
        (None, ..) => "remote".to_owned(),
    };
    Service { name: span.name.clone(), kind }
}
