//! Asking another of the board's services: a small HTTP/1.1 client with reused connections.
//!
//! A write waits for these answers, and fails without them. So a question is patient: where a connection, a name, an answer
//! or a load balancer fails for a moment, it is asked again until [`PATIENCE`] is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::telemetry;

/// Carries a request's trace from the load balancer through the services.
pub const TRACE_HEADER: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// A question is asked again for so long; a busy machine may need seconds to look a name up.
const PATIENCE: Duration = Duration::from_secs(8);
/// One try.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// Between two tries: from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(320);
const IDLE_CONNECTIONS: usize = 8;
const MAX_ANSWER: usize = 1024 * 1024;

/// Another service at a base URL.
#[derive(Clone, Debug)]
pub struct Peer(Arc<Inner>);

/// Why a peer gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No connection: refused, unknown name, or too slow.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, String),
    /// The connection broke before the answer was whole.
    #[error("no answer from {0}: {1}")]
    Answer(String, String),
    /// It took longer than the limit.
    #[error("no answer from {0} within {1:?}")]
    Timeout(String, Duration),
}

#[derive(Debug)]
struct Inner {
    host: String,
    port: u16,
    /// Host header, and the name in messages.
    authority: String,
    /// Path before every request's path, without a slash at its end.
    prefix: String,
    patience: Duration,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Peer {
    /// Reads a base URL such as `http://users.board:3000`. The error is a sentence.
    pub fn parse(url: &str) -> Result<Peer, String> {
        let uri: Uri = url.parse().map_err(|e| format!("{url:?} is not a URL: {e}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("{url:?} must begin with http:// — services ask each other inside the cluster"));
        }
        if uri.query().is_some() {
            return Err(format!("{url:?} is a base URL and has no query"));
        }
        let authority = uri.authority().filter(|a| !a.as_str().contains('@'));
        let authority = authority.ok_or_else(|| format!("{url:?} names no host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(format!("{url:?} names no host"));
        }
        Ok(Peer(Arc::new(Inner {
            host,
            port: authority.port_u16().unwrap_or(80),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            patience: PATIENCE,
            idle: Mutex::new(Vec::new()),
        })))
    }

    /// The same service, asked again for at most so long.
    pub fn with_patience(&self, patience: Duration) -> Peer {
        let Inner { host, port, authority, prefix, .. } = &*self.0;
        let (host, authority, prefix) = (host.clone(), authority.clone(), prefix.clone());
        Peer(Arc::new(Inner { host, port: *port, authority, prefix, patience, idle: Mutex::new(Vec::new()) }))
    }

    /// `GET path`: the status and the body, of at most 1 MiB. A GET may be sent again: it is, where no answer came or one
    /// of a service or load balancer that cannot answer at the moment (502, 503, 504).
    pub async fn get(&self, path: &str, trace: Option<&HeaderValue>) -> Result<(StatusCode, Bytes), PeerError> {
        let began = tokio::time::Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = self.0.patience.saturating_sub(began.elapsed());
            let limit = ANSWER_LIMIT.min(left);
            let ask = async {
                match tokio::time::timeout(limit, self.get_within(path, trace)).await {
                    Ok(result) => result,
                    Err(_) => Err(PeerError::Timeout(self.0.authority.clone(), began.elapsed())),
                }
            };
            let result = telemetry::question(&self.0.authority, path, ask, |(status, _)| status.as_u16()).await;
            let passing = match &result {
                Ok((status, _)) => matches!(status.as_u16(), 502..=504),
                Err(_) => true,
            };
            if !passing || began.elapsed() + pause >= self.0.patience {
                return result;
            }
            match &result {
                Ok((status, _)) => tracing::warn!(peer = self.0.authority, %status, path, "a peer is asked again"),
                Err(error) => tracing::warn!(peer = self.0.authority, %error, path, "a peer is asked again"),
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LAST_PAUSE);
        }
    }

    async fn get_within(&self, path: &str, trace: Option<&HeaderValue>) -> Result<(StatusCode, Bytes), PeerError> {
        while let Some(connection) = self.idle() {
            if let Ok(answer) = self.send(connection, path, trace).await {
                return Ok(answer);
            }
        }
        let connection = self.connect().await?;
        self.send(connection, path, trace).await.map_err(|e| PeerError::Answer(self.0.authority.clone(), e.to_string()))
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, PeerError> {
        let cannot = |reason: String| PeerError::Connect(self.0.authority.clone(), reason);
        let address = (self.0.host.as_str(), self.0.port);
        let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address))
            .await
            .map_err(|_| cannot(format!("no answer within {CONNECT_LIMIT:?}")))?
            .map_err(|e| cannot(e.to_string()))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| cannot(e.to_string()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a peer ended");
            }
        });
        Ok(sender)
    }

    async fn send(
        &self,
        mut connection: SendRequest<Empty<Bytes>>,
        path: &str,
        trace: Option<&HeaderValue>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::get(format!("{}{path}", self.0.prefix))
            .header(header::HOST, &self.0.authority)
            .header(header::ACCEPT, "application/json");
        if let Some(trace) = telemetry::header(trace) {
            request = request.header(TRACE_HEADER, trace);
        }
        let response = connection.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = body.await?.to_bytes();
        let mut idle = self.lock();
        if !connection.is_closed() && idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
        Ok((status, body))
    }

    fn idle(&self) -> Option<SendRequest<Empty<Bytes>>> {
        let mut idle = self.lock();
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Empty<Bytes>>>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        let peer = Peer::parse("http://users.board:3000/prefix/").unwrap();
        assert_eq!((peer.0.host.as_str(), peer.0.port), ("users.board", 3000));
        assert_eq!(peer.0.prefix, "/prefix");
        assert_eq!(Peer::parse("http://[::1]").unwrap().0.host, "::1");
        for bad in ["users", "https://users", "http://", "http://a/?x=1", "http://u:p@a"] {
            assert!(Peer::parse(bad).is_err(), "{bad}");
        }
    }
}
