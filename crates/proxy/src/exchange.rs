//! One request with a target: a connection is found or made, the request goes out, the answer comes
//! back, both streamed. What may be repeated is repeated; nothing else is.

use crate::balance::{Pick, pick};
use crate::client::Conn;
use crate::connect::{ConnectError, connect_target};
use crate::cut::era::Era;
use crate::cut::kept::{self, Kept};
use crate::cut::shadow::ReadCopy;
use crate::cut::write::Write;
use crate::front::{Edits, Front};
use crate::http::body::Body;
use crate::http::response::{self, Answer, Asked, Extra, Parsed};
use crate::io::{Buf, Meter, RelayError, relay, tunnel, write_all};
use crate::sticky::Sticky;
use crate::stream::Stream;
use crate::table::Table;
use crate::target::{self, Group, GroupCounters, Target, get};
use crate::watch::Phase;
use crate::worker::fixdate;
use std::cell::Cell;
use std::io::IoSlice;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// A request to be forwarded. Its head for the target is kept by the caller.
pub struct Job {
    pub table: Arc<Table>,
    /// Index of the target group in the table.
    pub group: usize,
    pub front: Arc<Front>,
    pub asked: Asked,
    /// What is still to come of the request's body.
    pub body: Body,
    pub expects_continue: bool,
    /// Safe and without a body: may be sent again if a kept connection turns out closed.
    pub repeatable: bool,
    /// What keeps the client with its target and target group.
    pub sticky: Sticky,
    /// The target's connection is not reused afterwards.
    pub close_target: bool,
    /// It is a write of a cut's scope.
    pub cut: Option<Write>,
    /// What has been taken of such a write's body, if it may be sent again.
    pub kept: Option<Box<Kept>>,
    /// It is a read of a cut's scope, and is to be copied.
    pub copy: Option<Box<ReadCopy>>,
    /// Of a write of any rule.
    pub _era: Option<Rc<Era>>,
}

/// How an exchange ended.
pub enum Exchange {
    Done {
        keep_alive: bool,
    },
    /// Nothing was sent to the client: answer with this error.
    Answer(u16),
    /// A cut's fence refused the write, which can be sent again. Nothing was sent to the client.
    Fenced,
    /// A cut's write was sent, or a part of it, and no sound answer came. Nothing was sent to the client.
    Unanswered,
    /// The client has part of an answer. `reset`: only a reset shows that it is not whole.
    Cut {
        reset: bool,
    },
}

/// What one attempt on one connection came to.
enum Attempt {
    Ended(Exchange),
    /// A kept connection turned out closed, and sending the request again is safe.
    Again,
}

/// How the answer's way to the client ended.
enum Failure {
    /// Not a byte of an answer came.
    Unanswered,
    /// The answer broke off or broke the rules before any of it was passed on.
    Broken,
    /// The write can be sent again.
    Fenced,
    /// The client went away while the target was at work.
    Left,
    Cut {
        reset: bool,
    },
}

/// How long an answer may take after the client has ended its direction.
const LEFT: Duration = Duration::from_secs(1);
/// A table that is out of date is loaded again this often before giving up.
const MAX_STALE: u32 = 1000;

/// Forwards a request whose head is `head` and whose body is next in `buffer`.
pub async fn forward(conn: &Conn, buffer: &mut Buf, head: &[u8], job: &mut Job) -> Exchange {
    conn.watch.enter(Phase::Answer);
    let worker = &conn.worker;
    let group = job.table.config.groups[job.group].shared.clone();
    let counters = group.counters(worker.id);
    if is_full(conn, job) {
        return Exchange::Answer(503);
    }
    let _in_flight = InFlight::new(&counters.in_flight);
    if job.table.fail_open[job.group] && !job.table.usable[job.group].is_empty() {
        target::add(&counters.unhealthy_routing, 1);
    }
    let mut tried: Vec<u64> = Vec::new();
    let (mut stale, mut timed_out) = (0, false);
    loop {
        let entry = &job.table.config.groups[job.group];
        let usable = &job.table.usable[job.group];
        let kept = job.sticky.wanted.and_then(|wanted| {
            usable.iter().map(|t| &t.target).find(|t| t.registration == wanted && !tried.contains(&t.uid))
        });
        if kept.is_none() && job.sticky.is_asked() && tried.is_empty() && stale == 0 {
            target::add(&counters.non_sticky, 1);
        }
        let picked = match kept.and_then(Target::begin) {
            Some(flight) => Pick::Target(flight),
            None => pick(entry.algorithm, &group, usable, &tried, &mut || worker.random()),
        };
        let flight = match picked {
            Pick::Target(flight) => flight,
            Pick::Exhausted if tried.is_empty() => return Exchange::Answer(503),
            Pick::Exhausted => return Exchange::Answer(if timed_out { 504 } else { 502 }),
            Pick::Stale => {
                stale += 1;
                if stale > MAX_STALE || !renew(conn, job, &group, stale).await {
                    return Exchange::Answer(503);
                }
                continue;
            }
        };
        let (target, speaks) = (&flight.target, entry.speaks);
        loop {
            let kept = worker.pool.take(target.uid, !job.repeatable);
            let connect = connect_target(&target.endpoint, None, &worker.brokers, speaks);
            let opened = match kept {
                Some(stream) => Ok((stream, true)),
                None if speaks.http2 => worker.http2.open(target.uid, connect).await,
                None => connect.await.map(|stream| (stream, false)),
            };
            let (stream, reused) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    target::add(&counters.connection_errors, 1);
                    tracing::debug!(group = group.arn, registration = target.registration, %error, "no connection");
                    if let ConnectError::Exhausted(_) = error {
                        worker.pool.clear();
                        return Exchange::Answer(503);
                    }
                    if let ConnectError::Tls(_) = error {
                        target::add(&counters.tls_errors, 1);
                    }
                    timed_out |= matches!(error, ConnectError::TimedOut);
                    break;
                }
            };
            let attempted = tokio::select! {
                biased;
                attempted = attempt(conn, buffer, head, job, target, stream, reused, counters) => Some(attempted),
                () = ended(conn, target) => None,
            };
            match attempted {
                Some(Attempt::Again) => continue,
                Some(Attempt::Ended(exchange)) => return exchange,
                None => {
                    target::add(&counters.requests, 1);
                    return match (conn.watch.phase(), &job.cut) {
                        (Phase::Streaming | Phase::Tunnel, _) => Exchange::Cut { reset: true },
                        (_, Some(_)) => Exchange::Unanswered,
                        (_, None) => Exchange::Answer(502),
                    };
                }
            }
        }
        tried.push(target.uid);
    }
}

/// The target group has as many requests in flight as this worker gives it.
pub fn is_full(conn: &Conn, job: &Job) -> bool {
    let worker = &conn.worker;
    let counters = job.table.config.groups[job.group].shared.counters(worker.id);
    get(&counters.in_flight) >= worker.shared.limits.group_requests
}

/// Before the table is loaded again for the `times`-th time: the new one follows within moments of what made
/// the old one stale.
pub async fn pause_for_table(times: u32) {
    match times {
        0..=8 => tokio::task::yield_now().await,
        _ => tokio::time::sleep(Duration::from_millis(1)).await,
    }
}

/// Loads the table in force. `false` if the group is no longer in it.
async fn renew(conn: &Conn, job: &mut Job, group: &Arc<Group>, times: u32) -> bool {
    pause_for_table(times).await;
    let table = conn.worker.shared.table.load_full();
    let Some(index) = table.config.groups.iter().position(|g| g.shared.arn == group.arn) else { return false };
    (job.table, job.group) = (table, index);
    true
}

#[allow(clippy::too_many_arguments)]
async fn attempt(
    conn: &Conn,
    buffer: &mut Buf,
    head: &[u8],
    job: &mut Job,
    target: &Target,
    stream: Stream,
    reused: bool,
    counters: &GroupCounters,
) -> Attempt {
    let up = Meter::new(&conn.watch, (Phase::Upload, Phase::Answer));
    let copy = job.copy.as_ref().map(|copy| &copy.capture);
    let down = Meter { copy, ..Meter::new(&conn.watch, (Phase::Answer, Phase::Streaming)) };
    let tally = Tally { conn, front: job.front.clone(), up: &up, down: &down };
    conn.note(|entry| entry.target = job.table.config.shown(job.group, target));
    let mut answers = conn.worker.lease_bare();
    let asked = job.asked;
    let expects = job.expects_continue;
    let whole_body_is_here = match &job.body {
        Body::None => true,
        Body::Length(n) => *n <= buffer.bytes().len() as u64,
        Body::Chunked(_) | Body::UntilClose => false,
    };
    let chunk = matches!(job.body, Body::Chunked(_));
    let now = conn.worker.shared.door.now_ms() / 1000;
    let extra = job.sticky.extra(target.registration, now, fixdate);
    let front = job.front.clone();
    let edits = &front.edits;
    let before = job.body.clone();
    let whole_kept = job.kept.as_ref().map(|kept| kept.whole());
    let fence = whole_kept.as_deref().filter(|_| job.cut.is_some());
    let (body, kept) = (&mut job.body, &mut job.kept);
    let upload = async {
        match kept {
            None => relay(head, &conn.stream, buffer, body, &stream, chunk, &up).await,
            Some(kept) => kept::relay(head, &conn.stream, buffer, body, &stream, &up, kept).await,
        }
    };
    let (uploaded, downloaded);
    if whole_body_is_here {
        uploaded = Some(upload.await);
        // Not a byte went out on a kept connection: it was closed before, and nobody saw the request.
        if matches!(uploaded, Some(Err(RelayError::Sink))) && up.written.get() == 0 && reused {
            if job.kept.is_none() {
                job.body = before;
            }
            return Attempt::Again;
        }
        // Who waits for the answer holds no buffer.
        conn.worker.reclaim(buffer);
        let whole = Cell::new(true);
        let download = download(conn, &stream, &mut answers, asked, expects, &extra, edits, &whole, fence, &down);
        downloaded = match job.cut {
            // Its outcome is wanted, whoever waits.
            Some(_) => download.await,
            None => tokio::select! {
                biased;
                downloaded = download => downloaded,
                () = left(conn) => Err(Failure::Left),
            },
        };
    } else {
        let whole = Cell::new(false);
        let mut upload = pin!(async {
            let end = upload.await;
            whole.set(end.is_ok());
            end
        });
        let mut download =
            pin!(download(conn, &stream, &mut answers, asked, expects, &extra, edits, &whole, fence, &down));
        let mut upload_end = None;
        downloaded = loop {
            tokio::select! {
                biased;
                end = &mut download => break Some(end),
                end = &mut upload, if upload_end.is_none() => {
                    conn.watch.wait_for(Phase::Answer);
                    let broken = matches!(end, Err(RelayError::Malformed | RelayError::SourceEnded));
                    upload_end = Some(end);
                    // The rest of the request will never come: whatever the target makes of it, the
                    // client's fault decides.
                    if broken {
                        break None;
                    }
                }
            }
        }
        .unwrap_or(Err(Failure::Unanswered));
        uploaded = upload_end;
        if matches!(uploaded, Some(Err(RelayError::Malformed | RelayError::SourceEnded))) {
            return Attempt::Ended(match down.written.get() {
                0 => Exchange::Answer(400),
                _ => Exchange::Cut { reset: true },
            });
        }
    }
    drop(tally);
    match downloaded {
        Ok((answer, sent_at, came_at)) => {
            target::add(&counters.requests, 1);
            counters.answered(answer.status, came_at.saturating_duration_since(sent_at).as_micros() as u64);
            if answer.status == 101 {
                conn.watch.enter(Phase::Tunnel);
                let meter = || Meter::new(&conn.watch, (Phase::Tunnel, Phase::Tunnel));
                let (there, back) = (meter(), meter());
                let _tally = Tally { conn, front: job.front.clone(), up: &there, down: &back };
                tunnel(&conn.stream, buffer, &stream, &mut answers, &there, &back).await;
                return Attempt::Ended(Exchange::Done { keep_alive: false });
            }
            let sent_whole = matches!(uploaded, Some(Ok(())));
            let clean = sent_whole && answer.target_keep_alive && !job.close_target && answers.is_empty();
            if clean && !target.is_closed() {
                conn.worker.pool.put(target.uid, stream, answer.target_patience);
            }
            Attempt::Ended(Exchange::Done { keep_alive: answer.client_keep_alive && sent_whole })
        }
        Err(Failure::Unanswered) if reused && job.repeatable => Attempt::Again,
        Err(Failure::Unanswered | Failure::Broken) => {
            target::add(&counters.requests, 1);
            target::add(&counters.connection_errors, 1);
            Attempt::Ended(if job.cut.is_some() { Exchange::Unanswered } else { Exchange::Answer(502) })
        }
        Err(Failure::Left) => {
            target::add(&counters.requests, 1);
            conn.client_left();
            Attempt::Ended(Exchange::Cut { reset: false })
        }
        Err(Failure::Fenced) => Attempt::Ended(Exchange::Fenced),
        Err(Failure::Cut { reset }) => {
            target::add(&counters.requests, 1);
            Attempt::Ended(Exchange::Cut { reset })
        }
    }
}

/// Reads the target's answer and passes it on. Returns it with the times at which the request had
/// left and the answer's head had come.
#[allow(clippy::too_many_arguments)]
async fn download(
    conn: &Conn,
    stream: &Stream,
    answers: &mut Buf,
    asked: Asked,
    expects_continue: bool,
    extra: &Extra,
    edits: &Edits,
    request_whole: &Cell<bool>,
    fence: Option<&Cell<bool>>,
    meter: &Meter<'_>,
) -> Result<(Answer, Instant, Instant), Failure> {
    let sent_at = conn.watch.touch();
    let mut out = conn.worker.scratch();
    let mut interim = false;
    loop {
        // An answer that was begun is broken if it does not go on.
        let failure = |answers: &Buf| match answers.is_empty() && !interim {
            true => Failure::Unanswered,
            false => Failure::Broken,
        };
        if answers.is_bare() {
            if stream.readable().await.is_err() {
                return Err(failure(answers));
            }
            conn.worker.supply(answers);
        }
        match answers.fill(stream).await {
            Ok(0) | Err(_) => return Err(failure(answers)),
            Ok(_) => {}
        }
        let came_at = conn.watch.touch();
        loop {
            out.clear();
            // An answer that comes before the whole request has gone out ends the connection: what the
            // client still sends could not be told from its next request.
            let asked = Asked { keep_alive: asked.keep_alive && request_whole.get(), ..asked };
            match response::parse(answers.bytes(), asked, extra, edits, &mut out) {
                Parsed::Partial => break,
                Parsed::Malformed => return Err(Failure::Broken),
                Parsed::Interim { status, head_len } => {
                    interim = true;
                    answers.consume(head_len);
                    let wanted = if status == 100 { expects_continue } else { !asked.http10 };
                    if wanted {
                        let sent = write_all(&conn.stream, &mut [IoSlice::new(&out)], &uncounted(meter)).await;
                        sent.map_err(|_| Failure::Cut { reset: false })?;
                    }
                    if answers.is_empty() {
                        break;
                    }
                }
                Parsed::Final(mut answer) => {
                    if answer.fenced && fence.is_some_and(Cell::get) {
                        return Err(Failure::Fenced);
                    }
                    if let Some(copy) = meter.copy {
                        copy.head(&answers.bytes()[..answer.head_len]);
                    }
                    answers.consume(answer.head_len);
                    conn.watch.enter(Phase::Streaming);
                    conn.note(|entry| entry.answered(answer.status, sent_at, came_at));
                    let (body, chunk) = (&mut answer.body, answer.rechunk);
                    let unmarked_end = !chunk && *body == Body::UntilClose || asked.http10;
                    return match relay(&out, stream, answers, body, &conn.stream, chunk, meter).await {
                        Ok(()) => Ok((answer, sent_at, came_at)),
                        Err(RelayError::Malformed | RelayError::SourceEnded) if meter.written.get() == 0 => {
                            Err(Failure::Broken)
                        }
                        Err(_) => Err(Failure::Cut { reset: unmarked_end }),
                    };
                }
            }
        }
    }
}

/// A meter for bytes that are not yet the answer.
fn uncounted<'a>(meter: &Meter<'a>) -> Meter<'a> {
    Meter::new(meter.watch, meter.phases)
}

/// The target's time to drain is over.
async fn ended(conn: &Conn, target: &Target) {
    loop {
        let purged = conn.worker.purged.notified();
        if target.has_ended() {
            return;
        }
        purged.await;
    }
}

/// The client is gone, and no answer has begun to go out. A client that has only said all it has to say looks the
/// same: an answer that comes soon still goes out.
async fn left(conn: &Conn) {
    conn.stream.left().await;
    tokio::time::sleep(LEFT).await;
    if conn.watch.phase() == Phase::Streaming {
        std::future::pending().await
    }
}

/// Counts the bytes of an attempt, however it ends.
struct Tally<'a> {
    conn: &'a Conn,
    front: Arc<Front>,
    up: &'a Meter<'a>,
    down: &'a Meter<'a>,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        let (up, down) = (self.up.written.get(), self.down.written.get());
        target::add(&self.front.balancer.counters(self.conn.worker.id).bytes, up + down);
        self.conn.note(|entry| entry.sent += down);
    }
}

/// One request more that a worker has with a group.
struct InFlight<'a>(&'a AtomicU64);

impl<'a> InFlight<'a> {
    fn new(counter: &'a AtomicU64) -> Self {
        target::add(counter, 1);
        Self(counter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        target::sub(self.0, 1);
    }
}
