//! Traces by OpenTelemetry: a span for each request, each question to another service and each statement.
//!
//! Off unless `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` is set, as on a platform that takes
//! traces in; then the SDK's own variables hold. Who asks decides what is recorded (`X-Amzn-Trace-Id`, `traceparent`);
//! where nobody did, one request in twenty is, or what `OTEL_TRACES_SAMPLER` says.

mod export;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, header};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SdkTracer, SdkTracerProvider, SpanExporter};

use crate::http::TRACE_HEADER;

/// The running exporter; ended by [`Telemetry::end`].
pub struct Telemetry(SdkTracerProvider);

struct State {
    tracer: SdkTracer,
    /// What the service's database is called in traces.
    database: Arc<str>,
    /// The share is ours to decide, not a sampler's of the environment.
    decides: bool,
}

/// Set once, where traces are wanted.
static STATE: OnceLock<State> = OnceLock::new();

/// Requests of a trace that nobody has decided about: this share is recorded.
const SHARE: f64 = 0.05;

/// Stands for methods that the conventions do not name.
const OTHER: &str = "_OTHER";

thread_local! {
    /// The id of the trace that the next span without a parent belongs to.
    static NEXT: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Ids at random, but where a trace's is known.
#[derive(Debug)]
struct Ids(RandomIdGenerator);

/// The trace that a request was recorded in: an extension of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded(TraceId);

/// What `X-Amzn-Trace-Id` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given {
    trace: TraceId,
    parent: Option<SpanId>,
    sampled: Option<bool>,
}

impl Telemetry {
    /// Starts what the environment asks for; within a runtime, which does the sending.
    pub fn start(service: &'static str) -> Option<Telemetry> {
        let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let wanted = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") || set("OTEL_EXPORTER_OTLP_ENDPOINT");
        let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if !wanted || disabled {
            return None;
        }
        match export::exporter() {
            Ok(exporter) => Some(Telemetry::with(service, exporter)),
            Err(error) => {
                tracing::warn!(%error, "no traces are sent");
                None
            }
        }
    }

    /// With an exporter of one's own.
    pub fn with(service: &'static str, exporter: impl SpanExporter + 'static) -> Telemetry {
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(service);
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let mut provider = SdkTracerProvider::builder()
            .with_resource(resource.with_attribute(version).build())
            .with_id_generator(Ids(RandomIdGenerator::default()))
            .with_batch_exporter(exporter);
        let decides = std::env::var_os("OTEL_TRACES_SAMPLER").is_none();
        if decides {
            // What comes to it is what `begin` lets through.
            provider = provider.with_sampler(Sampler::AlwaysOn);
        }
        let provider = provider.build();
        let _ =
            STATE.set(State { tracer: provider.tracer("board"), database: format!("{service}.db").into(), decides });
        Telemetry(provider)
    }

    /// Sends what waits.
    pub async fn end(self) {
        // Off this thread, which has to go on for the sending.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// A span for each request that is recorded.
pub async fn serve(request: Request, next: Next) -> Response {
    let Some(state) = STATE.get().filter(|_| request.uri().path() != "/healthz") else {
        return next.run(request).await;
    };
    let Some(context) = begin(state, &request) else { return next.run(request).await };
    let mut response = next.run(request).with_context(context.clone()).await;
    let (span, status) = (context.span(), response.status());
    response.extensions_mut().insert(Recorded(span.span_context().trace_id()));
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_status(Status::error(status.canonical_reason().unwrap_or_default()));
    }
    span.end();
    response
}

/// The request's span, in a context; `None` where who asks does not record it.
fn begin(state: &State, request: &Request) -> Option<Context> {
    let (headers, none) = (request.headers(), Context::new());
    let given = headers.get(TRACE_HEADER).and_then(|value| Given::parse(value.as_bytes()));
    let parent = match given {
        Some(Given { sampled: Some(false), .. }) => return None,
        Some(Given { trace, parent: Some(parent), sampled: Some(true) }) => {
            let flags = TraceFlags::SAMPLED;
            none.with_remote_span_context(SpanContext::new(trace, parent, flags, true, TraceState::default()))
        }
        Some(Given { trace, .. }) => {
            undecided(state, trace)?;
            none
        }
        None => {
            let told = TraceContextPropagator::new().extract_with_context(&none, &Fields(headers));
            let (is_valid, is_sampled) = {
                let span = told.span();
                (span.span_context().is_valid(), span.span_context().is_sampled())
            };
            if !is_valid {
                undecided(state, RandomIdGenerator::default().new_trace_id())?;
            } else if !is_sampled && state.decides {
                // No span, but the next service is told so.
                return Some(told);
            }
            told
        }
    };
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let method = method(request.method());
    let mut attributes = Vec::with_capacity(6);
    attributes.extend([
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("server.address", host.to_owned()),
        KeyValue::new("url.path", request.uri().path().to_owned()),
        KeyValue::new("http.route", route.to_owned()),
    ]);
    let name = if method == OTHER { "HTTP" } else { method };
    let name = [name, " ", route].concat();
    let builder = state.tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
    let span = state.tracer.build_with_context(builder, &parent);
    NEXT.set(None);
    Some(Context::new().with_span(span))
}

/// As OpenTelemetry's conventions for HTTP spans have it.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

/// A trace that nobody has decided about: `None` where it is not recorded. Decided by its id, so that all services decide
/// alike, and before anything is written down of the request.
fn undecided(state: &State, trace: TraceId) -> Option<()> {
    let drawn = u64::from_be_bytes(trace.to_bytes()[8..].try_into().unwrap_or_default());
    let is_in_share = drawn as f64 <= SHARE * u64::MAX as f64;
    (is_in_share || !state.decides).then(|| NEXT.set(Some(trace)))
}

/// Does something as a span of the request in hand, if that is recorded.
async fn within<T>(
    kind: SpanKind,
    name: impl FnOnce() -> Cow<'static, str>,
    attributes: impl FnOnce(&State) -> Vec<KeyValue>,
    work: impl Future<Output = T>,
    ended: impl FnOnce(&T, &Context),
) -> T {
    let Some(state) = STATE.get().filter(|_| Context::map_current(|context| context.span().is_recording())) else {
        return work.await;
    };
    let builder = state.tracer.span_builder(name()).with_kind(kind).with_attributes(attributes(state));
    let context = Context::current_with_span(state.tracer.build_with_context(builder, &Context::current()));
    let result = work.with_context(context.clone()).await;
    ended(&result, &context);
    context.span().end();
    result
}

/// A statement's span. `system`: the database's name by OpenTelemetry's conventions.
pub async fn statement<T, E: std::fmt::Display>(
    system: &'static str,
    sql: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let name = || match sql.split_ascii_whitespace().next() {
        Some("SELECT") => "SELECT".into(),
        word => word.unwrap_or("statement").to_owned().into(),
    };
    let attributes = |state: &State| {
        vec![
            KeyValue::new("db.system.name", system),
            KeyValue::new("db.namespace", state.database.clone()),
            KeyValue::new("db.query.text", sql.to_owned()),
        ]
    };
    within(SpanKind::Client, name, attributes, work, |result, context| {
        if let Err(error) = result {
            context.span().set_status(Status::error(error.to_string()));
        }
    })
    .await
}

/// The span of a question to another service.
pub async fn question<T, E: std::fmt::Display>(
    authority: &str,
    path: &str,
    work: impl Future<Output = Result<T, E>>,
    status: impl FnOnce(&T) -> u16,
) -> Result<T, E> {
    let attributes = |_: &State| {
        vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("url.full", format!("http://{authority}{path}")),
            KeyValue::new("server.address", authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned()),
        ]
    };
    within(
        SpanKind::Client,
        || "GET".into(),
        attributes,
        work,
        |result, context| match result {
            Ok(answer) => {
                context.span().set_attribute(KeyValue::new("http.response.status_code", i64::from(status(answer))));
            }
            Err(error) => context.span().set_status(Status::error(error.to_string())),
        },
    )
    .await
}

/// What the next service is told: the span in hand, or what was told to us.
pub fn header(received: Option<&HeaderValue>) -> Option<HeaderValue> {
    let made = STATE.get().and_then(|_| {
        Context::map_current(|context| {
            let span = context.span();
            let about = span.span_context();
            about.is_valid().then(|| told(about.trace_id(), about.span_id(), about.is_sampled()))
        })
    });
    made.and_then(|text| HeaderValue::from_str(&text).ok()).or_else(|| received.cloned())
}

fn told(trace: TraceId, span: SpanId, sampled: bool) -> String {
    format!("{};Parent={span};Sampled={}", Recorded(trace), u8::from(sampled))
}

impl fmt::Display for Recorded {
    /// As `X-Amzn-Trace-Id` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0.to_bytes());
        write!(f, "Root=1-{:08x}-{:024x}", number >> 96, number & (u128::MAX >> 32))
    }
}

impl Given {
    fn parse(value: &[u8]) -> Option<Given> {
        let (mut trace, mut parent, mut sampled) = (None, None, None);
        for field in value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            if let Some(root) = field.strip_prefix(b"Root=") {
                let (time, random) = root.strip_prefix(b"1-")?.split_at_checked(8)?;
                let (high, low) = random.strip_prefix(b"-")?.split_at_checked(8)?;
                let high = u128::from(hex::<8>(time)?) << 32 | u128::from(hex::<8>(high)?);
                trace = Some(TraceId::from(high << 64 | u128::from(hex::<16>(low)?)));
            } else if let Some(span) = field.strip_prefix(b"Parent=") {
                parent = hex::<16>(span).map(SpanId::from).filter(|id| *id != SpanId::INVALID);
            } else if let Some(decision) = field.strip_prefix(b"Sampled=") {
                sampled = [b"0", b"1"].iter().position(|known| *known == decision).map(|known| known == 1);
            }
        }
        Some(Given { trace: trace.filter(|id| *id != TraceId::INVALID)?, parent, sampled })
    }
}

/// A number of `N` hexadecimal digits, 16 at most.
fn hex<const N: usize>(digits: &[u8]) -> Option<u64> {
    let digits: &[u8; N] = digits.try_into().ok()?;
    // Without branches: which digits an id has, no processor foresees.
    let value = |digit: &u8| u64::from((digit & 15) + 9 * (digit >> 6));
    digits.iter().all(u8::is_ascii_hexdigit).then(|| digits.iter().fold(0, |number, digit| number << 4 | value(digit)))
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Header fields as a propagator reads them.
struct Fields<'a>(&'a HeaderMap);

impl opentelemetry::propagation::Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_told_on() {
        let text = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let given = Given::parse(text.as_bytes()).unwrap();
        assert_eq!(told(given.trace, given.parent.unwrap(), given.sampled.unwrap()), text);
        let open = Given::parse(b"Self=1-a-b; Root=1-5759e988-BD862e3fe1be46a994272793;Parent=x").unwrap();
        assert_eq!((open.parent, open.sampled), (None, None));
        for bad in [
            "",
            "Root=x",
            "Root=1-+759e988-bd862e3fe1be46a994272793",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd",
            "Root=1-00000000-000000000000000000000000",
        ] {
            assert_eq!(Given::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
