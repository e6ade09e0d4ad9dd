//! A span as a segment document, by OpenTelemetry's semantic conventions and the rules that AWS's exporter for X-Ray
//! documents: a server's or consumer's span, and one without a parent, is a segment of its service; any other one is a
//! subsegment of its own.

use super::message::{AnyValue, CLIENT, CONSUMER, ERROR, KeyValue, PRODUCER, ResourceSpans, SERVER, Span, Value};
use quarry_domain::trace::header;
use quarry_domain::trace::segment::MAX_DOCUMENT;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// Attributes by key; the first of two counts.
struct Attributes<'a>(BTreeMap<&'a str, &'a Value>);

/// What all spans of a resource have in common.
pub struct About<'a> {
    resource: Attributes<'a>,
}

/// Databases that speak SQL, as `db.system.name` and, before, `db.system` say them.
const SQL: [&str; 12] = [
    "sqlite",
    "postgresql",
    "mysql",
    "mariadb",
    "mssql",
    "microsoft.sql_server",
    "oracle",
    "oracle.db",
    "db2",
    "cockroachdb",
    "hsqldb",
    "other_sql",
];

impl<'a> About<'a> {
    pub fn of(resource: &'a ResourceSpans) -> Self {
        let attributes = resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        Self { resource: Attributes::of(attributes) }
    }

    /// The span's document; `None` where it has no ids.
    pub fn document(&self, span: &Span) -> Option<String> {
        let trace_id = header::to_xray(&hexadecimal(&span.trace_id))?;
        let id = hexadecimal(&span.span_id);
        let parent = hexadecimal(&span.parent_span_id);
        let given = Attributes::of(&span.attributes);
        let is_segment = matches!(span.kind, SERVER | CONSUMER) || parent.is_empty();
        let calls = matches!(span.kind, CLIENT | PRODUCER);
        let mut document = Map::new();
        let mut put = |name: &str, value: Json| drop(document.insert(name.to_owned(), value));
        put("id", id.into());
        put("trace_id", trace_id.into());
        put("start_time", seconds(span.start_time_unix_nano));
        if span.end_time_unix_nano == 0 {
            put("in_progress", true.into());
        } else {
            put("end_time", seconds(span.end_time_unix_nano.max(span.start_time_unix_nano)));
        }
        if !parent.is_empty() {
            put("parent_id", parent.into());
        }
        put("name", self.name(span, &given, is_segment, calls).into());
        if is_segment {
            if let Some(origin) = self.origin() {
                put("origin", origin.into());
            }
            if let Some(version) = self.resource.text("service.version") {
                put("service", json!({"version": version}));
            }
        } else {
            put("type", "subsegment".into());
            if calls {
                let is_aws = given.text("rpc.system").is_some_and(|system| system == "aws-api");
                put("namespace", if is_aws { "aws" } else { "remote" }.into());
            }
        }
        if let Some(user) = given.text("user.id").or_else(|| given.text("enduser.id")) {
            put("user", user.into());
        }
        let status = given.number(&["http.response.status_code", "http.status_code"]);
        if let Some(http) = http(&given, status, span.kind == SERVER) {
            put("http", http);
        }
        if let Some(sql) = sql(&given) {
            put("sql", sql);
        }
        let failed = span.status.as_ref().is_some_and(|status| status.code == ERROR);
        match status {
            Some(429) => {
                put("throttle", true.into());
                put("error", true.into());
            }
            Some(400..=499) => put("error", true.into()),
            Some(500..=599) => put("fault", true.into()),
            _ if failed => put("fault", true.into()),
            _ => {}
        }
        if let Some(cause) = cause(span, failed) {
            put("cause", cause);
        }
        let (annotations, metadata) = self.rest(&given);
        if !annotations.is_empty() {
            put("annotations", annotations.into());
        }
        let bare = document.clone();
        if !metadata.is_empty() {
            document.insert("metadata".to_owned(), json!({"default": metadata}));
        }
        let text = Json::Object(document).to_string();
        Some(if text.len() > MAX_DOCUMENT { Json::Object(bare).to_string() } else { text })
    }

    fn name(&self, span: &Span, given: &Attributes<'_>, is_segment: bool, calls: bool) -> String {
        let database = || {
            let system = given.text("db.system.name").or_else(|| given.text("db.system"))?;
            let name = given.text("db.namespace").or_else(|| given.text("db.name")).unwrap_or(system);
            Some(match given.text("server.address").or_else(|| given.text("net.peer.name")) {
                Some(host) => format!("{name}@{host}"),
                None => name.to_owned(),
            })
        };
        let host = || {
            let url = given.text("url.full").or_else(|| given.text("http.url"))?;
            let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?']).next()?;
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            (!host.is_empty()).then(|| host.to_owned())
        };
        let other = |key: &str| given.text(key).map(str::to_owned);
        let found = if is_segment {
            self.resource.text("service.name").map(str::to_owned)
        } else if calls {
            other("peer.service")
                .or_else(database)
                .or_else(|| other("rpc.service"))
                .or_else(|| other("server.address"))
                .or_else(|| other("net.peer.name"))
                .or_else(host)
        } else {
            None
        };
        let name = found.unwrap_or_else(|| span.name.clone());
        let allowed = |c: &char| c.is_alphanumeric() || c.is_whitespace() || "_.:/%&#=+\\-@,".contains(*c);
        let name: String = name.chars().filter(allowed).take(200).collect();
        if name.is_empty() { "span".to_owned() } else { name }
    }

    /// The kind of resource where it runs, if it says so.
    fn origin(&self) -> Option<&'static str> {
        match self.resource.text("cloud.platform")? {
            "aws_ecs" | "aws.ecs" => Some(match self.resource.text("aws.ecs.launchtype") {
                Some("fargate") => "AWS::ECS::Fargate",
                Some("ec2") => "AWS::ECS::EC2",
                _ => "AWS::ECS::Container",
            }),
            "aws_ec2" | "aws.ec2" => Some("AWS::EC2::Instance"),
            "aws_eks" | "aws.eks" => Some("AWS::EKS::Container"),
            _ => None,
        }
    }

    /// What has no place of its own: the keys that `aws.xray.annotations` names are annotations, the others metadata.
    fn rest(&self, given: &Attributes<'_>) -> (Map<String, Json>, Map<String, Json>) {
        let chosen: Vec<&str> = match given.0.get("aws.xray.annotations") {
            Some(Value::List(list)) => list.values.iter().filter_map(as_text).collect(),
            _ => Vec::new(),
        };
        let (mut annotations, mut metadata) = (Map::new(), Map::new());
        for (key, value) in given.0.iter().filter(|(key, _)| **key != "aws.xray.annotations") {
            let json = value_json(value);
            if chosen.contains(key) && !json.is_array() && !json.is_null() {
                // X-Ray's keys have letters, digits and underscores only.
                let key = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
                annotations.insert(key, json);
            } else {
                metadata.insert((*key).to_owned(), json);
            }
        }
        for (key, value) in &self.resource.0 {
            metadata.insert(format!("otel.resource.{key}"), value_json(value));
        }
        (annotations, metadata)
    }
}

impl<'a> Attributes<'a> {
    fn of(pairs: &'a [KeyValue]) -> Self {
        let mut found = BTreeMap::new();
        for pair in pairs {
            if let Some(value) = pair.value.as_ref().and_then(|value| value.value.as_ref()) {
                found.entry(pair.key.as_str()).or_insert(value);
            }
        }
        Self(found)
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match self.0.get(key)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn number(&self, keys: &[&str]) -> Option<i64> {
        keys.iter().find_map(|key| match self.0.get(key)? {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        })
    }
}

fn http(given: &Attributes<'_>, status: Option<i64>, serves: bool) -> Option<Json> {
    let first = |keys: &[&str]| keys.iter().find_map(|key| given.text(key));
    let mut request = Map::new();
    let method = first(&["http.request.method", "http.method"]);
    let whole = first(&["url.full", "http.url"]).map(str::to_owned);
    let url = whole.or_else(|| {
        let path = first(&["url.path", "http.target"])?;
        let scheme = first(&["url.scheme", "http.scheme"]).unwrap_or("http");
        let host = first(&["server.address", "http.host", "net.host.name"]).unwrap_or("localhost");
        let port = given.number(&["server.port", "net.host.port"]).filter(|port| ![80, 443].contains(port));
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let query = given.text("url.query").map(|query| format!("?{query}")).unwrap_or_default();
        Some(format!("{scheme}://{host}{port}{path}{query}"))
    });
    let client = serves.then(|| first(&["client.address", "http.client_ip", "net.peer.ip"])).flatten();
    let agent = first(&["user_agent.original", "http.user_agent"]);
    for (name, value) in [("method", method), ("url", url.as_deref()), ("user_agent", agent), ("client_ip", client)] {
        if let Some(value) = value {
            request.insert(name.to_owned(), value.into());
        }
    }
    if request.is_empty() && status.is_none() {
        return None;
    }
    let mut http = Map::new();
    if !request.is_empty() {
        http.insert("request".to_owned(), request.into());
    }
    if let Some(status) = status {
        let mut response = Map::from_iter([("status".to_owned(), status.into())]);
        if let Some(length) = given.number(&["http.response.body.size", "http.response_content_length"]) {
            response.insert("content_length".to_owned(), length.into());
        }
        http.insert("response".to_owned(), response.into());
    }
    Some(http.into())
}

fn sql(given: &Attributes<'_>) -> Option<Json> {
    let system = given.text("db.system.name").or_else(|| given.text("db.system"))?;
    if !SQL.contains(&system) {
        return None;
    }
    let mut sql = Map::from_iter([("database_type".to_owned(), system.into())]);
    if let Some(query) = given.text("db.query.text").or_else(|| given.text("db.statement")) {
        sql.insert("sanitized_query".to_owned(), query.into());
    }
    Some(sql.into())
}

/// The exceptions that were noted on the way; of a failure without one its message.
fn cause(span: &Span, failed: bool) -> Option<Json> {
    let exceptions = span.events.iter().filter(|event| event.name == "exception").enumerate().map(|(n, event)| {
        let given = Attributes::of(&event.attributes);
        json!({
            // One of its own for each of the span.
            "id": exception_id(&span.span_id, n),
            "type": given.text("exception.type").unwrap_or("exception"),
            "message": given.text("exception.message").unwrap_or_default(),
        })
    });
    let mut exceptions: Vec<Json> = exceptions.collect();
    let message = span.status.as_ref().map(|status| status.message.as_str()).filter(|message| !message.is_empty());
    if let (true, true, Some(message)) = (failed, exceptions.is_empty(), message) {
        exceptions.push(json!({"id": exception_id(&span.span_id, 0), "type": "error", "message": message}));
    }
    (!exceptions.is_empty()).then(|| json!({ "exceptions": exceptions }))
}

fn exception_id(span: &[u8], n: usize) -> String {
    let number = span.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{:016x}", number.wrapping_add(n as u64 + 1))
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Flag(flag) => (*flag).into(),
        Value::Integer(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::List(list) => {
            list.values.iter().map(|value| value.value.as_ref().map_or(Json::Null, value_json)).collect()
        }
    }
}

fn as_text(value: &AnyValue) -> Option<&str> {
    match value.value.as_ref()? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Seconds since 1970 to the microsecond, which a double holds.
fn seconds(nanos: u64) -> Json {
    ((nanos / 1000) as f64 / 1e6).into()
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
