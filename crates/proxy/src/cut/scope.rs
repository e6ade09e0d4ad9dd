//! One cut's state in this proxy. It outlives snapshots and is shared by all workers.
//!
//! A write raises the count of writes in flight before it reads the state, and a hold is written into the
//! state before anyone reads the count: whoever sees none in flight during a hold knows that none follows.

use super::shadow::Results;
use quarry_domain::link::CutReport;
use quarry_domain::snapshot::CutScope;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot, watch};

/// See the module.
pub struct Scope {
    /// `version << 2 | HELD | QUEUED`.
    state: AtomicU64,
    in_flight: AtomicU64,
    /// Workers that may have a write that began before the cut was known.
    eras: AtomicU64,
    /// A report has said, of this hold, that nothing is in flight.
    told_drained: AtomicBool,
    queue: Mutex<Queue>,
    /// The version in force.
    versions: watch::Sender<u64>,
    wake: Arc<Notify>,
    pub counts: Counts,
    pub shadow: Arc<Results>,
}

/// What is counted, by all workers together.
#[derive(Default)]
pub struct Counts {
    pub reads: AtomicU64,
    pub canary_reads: AtomicU64,
    pub writes: AtomicU64,
    pub fenced_again: AtomicU64,
    pub unknown_outcomes: AtomicU64,
    pub left_while_parked: AtomicU64,
    /// Writes in flight that cannot be sent again.
    pub unrepeatable: AtomicU64,
    /// Bytes of bodies that are kept now.
    pub kept_bytes: AtomicUsize,
}

/// What a write that would begin finds.
pub enum Enter {
    Go(Flight),
    /// It has to wait: [`Scope::park`].
    Held,
    /// Another version is in force than the one it was routed by: load the table again.
    Stale,
}

/// A write in flight, until it is dropped.
pub struct Flight(Arc<Scope>);

/// Leave for one parked write to go on. It counts as under way until this is dropped.
pub struct Pass(Option<Arc<Scope>>);

/// What the control thread has to do later.
#[derive(Debug, PartialEq, Eq)]
pub enum Timer {
    /// Call [`Scope::expire`] with `hold` after this time.
    Deadline { hold: u64, within: Duration },
    /// Call [`Scope::widen`] again and again.
    Widen,
}

/// Parked writes by ticket, the oldest first.
struct Queue {
    held: bool,
    expired: bool,
    /// Tells holds apart.
    hold: u64,
    held_since: Option<Instant>,
    waiting: BTreeMap<u64, oneshot::Sender<Pass>>,
    next_ticket: u64,
    /// Let out and still under way, and how many may be.
    out: usize,
    bound: usize,
    most: usize,
    overflow: bool,
    hold_micros_last: u64,
}

/// One parked write; takes itself out of the queue when it is dropped.
struct Parked<'a> {
    scope: &'a Arc<Scope>,
    ticket: u64,
}

const HELD: u64 = 1;
/// Parked writes are still being let out: those that come queue behind them.
const QUEUED: u64 = 2;
/// Parked writes under way at once when a hold ends; twice as many again and again, so that slow ones do
/// not keep others waiting.
const FIRST_OUT: usize = 64;
/// More parked writes than this are an overflow. They wait all the same: their bodies are unread, in the
/// clients' sockets.
pub const PARK_LIMIT: usize = 10_000;

impl Scope {
    pub fn new(workers: usize, wake: Arc<Notify>) -> Arc<Self> {
        let queue = Queue {
            held: false,
            expired: false,
            hold: 0,
            held_since: None,
            waiting: BTreeMap::new(),
            next_ticket: 0,
            out: 0,
            bound: FIRST_OUT,
            most: 0,
            overflow: false,
            hold_micros_last: 0,
        };
        Arc::new(Self {
            state: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            eras: AtomicU64::new(workers as u64),
            told_drained: AtomicBool::new(false),
            queue: Mutex::new(queue),
            versions: watch::Sender::new(0),
            wake,
            counts: Counts::default(),
            shadow: Arc::default(),
        })
    }

    /// A write that was routed by `version` begins, or learns that it may not. `pass`: it was parked and let out.
    pub fn enter(self: &Arc<Self>, version: u64, pass: bool) -> Enter {
        let look = || {
            let state = self.state.load(Ordering::SeqCst);
            let must_wait = state & HELD != 0 || (state & QUEUED != 0 && !pass);
            (state >> 2 == version, must_wait)
        };
        // The first look keeps the count still during a hold, the second one decides.
        if let (true, true) = look() {
            return Enter::Held;
        }
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let flight = Flight(self.clone());
        match look() {
            (false, _) => Enter::Stale,
            (true, true) => Enter::Held,
            (true, false) => Enter::Go(flight),
        }
    }

    /// Waits in the queue. A write keeps its ticket, and with it its place, if it has to wait again.
    pub async fn park(self: &Arc<Self>, ticket: &mut Option<u64>) -> Pass {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut queue = self.lock();
            let ticket = *ticket.get_or_insert(queue.next_ticket);
            queue.next_ticket = queue.next_ticket.max(ticket + 1);
            queue.waiting.insert(ticket, sender);
            queue.most = queue.most.max(queue.waiting.len());
            if queue.waiting.len() > PARK_LIMIT && !std::mem::replace(&mut queue.overflow, true) {
                self.wake.notify_one();
            }
            self.advance(&mut queue);
            ticket
        };
        let _parked = Parked { scope: self, ticket };
        receiver.await.unwrap_or(Pass(None))
    }

    /// Returns when another version than this is in force.
    pub async fn changed_from(&self, version: u64) {
        let _ = self.versions.subscribe().wait_for(|v| *v != version).await;
    }

    /// Puts a version of the scope in force, after the table that has it.
    pub fn enforce(self: &Arc<Self>, cut: &CutScope) -> Option<Timer> {
        let mut queue = self.lock();
        let timer = match (queue.held || queue.expired, cut.hold) {
            (false, true) => {
                queue.held = true;
                queue.hold += 1;
                queue.held_since = Some(Instant::now());
                (queue.most, queue.overflow) = (queue.waiting.len(), false);
                let within = Duration::from_millis(u64::from(cut.hold_deadline_ms));
                Some(Timer::Deadline { hold: queue.hold, within })
            }
            (true, false) => {
                queue.expired = false;
                self.release(&mut queue)
            }
            (false, false) | (true, true) => None,
        };
        self.told_drained.store(false, Ordering::SeqCst);
        self.renew(&queue, cut.version);
        self.advance(&mut queue);
        timer
    }

    /// The cut has gone from the snapshot.
    pub fn end(self: &Arc<Self>) -> Option<Timer> {
        let mut queue = self.lock();
        let timer = self.release(&mut queue);
        self.renew(&queue, u64::MAX >> 2);
        self.advance(&mut queue);
        timer
    }

    /// The hold of this number lasts no longer. `false`: it had ended before.
    pub fn expire(self: &Arc<Self>, hold: u64) -> bool {
        let mut queue = self.lock();
        if !queue.held || queue.hold != hold {
            return false;
        }
        queue.expired = true;
        self.release(&mut queue);
        self.renew(&queue, self.version());
        self.advance(&mut queue);
        self.wake.notify_one();
        true
    }

    /// Lets more parked writes be under way at once. `false`: none waits.
    pub fn widen(self: &Arc<Self>) -> bool {
        let mut queue = self.lock();
        if queue.held || queue.waiting.is_empty() {
            return false;
        }
        queue.bound = queue.bound.saturating_mul(2);
        self.advance(&mut queue);
        true
    }

    pub fn is_held(&self) -> bool {
        self.state.load(Ordering::SeqCst) & HELD != 0
    }

    /// Writes in flight, with those that began before the cut was known.
    pub fn in_flight(&self) -> u64 {
        self.eras.load(Ordering::SeqCst) + self.in_flight.load(Ordering::SeqCst)
    }

    /// The writes of an era before the cut are over, on one worker.
    pub fn era_ended(&self) {
        self.eras.fetch_sub(1, Ordering::SeqCst);
        self.tell_drained();
    }

    pub fn report(&self) -> CutReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let queue = self.lock();
        let in_flight_writes = self.in_flight();
        if in_flight_writes == 0 && queue.held {
            self.told_drained.store(true, Ordering::SeqCst);
        }
        CutReport {
            version: self.version(),
            holding: queue.held,
            expired: queue.expired,
            parked: queue.waiting.len() as u64,
            in_flight_writes,
            unrepeatable: get(&self.counts.unrepeatable),
            overflow: queue.overflow,
            reads: get(&self.counts.reads),
            writes: get(&self.counts.writes),
            canary_reads: get(&self.counts.canary_reads),
            fenced_again: get(&self.counts.fenced_again),
            unknown_outcomes: get(&self.counts.unknown_outcomes),
            left_while_parked: get(&self.counts.left_while_parked),
            hold_micros_last: queue.hold_micros_last,
            parked_most: queue.most as u64,
            shadow: self.shadow.report(),
        }
    }

    fn version(&self) -> u64 {
        self.state.load(Ordering::SeqCst) >> 2
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn release(&self, queue: &mut Queue) -> Option<Timer> {
        queue.held = false;
        queue.bound = queue.out + FIRST_OUT;
        (!queue.waiting.is_empty()).then_some(Timer::Widen)
    }

    fn renew(&self, queue: &Queue, version: u64) {
        let held = if queue.held { HELD } else { 0 };
        let queued = if queue.waiting.is_empty() { 0 } else { QUEUED };
        self.state.store(version << 2 | held | queued, Ordering::SeqCst);
        self.versions.send_replace(version);
    }

    /// Lets out those whose turn it is.
    fn advance(self: &Arc<Self>, queue: &mut Queue) {
        while !queue.held && queue.out < queue.bound {
            let Some((_, sender)) = queue.waiting.pop_first() else { break };
            match sender.send(Pass(Some(self.clone()))) {
                Ok(()) => queue.out += 1,
                Err(mut left) => left.0 = None,
            }
        }
        match queue.waiting.is_empty() {
            true => self.state.fetch_and(!QUEUED, Ordering::SeqCst),
            false => self.state.fetch_or(QUEUED, Ordering::SeqCst),
        };
        if !queue.held
            && queue.waiting.is_empty()
            && let Some(since) = queue.held_since.take()
        {
            queue.hold_micros_last = since.elapsed().as_micros() as u64;
            self.wake.notify_one();
        }
    }

    fn tell_drained(&self) {
        if self.is_held() && self.in_flight() == 0 && !self.told_drained.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.tell_drained();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(scope) = self.0.take() {
            let mut queue = scope.lock();
            queue.out -= 1;
            scope.advance(&mut queue);
        }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        let mut queue = self.scope.lock();
        if queue.waiting.remove(&self.ticket).is_some() {
            self.scope.advance(&mut queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    fn cut(version: u64, hold: bool) -> CutScope {
        CutScope {
            cut: "cut-1".into(),
            version,
            epoch: version,
            hold,
            hold_deadline_ms: 1000,
            contract: true,
            shadow: None,
            canary: None,
        }
    }

    fn scope(version: u64, hold: bool) -> Arc<Scope> {
        let scope = Scope::new(0, Arc::new(Notify::new()));
        scope.enforce(&cut(version, hold));
        scope
    }

    type Waiting = Pin<Box<dyn Future<Output = Pass>>>;

    fn wait(scope: &Arc<Scope>) -> Waiting {
        let scope = scope.clone();
        let mut waiting: Waiting = Box::pin(async move { scope.park(&mut None).await });
        assert!(poll(&mut waiting).is_none());
        waiting
    }

    fn poll(waiting: &mut Waiting) -> Option<Pass> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(pass) => Some(pass),
            Poll::Pending => None,
        }
    }

    fn is_go(scope: &Arc<Scope>, version: u64, pass: bool) -> bool {
        matches!(scope.enter(version, pass), Enter::Go(_))
    }

    #[test]
    fn parked_writes_are_let_out_in_order_and_some_at_a_time_and_others_queue_behind_them() {
        let scope = scope(1, true);
        let mut waiting: Vec<_> = (0..FIRST_OUT + 3).map(|_| wait(&scope)).collect();
        assert_eq!(scope.enforce(&cut(2, false)), Some(Timer::Widen));
        let mut passes: Vec<_> = waiting.iter_mut().map(poll).collect();
        assert!(passes.iter().position(Option::is_none) == Some(FIRST_OUT), "the oldest ones");
        assert!(!is_go(&scope, 2, false) && is_go(&scope, 2, true));
        passes[5] = None;
        let next = poll(&mut waiting[FIRST_OUT]);
        assert!(next.is_some(), "one has ended, the next one goes");
        assert!(poll(&mut waiting[FIRST_OUT + 1]).is_none());
        assert!(scope.widen());
        for late in &mut waiting[FIRST_OUT + 1..] {
            assert!(poll(late).is_some());
        }
        assert!(is_go(&scope, 2, false) && !scope.widen());
        assert!(scope.report().hold_micros_last > 0);
    }

    #[test]
    fn another_hold_before_all_are_let_out_keeps_their_places() {
        let scope = scope(1, true);
        let mut waiting: Vec<_> = (0..FIRST_OUT + 2).map(|_| wait(&scope)).collect();
        scope.enforce(&cut(2, false));
        let passes: Vec<_> = waiting[..FIRST_OUT].iter_mut().map(|w| poll(w).unwrap()).collect();
        scope.enforce(&cut(3, true));
        // The first of those let out had not begun yet: it comes back with its ticket.
        assert!(matches!(scope.enter(2, true), Enter::Stale) && matches!(scope.enter(3, true), Enter::Held));
        let again = scope.clone();
        let mut first: Waiting = Box::pin(async move { again.park(&mut Some(0)).await });
        assert!(poll(&mut first).is_none());
        drop(passes);
        assert_eq!(scope.report().parked, 3);
        let last = wait(&scope);
        scope.enforce(&cut(4, false));
        assert_eq!(*scope.lock().waiting.keys().next().unwrap_or(&0), 0);
        assert!(poll(&mut first).is_some() && poll(&mut waiting[FIRST_OUT]).is_some());
        drop(last);
        assert_eq!(scope.report().parked, 0);
    }

    #[test]
    fn a_park_that_overflows_says_so_and_keeps_all() {
        let scope = scope(1, true);
        let waiting: Vec<_> = (0..PARK_LIMIT).map(|_| wait(&scope)).collect();
        assert!(!scope.report().overflow);
        let more = wait(&scope);
        let report = scope.report();
        assert!(report.overflow && report.parked == PARK_LIMIT as u64 + 1);
        drop((waiting, more));
        assert_eq!(scope.report().parked, 0, "who leaves is forgotten");
    }

    #[test]
    fn a_deadline_ends_its_own_hold_only_and_the_next_version_on_hold_does_not_bring_it_back() {
        let scope = Scope::new(0, Arc::new(Notify::new()));
        let first = scope.enforce(&cut(1, true));
        assert_eq!(first, Some(Timer::Deadline { hold: 1, within: Duration::from_secs(1) }));
        scope.enforce(&cut(2, false));
        assert!(scope.enforce(&cut(3, true)).is_some());
        assert!(!scope.expire(1) && !is_go(&scope, 3, false));
        assert!(scope.expire(2) && is_go(&scope, 3, false));
        assert_eq!(scope.enforce(&cut(4, true)), None);
        let report = scope.report();
        assert!(is_go(&scope, 4, false) && report.expired && !report.holding && report.version == 4);
        scope.enforce(&cut(5, false));
        assert!(!scope.report().expired && scope.enforce(&cut(6, true)).is_some());
    }

    /// Whoever puts a hold in force and then sees nothing in flight must never see a write afterwards.
    #[test]
    fn none_in_flight_during_a_hold_is_final() {
        for _ in 0..300 {
            let scope = scope(1, false);
            let racer = scope.clone();
            let thread = std::thread::spawn(move || match racer.enter(1, false) {
                Enter::Go(flight) => {
                    std::mem::forget(flight);
                    true
                }
                Enter::Held | Enter::Stale => false,
            });
            scope.enforce(&cut(2, true));
            let seen = scope.in_flight();
            let began = thread.join().unwrap();
            assert!(!(seen == 0 && began), "a write began after none was seen");
        }
    }
}
