//! One kept-alive connection, opened again when it has ended.

use crate::PathSpec;
use crate::record::FailureKind;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Times that a request may find its connection closed before anything of it was written.
const MAX_STALE: usize = 3;

pub(crate) struct Connection<'a> {
    address: SocketAddr,
    host: &'a str,
    open: Option<Open>,
}

/// A whole answer.
pub(crate) struct Exchange {
    pub status: u16,
    pub location: Option<String>,
    pub body: Bytes,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(address: SocketAddr, host: &'a str) -> Self {
        Self { address, host, open: None }
    }

    /// Ends the connection, so that the next request gets a new one.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Reads a path and judges the answer.
    pub(crate) async fn get(&mut self, spec: &PathSpec) -> Result<(), FailureKind> {
        let answer = self.exchange(|| Request::get(&spec.path).body(Bytes::new())).await?;
        if answer.status != spec.status {
            return Err(FailureKind::Status(answer.status));
        }
        match &spec.check {
            Some(check) => check(&answer.body).map_err(FailureKind::Body),
            None => Ok(()),
        }
    }

    /// Sends one request and reads its whole answer.
    pub(crate) async fn exchange(
        &mut self,
        request: impl Fn() -> http::Result<Request<Bytes>>,
    ) -> Result<Exchange, FailureKind> {
        let mut stale = 0;
        let response = loop {
            let mut request = request().map_err(|error| FailureKind::Malformed(error.to_string()))?.map(Full::new);
            let host = HeaderValue::from_str(self.host).map_err(|error| FailureKind::Malformed(error.to_string()))?;
            request.headers_mut().insert(header::HOST, host);
            request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("quarry-load"));
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
            let sender = self.ready().await?;
            match sender.try_send_request(request).await {
                Ok(response) => break response,
                // The request came back: the connection had ended, and nothing of it was written.
                Err(error) if error.message().is_some() && stale < MAX_STALE => {
                    stale += 1;
                    self.close();
                }
                Err(error) => return Err(broken(&error.into_error())),
            }
        };
        let status = response.status().as_u16();
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.map(str::to_owned);
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        Ok(Exchange { status, location, body })
    }

    /// The connection, opened if there is none that takes requests.
    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, FailureKind> {
        let usable = match &mut self.open {
            Some(open) => open.sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.open = None;
            let failed = |error: io::Error| FailureKind::Connect(error.to_string());
            let stream = TcpStream::connect(self.address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
            let driver = tokio::spawn(async move {
                // How it ends is told to the request that is on it.
                let _ = connection.await;
            })
            .abort_handle();
            self.open = Some(Open { sender, driver });
        }
        match &mut self.open {
            Some(open) => Ok(&mut open.sender),
            None => Err(FailureKind::Connect("no connection".to_owned())),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What an error of the HTTP library means for a request.
fn broken(error: &hyper::Error) -> FailureKind {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    if error.is_parse() { FailureKind::Malformed(text) } else { FailureKind::Reset(text) }
}
