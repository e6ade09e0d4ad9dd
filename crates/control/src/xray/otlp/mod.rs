//! OpenTelemetry's protocol over HTTP: `POST /v1/traces` with protobuf or JSON, plain or gzip. What it brings is kept as
//! segment documents.
//!
//! Taken without a signature, as collectors take it: from tasks, who are known by their address, and from programs of
//! this machine. It only adds to a store that is bounded, and no web page gets here ([`crate::endpoint::check_origin`]).

mod convert;
mod message;
mod text;

use crate::platform::Platform;
use bytes::Bytes;
use http::{Method, Response, StatusCode, header, request};
use message::{ExportResponse, PartialSuccess, Spans, Status};
use prost::Message as _;
use quarry_domain::trace::Segment;
use quarry_wire::server::{MAX_JSON, decompressed};

/// Where spans are sent to, with nothing before it.
pub const PATH: &str = "/v1/traces";

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

/// Takes spans in. Blocks for as long as the store takes.
pub fn receive(platform: &Platform, head: &request::Parts, body: &[u8]) -> Response<Bytes> {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = match kind.split(';').next().unwrap_or_default().trim() {
        "application/x-protobuf" => Form::Protobuf,
        "application/json" => Form::Json,
        _ => {
            let said = "application/x-protobuf or application/json is expected";
            return refused(Form::Json, StatusCode::UNSUPPORTED_MEDIA_TYPE, said);
        }
    };
    if head.method != Method::POST {
        return refused(form, StatusCode::METHOD_NOT_ALLOWED, "only POST is answered here");
    }
    if body.len() > MAX_JSON {
        return refused(form, StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    }
    let body = match decompressed(&head.headers, body, MAX_JSON) {
        Ok(body) => body,
        Err(error) => return refused(form, StatusCode::BAD_REQUEST, &error.message),
    };
    let spans = match read(form, &body) {
        Ok(spans) => spans,
        Err(message) => return refused(form, StatusCode::BAD_REQUEST, &message),
    };
    let (taken, rejected) = documents(&spans);
    if let Err(error) = platform.traces.put(platform.now_ms(), &taken) {
        tracing::error!(%error, "spans were not kept");
        // The sender tries again.
        return refused(form, StatusCode::SERVICE_UNAVAILABLE, "the spans could not be kept");
    }
    let partial = (rejected > 0).then(|| PartialSuccess {
        rejected_spans: rejected,
        error_message: "spans without ids or a time were not taken".to_owned(),
    });
    answer(
        form,
        StatusCode::OK,
        match form {
            Form::Protobuf => ExportResponse { partial_success: partial }.encode_to_vec(),
            Form::Json => text::response(partial.as_ref()).into_bytes(),
        },
    )
}

/// For fuzzing: whatever these bytes are, what is made of them can be read again.
pub fn check(bytes: &[u8]) {
    for form in [Form::Protobuf, Form::Json] {
        if let Ok(spans) = read(form, bytes) {
            for (segment, document) in documents(&spans).0 {
                assert_eq!(Segment::parse(&document).as_ref(), Ok(&segment), "{document}");
            }
        }
    }
}

fn read(form: Form, body: &[u8]) -> Result<Spans, String> {
    match form {
        Form::Protobuf => Spans::decode(body).map_err(|error| error.to_string()),
        Form::Json => text::spans(body),
    }
}

/// The spans as documents, and how many could not be one.
fn documents(spans: &Spans) -> (Vec<(Segment, String)>, i64) {
    let (mut taken, mut rejected) = (Vec::new(), 0);
    for resource in &spans.resource_spans {
        let about = convert::About::of(resource);
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            match about.document(span).and_then(|document| Some((Segment::parse(&document).ok()?, document))) {
                Some(document) => taken.push(document),
                None => rejected += 1,
            }
        }
    }
    (taken, rejected)
}

fn refused(form: Form, status: StatusCode, message: &str) -> Response<Bytes> {
    answer(
        form,
        status,
        match form {
            Form::Protobuf => Status { code: 0, message: message.to_owned() }.encode_to_vec(),
            Form::Json => serde_json::json!({"message": message}).to_string().into_bytes(),
        },
    )
}

fn answer(form: Form, status: StatusCode, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let kind = match form {
        Form::Protobuf => "application/x-protobuf",
        Form::Json => "application/json",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
