//! Targets that speak HTTP/2: one connection per target and worker, a stream per request.

use super::{from_frames, is_connection_field, to_frames};
use crate::connect::ConnectError;
use crate::http::body::Body;
use crate::http::parse_length;
use crate::stream::{Pipe, Stream, pipe};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Write};
use std::mem::MaybeUninit;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Open connections by target.
#[derive(Default)]
pub struct Connections(RefCell<HashMap<u64, Shared>>);

/// Locked while the connection is being opened, so that those who come meanwhile share it.
type Shared = Rc<Mutex<Option<SendRequest<Bytes>>>>;

const WINDOW: u32 = 1024 * 1024;
/// The target's settings must come within this time.
const HANDSHAKE: Duration = Duration::from_secs(10);

impl Connections {
    /// A pipe on which one request can be written and its answer read, as HTTP/1.1; and whether the
    /// connection under it was there before. `connect` opens a new one.
    pub async fn open(
        &self,
        target: u64,
        connect: impl Future<Output = Result<Stream, ConnectError>>,
    ) -> Result<(Stream, bool), ConnectError> {
        let shared = self.0.borrow_mut().entry(target).or_default().clone();
        let mut slot = shared.lock().await;
        if let Some(open) = slot.clone() {
            drop(slot);
            if let Ok(ready) = open.ready().await {
                return Ok((request(ready), true));
            }
            slot = shared.lock().await;
        }
        let fresh = handshake(connect.await?).await?;
        *slot = Some(fresh.clone());
        drop(slot);
        Ok((request(fresh.ready().await.map_err(refused)?), false))
    }

    /// No new request goes out on this target's connection; it ends when the last one has.
    pub fn close(&self, target: u64) {
        self.0.borrow_mut().remove(&target);
    }
}

/// A pipe for one request on a connection of its own, for health checks.
pub async fn alone(stream: Stream) -> Result<Stream, ConnectError> {
    let ready = handshake(stream).await?.ready().await.map_err(refused)?;
    Ok(request(ready))
}

async fn handshake(stream: Stream) -> Result<SendRequest<Bytes>, ConnectError> {
    let mut builder = Builder::new();
    builder.enable_push(false).initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let shaken = tokio::time::timeout(HANDSHAKE, builder.handshake::<_, Bytes>(stream)).await;
    let (send, connection) = shaken.map_err(|_| ConnectError::TimedOut)?.map_err(refused)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an HTTP/2 connection to a target ended");
        }
    });
    Ok(send)
}

fn refused(error: h2::Error) -> ConnectError {
    ConnectError::Refused(io::Error::new(ErrorKind::ConnectionAborted, error))
}

fn request(send: SendRequest<Bytes>) -> Stream {
    let (theirs, ours) = pipe();
    tokio::task::spawn_local(async move {
        if exchange(&ours, send).await.is_none() {
            ours.abort();
        }
    });
    Stream::Pipe(theirs)
}

/// One request from the pipe to the target, and its answer back. `None`: it broke off, or never began.
async fn exchange(ours: &Pipe, mut send: SendRequest<Bytes>) -> Option<()> {
    let (head, mut body) = loop {
        if let Some((len, head, body)) = ours.look(|bytes| read_head(bytes)) {
            ours.skip(len);
            break (head?, body);
        }
        if !matches!(ours.more(ours.look(|bytes| bytes.len())).await, Ok(true)) {
            return None;
        }
    };
    let head_only = head.method() == Method::HEAD;
    let (answer, mut frames) = send.send_request(head, body.is_done()).ok()?;
    let upload = async { body.is_done() || to_frames(ours, &mut body, &mut frames, || Duration::MAX).await.is_ok() };
    let download = async {
        let (parts, mut body) = answer.await.ok()?.into_parts();
        let (head, chunk) = write_head(&Response::from_parts(parts, ()), head_only, body.is_end_stream());
        ours.write_all(&head).await.ok()?;
        if !body.is_end_stream() {
            from_frames(&mut body, ours, chunk).await.ok()?;
        }
        Some(())
    };
    let (mut upload, mut download) = (pin!(upload), pin!(download));
    let mut sending = true;
    loop {
        tokio::select! {
            biased;
            answered = &mut download => return answered,
            // Whoever asked has given up: so does this stream.
            () = poll_fn(|cx| ours.poll_unread(cx)) => return None,
            whole = &mut upload, if sending => match whole {
                true => sending = false,
                false => return None,
            },
        }
    }
}

/// A request's head from the front of a pipe's bytes, where it is whole: its length, itself (`None` if it
/// cannot be said in HTTP/2), its body.
fn read_head(bytes: &[u8]) -> Option<(usize, Option<Request<()>>, Body)> {
    let mut fields = [const { MaybeUninit::uninit() }; 600];
    let mut parsed = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    let Ok(httparse::Status::Complete(len)) = config.parse_request_with_uninit_headers(&mut parsed, bytes, &mut fields)
    else {
        return None;
    };
    let mut body = Body::None;
    let mut host = "";
    for field in parsed.headers.iter() {
        match field.name.to_ascii_lowercase().as_str() {
            "content-length" => body = Body::Length(parse_length(field.value).unwrap_or(0)),
            "transfer-encoding" => body = Body::chunked(),
            "host" => host = std::str::from_utf8(field.value).unwrap_or_default(),
            _ => {}
        }
    }
    let uri = http::Uri::builder().scheme("http").authority(host).path_and_query(parsed.path.unwrap_or("/")).build();
    let made = Request::builder().method(parsed.method.unwrap_or_default()).version(Version::HTTP_2).body(());
    let (Ok(uri), Ok(mut request)) = (uri, made) else { return Some((len, None, body)) };
    *request.uri_mut() = uri;
    for field in parsed.headers.iter() {
        let name = field.name.to_ascii_lowercase();
        if name == "host" || is_connection_field(&name) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(field.value)) {
            request.headers_mut().append(name, value);
        }
    }
    Some((len, Some(request), body))
}

/// An answer's head as HTTP/1.1, and whether its body goes in chunks.
fn write_head(answer: &Response<()>, head_only: bool, ends: bool) -> (Vec<u8>, bool) {
    let status = answer.status();
    let mut out = Vec::with_capacity(512);
    write!(out, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("-")).expect("memory");
    for (name, value) in answer.headers().iter().filter(|(name, _)| !is_connection_field(name.as_str())) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    let bodiless = head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let sized = answer.headers().contains_key(http::header::CONTENT_LENGTH);
    let chunk = !bodiless && !sized && !ends;
    if chunk {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    } else if ends && !bodiless && !sized {
        out.extend_from_slice(b"Content-Length: 0\r\n");
    }
    // The pipe carries this one exchange.
    out.extend_from_slice(b"Connection: close\r\n\r\n");
    (out, chunk)
}
