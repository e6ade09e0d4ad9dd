//! A client's connection: requests one after another, each answered or forwarded.

mod line;

use crate::cut;
use crate::cut::kept::Kept;
use crate::cut::shadow::ReadCopy;
use crate::cut::write::{Carried, Write, carry};
use crate::exchange::{self, Exchange, Job};
use crate::front::{Front, UNEDITED};
use crate::http::answer::{self, Style};
use crate::http::body::Body;
use crate::http::desync::{self, Class, Verdict};
use crate::http::forward::Forwarding;
use crate::http::growth::Growth;
use crate::http::mend::{Mended, mend};
use crate::http::request::{self, Head, MAX_COUNT, Parsed, View};
use crate::http::response::Asked;
use crate::http2;
use crate::io::{Buf, Meter, linger, write_all};
use crate::logs::access::Entry;
use crate::logs::text::push_escaped;
use crate::secure;
use crate::sticky::{self, Sticky};
use crate::stream::{Stream, TlsInfo};
use crate::table::{ActionEntry, Found, ListenerEntry, Place};
use crate::target;
use crate::watch::{Phase, Watch};
use crate::worker::{Lease, Worker};
use quarry_domain::rule::{RedirectFrom, location};
use quarry_domain::snapshot::DesyncMode;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice};
use std::mem::MaybeUninit;
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

/// What a request head came to.
pub enum Decision {
    Partial,
    Close,
    /// The answer is in the out buffer.
    Answer {
        consumed: usize,
        body: Body,
        keep_alive: bool,
    },
    /// The head for the target is in the out buffer.
    Forward {
        consumed: usize,
        job: Job,
    },
}

/// Before a listener is known; AWS's default.
const FIRST_LIMIT: Duration = Duration::from_secs(60);
/// Of a request's body that nobody wants, this much is read to keep the connection.
const MAX_DISCARD: u64 = 64 * 1024;
/// For so long a client that has written reads from where it wrote.
const WROTE: Duration = Duration::from_secs(sticky::WROTE_SECONDS);
/// A redirect to a longer URL is not made.
const MAX_LOCATION: usize = 8 * 1024;

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
        let mut out = Vec::with_capacity(1024);
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
            out.clear();
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

    /// Decides about the request whose head is in front in `bytes`; `again`: once more, by a newer table.
    pub fn decide(&self, bytes: &[u8], out: &mut Vec<u8>, again: bool) -> Decision {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
        let head = match request::parse(bytes, &mut fields) {
            Parsed::Partial => return Decision::Partial,
            Parsed::Refused(status) => return self.decide_odd(bytes, status, out, again),
            Parsed::Whole(head) => head,
        };
        self.route(head, out, again)
    }

    /// A head that the parser refuses with this status: it may be one that can be repaired.
    fn decide_odd(&self, bytes: &[u8], status: u16, out: &mut Vec<u8>, again: bool) -> Decision {
        let verdict = desync::classify(bytes);
        match mend(bytes) {
            Mended::Whole(mended, len) => {
                let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
                if let Parsed::Whole(mut head) = request::parse(&mended, &mut fields) {
                    (head.len, head.desync) = (len, verdict);
                    return self.route(head, out, again);
                }
            }
            Mended::Partial => return Decision::Partial,
            Mended::No => {}
        }
        self.verdict.set(verdict);
        self.count_desync();
        self.refuse(out, status)
    }

    fn route(&self, head: Head<'_, '_>, out: &mut Vec<u8>, again: bool) -> Decision {
        self.verdict.set(head.desync);
        let table = self.worker.shared.table.load_full();
        let listener = match table.config.find(&self.origin.place, head.host()) {
            Found::Listener(listener) => listener,
            Found::Gone => return Decision::Close,
            Found::NoSuchHost => {
                let text = "Several load balancers share this address: send the Host header of one of them.\n";
                let head_only = head.method == "HEAD";
                self.with_style(false, head_only, |style| answer::refusal(out, text, style));
                return Decision::Answer { consumed: head.len, body: Body::None, keep_alive: false };
            }
        };
        self.adopt(listener);
        if !again {
            self.count_desync();
        }
        if let Some(log) = &listener.front.access_log {
            let entry = || Entry::new(log.clone(), self.began(), &head, &listener.dns_name, listener.port);
            self.entry.borrow_mut().get_or_insert_with(|| Box::new(entry()));
        }
        if let Err(status) = head.check(&listener.attributes) {
            return self.refuse(out, status);
        }
        if !again {
            target::add(&listener.front.balancer.counters(self.worker.id).requests, 1);
        }
        let close_both =
            head.desync.class >= Class::Ambiguous && listener.attributes.desync_mode != DesyncMode::Monitor;
        let keep_alive = head.keep_alive
            && !close_both
            && !self.worker.is_leaving()
            && self.opened.elapsed().as_secs() < u64::from(listener.attributes.client_keep_alive);
        let view = View(head.headers);
        let request = head.view(&view, self.origin.peer.ip().to_canonical());
        let rule = listener.rules.first(&request);
        if !again {
            let evaluated = rule.map_or(listener.actions.len(), |rule| rule + 1) as u64;
            target::add(&listener.front.balancer.counters(self.worker.id).rule_evaluations, evaluated);
        }
        let rule = rule.map(|rule| &listener.actions[rule]);
        self.note(|entry| entry.rule = Some(rule.map_or(0, |rule| rule.priority)));
        let cut = rule.and_then(|rule| rule.cut.as_ref());
        let is_read = cut::is_read(head.method);
        match rule.map_or(&listener.default_action, |rule| &rule.action) {
            ActionEntry::Forward(forward) => {
                let cookies = || head.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("cookie")).map(|h| h.value);
                let millis = self.worker.shared.door.now_ms();
                let canary = match cut {
                    Some(cut) => cut.begin(is_read, again, || self.has_written(cookies()), || self.worker.random()),
                    None => None,
                };
                let stay = if canary.is_some() { None } else { forward.stay(cookies(), millis / 1000) };
                let own = || stay.and_then(|(_, group)| group).or_else(|| forward.choose());
                let Some(group) = canary.or_else(own) else {
                    return self.answered(out, &head, 503, keep_alive);
                };
                let config = &table.config;
                let entry = &config.groups[group];
                if entry.speaks.http2 && !self.origin.http2 {
                    return self.answered(out, &head, 464, keep_alive);
                }
                let random = (self.worker.random(), self.worker.random() as u32);
                self.note(|entry| {
                    (entry.action, entry.group) = ("forward", Some(config.groups[group].shared.clone()));
                    entry.trace_id.clear();
                    head.push_trace_id(&mut entry.trace_id, (millis / 1000) as u32, random);
                });
                let dropped = head.forward(
                    out,
                    &Forwarding {
                        peer: self.origin.peer,
                        port: listener.port,
                        scheme: self.origin.scheme(),
                        tls: self.origin.tls.as_deref(),
                        attributes: &listener.attributes,
                        listener: &listener.own,
                        dns_name: &listener.dns_name,
                        unix_seconds: (millis / 1000) as u32,
                        random,
                        close: close_both,
                        cut_epoch: cut.filter(|_| !is_read).map(|cut| cut.epoch),
                    },
                );
                if dropped && !again {
                    target::add(&listener.front.balancer.counters(self.worker.id).dropped_invalid_headers, 1);
                }
                let mut sticky = match canary {
                    Some(_) => Sticky::default(),
                    None => Sticky::read(entry.cookie.as_ref(), cookies(), millis / 1000),
                };
                if !is_read && cut.is_some_and(|cut| cut.has_canary()) {
                    sticky = sticky.with_written();
                }
                if let Some((cookie, _)) = stay {
                    sticky = sticky.with_group(cookie, &entry.shared.arn);
                }
                let copy = match cut.and_then(|cut| Some((cut, cut.shadow.as_ref()?))) {
                    Some((cut, shadow)) if canary.is_none() && head.may_be_copied() => {
                        ReadCopy::draw(&cut.scope, shadow, &entry.shared.arn, out, || self.worker.random())
                    }
                    Some(_) | None => None,
                };
                let job = Job {
                    copy,
                    sticky,
                    asked: Asked {
                        head: head.method == "HEAD",
                        http10: head.http10,
                        upgrade: head.upgrade,
                        keep_alive,
                        last: !head.keep_alive,
                    },
                    expects_continue: head.expects_continue,
                    repeatable: matches!(head.method, "GET" | "HEAD" | "OPTIONS") && head.body.is_done(),
                    close_target: close_both,
                    body: head.body,
                    front: listener.front.clone(),
                    group,
                    table: table.clone(),
                    kept: cut.filter(|cut| !is_read && cut.contract).map(|cut| Kept::new(cut.scope.clone())),
                    cut: cut.filter(|_| !is_read).map(|cut| Write {
                        entry: cut.clone(),
                        has_key: head.headers.iter().any(|h| h.name.eq_ignore_ascii_case("idempotency-key")),
                    }),
                    _era: (!is_read).then(|| self.worker.eras.now()),
                };
                Decision::Forward { consumed: head.len, job }
            }
            ActionEntry::Fixed { status, rest } => {
                let head_only = head.method == "HEAD";
                self.with_style(keep_alive, head_only, |style| answer::fixed(out, *status, rest, style));
                self.note(|entry| {
                    entry.action = "fixed-response";
                    self.make_trace_id(&head, entry);
                });
                target::add(&listener.front.balancer.counters(self.worker.id).fixed_responses, 1);
                self.count(*status);
                Decision::Answer { consumed: head.len, body: head.body, keep_alive }
            }
            ActionEntry::Redirect(redirect) => {
                let host = if head.authority.is_empty() { &listener.dns_name } else { head.host() };
                let from = RedirectFrom {
                    protocol: self.origin.scheme(),
                    host,
                    // Where the listener's own port could not be bound, the client's next request
                    // must find the one that was.
                    port: self.origin.local_port,
                    path: head.path.strip_prefix('/').unwrap_or(head.path),
                    query: head.query,
                };
                let location = location(redirect, &from);
                let (status, head_only) = (redirect.status, head.method == "HEAD");
                self.note(|entry| {
                    entry.action = "redirect";
                    self.make_trace_id(&head, entry);
                });
                let counters = listener.front.balancer.counters(self.worker.id);
                if location.len() > MAX_LOCATION {
                    target::add(&counters.redirect_url_limit_exceeded, 1);
                    return self.answered(out, &head, 500, keep_alive);
                }
                target::add(&counters.redirects, 1);
                self.note(|entry| push_escaped(&mut entry.redirect_url, location.as_bytes()));
                self.with_style(keep_alive, head_only, |style| answer::redirect(out, status, &location, style));
                self.count(redirect.status);
                Decision::Answer { consumed: head.len, body: head.body, keep_alive }
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

    /// The client has written in a cut's scope just now, here or on another connection.
    fn has_written<'a>(&self, cookies: impl Iterator<Item = &'a [u8]>) -> bool {
        let here = self.origin.wrote.as_deref().unwrap_or(&self.wrote).get();
        here.is_some_and(|at| at.elapsed() < WROTE) || sticky::has_written(cookies)
    }

    /// Takes a listener's settings over, and counts this connection for its load balancer once.
    fn adopt(&self, listener: &ListenerEntry) {
        self.watch.set_limit(Duration::from_secs(u64::from(listener.attributes.idle_timeout.max(1))));
        let mut known = self.front.borrow_mut();
        if known.as_ref().is_some_and(|front| Arc::ptr_eq(front, &listener.front)) {
            return;
        }
        let before = known.replace(listener.front.clone());
        // The same load balancer as another table has it.
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(&before.balancer, &listener.front.balancer)) {
            return;
        }
        if !self.origin.http2 {
            self.origin.log(&self.worker, &listener.front);
        }
        let counters = listener.front.balancer.counters(self.worker.id);
        target::add(&counters.connections, 1);
        target::add(&counters.active, 1);
        if let Some(before) = before {
            target::sub(&before.balancer.counters(self.worker.id).active, 1);
        }
    }

    fn count_desync(&self) {
        let Verdict { class, reason: Some(reason) } = self.verdict.get() else { return };
        tracing::debug!(class = class.name(), reason = reason.name(), peer = %self.origin.peer, "not by the standard");
        if let Some(front) = &*self.front.borrow() {
            target::add(&front.balancer.counters(self.worker.id).desync_non_compliant, 1);
        }
    }

    /// An error after which the connection cannot go on.
    fn refuse(&self, out: &mut Vec<u8>, status: u16) -> Decision {
        self.error(out, status, false, false);
        Decision::Answer { consumed: 0, body: Body::None, keep_alive: false }
    }

    fn answered(&self, out: &mut Vec<u8>, head: &Head<'_, '_>, status: u16, keep_alive: bool) -> Decision {
        self.error(out, status, keep_alive, head.method == "HEAD");
        Decision::Answer { consumed: head.len, body: head.body.clone(), keep_alive }
    }

    fn error(&self, out: &mut Vec<u8>, status: u16, keep_alive: bool, head_only: bool) {
        self.with_style(keep_alive, head_only, |style| answer::error(out, status, style));
        self.count(status);
    }

    fn count(&self, status: u16) {
        if let Some(front) = &*self.front.borrow() {
            front.balancer.counters(self.worker.id).answered(status);
            if front.access_log.is_some() {
                self.begin_malformed(front);
            }
        }
        self.note(|entry| entry.status = status);
    }

    /// Calls `f` with what answers of our own have in common.
    fn with_style(&self, keep_alive: bool, head_only: bool, f: impl FnOnce(&Style<'_>)) {
        let front = self.front.borrow();
        let edits = front.as_ref().map_or(&UNEDITED, |front| &front.edits);
        self.worker.with_date(|date| f(&Style { date, keep_alive, head_only, edits }));
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
