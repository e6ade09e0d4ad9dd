//! Plain HTTP/1.1 with kept-alive connections, for the local endpoint and registry.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 << 20;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The endpoint is not an `http://` address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint:?} is not an endpoint: {reason}")]
pub struct InvalidEndpoint {
    pub endpoint: String,
    pub reason: String,
}

/// No answer came.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    pub message: String,
    /// Whether the request certainly did not reach the server.
    pub unsent: bool,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// An endpoint and the connections to it. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pool: Pool<HttpConnector, Full<Bytes>>,
    /// `127.0.0.1:4566`
    authority: String,
    timeout: Duration,
}

/// A whole answer.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Endpoint {
    pub fn new(endpoint: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |reason: &str| InvalidEndpoint { endpoint: endpoint.to_owned(), reason: reason.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|_| invalid("not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(invalid("it must begin with http://"));
        }
        if !matches!(uri.path_and_query().map(|p| p.as_str()), None | Some("/" | "")) {
            return Err(invalid("it must not have a path"));
        }
        let authority = uri.authority().ok_or_else(|| invalid("no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("it must not carry a user name"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        Ok(Endpoint {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            authority: authority.to_string(),
            timeout: Duration::from_secs(60),
        })
    }

    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends a request to a path of the endpoint and reads the whole answer.
    pub async fn send(
        &self,
        method: http::Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, TransportError> {
        let failed = |what: &str, source: Option<Box<dyn std::error::Error + Send + Sync>>, unsent| TransportError {
            message: format!("{what} http://{}{path_and_query}", self.authority),
            unsent,
            source,
        };
        let uri = format!("http://{}{path_and_query}", self.authority);
        let request = Request::builder().method(method).uri(uri).body(Full::new(body));
        let mut request = request.map_err(|e| failed("not a valid request:", Some(e.into()), true))?;
        *request.headers_mut() = headers;
        let exchange = async {
            let answer = self.pool.request(request).await.map_err(|e| {
                let unsent = e.is_connect();
                failed(if unsent { "cannot connect to" } else { "no answer from" }, Some(e.into()), unsent)
            })?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|e| failed("the answer broke off:", Some(e), false))?;
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(failed("no answer in time from", None, false)),
        }
    }
}
