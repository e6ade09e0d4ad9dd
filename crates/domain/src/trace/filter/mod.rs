//! Filter expressions over traces (AWS's documentation, "Using filter expressions").
//!
//! Simple keywords look at the request that began the trace; `service()` and `edge()` at each stay at a service and at
//! each call. What the console alone offers (root causes, positions in a path) is refused.

mod parse;

use super::segment::{Annotation, Segment};
use super::view::{Service, Trace};

/// A parsed expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Expression);

/// Why a text is no filter expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter expression: {message} at character {at}")]
pub struct Mistake {
    pub message: String,
    /// From 1.
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Flag(Flag),
    Number(NumberKey, Compare, f64),
    Text(TextKey, Compare, String),
    /// There is a value.
    Has(TextKey),
    Annotation(String, Option<(Compare, Annotation)>),
    Service(Which, Option<Box<Expression>>),
    Edge(Which, Which, Option<Box<Expression>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Ok,
    Error,
    Throttle,
    Fault,
    Partial,
    Inferred,
    Root,
    Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberKey {
    ResponseTime,
    Duration,
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextKey {
    Url,
    Method,
    UserAgent,
    ClientIp,
    User,
    Name,
    Kind,
    AvailabilityZone,
    InstanceId,
    ResourceArn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    BeginsWith,
    EndsWith,
}

/// Which services: an absent part fits every one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Which {
    name: Option<String>,
    kind: Option<String>,
    account: Option<String>,
}

/// What an expression looks at: the whole trace, or one stay or call of it.
struct Seen<'a> {
    trace: &'a Trace,
    account: &'a str,
    /// `None`: a trace of which nothing came yet.
    span: Option<&'a Segment>,
    /// Keywords of users and annotations look at every segment.
    whole: bool,
    service: Option<Service>,
    fault: bool,
    error: bool,
    throttle: bool,
    inferred: bool,
    root: bool,
}

impl Filter {
    /// `group`: the expression of a group, by its name or ARN.
    pub fn parse(text: &str, group: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistake> {
        parse::expression(text, group).map(Self)
    }

    /// `account`: whose traces they are.
    pub fn matches(&self, trace: &Trace, account: &str) -> bool {
        let root = trace.root();
        let is = |get: fn(&Segment) -> bool| root.is_some_and(get);
        let seen = Seen {
            trace,
            account,
            span: root,
            whole: true,
            service: root.and_then(|root| trace.service_of(root)),
            fault: is(|root| root.fault),
            error: is(|root| root.error),
            throttle: is(|root| root.throttle),
            inferred: false,
            root: true,
        };
        self.0.holds(&seen)
    }
}

impl Expression {
    fn holds(&self, seen: &Seen<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(seen)),
            Self::Any(any) => any.iter().any(|one| one.holds(seen)),
            Self::Not(one) => !one.holds(seen),
            Self::Flag(flag) => seen.flag(*flag),
            Self::Number(key, compare, wanted) => seen.number(*key).is_some_and(|n| compare.numbers(n, *wanted)),
            Self::Text(key, compare, wanted) => {
                let values = seen.texts(*key);
                match compare {
                    // Of several values none may be that.
                    Compare::NotEqual => values.iter().all(|value| value != wanted),
                    _ => values.iter().any(|value| compare.texts(value, wanted)),
                }
            }
            Self::Has(key) => !seen.texts(*key).is_empty(),
            Self::Annotation(key, compared) => {
                let mut values = seen.spans().filter_map(|span| span.annotations.get(key));
                match compared {
                    None => values.next().is_some(),
                    Some((compare, wanted)) => values.any(|value| compare.annotations(value, wanted)),
                }
            }
            Self::Service(which, filter) => seen.trace.nodes().into_iter().any(|node| {
                let inner = Seen {
                    trace: seen.trace,
                    account: seen.account,
                    span: Some(node.span),
                    whole: false,
                    fault: node.span.fault,
                    error: node.span.error,
                    throttle: node.span.throttle,
                    inferred: node.inferred,
                    root: node.root,
                    service: Some(node.service),
                };
                which.fits(inner.service.as_ref(), seen.account)
                    && filter.as_ref().is_none_or(|filter| filter.holds(&inner))
            }),
            Self::Edge(from, to, filter) => seen.trace.calls().into_iter().any(|call| {
                from.fits(Some(&call.from), seen.account) && to.fits(Some(&call.to), seen.account) && {
                    let inner = Seen {
                        trace: seen.trace,
                        account: seen.account,
                        span: Some(call.span),
                        whole: false,
                        service: Some(call.to),
                        fault: call.fault,
                        error: call.error,
                        throttle: call.throttle,
                        inferred: call.span.is_subsegment,
                        root: call.from.kind == "client",
                    };
                    filter.as_ref().is_none_or(|filter| filter.holds(&inner))
                }
            }),
        }
    }
}

impl Which {
    fn fits(&self, service: Option<&Service>, account: &str) -> bool {
        let Some(service) = service else { return false };
        self.name.as_ref().is_none_or(|name| *name == service.name)
            && self.kind.as_ref().is_none_or(|kind| *kind == service.kind)
            && self.account.as_ref().is_none_or(|wanted| wanted == account)
    }
}

impl Seen<'_> {
    fn flag(&self, flag: Flag) -> bool {
        match flag {
            Flag::Ok => {
                !self.fault && !self.error && !self.throttle && self.span.is_some_and(|span| span.end.is_some())
            }
            Flag::Error => self.error,
            Flag::Throttle => self.throttle,
            Flag::Fault => self.fault,
            Flag::Partial if self.whole => self.trace.is_partial(),
            Flag::Partial => self.span.is_some_and(|span| span.end.is_none()),
            Flag::Inferred => self.inferred,
            Flag::Root => self.root,
            Flag::Remote => self.span.is_some_and(|span| span.namespace.as_deref() == Some("remote")),
        }
    }

    fn number(&self, key: NumberKey) -> Option<f64> {
        let span = self.span?;
        match key {
            NumberKey::Duration if self.whole => {
                let (start, end) = self.trace.extent();
                Some(end - start)
            }
            NumberKey::ResponseTime | NumberKey::Duration => span.duration(),
            NumberKey::Status => span.http.status.map(f64::from),
        }
    }

    /// The segments that users and annotations are looked for in.
    fn spans(&self) -> impl Iterator<Item = &Segment> {
        let all = if self.whole { self.trace.spans() } else { &[] };
        all.iter().chain(self.span.filter(|_| !self.whole))
    }

    fn texts(&self, key: TextKey) -> Vec<&str> {
        let every =
            |get: fn(&Segment) -> &Option<String>| self.spans().filter_map(|span| get(span).as_deref()).collect();
        let http = |get: fn(&super::segment::Http) -> &Option<String>| {
            self.span.and_then(|span| get(&span.http).as_deref()).into_iter().collect()
        };
        match key {
            TextKey::Url => http(|http| &http.url),
            TextKey::Method => http(|http| &http.method),
            TextKey::UserAgent => http(|http| &http.user_agent),
            TextKey::ClientIp => http(|http| &http.client_ip),
            TextKey::User => every(|span| &span.user),
            TextKey::AvailabilityZone => every(|span| &span.availability_zone),
            TextKey::InstanceId => every(|span| &span.instance_id),
            TextKey::ResourceArn => every(|span| &span.resource_arn),
            TextKey::Name => self.service.iter().map(|service| service.name.as_str()).collect(),
            TextKey::Kind => self.service.iter().map(|service| service.kind.as_str()).collect(),
        }
    }
}

impl Compare {
    fn numbers(self, found: f64, wanted: f64) -> bool {
        match self {
            Self::Equal => found == wanted,
            Self::NotEqual => found != wanted,
            Self::Less => found < wanted,
            Self::LessOrEqual => found <= wanted,
            Self::Greater => found > wanted,
            Self::GreaterOrEqual => found >= wanted,
            Self::Contains | Self::BeginsWith | Self::EndsWith => false,
        }
    }

    fn texts(self, found: &str, wanted: &str) -> bool {
        match self {
            Self::Equal => found == wanted,
            Self::NotEqual => found != wanted,
            Self::Contains => found.contains(wanted),
            Self::BeginsWith => found.starts_with(wanted),
            Self::EndsWith => found.ends_with(wanted),
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => false,
        }
    }

    fn annotations(self, found: &Annotation, wanted: &Annotation) -> bool {
        match (found, wanted) {
            (Annotation::Text(found), Annotation::Text(wanted)) => self.texts(found, wanted),
            (Annotation::Number(found), Annotation::Number(wanted)) => self.numbers(*found, *wanted),
            (Annotation::Flag(found), Annotation::Flag(wanted)) => match self {
                Self::Equal => found == wanted,
                Self::NotEqual => found != wanted,
                _ => false,
            },
            // Of another type it is something else.
            _ => self == Self::NotEqual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trace() -> Trace {
        let id = "1-5759e988-bd862e3fe1be46a994272793";
        let documents = [
            json!({"id": "000000000000000a", "trace_id": id, "name": "api.example.com", "start_time": 1.0, "end_time": 7.0,
                   "http": {"request": {"method": "GET", "url": "http://api.example.com/v2/x", "user_agent": "curl",
                                        "client_ip": "192.0.2.1"}, "response": {"status": 200}},
                   "annotations": {"account": "12345", "age": 30, "old": true}, "user": "ann",
                   "aws": {"ec2": {"availability_zone": "us-east-1a"}},
                   "subsegments": [
                {"id": "000000000000000c", "name": "backend.example.com", "namespace": "remote", "start_time": 1.2,
                 "end_time": 6.5, "fault": true}]}),
            json!({"id": "000000000000000e", "trace_id": id, "parent_id": "000000000000000c", "name": "backend.example.com",
                   "start_time": 1.3, "end_time": 4.0, "fault": true, "origin": "AWS::ECS::Container", "user": "bob"}),
        ];
        Trace::new(id, documents.iter().map(|d| Segment::parse(&d.to_string()).unwrap()))
    }

    fn group(name: &str) -> Option<String> {
        (name == "slow").then(|| "responsetime > 5".to_owned())
    }

    #[test]
    fn documented_expressions_hold_or_do_not() {
        let trace = trace();
        for (text, holds) in [
            ("", true),
            ("responsetime > 5", true),
            ("duration >= 5 AND duration <= 8", true),
            ("duration < 5 OR http.status = 200", true),
            ("ok !partial duration <7", true),
            ("ok = true", true),
            ("!fault", true),
            ("fault != true", true),
            ("fault", false),
            ("error OR throttle", false),
            ("service() { fault }", true),
            (
                "service(\"api.example.com\") { fault = true OR responsetime > 2.5 } AND annotation.account = \"12345\"",
                true,
            ),
            ("edge(\"api.example.com\", \"backend.example.com\") { fault = true }", true),
            ("edge(\"backend.example.com\", \"api.example.com\")", false),
            (
                "http.url BEGINSWITH \"http://api.example.com/\" AND http.url CONTAINS \"/v2/\" AND !service(\"api.example.com\")",
                false,
            ),
            ("http.url ENDSWITH \"/x\" http.method = \"GET\"", true),
            ("http.useragent CONTAINS \"curl\" AND http.clientip = \"192.0.2.1\"", true),
            ("annotation.age > 29", true),
            ("annotation[age] = 30 AND annotation[old] = true", true),
            ("annotation.age", true),
            ("annotation.none", false),
            ("user = \"bob\"", true),
            ("user != \"bob\"", false),
            ("user", true),
            ("availabilityzone = \"us-east-1a\"", true),
            ("service(id(type: \"AWS::ECS::Container\"))", true),
            ("service(id(name: \"backend.example.com\", type: \"AWS::ECS::Container\")) { responsetime > 3 }", false),
            ("service(id(account.id: \"000000000000\"))", true),
            ("edge(id(name: \"api.example.com\"), id(type: \"AWS::ECS::Container\")) { responsetime > 5 }", true),
            ("service(\"api.example.com\") { root AND !inferred }", true),
            ("group.name = \"slow\" AND ok", true),
            ("(fault OR ok) AND NOT (error)", true),
        ] {
            let filter = Filter::parse(text, &group).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
            assert_eq!(filter.matches(&trace, "000000000000"), holds, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, at) in [
            ("responsetime >", 15),
            ("responsetime > \"5\"", 16),
            ("colour = 1", 1),
            ("ok AND", 7),
            ("(ok", 4),
            ("service(\"a\" { ok }", 13),
            ("http.url = \"open", 12),
            ("http.url > \"a\"", 10),
            ("group.name = \"none\"", 14),
            ("rootcause.fault.service", 1),
            ("ok )", 4),
            ("!", 2),
            ("service() { ok AND service() { ok } }", 20),
            ("edge() { group.name = \"slow\" }", 10),
        ] {
            let mistake = Filter::parse(text, &group).unwrap_err();
            assert_eq!(mistake.at, at, "{text}: {mistake}");
        }
        let deep = format!("{}ok{}", "(".repeat(500), ")".repeat(500));
        assert!(Filter::parse(&deep, &group).is_err());
    }
}
