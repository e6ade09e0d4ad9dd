//! The messages as JSON: names in lowerCamelCase, ids in hexadecimal, whole numbers of 64 bits as text.

use super::message::{
    AnyValue, Event, KeyValue, List, PartialSuccess, Resource, ResourceSpans, ScopeSpans, Span, SpanStatus, Spans,
    Value,
};
use serde_json::Value as Json;

/// Lists within lists of a value.
const MAX_DEPTH: usize = 8;

pub fn spans(body: &[u8]) -> Result<Spans, String> {
    let json: Json = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if !json.is_object() {
        return Err("an object is expected".to_owned());
    }
    Ok(Spans { resource_spans: each(&json["resourceSpans"], resource_spans)? })
}

pub fn response(partial: Option<&PartialSuccess>) -> String {
    match partial {
        None => "{}".to_owned(),
        Some(partial) => serde_json::json!({"partialSuccess": {
            "rejectedSpans": partial.rejected_spans.to_string(), "errorMessage": partial.error_message,
        }})
        .to_string(),
    }
}

fn each<T>(json: &Json, read: impl Fn(&Json) -> Result<T, String>) -> Result<Vec<T>, String> {
    match json {
        Json::Null => Ok(Vec::new()),
        Json::Array(items) => items.iter().map(read).collect(),
        _ => Err("a list is expected".to_owned()),
    }
}

fn resource_spans(json: &Json) -> Result<ResourceSpans, String> {
    Ok(ResourceSpans {
        resource: Some(Resource { attributes: each(&json["resource"]["attributes"], key_value)? }),
        scope_spans: each(&json["scopeSpans"], |scope| Ok(ScopeSpans { spans: each(&scope["spans"], span)? }))?,
    })
}

fn span(json: &Json) -> Result<Span, String> {
    Ok(Span {
        trace_id: hexadecimal(&json["traceId"])?,
        span_id: hexadecimal(&json["spanId"])?,
        parent_span_id: hexadecimal(&json["parentSpanId"])?,
        name: text(&json["name"]),
        kind: whole(&json["kind"]).and_then(|kind| i32::try_from(kind).ok()).unwrap_or_default(),
        start_time_unix_nano: nanos(&json["startTimeUnixNano"]),
        end_time_unix_nano: nanos(&json["endTimeUnixNano"]),
        attributes: each(&json["attributes"], key_value)?,
        events: each(&json["events"], |event| {
            Ok(Event { name: text(&event["name"]), attributes: each(&event["attributes"], key_value)? })
        })?,
        status: Some(SpanStatus {
            message: text(&json["status"]["message"]),
            code: whole(&json["status"]["code"]).and_then(|code| i32::try_from(code).ok()).unwrap_or_default(),
        }),
    })
}

fn key_value(json: &Json) -> Result<KeyValue, String> {
    Ok(KeyValue { key: text(&json["key"]), value: Some(any(&json["value"], 0)?) })
}

fn any(json: &Json, depth: usize) -> Result<AnyValue, String> {
    if depth > MAX_DEPTH {
        return Err("a value is nested too deeply".to_owned());
    }
    let value = if let Some(text) = json["stringValue"].as_str() {
        Some(Value::Text(text.to_owned()))
    } else if let Some(flag) = json["boolValue"].as_bool() {
        Some(Value::Flag(flag))
    } else if let Some(number) = whole(&json["intValue"]) {
        Some(Value::Integer(number))
    } else if let Some(number) = json["doubleValue"].as_f64() {
        Some(Value::Double(number))
    } else if json["arrayValue"].is_object() {
        Some(Value::List(List { values: each(&json["arrayValue"]["values"], |item| any(item, depth + 1))? }))
    } else {
        None
    };
    Ok(AnyValue { value })
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn whole(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.as_str()?.parse().ok())
}

fn nanos(json: &Json) -> u64 {
    json.as_u64().or_else(|| json.as_str()?.parse().ok()).unwrap_or_default()
}

fn hexadecimal(json: &Json) -> Result<Vec<u8>, String> {
    let text = json.as_str().unwrap_or_default();
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(format!("{text:?} is no id"));
    }
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| format!("{text:?} is no id"));
    (0..text.len()).step_by(2).map(byte).collect()
}
