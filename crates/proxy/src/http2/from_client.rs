//! Clients that speak HTTP/2: one connection, many streams, each a request of its own.

use super::guard::{Guard, Guarded};
use super::{from_frames, is_connection_field, to_frames};
use crate::client::{self, Origin};
use crate::http::body::Body;
use crate::http::parse_length;
use crate::io::linger;
use crate::stream::{Pipe, Stream, pipe};
use crate::worker::Worker;
use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderValue, Method, Response, StatusCode, request};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;

/// Streams of one connection at once, as Application Load Balancers allow.
const STREAMS: u32 = 128;
/// Bytes of a request's fields together.
const MAX_FIELDS: u32 = 64 * 1024;
/// Streams that a client may open and reset before they are looked at; then it is told to calm down and cut off.
const RESETS: usize = 64;
/// By so many requests a client may have given up more than it let finish; then likewise.
const GIVEN_UP: u32 = 256;
const WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of answers that may wait on one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// The preface and the first settings must come within this time.
const HANDSHAKE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);
/// An ended connection on which nothing goes on is closed after this time, whatever the client does.
const GRACE: Duration = Duration::from_secs(2);

/// Serves a connection until it ends.
pub async fn serve(worker: &Rc<Worker>, stream: Stream, origin: Origin) {
    let origin = Origin { wrote: Some(Rc::default()), ..origin };
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_FIELDS)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(Some(RESETS));
    let guard = Guard::new();
    let shaken = tokio::time::timeout(HANDSHAKE, builder.handshake::<_, Bytes>(guard.over(&stream))).await;
    let Ok(Ok(mut connection)) = shaken else { return };
    guard.gathers.set(true);
    let opened = Instant::now();
    let lanes = Lanes::new(worker, &origin);
    let busy = Rc::new(Busy { streams: Cell::new(0), since: Cell::new(opened), given_up: Cell::new(0) });
    let mut look = tokio::time::interval(LOOK);
    // Since when no new request is taken, and whether the client was told to calm down.
    let mut ending: Option<Instant> = None;
    let mut calmed = false;
    loop {
        tokio::select! {
            biased;
            accepted = poll_fn(|cx| accept(&mut connection, &stream, cx)) => match accepted {
                None => break,
                Some(Err(error)) => {
                    tracing::debug!(%error, "an HTTP/2 connection ended");
                    break;
                }
                Some(Ok((request, respond))) => {
                    lanes.serve(Asked { request, respond, entered: Busy::enter(&busy) });
                    if busy.given_up.get() > GIVEN_UP && !calmed {
                        (ending, calmed) = (Some(Instant::now()), true);
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                }
            },
            _ = worker.stop.notified(), if ending.is_none() => {
                ending = Some(Instant::now());
                connection.graceful_shutdown();
            }
            _ = guard.alarm.notified(), if !calmed => {
                let reason = guard.fault().unwrap_or(Reason::ENHANCE_YOUR_CALM);
                tracing::debug!(peer = %origin.peer, %reason, "an HTTP/2 client is cut off");
                (ending, calmed) = (Some(Instant::now()), true);
                connection.abrupt_shutdown(reason);
            }
            _ = look.tick() => {
                guard.refill();
                if let Some(since) = ending {
                    // A client that does not read does not see that it is over.
                    let quiet = busy.streams.get() == 0 && busy.since.get().elapsed() >= GRACE;
                    if since.elapsed() >= GRACE && (calmed || quiet) {
                        break;
                    }
                    continue;
                }
                let (idle, age) = origin.limits(worker);
                let is_idle = busy.streams.get() == 0 && busy.since.get().elapsed() >= idle;
                if is_idle || opened.elapsed() >= age || worker.is_leaving() {
                    ending = Some(Instant::now());
                    connection.graceful_shutdown();
                }
            }
        }
    }
    drop(connection);
    lanes.close();
    linger(&stream, &mut worker.lease()).await;
}

type Connection<'a> = h2::server::Connection<Guarded<'a>, Bytes>;

/// The next request. Whatever the connection has written meanwhile goes out together.
#[allow(clippy::type_complexity)]
fn accept(
    connection: &mut Connection<'_>,
    mut stream: &Stream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<(http::Request<RecvStream>, SendResponse<Bytes>), h2::Error>>> {
    let accepted = connection.poll_accept(cx);
    if accepted.is_pending() && matches!(Pin::new(&mut stream).poll_flush(cx), Poll::Ready(Err(_))) {
        return Poll::Ready(None);
    }
    accepted
}

/// A request of a stream.
struct Asked {
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    entered: Entered,
}

/// A connection's ways to the part that serves HTTP/1.1.
struct Lanes {
    worker: Rc<Worker>,
    origin: Origin,
    /// Whose last request had no body, so that nothing of it can be left, and is answered.
    idle: RefCell<Vec<Rc<Lane>>>,
    closed: Cell<bool>,
}

/// A pipe and a task, for one stream after another.
struct Lane {
    pipe: Pipe,
    next: RefCell<Option<Asked>>,
    closed: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// Lanes that wait for a further request at most.
const IDLE_LANES: usize = 16;

impl Lanes {
    fn new(worker: &Rc<Worker>, origin: &Origin) -> Rc<Self> {
        let (worker, origin) = (worker.clone(), origin.clone());
        Rc::new(Self { worker, origin, idle: RefCell::default(), closed: Cell::new(false) })
    }

    fn serve(self: &Rc<Self>, asked: Asked) {
        loop {
            let Some(lane) = self.idle.borrow_mut().pop() else { break };
            if lane.pipe.is_left() {
                lane.close();
                continue;
            }
            lane.next.replace(Some(asked));
            lane.wake();
            return;
        }
        let (ours, theirs) = pipe();
        let served = client::serve_pipe(self.worker.clone(), Stream::Pipe(theirs), self.origin.clone());
        tokio::task::spawn_local(served);
        let next = RefCell::new(Some(asked));
        let lane = Rc::new(Lane { pipe: ours, next, closed: Cell::new(false), waker: Cell::default() });
        tokio::task::spawn_local(lane.run(self.clone()));
    }

    /// Keeps a lane for a further request, if it may.
    fn keep(&self, lane: &Rc<Lane>) {
        let mut idle = self.idle.borrow_mut();
        match !self.closed.get() && idle.len() < IDLE_LANES {
            true => idle.push(lane.clone()),
            false => lane.close(),
        }
    }

    /// No further request comes.
    fn close(&self) {
        self.closed.set(true);
        self.idle.take().iter().for_each(|lane| lane.close());
    }
}

impl Lane {
    async fn run(self: Rc<Self>, lanes: Rc<Lanes>) {
        while let Some(Asked { request, respond, entered }) = poll_fn(|cx| self.poll_next(cx)).await {
            let Sent { whole, stays } = one(&lanes, &self.pipe, request, respond).await;
            entered.ended(whole);
            match stays {
                true => lanes.keep(&self),
                false => return,
            }
        }
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Asked>> {
        match self.next.take() {
            None if !self.closed.get() => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            next => Poll::Ready(next),
        }
    }

    /// Ends it when it has nothing more to do.
    fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// How many streams are open, and since when it is that many.
struct Busy {
    streams: Cell<usize>,
    since: Cell<Instant>,
    /// Requests given up, less those that were finished.
    given_up: Cell<u32>,
}

struct Entered(Rc<Busy>);

impl Busy {
    fn enter(this: &Rc<Self>) -> Entered {
        this.streams.set(this.streams.get() + 1);
        Entered(this.clone())
    }
}

impl Entered {
    fn ended(self, whole: bool) {
        let given_up = self.0.given_up.get();
        self.0.given_up.set(if whole { given_up.saturating_sub(1) } else { given_up + 1 });
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.since.set(Instant::now());
    }
}

/// How a stream ended.
struct Sent {
    /// The answer got across.
    whole: bool,
    /// The pipe is fit for another request.
    stays: bool,
}

/// One stream: its request goes to the part that serves HTTP/1.1, through a pipe, and the answer comes back.
async fn one(lanes: &Lanes, ours: &Pipe, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Sent {
    let (parts, mut body) = request.into_parts();
    let bodiless = body.is_end_stream();
    let mut out = lanes.worker.scratch();
    let chunk = match head(&parts, bodiless, &mut out) {
        Ok(chunk) => chunk,
        Err(status) => {
            let mut answer = Response::new(());
            *answer.status_mut() = status;
            return Sent { whole: respond.send_response(answer, true).is_ok(), stays: true };
        }
    };
    let head_only = parts.method == Method::HEAD;
    drop(parts);
    let upload = async {
        if ours.write_all(&out).await.is_err() {
            return false;
        }
        body.is_end_stream() || from_frames(&mut body, ours, chunk).await.is_ok()
    };
    let mut sending = true;
    let Sent { whole, stays } = {
        let download = answer(lanes, ours, &mut respond, head_only);
        let (mut upload, mut download) = (pin!(upload), pin!(download));
        loop {
            tokio::select! {
                biased;
                sent = &mut download => break sent,
                // The client reset the stream in the middle of its request: nobody waits for the answer.
                whole = &mut upload, if sending => match whole {
                    true => sending = false,
                    false => break Sent { whole: false, stays: false },
                },
            }
        }
    };
    if !whole {
        ours.abort();
    }
    Sent { whole, stays: whole && stays && bodiless && !sending }
}

/// Reads the answer from the pipe and sends it.
async fn answer(lanes: &Lanes, from: &Pipe, respond: &mut SendResponse<Bytes>, head_only: bool) -> Sent {
    let broken = Sent { whole: false, stays: false };
    let mut seen = 0;
    loop {
        let more = tokio::select! {
            biased;
            more = from.more(seen) => more,
            // The client reset the stream while it waited.
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return broken,
        };
        if !matches!(more, Ok(true)) {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return broken;
        }
        while let Some((len, response, mut body, kept)) = from.look(|bytes| read_head(bytes, head_only)) {
            from.skip(len);
            // Interim answers are not passed on.
            if response.status().as_u16() < 200 {
                continue;
            }
            let Ok(mut send) = respond.send_response(response, body.is_done()) else { return broken };
            let patience = || lanes.origin.limits(&lanes.worker).0;
            let whole = body.is_done() || to_frames(from, &mut body, &mut send, patience).await.is_ok();
            if !whole {
                send.send_reset(Reason::INTERNAL_ERROR);
            }
            return Sent { whole, stays: kept && from.look(|bytes| bytes.is_empty()) };
        }
        seen = from.look(|bytes| bytes.len());
    }
}

/// An answer's head from the front of a pipe's bytes, where it is whole: its length, itself, its body, and whether
/// the pipe is kept afterwards.
fn read_head(bytes: &[u8], head_only: bool) -> Option<(usize, Response<()>, Body, bool)> {
    let mut fields = [const { MaybeUninit::uninit() }; 512];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let Ok(httparse::Status::Complete(len)) =
        config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
    else {
        return None;
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(parsed.code.unwrap_or_default()).ok()?;
    response.headers_mut().reserve(parsed.headers.len());
    // Values are parts of one copy, which is no longer than the head: the library keeps some for later answers.
    let values = Bytes::copy_from_slice(&bytes[..len]);
    let (mut length, mut chunked, mut kept) = (None, false, false);
    for field in parsed.headers.iter() {
        let Ok(name) = http::HeaderName::from_bytes(field.name.as_bytes()) else { continue };
        match name {
            http::header::CONTENT_LENGTH => length = parse_length(field.value),
            http::header::TRANSFER_ENCODING => chunked = true,
            http::header::CONNECTION => kept = field.value.eq_ignore_ascii_case(b"keep-alive"),
            _ => {}
        }
        if is_connection_field(name.as_str()) {
            continue;
        }
        let begin = field.value.as_ptr() as usize - bytes.as_ptr() as usize;
        if let Ok(value) = HeaderValue::from_maybe_shared(values.slice(begin..begin + field.value.len())) {
            response.headers_mut().append(name, value);
        }
    }
    let bodiless = head_only || matches!(response.status().as_u16(), 100..=199 | 204 | 304);
    let body = match (bodiless, chunked, length) {
        (true, ..) => Body::None,
        (false, true, _) => Body::chunked(),
        (false, false, Some(n)) => Body::Length(n),
        (false, false, None) => Body::UntilClose,
    };
    Some((len, response, body, kept))
}

/// For fuzzing: what becomes of a request's head.
pub fn head_of(parts: &request::Parts, ends: bool) -> Option<(Vec<u8>, bool)> {
    let mut out = Vec::new();
    head(parts, ends, &mut out).ok().map(|chunk| (out, chunk))
}

/// Makes the request's head as HTTP/1.1; and whether its body goes in chunks.
fn head(parts: &request::Parts, ends: bool, out: &mut Vec<u8>) -> Result<bool, StatusCode> {
    let bad = StatusCode::BAD_REQUEST;
    if parts.method == Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let authority = match (parts.uri.authority(), parts.headers.get(http::header::HOST)) {
        (Some(authority), None) => authority.as_str().as_bytes(),
        (None, Some(host)) => host.as_bytes(),
        // Two that differ would route by one and be served by the other.
        (Some(authority), Some(host)) if authority.as_str().as_bytes() == host.as_bytes() => host.as_bytes(),
        (Some(_), Some(_)) | (None, None) => return Err(bad),
    };
    if parts.headers.get_all(http::header::HOST).iter().count() > 1 {
        return Err(bad);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.is_empty() { "/" } else { path };
    for part in [parts.method.as_str().as_bytes(), b" ", path.as_bytes(), b" HTTP/1.1\r\nHost: ", authority] {
        out.extend_from_slice(part);
    }
    // After a body the pipe is not used again, whatever became of it.
    out.extend_from_slice(if ends { b"\r\n".as_slice() } else { b"\r\nConnection: close\r\n" });
    let mut length = None;
    for (name, value) in &parts.headers {
        if name == http::header::HOST || name == http::header::COOKIE || name == http::header::EXPECT {
            continue;
        }
        if is_connection_field(name.as_str()) {
            // The one that HTTP/2 allows, and gRPC sends; trailers are dropped all the same.
            match name == http::header::TE && value.as_bytes().eq_ignore_ascii_case(b"trailers") {
                true => continue,
                false => return Err(bad),
            }
        }
        if name == http::header::CONTENT_LENGTH && length.replace(value).is_some() {
            return Err(bad);
        }
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    // Cookies may come one by one; HTTP/1.1 has them in one field.
    let mut before: &[u8] = b"cookie: ";
    for cookie in parts.headers.get_all(http::header::COOKIE) {
        out.extend_from_slice(before);
        out.extend_from_slice(cookie.as_bytes());
        before = b"; ";
    }
    if parts.headers.contains_key(http::header::COOKIE) {
        out.extend_from_slice(b"\r\n");
    }
    let chunk = !ends && length.is_none();
    if ends && length.is_some_and(|length| parse_length(length.as_bytes()) != Some(0)) {
        return Err(bad);
    }
    if chunk {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: request::Builder, ends: bool) -> Result<String, StatusCode> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut out = Vec::new();
        head(&parts, ends, &mut out).map(|_| String::from_utf8(out).unwrap())
    }

    fn get(uri: &str) -> request::Builder {
        http::Request::get(uri)
    }

    #[test]
    fn a_request_becomes_one_of_http_1() {
        let request = get("https://a.example/x?y=1").header("cookie", "a=1").header("cookie", "b=2").header("x", "z");
        assert_eq!(
            text(request, true).unwrap(),
            "GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\nx: z\r\ncookie: a=1; b=2\r\n\r\n"
        );
        let request = http::Request::post("https://a/").header("content-length", "5");
        assert!(text(request, false).unwrap().contains("content-length: 5\r\n"));
        assert!(
            text(http::Request::post("https://a/"), false).unwrap().ends_with("Transfer-Encoding: chunked\r\n\r\n")
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for request in [
            get("https://a/").header("host", "b"),
            get("/"),
            get("https://a/").header("transfer-encoding", "chunked"),
            get("https://a/").header("connection", "x"),
            get("https://a/").header("content-length", "5"),
            get("https://a/").header("content-length", "0").header("content-length", "0"),
        ] {
            assert_eq!(text(request, true), Err(StatusCode::BAD_REQUEST));
        }
        let connect = http::Request::connect("a:443");
        assert_eq!(text(connect, true), Err(StatusCode::METHOD_NOT_ALLOWED));
    }
}
