//! Sending spans: OTLP over HTTP, by the connection that the board asks its peers with.

use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

const LIMIT: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 64 * 1024;

/// Sends on the runtime it was made in: the SDK calls it from a thread of its own.
#[derive(Debug)]
struct Client(Handle);

/// To where the environment says.
pub fn exporter() -> Result<SpanExporter, ExporterBuildError> {
    SpanExporter::builder().with_http().with_http_client(Client(Handle::current())).build()
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sending = self.0.spawn(async move { tokio::time::timeout(LIMIT, send(request)).await });
        sending.await??
    }
}

async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    if head.uri.scheme_str() != Some("http") {
        return Err(format!("{} must begin with http://", head.uri).into());
    }
    let authority = head.uri.authority().ok_or("the endpoint names no host")?.clone();
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    head.headers.insert(header::HOST, authority.as_str().parse()?);
    head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let response = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
