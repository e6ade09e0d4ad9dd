//! Listener rules: which requests a rule's conditions let through.
//!
//! Pure and compiled once per snapshot; the proxy asks it for every request, so nothing here
//! allocates while matching.

mod cidr;
mod index;
mod redirect;
mod wildcard;

pub use cidr::Cidr;
pub use index::Rules;
pub use redirect::{RedirectFrom, location};
pub use wildcard::Pattern;

use crate::snapshot::Condition;
use std::net::IpAddr;

/// What conditions look at.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// As sent: methods are case-sensitive.
    pub method: &'a str,
    /// The Host header without its port.
    pub host: &'a str,
    /// As sent, without the query.
    pub path: &'a str,
    /// As sent, without the `?`; empty if there is none.
    pub query: &'a str,
    pub headers: &'a dyn Headers,
    /// The connection's address, whatever X-Forwarded-For says.
    pub source: IpAddr,
}

/// A request's header fields.
pub trait Headers {
    /// Whether `test` holds for the value of any field of this name (case-insensitive).
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A rule's conditions, compiled.
#[derive(Clone, Debug)]
pub struct Conditions(Vec<Compiled>);

#[derive(Clone, Debug)]
enum Compiled {
    Path(Vec<Pattern>),
    Host(Vec<Pattern>),
    Header { name: String, values: Vec<Pattern> },
    Method(Vec<String>),
    Query(Vec<(Option<Pattern>, Pattern)>),
    Source(Vec<Cidr>),
}

impl Conditions {
    pub fn compile(conditions: &[Condition]) -> Self {
        let insensitive = |values: &[String]| values.iter().map(|v| Pattern::ignoring_case(v)).collect();
        Self(
            conditions
                .iter()
                .map(|condition| match condition {
                    Condition::PathPattern(values) => {
                        Compiled::Path(values.iter().map(|v| Pattern::case_sensitive(v)).collect())
                    }
                    Condition::HostHeader(values) => Compiled::Host(insensitive(values)),
                    Condition::HttpHeader { name, values } => {
                        Compiled::Header { name: name.clone(), values: insensitive(values) }
                    }
                    Condition::HttpRequestMethod(values) => Compiled::Method(values.clone()),
                    Condition::QueryString(pairs) => Compiled::Query(
                        pairs
                            .iter()
                            .map(|(key, value)| (key.as_deref().map(Pattern::escaped), Pattern::escaped(value)))
                            .collect(),
                    ),
                    // A block that is none matches nothing: control refuses it before it gets here.
                    Condition::SourceIp(blocks) => {
                        Compiled::Source(blocks.iter().filter_map(|b| Cidr::parse(b)).collect())
                    }
                })
                .collect(),
        )
    }

    /// All conditions hold, each through any of its values.
    pub fn match_request(&self, request: &Request<'_>) -> bool {
        self.0.iter().all(|condition| match condition {
            Compiled::Path(patterns) => patterns.iter().any(|p| p.matches(request.path.as_bytes())),
            Compiled::Host(patterns) => patterns.iter().any(|p| p.matches(request.host.as_bytes())),
            Compiled::Header { name, values } => {
                request.headers.any(name, &mut |value| values.iter().any(|p| p.matches(value)))
            }
            Compiled::Method(methods) => methods.iter().any(|m| m == request.method),
            Compiled::Query(wanted) => wanted.iter().any(|(key, value)| {
                pairs(request.query).any(|(k, v)| {
                    key.as_ref().is_none_or(|key| key.matches(k.as_bytes())) && value.matches(v.as_bytes())
                })
            }),
            Compiled::Source(blocks) => blocks.iter().any(|b| b.contains(request.source)),
        })
    }
}

impl Headers for [(&str, &[u8])] {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && test(v))
    }
}

/// The `key=value` pairs of a query; a key without `=` has an empty value.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fields(Vec<(&'static str, &'static [u8])>);

    impl Headers for Fields {
        fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.as_slice().any(name, test)
        }
    }

    fn holds(condition: Condition, change: impl Fn(&mut Request<'_>)) -> bool {
        let fields = Fields(vec![("User-Agent", b"Mozilla/5.0 Chrome"), ("X-A", b"one"), ("x-a", b"two")]);
        let mut request = Request {
            method: "GET",
            host: "www.example.com",
            path: "/api/users/1",
            query: "version=V1&flag&key=a*b",
            headers: &fields,
            source: "127.0.0.1".parse().unwrap(),
        };
        change(&mut request);
        Conditions::compile(&[condition]).match_request(&request)
    }

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|v| (*v).to_owned()).collect()
    }

    fn query(key: Option<&str>, value: &str) -> Condition {
        Condition::QueryString(vec![(key.map(str::to_owned), value.to_owned())])
    }

    #[test]
    fn paths_keep_their_case_and_lose_their_query() {
        assert!(holds(Condition::PathPattern(texts(&["/nope", "/api/users*"])), |_| {}));
        assert!(!holds(Condition::PathPattern(texts(&["/API/*"])), |_| {}));
        assert!(!holds(Condition::PathPattern(texts(&["*version*"])), |_| {}));
    }

    #[test]
    fn hosts_headers_and_queries_ignore_case() {
        assert!(holds(Condition::HostHeader(texts(&["*.EXAMPLE.com"])), |_| {}));
        assert!(holds(Condition::HttpHeader { name: "user-AGENT".into(), values: texts(&["*chrome*"]) }, |_| {}));
        assert!(holds(Condition::HttpHeader { name: "X-A".into(), values: texts(&["TWO"]) }, |_| {}));
        assert!(!holds(Condition::HttpHeader { name: "X-B".into(), values: texts(&["*"]) }, |_| {}));
        assert!(holds(query(Some("VERSION"), "v?"), |_| {}));
        assert!(holds(query(None, "v1"), |_| {}));
        assert!(holds(query(Some("flag"), ""), |_| {}));
        assert!(holds(query(Some("key"), r"a\*b"), |_| {}));
        assert!(!holds(query(Some("key"), r"a\*b"), |r| r.query = "key=axb"));
        assert!(!holds(query(None, "*"), |r| r.query = ""));
    }

    #[test]
    fn methods_are_exact_and_sources_are_the_connection() {
        assert!(holds(Condition::HttpRequestMethod(texts(&["POST", "GET"])), |_| {}));
        assert!(!holds(Condition::HttpRequestMethod(texts(&["get", "G*"])), |_| {}));
        assert!(holds(Condition::SourceIp(texts(&["10.0.0.0/8", "127.0.0.0/8"])), |_| {}));
        assert!(!holds(Condition::SourceIp(texts(&["10.0.0.0/8"])), |_| {}));
    }

    #[test]
    fn all_conditions_of_a_rule_must_hold() {
        let both = Conditions::compile(&[
            Condition::PathPattern(texts(&["/a"])),
            Condition::HttpRequestMethod(texts(&["PUT"])),
        ]);
        let fields = Fields(vec![]);
        let request = |method, path| Request {
            method,
            host: "",
            path,
            query: "",
            headers: &fields,
            source: "::1".parse().unwrap(),
        };
        assert!(both.match_request(&request("PUT", "/a")));
        assert!(!both.match_request(&request("PUT", "/b")));
        assert!(!both.match_request(&request("GET", "/a")));
    }
}
