//! A write of a scope, from its head to its answer: parked while the scope is on hold, counted while it is
//! in flight, and sent again, by the newest version, where that is known to be safe:
//!
//! - nothing of it was sent;
//! - the fence refused it, which means that it was not executed;
//! - its outcome is unknown, but it carries an idempotency key, which an application with the contract
//!   stores with the answer.

use super::entry::CutEntry;
use super::kept::Room;
use super::scope::{Enter, Pass, Scope};
use crate::client::{Conn, Decision};
use crate::exchange::{self, Exchange, Job};
use crate::http::body::Body;
use crate::watch::Phase;
use crate::worker::Lease;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a request is to its scope, beside what every request is.
pub struct Write {
    pub entry: Arc<CutEntry>,
    /// It carries an idempotency key.
    pub has_key: bool,
}

/// What became of a write.
pub enum Carried {
    Exchanged(Exchange),
    /// The listener's rules have changed: this answer of ours is in the out buffer.
    Answer {
        body: Body,
        keep_alive: bool,
    },
    /// There is nobody to answer.
    Gone,
}

/// As long as this says so, a write may have been executed without anyone knowing.
struct Outcome<'a> {
    scope: &'a Scope,
    unknown: Cell<bool>,
}

/// A write that the fence refuses is sent again so often, with pauses that grow from [`FIRST_PAUSE`] to
/// [`LAST_PAUSE`] and end with a new version of the scope. Then it is a 503: it was not executed.
const FENCED: u32 = 60;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// The table that belongs to a scope's version is looked for so often: it is there within moments.
const STALE: u32 = 1000;
/// A write that was parked waits so long for room at its target group, and looks for it so often.
const FULL: Duration = Duration::from_secs(10);
const ROOM: Duration = Duration::from_millis(2);
/// A write with a key whose outcome is unknown is sent again so often.
const LOST: u32 = 3;

/// Carries a write out, whose head is in front in `lease` and is `consumed` bytes long; `out` and `job` are what
/// was decided about it.
pub async fn carry(conn: &Conn, lease: &mut Lease, out: &mut Vec<u8>, consumed: usize, job: &mut Job) -> Carried {
    let head = lease.bytes()[..consumed].to_vec();
    lease.consume(consumed);
    let (mut ticket, mut pass): (Option<u64>, Option<Pass>) = (None, None);
    let (mut fenced, mut lost, mut stale) = (0, 0, 0);
    let mut room = None;
    loop {
        // Without a cut any more, what was kept is still to be sent.
        let entry = job.cut.as_ref().map(|write| write.entry.clone());
        if let Some(entry) = entry.as_ref().filter(|entry| !entry.contract && !entry.scope.is_held())
            && let Err(status) = gather(conn, lease, job, &entry.scope, &mut room).await
        {
            return Carried::Exchanged(Exchange::Answer(status));
        }
        // Those that were parked come all at once, which is no reason to turn them away.
        let since = Instant::now();
        while pass.is_some() && exchange::is_full(conn, job) && since.elapsed() < FULL {
            tokio::time::sleep(ROOM).await;
        }
        let entered = entry.as_ref().map(|entry| entry.scope.enter(entry.version, pass.is_some()));
        let flight = match (entered, &entry) {
            (Some(Enter::Held), Some(entry)) => {
                drop(pass.take());
                conn.watch.enter(Phase::Parked);
                lease.stow();
                pass = tokio::select! {
                    biased;
                    pass = entry.scope.park(&mut ticket) => Some(pass).filter(|_| !conn.stream.is_left()),
                    () = conn.stream.left() => None,
                };
                if pass.is_none() {
                    return gone(conn, &entry.scope);
                }
                lease.unstow();
                if let Some(ended) = decide_again(conn, &head, out, job) {
                    return ended;
                }
                continue;
            }
            (Some(Enter::Stale), _) => {
                stale += 1;
                if stale > STALE {
                    return Carried::Exchanged(Exchange::Answer(503));
                }
                exchange::pause_for_table(stale).await;
                if let Some(ended) = decide_again(conn, &head, out, job) {
                    return ended;
                }
                continue;
            }
            (Some(Enter::Go(flight)), _) => Some(flight),
            (Some(Enter::Held) | None, _) => None,
        };
        let outcome = entry.as_ref().map(|entry| Outcome { scope: &entry.scope, unknown: Cell::new(true) });
        let exchange = exchange::forward(conn, lease, out, job).await;
        drop(flight);
        conn.wrote();
        let again = job.kept.as_ref().is_some_and(|kept| kept.is_whole());
        match (exchange, &entry) {
            (Exchange::Fenced, Some(entry)) => {
                settle(outcome);
                add(&entry.scope.counts.fenced_again);
                fenced += 1;
                if fenced > FENCED {
                    return Carried::Exchanged(Exchange::Answer(503));
                }
                drop(pass.take());
                conn.watch.enter(Phase::Parked);
                let pause = (FIRST_PAUSE * (1 << fenced.min(10))).min(LAST_PAUSE);
                let _ = tokio::time::timeout(pause, entry.scope.changed_from(entry.version)).await;
                if conn.stream.is_left() {
                    return gone(conn, &entry.scope);
                }
            }
            (Exchange::Unanswered, Some(_)) if again && lost < LOST && has_key(job) => {
                settle(outcome);
                lost += 1;
            }
            // Counted as unknown by being dropped.
            (Exchange::Unanswered, _) => return Carried::Exchanged(Exchange::Answer(502)),
            (exchange @ Exchange::Answer(_), _) if lost > 0 => return Carried::Exchanged(exchange),
            (exchange, _) => {
                settle(outcome);
                return Carried::Exchanged(exchange);
            }
        }
        if let Some(ended) = decide_again(conn, &head, out, job) {
            return ended;
        }
    }
}

/// Without the contract nothing can be sent again, and a hold waits for all that is in flight: so a write whose body is
/// short begins only when the body is here, and a slow client does not keep a hold waiting.
async fn gather(
    conn: &Conn,
    lease: &mut Lease,
    job: &Job,
    scope: &Arc<Scope>,
    room: &mut Option<Room>,
) -> Result<(), u16> {
    let Body::Length(bytes) = job.body else { return Ok(()) };
    if job.expects_continue || lease.bytes().len() as u64 >= bytes {
        return Ok(());
    }
    if room.is_none() {
        *room = Room::take(scope, bytes);
    }
    if room.is_some() {
        conn.watch.enter(Phase::Upload);
        while (lease.bytes().len() as u64) < bytes {
            // The same answer as to a body that breaks off on its way to a target.
            if !matches!(lease.fill(&conn.stream).await, Ok(1..)) {
                return Err(400);
            }
            conn.watch.touch();
        }
    }
    Ok(())
}

/// Routes by the newest table; what has been taken of the body stays with the request. Returns how it ends if it
/// is not forwarded any more.
fn decide_again(conn: &Conn, head: &[u8], out: &mut Vec<u8>, job: &mut Job) -> Option<Carried> {
    out.clear();
    match conn.decide(head, out, true) {
        Decision::Forward { job: mut new, .. } => {
            new.body = std::mem::replace(&mut job.body, Body::None);
            new.kept = job.kept.take().or(new.kept);
            *job = new;
            None
        }
        Decision::Answer { keep_alive, .. } => {
            let body = std::mem::replace(&mut job.body, Body::None);
            Some(Carried::Answer { body, keep_alive })
        }
        Decision::Partial | Decision::Close => Some(Carried::Gone),
    }
}

/// Its client has left, and it was not executed.
fn gone(conn: &Conn, scope: &Scope) -> Carried {
    conn.client_left();
    add(&scope.counts.left_while_parked);
    Carried::Gone
}

fn has_key(job: &Job) -> bool {
    job.cut.as_ref().is_some_and(|write| write.has_key)
}

fn settle(outcome: Option<Outcome<'_>>) {
    if let Some(outcome) = outcome {
        outcome.unknown.set(false);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if self.unknown.get() {
            add(&self.scope.counts.unknown_outcomes);
        }
    }
}
