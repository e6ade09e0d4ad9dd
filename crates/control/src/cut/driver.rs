//! The thread that carries cuts out: one task per cut on a runtime of its own. It has no choices: it asks the planner,
//! writes down what it says, does what it says, and looks again.

use super::eyes::Eyes;
use super::journal;
use super::pair::{Fate, Later, Pair, Trouble};
use super::pairs;
use super::records::Cut;
use crate::api::{Operations, internally};
use crate::platform::Platform;
use crate::store::StoreError;
use crate::wake::{Wake, Woken};
use quarry_domain::cut::{Action, Goal, Side, SideSeen, State, Step, step};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

/// Looked at again after so long where no signal comes: in the hold, and else.
const HASTE: Duration = Duration::from_millis(5);
const REST: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 200 });
/// A side's state is asked for again after this.
const GLANCE: Duration = Duration::from_secs(2);
/// How long a side holds a question back that it has no change for.
const POLL: Duration = Duration::from_millis(500);

/// Makes the two sides of a cut; tests have their own.
pub type Pairs = dyn Fn(&Arc<Platform>, &Cut) -> Result<Option<Rc<dyn Pair>>, Trouble> + Send + Sync;

/// Until the platform stops.
pub fn run(platform: Arc<Platform>, operations: Arc<Operations>) {
    run_with(&platform, &operations, &pairs::of);
}

/// With other sides.
pub fn run_with(platform: &Arc<Platform>, operations: &Arc<Operations>, pairs: &'static Pairs) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cuts are not carried out: {error}");
            return;
        }
    };
    let (told, wake) = watch::channel(Told::default());
    let told = Arc::new(told);
    std::thread::scope(|scope| {
        for source in [&platform.seen, &platform.store.routes, &platform.cuts] {
            let told = told.clone();
            scope.spawn(move || pass_on(source, &told));
        }
        LocalSet::new().block_on(&runtime, supervise(platform.clone(), operations.clone(), pairs, wake));
        platform.cuts.stop();
    });
    runtime.shutdown_background();
}

/// What the signals of other threads come to.
#[derive(Clone, Copy, Default)]
pub struct Told {
    pub level: u64,
    pub stop: bool,
}

fn pass_on(source: &Wake, told: &watch::Sender<Told>) {
    let mut level = 0;
    loop {
        let woken = source.wait(&mut level, Duration::from_secs(3600));
        told.send_modify(|told| {
            told.level += 1;
            told.stop |= woken == Woken::Stop;
        });
        if woken == Woken::Stop {
            return;
        }
    }
}

/// A task for each cut that has not ended.
pub async fn supervise(
    platform: Arc<Platform>,
    operations: Arc<Operations>,
    pairs: &'static Pairs,
    mut wake: watch::Receiver<Told>,
) {
    let mut tasks = Tasks::default();
    while !wake.borrow_and_update().stop {
        tasks.0.retain(|_, task| !task.is_finished());
        match platform.store.read(super::rule::running) {
            Ok(cuts) => {
                for cut in cuts {
                    let driver = Driver {
                        platform: platform.clone(),
                        operations: operations.clone(),
                        pairs,
                        wake: wake.clone(),
                    };
                    let id = cut.id.clone();
                    tasks.0.entry(cut.id).or_insert_with(|| tokio::task::spawn_local(driver.drive(id)));
                }
            }
            Err(error) => tracing::error!("the cuts cannot be read: {error}"),
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), wake.changed()).await;
    }
}

/// Ended with whoever supervises them.
#[derive(Default)]
struct Tasks(HashMap<String, JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

struct Driver {
    platform: Arc<Platform>,
    operations: Arc<Operations>,
    pairs: &'static Pairs,
    wake: watch::Receiver<Told>,
}

impl Driver {
    async fn drive(mut self, id: String) {
        let mut eyes: Option<Eyes> = None;
        let mut follower = Follower::default();
        loop {
            if self.wake.borrow_and_update().stop {
                return;
            }
            let cut = match self.platform.store.read(|tx| tx.get::<Cut>(&id)) {
                Ok(Some(cut)) if !cut.has_ended() => cut,
                Ok(_) => {
                    self.platform.live().watched.remove(&id);
                    return;
                }
                Err::<_, StoreError>(error) => {
                    tracing::error!(cut = id, "the journal cannot be read: {error}");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            if eyes.is_none() {
                match (self.pairs)(&self.platform, &cut) {
                    Ok(pair) => eyes = Some(Eyes::new(self.platform.clone(), &cut, pair)),
                    Err(trouble) => {
                        self.platform.live().watched.entry(id.clone()).or_default().trouble = Some(trouble.message);
                        tokio::time::sleep(REST).await;
                        continue;
                    }
                }
            }
            let Some(eyes) = &eyes else { continue };
            let moved = self.turn(&cut, eyes, &mut follower).await;
            eyes.show(&cut);
            if moved {
                continue;
            }
            let hasty = cut.progress.state.holds() || cut.progress.goal == Goal::Rollback;
            let rest = if hasty { HASTE } else { REST };
            tokio::select! {
                _ = self.wake.changed() => {}
                () = eyes.news.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// One step; whether something came of it, so that the next follows at once.
    async fn turn(&self, cut: &Cut, eyes: &Eyes, follower: &mut Follower) -> bool {
        let progress = &cut.progress;
        eyes.enter(cut);
        if eyes.wants_look(progress, GLANCE) {
            for side in [Side::Source, Side::Destination] {
                eyes.look(side).await;
            }
        }
        let seen = eyes.seen(cut);
        match step(&cut.spec, progress, &seen) {
            Step::Journal { next, passed, why } => {
                let began = *next != *progress && next.state == State::Hold;
                let state = next.state;
                let measured = eyes.measured(cut);
                if began {
                    eyes.hold_begins();
                }
                let written = internally(&self.platform, &self.operations, |ctx| {
                    journal::write(ctx, cut, *next, &passed, why.clone(), &measured)
                });
                match written {
                    Ok(written) => {
                        let names: Vec<_> = passed.iter().map(|state| state.name()).collect();
                        tracing::info!(cut = cut.id, written, why, "{}", names.join(" "));
                        if written && state.is_end() {
                            follower.stop();
                        }
                        true
                    }
                    Err(error) => {
                        // A full disk, say: nothing was changed, and nothing is done before it is written down.
                        eyes.trouble(format!("the journal cannot be written: {error}"));
                        tokio::time::sleep(HASTE).await;
                        false
                    }
                }
            }
            Step::Act(actions) => {
                match progress.state {
                    // Here it is done in turn with the fence's commands: two that read one log only wait for each other.
                    State::Fence | State::CatchUp => follower.end(eyes).await,
                    _ => follower.want(eyes, &actions),
                }
                let mut moved = false;
                for action in actions {
                    moved |= self.act(cut, eyes, action).await;
                }
                moved
            }
        }
    }

    /// Whether the sight changed by it.
    async fn act(&self, cut: &Cut, eyes: &Eyes, action: Action) -> bool {
        let Some(pair) = eyes.pair.clone() else { return false };
        let state = cut.progress.state;
        match action {
            Action::Prepare { owner } => {
                if !eyes.is_due("prepare", REST) {
                    return false;
                }
                let Some(found) = eyes.told(pair.prepare(owner).await) else { return false };
                let found = found.into_iter().map(|(side, what)| format!("{}: {what}", side.name()));
                let found: Vec<_> = found.collect();
                eyes.missing((!found.is_empty()).then(|| found.join("; ")));
                for side in [Side::Source, Side::Destination] {
                    eyes.look(side).await;
                }
                true
            }
            Action::Copy { from } => match eyes.told(pair.copy(from).await) {
                Some(copied) => {
                    eyes.copied(copied);
                    true
                }
                None => false,
            },
            // A task of its own does it; once the fence is closed it is done here, so that nothing waits for a poll.
            Action::Follow { from } => match state {
                State::Fence | State::CatchUp => eyes.follow_now(from, &pair).await,
                _ => false,
            },
            Action::Verify => match eyes.told(pair.verify(cut.progress.from).await) {
                Some(verified) => {
                    eyes.verified(verified);
                    true
                }
                None => false,
            },
            Action::GiveUp { side, epoch } => eyes.fenced(side, pair.give_up(side, epoch)).await,
            Action::Take { side, epoch, expect } => eyes.fenced(side, pair.take(side, epoch, expect)).await,
            Action::Retire { owner } => {
                let fate = if owner == Side::Source { Fate::Clear } else { cut.fate };
                match eyes.told(pair.retire(owner, fate).await) {
                    Some(()) => {
                        eyes.retired();
                        true
                    }
                    None => false,
                }
            }
        }
    }
}

/// The task that carries changes from the owner to the other side.
#[derive(Default)]
struct Follower {
    running: Option<(Side, JoinHandle<()>)>,
}

impl Follower {
    fn want(&mut self, eyes: &Eyes, actions: &[Action]) {
        let wanted = actions.iter().find_map(|action| match action {
            Action::Follow { from } => Some(*from),
            _ => None,
        });
        let runs = self.running.as_ref().filter(|(_, task)| !task.is_finished()).map(|(from, _)| *from);
        if wanted == runs {
            return;
        }
        self.stop();
        if let (Some(from), Some(pair)) = (wanted, eyes.pair.clone()) {
            let lag = eyes.lag.clone();
            let (news, sides) = (eyes.news.clone(), eyes.sides.clone());
            let task = tokio::task::spawn_local(async move {
                loop {
                    let followed = pair.follow(from, POLL).await;
                    let trouble = followed.is_err();
                    lag.take_in(&followed);
                    if let Ok(followed) = followed {
                        let mut sides = sides.borrow_mut();
                        if let Some(seen) = &mut sides[from.other() as usize] {
                            seen.applied = seen.applied.max(followed.applied);
                            if followed.applied == seen.applied {
                                seen.digest = followed.digest;
                            }
                        }
                        drop(sides);
                        news.notify_one();
                    }
                    if trouble {
                        tokio::time::sleep(REST).await;
                    }
                }
            });
            self.running = Some((from, task));
        }
    }

    /// Stops between two batches.
    async fn end(&mut self, eyes: &Eyes) {
        if let (Some(_), Some(pair)) = (&self.running, &eyes.pair) {
            let _ = pair.settle().await;
            self.stop();
        }
    }

    fn stop(&mut self) {
        if let Some((_, task)) = self.running.take() {
            task.abort();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Eyes {
    /// The answer of a fence command is what is seen of the side from then on.
    async fn fenced(&self, side: Side, command: Later<'_, super::pair::Fenced>) -> bool {
        match command.await {
            Ok(fenced) => {
                self.no_trouble();
                let mut sides = self.sides.borrow_mut();
                let seen = sides[side as usize].get_or_insert_with(SideSeen::default);
                (seen.owner, seen.epoch, seen.released) = (fenced.owner, fenced.epoch, fenced.released);
                true
            }
            Err(trouble) => {
                self.trouble(trouble.message.clone());
                // Perhaps it was done and the answer was lost.
                self.look(side).await;
                false
            }
        }
    }
}
