//! What the driver sees, and remembers of it: nothing here outlives the process, and everything can be seen again.

use super::figures::{Traffic, Watching};
use super::journal::Measured;
use super::pair::{Copied, Followed, Looked, Pair, Trouble};
use super::records::Cut;
use crate::platform::Platform;
use quarry_domain::cut::{Mark, Progress, RouteSeen, Seen, ShadowSeen, Side, SideSeen, State, Verified};
use quarry_domain::link::TargetState;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A lag above this, or a transaction as old as that, is not calm. On a machine on which it has not been calm for so long,
/// a little more will do: it still fits into the time that a hold has for catching up.
const CALM_LAG: Duration = Duration::from_millis(100);
const WAITED: Duration = Duration::from_secs(10);
const SLOW_LAG: Duration = Duration::from_millis(250);
const OLD_TRANSACTION_MS: u64 = 1000;
/// A route that is not acknowledged after so long is trouble.
const SLOW_ROUTE: Duration = Duration::from_millis(150);
/// The service level is judged over this time, from so many answers on.
const WINDOW: Duration = Duration::from_secs(10);
const ENOUGH: u64 = 20;

pub struct Eyes {
    platform: Arc<Platform>,
    pub pair: Option<Rc<dyn Pair>>,
    /// By side.
    pub sides: Rc<RefCell<[Option<SideSeen>; 2]>>,
    pub news: Rc<Notify>,
    pub lag: Rc<Lag>,
    memory: RefCell<Memory>,
}

/// How far the other side is behind.
pub struct Lag {
    platform: Arc<Platform>,
    calm_since: Cell<Option<Duration>>,
    /// When a calm began to be waited for.
    wanted_since: Cell<Duration>,
    took: Cell<Duration>,
    behind: Cell<u64>,
    old_transaction: Cell<Option<u64>>,
    trouble: RefCell<Option<String>>,
}

#[derive(Default)]
struct Memory {
    looked: Option<Duration>,
    /// The state and version of the route for which the clock was started, and when.
    entered: Option<(State, u64, bool)>,
    entered_at: Clock,
    hold_began: Clock,
    /// When the hold's journal entry was begun to be written.
    hold_begins: Option<Duration>,
    copied: bool,
    rows_copied: u64,
    rows: [u64; 2],
    verified: Option<Verified>,
    missing: Option<String>,
    retired: bool,
    trouble: Option<String>,
    /// By side, why its state is not known.
    unseen: [Option<String>; 2],
    due: HashMap<&'static str, Duration>,
    /// Differences that were there when shadowing began.
    shadow_base: (u64, u64),
    /// Answers and 5xx answers of the new side, by time.
    answers: VecDeque<(Duration, u64, u64)>,
}

/// A moment in monotonic time; before the process began, by so much.
#[derive(Clone, Copy, Default)]
struct Clock {
    at: Duration,
    before: Duration,
}

impl Clock {
    fn elapsed(self, now: Duration) -> Duration {
        now.saturating_sub(self.at) + self.before
    }
}

impl Eyes {
    pub fn new(platform: Arc<Platform>, cut: &Cut, pair: Option<Rc<dyn Pair>>) -> Self {
        let lag = Lag {
            platform: platform.clone(),
            calm_since: Cell::default(),
            wanted_since: Cell::new(platform.door.clock.monotonic()),
            took: Cell::default(),
            behind: Cell::default(),
            old_transaction: Cell::default(),
            trouble: RefCell::default(),
        };
        let eyes = Self {
            platform,
            pair,
            sides: Rc::default(),
            news: Rc::default(),
            lag: Rc::new(lag),
            memory: RefCell::default(),
        };
        let now = eyes.now();
        let since = |ms: i64| {
            // A clock that was put back shows as no time: the hold may last a little longer, the fence keeps it safe.
            let passed = eyes.platform.now_ms().saturating_sub(ms).max(0);
            Clock { at: now, before: Duration::from_millis(passed.unsigned_abs()) }
        };
        {
            let mut memory = eyes.memory.borrow_mut();
            memory.entered = Some(key(&cut.progress));
            memory.entered_at = since(cut.entered_ms);
            memory.hold_began = cut.hold_began_ms.map(since).unwrap_or_default();
        }
        eyes
    }

    fn now(&self) -> Duration {
        self.platform.door.clock.monotonic()
    }

    /// Notes when a state was entered.
    pub fn enter(&self, cut: &Cut) {
        let key = key(&cut.progress);
        let now = self.now();
        let shadow = self.traffic(cut).shadow;
        let mut memory = self.memory.borrow_mut();
        if memory.entered == Some(key) {
            return;
        }
        let before = memory.entered.replace(key);
        memory.entered_at = Clock { at: now, before: Duration::ZERO };
        if before.is_some_and(|(state, ..)| state != cut.progress.state) {
            match cut.progress.state {
                State::Hold => {
                    let at = memory.hold_begins.take().unwrap_or(now);
                    memory.hold_began = Clock { at, before: Duration::ZERO };
                }
                State::Shadow => memory.shadow_base = (shadow.compared, shadow.different),
                State::Follow => {
                    self.lag.wanted_since.set(now);
                    memory.verified = None;
                    memory.missing = None;
                }
                State::Watch => memory.answers.clear(),
                _ => {}
            }
        }
        if before.is_some_and(|(_, _, stopped)| stopped && !key.2) {
            // After a stop things are looked at afresh.
            memory.verified = None;
            memory.missing = None;
            memory.shadow_base = (shadow.compared, shadow.different);
        }
    }

    pub fn hold_begins(&self) {
        self.memory.borrow_mut().hold_begins = Some(self.now());
    }

    /// Whether the sides should be asked for their state: in the hold only where it is not known.
    pub fn wants_look(&self, progress: &Progress, every: Duration) -> bool {
        if self.pair.is_none() {
            return false;
        }
        let known = self.sides.borrow().iter().all(Option::is_some);
        let due = self.memory.borrow().looked.is_none_or(|at| self.now().saturating_sub(at) >= every);
        match progress.state.holds() {
            true => !known && self.is_due("look", Duration::from_millis(50)),
            false => due,
        }
    }

    pub async fn look(&self, side: Side) {
        let Some(pair) = &self.pair else { return };
        match pair.look(side).await {
            Ok(looked) => {
                self.memory.borrow_mut().unseen[side as usize] = None;
                self.take_in(side, looked);
            }
            Err(trouble) => {
                let message = format!("the {}: {}", side.name(), trouble.message);
                self.memory.borrow_mut().unseen[side as usize] = Some(message);
            }
        }
        self.memory.borrow_mut().looked = Some(self.now());
    }

    fn take_in(&self, side: Side, looked: Looked) {
        if side == Side::Destination && looked.copied {
            self.memory.borrow_mut().copied = true;
        }
        self.memory.borrow_mut().rows[side as usize] = looked.rows;
        if looked.seen.owner {
            self.lag.old_transaction.set(looked.oldest_write_ms);
        }
        self.sides.borrow_mut()[side as usize] = Some(looked.seen);
    }

    /// What the planner is shown.
    pub fn seen(&self, cut: &Cut) -> Seen {
        let now = self.now();
        let progress = &cut.progress;
        let traffic = self.traffic(cut);
        let breach = self.breach(cut);
        let memory = self.memory.borrow();
        let sides = self.sides.borrow();
        let shadow = ShadowSeen {
            compared: traffic.shadow.compared.saturating_sub(memory.shadow_base.0),
            different: traffic.shadow.different.saturating_sub(memory.shadow_base.1),
            doubtful: traffic.shadow.doubtful,
            example: traffic
                .shadow
                .examples
                .last()
                .map_or(String::new(), |one| format!("{} {}: {}", one.method, one.path, one.difference)),
        };
        Seen {
            source: sides[0].clone(),
            destination: sides[1].clone(),
            route: self.route(cut),
            healthy: self.is_healthy(&cut.part(progress.next_owner()).target_group_arn),
            copied: memory.copied,
            calm: self.lag.calm(now),
            lag: self.lag.words(),
            shadow,
            verified: memory.verified.clone(),
            breach,
            missing: memory.missing.clone(),
            retired: memory.retired,
            in_state: memory.entered_at.elapsed(now).as_millis() as u64,
            in_hold: if progress.state.holds() { memory.hold_began.elapsed(now).as_millis() as u64 } else { 0 },
        }
    }

    fn route(&self, cut: &Cut) -> RouteSeen {
        let live = self.platform.live();
        let version = cut.progress.route.version;
        // The snapshot in which this version of the scope was first.
        let snapshot = live.published_cuts.get(&cut.id).filter(|(known, _)| *known >= version).map(|(_, at)| *at);
        let in_force = |at: u64| !live.applied.is_empty() && live.applied.values().all(|applied| *applied >= at);
        let acknowledged = snapshot.is_some_and(in_force) && live.silent_proxies.is_empty();
        let reports = live.applied.keys().map(|proxy| live.cuts.get(proxy).and_then(|cuts| cuts.get(&cut.id)));
        let reports: Option<Vec<_>> = reports.map(|report| report.filter(|one| one.version >= version)).collect();
        let all = || live.cuts.values().filter_map(|cuts| cuts.get(&cut.id));
        RouteSeen {
            acknowledged,
            in_flight: reports.map(|reports| reports.iter().map(|one| one.in_flight_writes).sum()),
            unrepeatable: all().map(|one| one.unrepeatable).sum(),
            overflow: all().any(|one| one.version >= version && one.overflow),
            expired: all().any(|one| one.version >= version && one.expired),
        }
    }

    fn is_healthy(&self, group_arn: &str) -> bool {
        let live = self.platform.live();
        live.targets.iter().any(|((group, _), report)| group == group_arn && report.state == TargetState::Healthy)
    }

    /// What the proxies count, summed.
    pub fn traffic(&self, cut: &Cut) -> Traffic {
        let live = self.platform.live();
        Traffic::of(live.cuts.values().filter_map(|cuts| cuts.get(&cut.id)))
    }

    /// How the service level is breached, if it is.
    fn breach(&self, cut: &Cut) -> Option<String> {
        if cut.progress.state != State::Watch {
            return None;
        }
        let (mut answers, mut failed) = (0, 0);
        for counters in self.platform.live().counters.values() {
            if let Some(group) = counters.target_groups.get(&cut.to.target_group_arn) {
                answers += group.target_2xx + group.target_3xx + group.target_4xx + group.target_5xx;
                failed += group.target_5xx + group.connection_errors;
            }
        }
        let now = self.now();
        let mut memory = self.memory.borrow_mut();
        let window = &mut memory.answers;
        while window.len() > 1 && window.get(1).is_some_and(|(at, ..)| now.saturating_sub(*at) > WINDOW) {
            window.pop_front();
        }
        // Once in 100 ms is enough to tell.
        if window.back().is_none_or(|(at, ..)| now.saturating_sub(*at) > Duration::from_millis(100)) {
            window.push_back((now, answers, failed));
        }
        let &(_, first, first_failed) = window.front()?;
        let (answers, failed) = (answers.saturating_sub(first), failed.saturating_sub(first_failed));
        let all = answers.max(failed);
        (all >= ENOUGH && failed * 100 > all * u64::from(cut.max_5xx_percent)).then(|| {
            format!("{failed} of {all} answers of the new side were errors, more than {} %", cut.max_5xx_percent)
        })
    }

    /// Applies what there is without waiting.
    pub async fn follow_now(&self, from: Side, pair: &Rc<dyn Pair>) -> bool {
        match pair.follow(from, Duration::ZERO).await {
            Ok(followed) => {
                self.no_trouble();
                let mut sides = self.sides.borrow_mut();
                let Some(seen) = &mut sides[from.other() as usize] else { return false };
                let moved = followed.applied > seen.applied;
                if followed.applied >= seen.applied {
                    (seen.applied, seen.digest) = (followed.applied, followed.digest);
                }
                moved
            }
            Err(trouble) => {
                self.trouble(trouble.message);
                false
            }
        }
    }

    /// The answer, or its trouble noted.
    pub fn told<T>(&self, answer: Result<T, Trouble>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.no_trouble();
                Some(answer)
            }
            Err(trouble) => {
                self.trouble(trouble.message);
                None
            }
        }
    }

    pub fn trouble(&self, message: String) {
        self.memory.borrow_mut().trouble = Some(message);
    }

    pub fn no_trouble(&self) {
        self.memory.borrow_mut().trouble = None;
    }

    pub fn missing(&self, missing: Option<String>) {
        self.memory.borrow_mut().missing = missing;
    }

    pub fn copied(&self, copied: Copied) {
        let mut memory = self.memory.borrow_mut();
        memory.copied = copied.done;
        memory.rows_copied = copied.rows;
    }

    pub fn verified(&self, verified: Verified) {
        self.memory.borrow_mut().verified = Some(verified);
    }

    pub fn retired(&self) {
        self.memory.borrow_mut().retired = true;
    }

    /// At most so often.
    pub fn is_due(&self, what: &'static str, every: Duration) -> bool {
        let now = self.now();
        let mut memory = self.memory.borrow_mut();
        let due = memory.due.get(what).is_none_or(|at| now.saturating_sub(*at) >= every);
        if due {
            memory.due.insert(what, now);
        }
        due
    }

    /// What goes into the journal's figures.
    pub fn measured(&self, cut: &Cut) -> Measured {
        let memory = self.memory.borrow();
        let sides = self.sides.borrow();
        let digest_to = sides[cut.progress.next_owner() as usize].as_ref().map(|seen| seen.digest.clone());
        let proxies = self.platform.live();
        let held = proxies.cuts.values().filter_map(|cuts| cuts.get(&cut.id)).map(|one| one.hold_micros_last).max();
        drop(proxies);
        Measured {
            traffic: self.traffic(cut),
            in_hold: cut.progress.state.holds().then(|| memory.hold_began.elapsed(self.now()).as_micros() as u64),
            hold_micros_proxies: held,
            rows_copied: memory.rows_copied,
            rows_compared: match memory.verified {
                Some(Verified::Rows(rows)) => rows,
                Some(Verified::Wrong(_)) | None => 0,
            },
            digest_to: digest_to.filter(|digest| !digest.is_empty()),
        }
    }

    /// For whoever asks how it goes.
    pub fn show(&self, cut: &Cut) {
        let route = self.route(cut);
        let memory = self.memory.borrow();
        let now = self.now();
        let version = cut.progress.route.version;
        let slow = version > 0 && !route.acknowledged && memory.entered_at.elapsed(now) > SLOW_ROUTE;
        let slow = slow.then(|| format!("not every load balancer has version {version} of the route in force"));
        let sides = self.sides.borrow();
        let side = |side: Side| sides[side as usize].as_ref();
        let watching = Watching {
            trouble: memory
                .trouble
                .clone()
                .or_else(|| memory.unseen.iter().flatten().next().cloned())
                .or_else(|| self.lag.trouble.borrow().clone())
                .or(slow),
            rows_copied: memory.rows_copied.max(memory.rows[1]),
            lag_ms: self.lag.ms(),
            behind: self.lag.behind.get(),
            calm: self.lag.calm(now).is_some(),
            healthy: self.is_healthy(&cut.part(cut.progress.next_owner()).target_group_arn),
            owner_source: side(Side::Source).map(|seen| seen.owner),
            owner_destination: side(Side::Destination).map(|seen| seen.owner),
            released: side(cut.progress.from).and_then(|seen| seen.released.as_ref()).map(|mark: &Mark| mark.position),
        };
        self.platform.live().watched.insert(cut.id.clone(), watching);
    }
}

fn key(progress: &Progress) -> (State, u64, bool) {
    (progress.state, progress.route.version, progress.stopped.is_some())
}

impl Lag {
    /// For how long, in ms, it has been small.
    fn calm(&self, now: Duration) -> Option<u64> {
        let old = self.old_transaction.get().is_some_and(|ms| ms > OLD_TRANSACTION_MS);
        self.calm_since.get().filter(|_| !old).map(|since| now.saturating_sub(since).as_millis() as u64)
    }

    fn ms(&self) -> u64 {
        self.took.get().as_millis() as u64
    }

    fn words(&self) -> String {
        if let Some(trouble) = self.trouble.borrow().as_ref() {
            return trouble.clone();
        }
        match self.old_transaction.get() {
            Some(ms) if ms > OLD_TRANSACTION_MS => format!("a transaction has been writing for {ms} ms"),
            _ => format!("{} changes behind, {} ms", self.behind.get(), self.ms()),
        }
    }

    /// One round of following.
    pub fn take_in(&self, followed: &Result<Followed, Trouble>) {
        match followed {
            Ok(followed) => {
                *self.trouble.borrow_mut() = None;
                self.took.set(if followed.changes > 0 { followed.took } else { Duration::ZERO });
                self.behind.set(followed.behind);
                // What came while a batch was applied is the next one's; a batch that is not applied soon is lag.
                let now = self.platform.door.clock.monotonic();
                let bound = if now.saturating_sub(self.wanted_since.get()) > WAITED { SLOW_LAG } else { CALM_LAG };
                let calm = followed.took <= bound && followed.behind <= 1000;
                let since = self.calm_since.get().unwrap_or(now);
                self.calm_since.set(calm.then_some(since));
            }
            Err(trouble) => {
                *self.trouble.borrow_mut() = Some(trouble.message.clone());
                self.calm_since.set(None);
            }
        }
    }
}
