//! Brings tasks and services to what is stored of them: decides by [`step`] and by the service
//! scheduler of `quarry-domain`, and carries out through the store, the runtime and the target groups.
//!
//! Each pass starts from stored and seen state alone and can run twice. Launching and removing, which
//! take milliseconds, are done by a few threads beside it and never inside a transaction.

pub(crate) mod capacity;
mod deployment;
mod dirty;
mod execution_role;
mod hook;
pub(crate) mod jobs;
mod launch;
mod outcome;
mod secrets;
mod service;
mod step;
pub mod storage;
mod task;
mod verdict;

#[cfg(test)]
pub(crate) use verdict::SETTLED;

use crate::api::{Operations, Result, internally};
use crate::platform::Platform;
use crate::wake::{Wake, Woken};
use dirty::Dirty;
use jobs::Jobs;
use quarry_domain::task::TaskId;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long the reconciler sleeps when nobody wakes it and nothing is due.
const IDLE: Duration = Duration::from_secs(5);

/// Added to the clock, so that what was long ago when this process began has a time, too.
const EPOCH: Duration = Duration::from_secs(1 << 32);

/// A pass costs about so much for each task that is on its way: it rests for as long, at most [`LONGEST_REST`], so that
/// what many tasks do meanwhile is looked at together. One task alone waits for nothing.
const REST: Duration = Duration::from_micros(100);
const LONGEST_REST: Duration = Duration::from_millis(20);

/// Rounds of one pass in which one decision may lead to the next.
const ROUNDS: u32 = 8;

/// Runs until the platform's wakes are stopped. Blocks.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    let kick = Wake::default();
    std::thread::scope(|scope| {
        for source in [&platform.store.changed, &platform.seen] {
            let kick = kick.clone();
            scope.spawn(move || {
                let mut level = source.level();
                loop {
                    match source.wait(&mut level, IDLE) {
                        Woken::Signal => kick.signal(),
                        Woken::Timer => {}
                        Woken::Stop => return kick.stop(),
                    }
                }
            });
        }
        let jobs = Jobs::threads(platform.clone(), operations.clone(), kick.clone());
        let mut reconciler = Reconciler::new(platform.clone(), operations.clone(), jobs);
        let mut level = kick.level();
        loop {
            let due = reconciler.pass();
            let others = u32::try_from(reconciler.dirty.tasks.len()).unwrap_or(u32::MAX).saturating_sub(1);
            std::thread::sleep(REST.saturating_mul(others).min(LONGEST_REST));
            if kick.wait(&mut level, due.unwrap_or(IDLE).min(IDLE)) == Woken::Stop {
                break;
            }
        }
        // The forwarding threads end when both wakes are stopped.
        platform.store.stop();
        platform.seen.stop();
    });
}

/// What is kept between passes. All of it can be lost: it is found again from what is stored and seen.
pub(crate) struct Reconciler {
    platform: Arc<Platform>,
    operations: Arc<Operations>,
    jobs: Jobs,
    /// When SIGTERM was sent to a task (monotonic), and whether SIGKILL was.
    terminated: HashMap<TaskId, (Duration, bool)>,
    /// When a task was first seen running (monotonic).
    running_since: HashMap<TaskId, Duration>,
    /// Tasks that were healthy at some time. Stored with the next change of their service.
    was_healthy: HashSet<TaskId>,
    /// Tasks whose bad health was announced.
    announced_unhealthy: HashSet<TaskId>,
    /// By deployment: the failures counted and since when (monotonic) its delay runs.
    throttled_since: HashMap<String, (u32, Duration)>,
    /// When a task that was in a service registry was first seen to be stopped (monotonic).
    left_since: HashMap<TaskId, Duration>,
    /// Lifecycle hooks that are being asked.
    hooks: hook::Hooks,
    /// What was left in service registries by a run before was looked for.
    swept: bool,
    /// What is to be looked at.
    dirty: Dirty,
    /// How many tasks and services were looked at.
    #[cfg(test)]
    pub looked: (usize, usize),
    /// When tasks that stopped long ago were last let go (monotonic).
    forgot_old: Option<Duration>,
    /// When something is to be looked at again (monotonic).
    due: Option<Duration>,
}

impl Reconciler {
    pub fn new(platform: Arc<Platform>, operations: Arc<Operations>, jobs: Jobs) -> Self {
        Self {
            dirty: Dirty::new(&platform),
            forgot_old: None,
            #[cfg(test)]
            looked: (0, 0),
            platform,
            operations,
            hooks: hook::Hooks::new(jobs.is_inline()),
            jobs,
            terminated: HashMap::new(),
            running_since: HashMap::new(),
            was_healthy: HashSet::new(),
            announced_unhealthy: HashSet::new(),
            throttled_since: HashMap::new(),
            left_since: HashMap::new(),
            swept: false,
            due: None,
        }
    }

    /// Does everything that can be done now. Returns how long until something is due.
    pub fn pass(&mut self) -> Option<Duration> {
        self.due = None;
        let now = self.now();
        let mut begun = self.sweep().and_then(|()| Ok(self.dirty.begin(&self.platform, now)?));
        for _ in 0..ROUNDS {
            let moved = std::mem::replace(&mut begun, Ok(())).and_then(|()| Ok(self.tasks()? | self.services()?));
            match moved {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "reconciling tasks and services failed; it is tried again");
                    self.look_again_in(Duration::from_secs(1));
                    break;
                }
            }
        }
        let due = self.due.iter().chain(self.dirty.due.values()).min();
        due.map(|due| due.saturating_sub(self.now()))
    }

    /// Once: a task registers and leaves together with its own change, so nothing strays later.
    fn sweep(&mut self) -> Result<()> {
        if !self.swept {
            self.transact(|ctx| super::registries::remove_strays(ctx))?;
            self.swept = true;
        }
        Ok(())
    }

    /// Monotonic.
    fn now(&self) -> Duration {
        EPOCH + self.platform.door.clock.monotonic()
    }

    /// The monotonic time of what was stored with a time of the day: clocks go on over a restart.
    fn then(&self, at_ms: i64) -> Duration {
        let ago = u64::try_from(self.platform.now_ms() - at_ms).unwrap_or(0);
        self.now().saturating_sub(Duration::from_millis(ago))
    }

    fn look_again_in(&mut self, delay: Duration) {
        self.look_again_at(self.now() + delay);
    }

    fn look_again_at(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn transact<T>(&self, f: impl FnOnce(&mut crate::api::Ctx<'_>) -> Result<T>) -> Result<T> {
        internally(&self.platform, &self.operations, f)
    }
}
