//! What answers on `serve`'s port: the AWS endpoint, the registry under `/v2/`.

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::body::{Body as _, Incoming};
use quarry_client::oci;
use quarry_control::Platform;
use quarry_control::ecs::exec;
use quarry_control::ecs::metadata::{self, Asker};
use quarry_control::endpoint::{Auth, CALLS_PATH, Endpoint, Source, UNSERVED_PATH, check_origin};
use quarry_control::logs::live_tail::LiveTail;
use quarry_control::status::{PATH as STATUS_PATH, RULES_PATH};
use quarry_domain::address;
use quarry_domain::image::RegistryAuth;
use quarry_registry::Registry;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A body of any kind of answer.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// Everything behind the port.
pub struct Front {
    pub platform: Arc<Platform>,
    pub endpoint: Arc<Endpoint>,
    pub registry: Arc<Registry>,
    pub registry_auth: Arc<dyn RegistryAuth>,
    pub key: Key,
    /// Places for requests with a body larger than [`SMALL_BODY`].
    pub large_bodies: Semaphore,
}

/// Bodies up to this size, in bytes, are taken without waiting.
const SMALL_BODY: u64 = 64 << 10;
/// Larger bodies that are in memory at a time.
pub const LARGE_BODIES: usize = 8;
/// How long a body may take to come.
/// What a task may say of itself, in bytes.
const MOST_TOLD: usize = 4096;
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// The counters as text for Prometheus. Tasks, too, reach this port: it takes the installation's credentials.
const METRICS: &str = "/metrics";

/// What is for programs of the host alone, which ask without a signature or as a person: not for tasks.
const OF_THE_HOST: [&str; 6] = [metadata::PATH, STATUS_PATH, RULES_PATH, CALLS_PATH, UNSERVED_PATH, METRICS];

/// What a program must send to be told what is not an AWS operation.
pub struct Key {
    pub auth: Auth,
    /// `user:password`: access key id and secret access key.
    pub pair: String,
}

impl Front {
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response<Body>, Infallible> {
        // What the proxy says for a task: nothing but what tasks are told is answered there.
        if let IpAddr::V4(peer) = peer
            && let Some(source) = address::teller(peer)
        {
            return Ok(self.tell(Asker::Task(source), request).await);
        }
        if let Err(refused) = check_origin(request.headers()) {
            return Ok(plain(StatusCode::FORBIDDEN, refused));
        }
        let path = request.uri().path();
        let is_task = matches!(peer, IpAddr::V4(peer) if address::caller(peer).is_some());
        if is_task && OF_THE_HOST.iter().any(|own| path.starts_with(own)) {
            return Ok(plain(StatusCode::FORBIDDEN, "tasks call AWS's operations and the registry here, nothing else"));
        }
        if path.starts_with(metadata::PATH) {
            return Ok(self.tell(Asker::Process, request).await);
        }
        if path.starts_with(exec::PATH) {
            return Ok(super::session::open(&self.platform, request));
        }
        if path == "/v2" || path.starts_with("/v2/") {
            return Ok(self.registry.handle(request, &*self.registry_auth).await);
        }
        if path == METRICS && request.method() == Method::GET {
            return Ok(self.metrics(request.headers()).await);
        }
        let (mut head, body) = request.into_parts();
        let from = match peer {
            IpAddr::V4(peer) => IpAddr::V4(address::caller(peer).unwrap_or(peer)),
            IpAddr::V6(_) => peer,
        };
        head.extensions.insert(Source(from));
        // Held until the answer: memory is bounded whoever sends, signed or not.
        let _place = match body.size_hint().upper() {
            Some(length) if length <= SMALL_BODY => None,
            _ => self.large_bodies.acquire().await.ok(),
        };
        let body = Limited::new(body, quarry_wire::server::MAX_BODY).collect();
        let body = match tokio::time::timeout(BODY_PATIENCE, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large or was cut short")),
            Err(_) => return Ok(plain(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time")),
        };
        let endpoint = self.endpoint.clone();
        // Transactions block.
        let answered = tokio::task::spawn_blocking(move || endpoint.answer(&head, &body)).await;
        Ok(match answered {
            Ok(mut response) => match response.extensions_mut().remove::<LiveTail>() {
                Some(tail) => response.map(|begin| super::tail::body(begin, tail)),
                None => response.map(full),
            },
            Err(error) => {
                tracing::error!(%error, "an operation panicked; its transaction was undone");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "internal failure")
            }
        })
    }
}

impl Front {
    /// What a task is told of itself, and says.
    async fn tell(&self, asker: Asker, request: Request<Incoming>) -> Response<Body> {
        let put = match *request.method() {
            Method::GET => false,
            Method::PUT => true,
            _ => return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and PUT are answered here"),
        };
        let (endpoint, path) = (self.endpoint.clone(), request.uri().path().to_owned());
        let body = match put {
            false => None,
            true => {
                let body = Limited::new(request.into_body(), MOST_TOLD).collect();
                match tokio::time::timeout(BODY_PATIENCE, body).await {
                    Ok(Ok(body)) => Some(body.to_bytes()),
                    Ok(Err(_)) => {
                        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large or was cut short");
                    }
                    Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time"),
                }
            }
        };
        match tokio::task::spawn_blocking(move || endpoint.tell(asker, &path, body.as_deref())).await {
            Ok(response) => response.map(full),
            Err(error) => {
                tracing::error!(%error, "what a task is told could not be found out");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "internal failure")
            }
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Response<Body> {
        if !self.key.allows(headers) {
            return sign_in();
        }
        let platform = self.platform.clone();
        let text = tokio::task::spawn_blocking(move || quarry_control::cloudwatch::prometheus::text(&platform)).await;
        match text {
            Ok(Ok(text)) => {
                let mut response = Response::new(full(Bytes::from(text)));
                let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Ok(Err(error)) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

fn sign_in() -> Response<Body> {
    let mut refused =
        plain(StatusCode::UNAUTHORIZED, "sign in with the access key id and the secret access key of `quarry env`");
    let realm = header::HeaderValue::from_static("Basic realm=\"Quarry\", charset=\"UTF-8\"");
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
    refused
}

impl Key {
    fn allows(&self, headers: &HeaderMap) -> bool {
        if self.auth == Auth::Off {
            return true;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Basic "));
        let given = given.and_then(|g| base64::engine::general_purpose::STANDARD.decode(g).ok());
        // Digests are compared, so that the time it takes tells nothing of the key.
        given.is_some_and(|given| oci::digest_of(&given) == oci::digest_of(self.pair.as_bytes()))
    }
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(Bytes::from(text.into() + "\n")));
    *response.status_mut() = status;
    response
}
