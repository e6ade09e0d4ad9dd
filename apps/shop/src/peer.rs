//! Asking another service by its discovered name.
//!
//! The name is looked up for every request, so a service that is scaled or replaced is followed at once.
//! Addresses are tried one after the other: a task that went away a moment ago costs a try, not the request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

const CONNECT_LIMIT: Duration = Duration::from_millis(500);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const LARGEST: usize = 1024 * 1024;

/// Headers of the client's request that go along: what the request accepts, and its trace.
const FORWARDED: [&str; 3] = ["accept", "x-amzn-trace-id", "traceparent"];

/// A service at `host:port`.
#[derive(Debug)]
pub struct Peer {
    host: String,
    port: u16,
    turn: AtomicUsize,
}

/// What a peer answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("{0} has no address: {1}")]
    Name(String, String),
    #[error("no task of {0} takes a connection: {1}")]
    Connect(String, String),
    #[error("{0} did not answer: {1}")]
    Answer(String, String),
}

impl Peer {
    /// Reads a base URL such as `http://users.shop.local:8080`. The error is a sentence.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|e| format!("{url:?} is not a URL: {e}"))?;
        let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().filter(|authority| plain && !authority.host().is_empty());
        let authority = authority.ok_or_else(|| format!("{url:?} must have the form http://name:port"))?;
        let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
        Ok(Self { host, port, turn: AtomicUsize::new(0) })
    }

    /// `GET path`, with those of `headers` that go along.
    pub async fn get(&self, path: &str, headers: &HeaderMap) -> Result<Answer, PeerError> {
        let stream = self.connect().await?;
        let broken = |error: String| PeerError::Answer(self.host.clone(), error);
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Ends with the exchange: the answer below has its own error.
            tokio::spawn(async move { drop(connection.await) });
            let mut request = Request::get(path)
                .header(header::HOST, format!("{}:{}", self.host, self.port))
                .header(header::CONNECTION, "close");
            for name in FORWARDED {
                for value in headers.get_all(name) {
                    request = request.header(name, value);
                }
            }
            let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        match timeout(ANSWER_LIMIT, exchange).await {
            Err(_) => Err(broken(format!("not within {ANSWER_LIMIT:?}"))),
            Ok(Err(error)) => {
                let error: Box<dyn std::error::Error + Send + Sync> = error;
                Err(broken(error.to_string()))
            }
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    /// The addresses behind the name, each request beginning with the next of them.
    async fn connect(&self) -> Result<TcpStream, PeerError> {
        let unknown = |error: String| PeerError::Name(self.host.clone(), error);
        let found = lookup_host((self.host.as_str(), self.port)).await.map_err(|e| unknown(e.to_string()))?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        addresses.sort();
        if addresses.is_empty() {
            return Err(unknown("the answer is empty".into()));
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
        addresses.rotate_left(first);
        let mut refused = Vec::new();
        for address in addresses {
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => refused.push(format!("{address}: {error}")),
                Err(_) => refused.push(format!("{address}: not within {CONNECT_LIMIT:?}")),
            }
        }
        Err(PeerError::Connect(self.host.clone(), refused.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        let peer = Peer::parse("http://users.shop.local:8080").unwrap();
        assert_eq!((peer.host.as_str(), peer.port), ("users.shop.local", 8080));
        assert_eq!(Peer::parse("http://users/").unwrap().port, 80);
        for wrong in ["users", "https://users", "http://users/path", "http://users?x=1", "http://:80"] {
            assert!(Peer::parse(wrong).is_err(), "{wrong}");
        }
    }
}
