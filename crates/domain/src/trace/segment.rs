//! Segment documents (AWS's documentation, "X-Ray segment documents"): what is checked, and what is looked at.

use super::header::{is_span_id, is_trace_id};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A segment or a subsegment, with those in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// 16 hexadecimal digits.
    pub id: String,
    /// Empty in a subsegment within another document.
    pub trace_id: String,
    pub parent_id: Option<String>,
    pub name: String,
    /// A part of a segment's work: in the document of its segment, or of `type` subsegment.
    pub is_subsegment: bool,
    /// Seconds since 1970.
    pub start: f64,
    /// `None` while it is in progress.
    pub end: Option<f64>,
    /// The kind of AWS resource, such as `AWS::ECS::Container`.
    pub origin: Option<String>,
    /// `aws` or `remote`: of a call to another service.
    pub namespace: Option<String>,
    pub user: Option<String>,
    pub http: Http,
    /// 4XX.
    pub error: bool,
    /// 429.
    pub throttle: bool,
    /// 5XX.
    pub fault: bool,
    pub annotations: BTreeMap<String, Annotation>,
    /// Of a query: the kind of database where it is known, else `SQL`.
    pub database: Option<String>,
    pub resource_arn: Option<String>,
    pub instance_id: Option<String>,
    pub availability_zone: Option<String>,
    pub subsegments: Vec<Segment>,
}

/// The request that a segment serves or a subsegment makes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    pub method: Option<String>,
    pub url: Option<String>,
    pub user_agent: Option<String>,
    pub client_ip: Option<String>,
    pub status: Option<i32>,
}

/// An annotation's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Annotation {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid segment. ErrorCode: {code}")]
pub struct Invalid {
    /// The document's id, where it could be read.
    pub id: Option<String>,
    /// X-Ray's word, such as `MissingId`.
    pub code: &'static str,
}

/// Largest document, in bytes.
pub const MAX_DOCUMENT: usize = 64 * 1024;
/// Longest name, in characters.
const MAX_NAME: usize = 200;
/// Subsegments within subsegments.
const MAX_DEPTH: usize = 32;

impl Segment {
    /// Reads and checks one document of PutTraceSegments.
    pub fn parse(document: &str) -> Result<Self, Invalid> {
        if document.len() > MAX_DOCUMENT {
            return Err(Invalid { id: None, code: "SegmentTooLarge" });
        }
        let Ok(Value::Object(object)) = serde_json::from_str(document) else {
            return Err(Invalid { id: None, code: "ParseError" });
        };
        let invalid = |code| Invalid { id: text(&object, "id"), code };
        let segment = read(&object, 0).map_err(invalid)?;
        match segment.trace_id.as_str() {
            "" => return Err(invalid("MissingTraceId")),
            id if !is_trace_id(id) => return Err(invalid("InvalidTraceId")),
            _ => {}
        }
        if segment.is_subsegment && segment.parent_id.is_none() {
            return Err(invalid("MissingParentId"));
        }
        Ok(segment)
    }

    /// Seconds that it took; those so far are not known of one in progress.
    pub fn duration(&self) -> Option<f64> {
        self.end.map(|end| (end - self.start).max(0.0))
    }
}

fn read(object: &Map<String, Value>, depth: usize) -> Result<Segment, &'static str> {
    if depth > MAX_DEPTH {
        return Err("TooManySubsegments");
    }
    let number = |name: &str| object.get(name).and_then(Value::as_f64).filter(|n| n.is_finite() && *n >= 0.0);
    let flag = |name: &str| object.get(name).and_then(Value::as_bool).unwrap_or_default();
    let id = text(object, "id").ok_or("MissingId")?;
    if !is_span_id(&id) {
        return Err("InvalidId");
    }
    let parent_id = text(object, "parent_id");
    if parent_id.as_ref().is_some_and(|parent| !is_span_id(parent)) {
        return Err("InvalidParentId");
    }
    let name = text(object, "name").ok_or("MissingName")?;
    if name.chars().count() > MAX_NAME
        || !name.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/%&#=+\\-@,".contains(c))
    {
        return Err("InvalidName");
    }
    let start = number("start_time").ok_or("MissingStartTime")?;
    let end = number("end_time");
    if end.is_none() && !flag("in_progress") {
        return Err("MissingEndTime");
    }
    let http = object.get("http").and_then(Value::as_object);
    let aws = object.get("aws").and_then(Value::as_object);
    let sql = object.get("sql").and_then(Value::as_object);
    let ec2 = aws.and_then(|aws| aws.get("ec2")).and_then(Value::as_object);
    let mut subsegments = Vec::new();
    for inner in object.get("subsegments").and_then(Value::as_array).into_iter().flatten() {
        let mut inner = read(inner.as_object().ok_or("ParseError")?, depth + 1)?;
        inner.is_subsegment = true;
        subsegments.push(inner);
    }
    Ok(Segment {
        id: id.to_ascii_lowercase(),
        trace_id: text(object, "trace_id").unwrap_or_default().to_ascii_lowercase(),
        parent_id: parent_id.map(|parent| parent.to_ascii_lowercase()),
        name,
        is_subsegment: object.get("type").is_some_and(|kind| kind == "subsegment"),
        start,
        end,
        origin: text(object, "origin"),
        namespace: text(object, "namespace"),
        user: text(object, "user"),
        http: http.map(read_http).unwrap_or_default(),
        error: flag("error"),
        throttle: flag("throttle"),
        fault: flag("fault"),
        annotations: annotations(object),
        database: sql.map(|sql| text(sql, "database_type").unwrap_or_else(|| "SQL".to_owned())),
        resource_arn: aws.and_then(|aws| text(aws, "resource_arn").or_else(|| first_arn(aws))),
        instance_id: ec2.and_then(|ec2| text(ec2, "instance_id")),
        availability_zone: ec2.and_then(|ec2| text(ec2, "availability_zone")),
        subsegments,
    })
}

fn read_http(http: &Map<String, Value>) -> Http {
    let part = |name: &str| http.get(name).and_then(Value::as_object);
    let request = |name: &str| part("request").and_then(|request| text(request, name));
    let status = part("response").and_then(|response| response.get("status")).and_then(Value::as_i64);
    Http {
        method: request("method"),
        url: request("url"),
        user_agent: request("user_agent"),
        client_ip: request("client_ip"),
        status: status.and_then(|status| i32::try_from(status).ok()),
    }
}

/// What has another type than text, number or boolean is no annotation.
fn annotations(object: &Map<String, Value>) -> BTreeMap<String, Annotation> {
    let given = object.get("annotations").and_then(Value::as_object).into_iter().flatten();
    let read = |value: &Value| match value {
        Value::String(text) => Some(Annotation::Text(text.clone())),
        Value::Bool(flag) => Some(Annotation::Flag(*flag)),
        Value::Number(number) => number.as_f64().map(Annotation::Number),
        _ => None,
    };
    given.filter_map(|(key, value)| Some((key.clone(), read(value)?))).collect()
}

/// The resource's ARN where the runtime said it (`aws.ecs.task_arn` and the like are not of the segment's resource).
fn first_arn(aws: &Map<String, Value>) -> Option<String> {
    let ecs = aws.get("ecs").and_then(Value::as_object)?;
    text(ecs, "container_arn").or_else(|| text(ecs, "task_arn"))
}

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "id": "53995c3f42cd8ad8", "trace_id": "1-5759e988-bd862e3fe1be46a994272793", "name": "posts",
            "start_time": 10.0, "end_time": 10.5, "origin": "AWS::ECS::Container", "fault": true, "user": "ann",
            "http": {"request": {"method": "GET", "url": "http://a/b"}, "response": {"status": 503}},
            "annotations": {"a": "b", "n": 3, "f": true, "odd": []},
            "subsegments": [{
                "id": "53995c3f42cd8ad9", "name": "db", "start_time": 10.1, "end_time": 10.2, "namespace": "remote",
                "sql": {"database_type": "SQLite"},
            }],
        })
    }

    #[test]
    fn a_document_is_read() {
        let segment = Segment::parse(&document().to_string()).unwrap();
        assert_eq!((segment.name.as_str(), segment.fault, segment.http.status), ("posts", true, Some(503)));
        assert_eq!(segment.duration(), Some(0.5));
        assert_eq!(segment.annotations.len(), 3);
        let inner = &segment.subsegments[0];
        assert!(inner.is_subsegment && inner.database.as_deref() == Some("SQLite"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let code = |change: &dyn Fn(&mut Value)| {
            let mut document = document();
            change(&mut document);
            Segment::parse(&document.to_string()).map(|_| "").unwrap_or_else(|invalid| invalid.code)
        };
        let without = |name: &'static str| code(&|d| drop(d.as_object_mut().unwrap().remove(name)));
        assert_eq!(without("id"), "MissingId");
        assert_eq!(without("trace_id"), "MissingTraceId");
        assert_eq!(without("name"), "MissingName");
        assert_eq!(without("start_time"), "MissingStartTime");
        assert_eq!(without("end_time"), "MissingEndTime");
        assert_eq!(code(&|d| d["id"] = "x".into()), "InvalidId");
        assert_eq!(code(&|d| d["trace_id"] = "1-2-3".into()), "InvalidTraceId");
        assert_eq!(code(&|d| d["name"] = "a<b".into()), "InvalidName");
        assert_eq!(code(&|d| d["type"] = "subsegment".into()), "MissingParentId");
        assert_eq!(code(&|d| drop(d["subsegments"][0].as_object_mut().unwrap().remove("id"))), "MissingId");
        assert_eq!(code(&|d| d["metadata"] = json!({"d": "x".repeat(MAX_DOCUMENT)})), "SegmentTooLarge");
        assert_eq!(Segment::parse("[]").unwrap_err().code, "ParseError");
        let invalid = Segment::parse(r#"{"id": "53995c3f42cd8ad8"}"#).unwrap_err();
        assert_eq!(invalid.to_string(), "Invalid segment. ErrorCode: MissingName");
        assert_eq!(invalid.id.as_deref(), Some("53995c3f42cd8ad8"));
    }
}
