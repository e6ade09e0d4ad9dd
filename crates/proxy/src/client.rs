//! A client's connection: requests one after another, each answered or forwarded.

mod decide;
mod line;

pub use decide::Decision;

use crate::cut::write::{Carried, carry};
use crate::exchange::{self, Exchange};
use crate::front::Front;
use crate::http::body::Body;
use crate::http::desync::Verdict;
use crate::http::growth::Growth;
use crate::http2;
use crate::io::{Buf, Meter, linger, write_all};
use crate::logs::access::Entry;
use crate::secure;
use crate::stream::{Stream, TlsInfo};
use crate::table::{Found, Place};
use crate::target;
use crate::watch::{Phase, Watch};
use crate::worker::{Lease, Worker};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// A client's connection and what is known about it.
pub struct Conn {
    pub worker: Rc<Worker>,
    pub stream: Stream,
    pub watch: Watch,
    origin: Origin,
    /// When a write of a cut's scope was answered last.
    wrote: Cell<Option<Instant>>,
    opened: Instant,
    front: RefCell<Option<Arc<Front>>>,
    /// Of the request in hand, where its load balancer has an access log.
    entry: RefCell<Option<Box<Entry>>>,
    /// Of the request in hand: class and reason for desync mitigation.
    pub verdict: Cell<Verdict>,
}

/// Where a connection comes from and how it came in.
#[derive(Clone, Debug)]
pub struct Origin {
    pub peer: SocketAddr,
    pub local_port: u16,
    pub place: Rc<Place>,
    pub tls: Option<Rc<TlsInfo>>,
    pub http2: bool,
    /// As [`Conn::wrote`], of all streams of an HTTP/2 connection.
    pub wrote: Option<Rc<Cell<Option<Instant>>>>,
    /// By which the lines of its connection are found in the logs.
    pub id: (u64, u64),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is owed.
    Close,
    /// The last answer must arrive although the client may still be sending.
    Linger,
    /// The client must notice that the answer is not whole.
    Reset,
    TimedOut(Phase),
}

/// Before a listener is known; AWS's default.
const FIRST_LIMIT: Duration = Duration::from_secs(60);
/// Of a request's body that nobody wants, this much is read to keep the connection.
const MAX_DISCARD: u64 = 64 * 1024;

/// Serves a connection, which is counted in `worker.sockets`, until it ends.
pub async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, local_port: u16, place: Rc<Place>) {
    worker.opened();
    let id = (worker.random(), worker.random());
    let origin = Origin { peer, local_port, place: place.clone(), tls: None, http2: false, wrote: None, id };
    match secure::enter(&worker, stream, origin).await {
        Ok((stream, origin)) if origin.http2 => {
            if let Found::Listener(listener) = worker.shared.table.load().config.find(&origin.place, "") {
                origin.log(&worker, &listener.front);
            }
            http2::from_client::serve(&worker, stream, origin).await;
        }
        Ok((stream, origin)) => serve_stream(worker.clone(), stream, origin).await,
        Err(error) => {
            tracing::debug!(%error, %peer, "a TLS handshake failed");
            line::handshake_failed(&worker, peer, &place, id);
        }
    }
    worker.sockets.set(worker.sockets.get() - 1);
    worker.closed();
}

/// Serves one request of an HTTP/2 stream, written on a pipe as HTTP/1.1.
pub async fn serve_pipe(worker: Rc<Worker>, stream: Stream, origin: Origin) {
    worker.opened();
    serve_stream(worker.clone(), stream, origin).await;
    worker.closed();
}

async fn serve_stream(worker: Rc<Worker>, stream: Stream, origin: Origin) {
    let conn = Conn {
        watch: Watch::new(FIRST_LIMIT),
        origin,
        wrote: Cell::new(None),
        opened: Instant::now(),
        front: RefCell::default(),
        entry: RefCell::default(),
        verdict: Cell::default(),
        worker,
        stream,
    };
    if let Found::Listener(listener) = conn.worker.shared.table.load().config.find(&conn.origin.place, "") {
        conn.adopt(listener);
    }
    let end = conn.run().await;
    conn.finish(end).await;
}

impl Origin {
    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// How long an HTTP/2 connection may be idle, and how old it may become.
    pub fn limits(&self, worker: &Worker) -> (Duration, Duration) {
        let table = worker.shared.table.load();
        let Found::Listener(listener) = table.config.find(&self.place, "") else {
            return (Duration::ZERO, Duration::ZERO);
        };
        let seconds = |n: u32| Duration::from_secs(u64::from(n));
        (seconds(listener.attributes.idle_timeout.max(1)), seconds(listener.attributes.client_keep_alive))
    }
}

impl Conn {
    /// The requests, the timer and the call to stop, whichever ends first.
    async fn run(&self) -> End {
        let mut requests = pin!(self.requests());
        let mut armed = self.watch.deadline();
        let mut timer = pin!(tokio::time::sleep_until(armed.into()));
        let mut stop = pin!(self.worker.stop.notified());
        let mut stopping = self.worker.stopping.get();
        poll_fn(|cx| {
            if let Poll::Ready(end) = requests.as_mut().poll(cx) {
                return Poll::Ready(end);
            }
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                stopping = true;
            }
            if stopping && self.watch.phase() == Phase::Idle {
                return Poll::Ready(End::Close);
            }
            let deadline = self.watch.deadline();
            if deadline < armed {
                armed = deadline;
                timer.as_mut().reset(armed.into());
            }
            while timer.as_mut().poll(cx).is_ready() {
                let deadline = self.watch.deadline();
                if deadline <= Instant::now() {
                    return Poll::Ready(End::TimedOut(self.watch.phase()));
                }
                armed = deadline;
                timer.as_mut().reset(armed.into());
            }
            Poll::Pending
        })
        .await
    }

    async fn requests(&self) -> End {
        let mut lease: Option<Lease> = None;
        loop {
            self.watch.enter(Phase::Idle);
            let buffer = match lease.take().filter(|buffer| !buffer.is_empty()) {
                Some(kept) => lease.insert(kept),
                None => match self.begin().await {
                    Some(begun) => lease.insert(begun),
                    None => return End::Close,
                },
            };
            let mut out = self.worker.scratch();
            let taken = buffer.taken();
            let end = match self.next(buffer, &mut out).await {
                Decision::Partial | Decision::Close => Some(End::Close),
                Decision::Answer { consumed, body, keep_alive } => {
                    buffer.consume(consumed);
                    self.answer(buffer, &out, body, keep_alive).await
                }
                Decision::Forward { consumed, mut job } => {
                    let exchange = match job.cut {
                        None => {
                            buffer.consume(consumed);
                            exchange::forward(self, buffer, &out, &mut job).await
                        }
                        Some(_) => match carry(self, buffer, &mut out, consumed, &mut job).await {
                            Carried::Exchanged(exchange) => exchange,
                            Carried::Answer { body, keep_alive } => {
                                let end = self.answer(buffer, &out, body, keep_alive).await;
                                self.end_entry(Some(buffer.taken() - taken));
                                match end {
                                    None => continue,
                                    Some(end) => return end,
                                }
                            }
                            Carried::Gone => return End::Close,
                        },
                    };
                    if let (Exchange::Done { .. }, Some(copy)) = (&exchange, job.copy.take()) {
                        copy.send(&self.worker.shared.shadows, &self.worker.shared);
                    }
                    match exchange {
                        Exchange::Done { keep_alive: true } => None,
                        // Who said that this was the last request sends nothing more.
                        Exchange::Done { keep_alive: false }
                            if job.asked.last && job.body.is_done() && buffer.is_empty() =>
                        {
                            Some(End::Close)
                        }
                        Exchange::Done { keep_alive: false } => Some(End::Linger),
                        Exchange::Cut { reset } => Some(if reset { End::Reset } else { End::Close }),
                        Exchange::Fenced | Exchange::Unanswered => unreachable!("of cuts alone, and settled there"),
                        Exchange::Answer(status) => {
                            let keep_alive = job.asked.keep_alive && job.body.is_done();
                            out.clear();
                            self.error(&mut out, status, keep_alive, job.asked.head);
                            self.answer(buffer, &out, Body::None, keep_alive).await
                        }
                    }
                }
            };
            self.end_entry(Some(buffer.taken() - taken));
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Waits for a request's first bytes. Who waits holds no buffer. `None`: none will come.
    async fn begin(&self) -> Option<Lease> {
        while !self.worker.stopping.get() && self.stream.readable().await.is_ok() {
            let mut buffer = self.worker.lease();
            match buffer.try_fill(&self.stream) {
                Ok(0) => return None,
                Ok(_) => return Some(buffer),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Reads until a request's head is whole, and decides about it.
    async fn next(&self, buffer: &mut Buf, out: &mut Vec<u8>) -> Decision {
        let mut growth = Growth::default();
        loop {
            match self.decide(buffer.bytes(), out, false) {
                Decision::Partial => {}
                decision => return decision,
            }
            if growth.is_new() {
                if let Err(status) = growth.advance(buffer.bytes()) {
                    return self.refuse(out, status);
                }
                self.watch.enter(Phase::Head);
            }
            // Most heads arrive whole. After that, only an empty line is reason to parse again.
            loop {
                match buffer.fill(&self.stream).await {
                    Ok(0) | Err(_) => return Decision::Close,
                    Ok(_) => match growth.advance(buffer.bytes()) {
                        Err(status) => return self.refuse(out, status),
                        Ok(false) => {}
                        Ok(true) => break,
                    },
                }
            }
        }
    }

    /// A write of this cut has been sent.
    pub fn wrote(&self) {
        let now = Some(Instant::now());
        self.wrote.set(now);
        if let Some(of_all) = &self.origin.wrote {
            of_all.set(now);
        }
    }

    /// Sends an answer of our own; the request's body is read past if it is short.
    async fn answer(&self, buffer: &mut Buf, out: &[u8], mut body: Body, keep_alive: bool) -> Option<End> {
        let meter = Meter::new(&self.watch, (Phase::Upload, Phase::Streaming));
        self.watch.enter(Phase::Streaming);
        let written = write_all(&self.stream, &mut [IoSlice::new(out)], &meter).await;
        self.note(|entry| entry.sent += meter.written.get());
        if written.is_err() {
            return Some(End::Close);
        }
        if !keep_alive {
            return Some(End::Linger);
        }
        let mut discarded = 0;
        while !body.is_done() {
            let Ok(step) = body.step(buffer.bytes_mut()) else { return Some(End::Linger) };
            buffer.consume(step.consumed);
            discarded += step.consumed as u64;
            if step.done {
                break;
            }
            if discarded > MAX_DISCARD || !matches!(buffer.fill(&self.stream).await, Ok(1..)) {
                return Some(End::Linger);
            }
        }
        None
    }

    async fn finish(self, end: End) {
        let mut out = Vec::new();
        let lingers = match end {
            End::Close | End::TimedOut(Phase::Idle | Phase::Tunnel) => {
                self.stream.goodbye();
                false
            }
            End::Reset | End::TimedOut(Phase::Streaming) => {
                self.stream.abort();
                false
            }
            End::TimedOut(Phase::Head | Phase::Upload) => {
                self.error(&mut out, 408, false, false);
                true
            }
            End::TimedOut(Phase::Answer | Phase::Parked) => {
                self.error(&mut out, 504, false, false);
                true
            }
            End::Linger => true,
        };
        if !out.is_empty() {
            let sent = self.stream.try_write(&out).unwrap_or(0);
            self.note(|entry| entry.sent += sent as u64);
        }
        self.end_entry(None);
        if lingers {
            linger(&self.stream, &mut self.worker.lease()).await;
        }
        if let Some(front) = self.front.borrow_mut().take() {
            target::sub(&front.balancer.counters(self.worker.id).active, 1);
        }
    }
}
