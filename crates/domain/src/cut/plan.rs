//! The state machine of one move, and of its abort.

use super::{
    Action, Data, Goal, Progress, Route, RouteSeen, Seen, Side, SideSeen, Spec, State, Step, Stop, StopCode, Verified,
};

/// An abort waits so long, in ms, for sides that cannot be cleared up.
const RETIRE_PATIENCE: u64 = 10_000;
/// The balancers know after so long, in ms, whether two answers differ for good.
const DOUBT: u64 = 5_000;
const RELEASED: &str = "reads are on the new side, the parked writes go out";

/// What comes next. Pure: the same journal and the same sight give the same step.
pub fn step(spec: &Spec, progress: &Progress, seen: &Seen) -> Step {
    let plan = Plan { spec, now: progress, seen };
    if let Some(step) = plan.corrected() {
        return step;
    }
    match progress.state {
        State::Prepare => plan.prepare(),
        State::Backfill => plan.backfill(),
        State::Follow => plan.follow(),
        State::Shadow => plan.shadow(),
        State::Hold => plan.hold(),
        State::Drain => plan.drain(),
        State::Fence => plan.fence(),
        State::CatchUp => plan.catch_up(),
        State::Switch | State::Activate => plan.activate(),
        State::Release => plan.release(),
        State::Watch => plan.watch(),
        State::Finish => plan.finish(),
        State::Abort => plan.abort(),
        State::Finished | State::Aborted => Step::Act(Vec::new()),
    }
}

struct Plan<'a> {
    spec: &'a Spec,
    now: &'a Progress,
    seen: &'a Seen,
}

impl Plan<'_> {
    fn loser(&self) -> Option<&SideSeen> {
        self.seen.side(self.now.from)
    }

    fn winner(&self) -> Option<&SideSeen> {
        self.seen.side(self.now.next_owner())
    }

    fn has_data(&self) -> bool {
        self.spec.data != Data::None
    }

    /// A database that has an epoch above every one of the journal: the journal is older than the databases (its
    /// store was put back from a copy). It is corrected forward, never the databases backward.
    fn corrected(&self) -> Option<Step> {
        let (source, destination) = (self.seen.source.as_ref()?, self.seen.destination.as_ref()?);
        if self.now.top == 0 || self.now.state.is_end() {
            return None;
        }
        let (ahead, one, other) = match source.epoch > destination.epoch {
            true => (Side::Source, source, destination),
            false => (Side::Destination, destination, source),
        };
        if one.epoch <= self.now.top || other.owner {
            return None;
        }
        let mut next = self.now.clone();
        next.mark = None;
        next.stopped = None;
        if one.owner {
            next.state = State::Release;
            next.from = ahead.other();
            next.top = one.epoch;
            next.route = self.route(true, ahead, one.epoch);
            let why = format!("the {}'s database says that it is the owner, epoch {}", ahead.name(), one.epoch);
            return Some(journal(next, why));
        }
        next.state = State::Abort;
        next.from = ahead;
        next.top = one.epoch + 1;
        next.taking = true;
        let why = format!("the {} gave the scope up, epoch {}, and nobody took it", ahead.name(), one.epoch);
        next.reason = Some(Stop::new(StopCode::Conflict, why.clone()));
        Some(journal(next, why))
    }

    /// The next route version.
    fn route(&self, hold: bool, to: Side, epoch: u64) -> Route {
        Route { version: self.now.route.version + 1, epoch, hold, to, shadow: false, canary: false }
    }

    fn enter(&self, state: State) -> Progress {
        Progress { state, ..self.now.clone() }
    }

    fn stop(&self, code: StopCode, message: impl Into<String>) -> Step {
        let stop = Stop::new(code, message);
        let why = stop.message.clone();
        Step::Journal {
            next: Box::new(Progress { stopped: Some(stop), ..self.now.clone() }),
            passed: Vec::new(),
            why: Some(why),
        }
    }

    /// Where it goes back to and waits when a hold was aborted.
    fn base(&self) -> State {
        if self.has_data() { State::Follow } else { State::Prepare }
    }

    fn prepare(&self) -> Step {
        if self.now.goal == Goal::Abort {
            return self.start_abort(Stop::new(StopCode::Asked, "a person asked for it"));
        }
        if !self.has_data() {
            if self.now.stopped.is_some() {
                return Step::Act(Vec::new());
            }
            if let Some(step) = self.reached() {
                return step;
            }
            if self.now.route.version == 0 {
                let next = Progress { route: self.route(false, self.now.from, 0), ..self.now.clone() };
                return Step::Journal { next: Box::new(next), passed: Vec::new(), why: None };
            }
            if !self.seen.healthy {
                return Step::Act(Vec::new());
            }
            return self.after_follow();
        }
        let act = vec![Action::Prepare { owner: Side::Source }];
        if let (None, Some(missing)) = (&self.now.stopped, &self.seen.missing) {
            return self.stop(StopCode::NotReady, missing.clone());
        }
        let (Some(old), Some(new)) = (self.loser(), self.winner()) else { return Step::Act(act) };
        if self.now.stopped.is_some() || !old.prepared || !new.prepared {
            return Step::Act(act);
        }
        if new.owner {
            return self.stop(StopCode::Conflict, "the destination's database says that it owns the scope already");
        }
        if !old.owner {
            return self.stop(StopCode::Conflict, "the source's database says that it does not own the scope");
        }
        if let Some(step) = self.reached() {
            return step;
        }
        let mut next = self.enter(State::Backfill);
        next.top = old.epoch.max(new.epoch);
        next.route = self.route(false, self.now.from, old.epoch);
        journal(next, None)
    }

    fn backfill(&self) -> Step {
        if self.now.goal == Goal::Abort {
            return self.start_abort(Stop::new(StopCode::Asked, "a person asked for it"));
        }
        if self.now.stopped.is_some() {
            return Step::Act(Vec::new());
        }
        if !self.seen.copied {
            return Step::Act(vec![Action::Copy { from: self.now.from }]);
        }
        match self.reached() {
            Some(step) => step,
            None => journal(self.enter(State::Follow), None),
        }
    }

    /// Stops where a person wanted it to.
    fn reached(&self) -> Option<Step> {
        let reached = self.now.until.is_some_and(|until| until <= self.now.state);
        reached.then(|| self.stop(StopCode::Reached, format!("{} is reached", self.now.state.name())))
    }

    fn follow(&self) -> Step {
        if self.now.goal == Goal::Abort {
            return self.start_abort(Stop::new(StopCode::Asked, "a person asked for it"));
        }
        let mut act = vec![Action::Follow { from: self.now.from }];
        if self.now.stopped.is_some() {
            return Step::Act(act);
        }
        if let Some(step) = self.reached() {
            return step;
        }
        if let Some(step) = self.not_calm() {
            return step;
        }
        // Clients get their time between two holds.
        let breath = self.spec.limits.calm * u64::from(self.now.attempts);
        if !self.is_calm() || self.seen.in_state < breath {
            return Step::Act(act);
        }
        if !self.now.is_back() {
            match &self.seen.verified {
                None => {
                    act.push(Action::Verify);
                    return Step::Act(act);
                }
                Some(Verified::Wrong(how)) => return self.stop(StopCode::DigestWrong, how.clone()),
                Some(Verified::Rows(0)) if !self.spec.allow_empty => {
                    return self.stop(
                        StopCode::NothingCompared,
                        "the full comparison met no row; say that the tables may be empty if they are",
                    );
                }
                Some(Verified::Rows(_)) => {}
            }
        }
        self.after_follow()
    }

    /// Shadowing where it is wanted, the hold where not.
    fn after_follow(&self) -> Step {
        if self.now.is_back() || !self.spec.shadows() {
            return self.start_hold();
        }
        let mut next = self.enter(State::Shadow);
        next.route = Route { shadow: true, ..self.route(false, self.now.from, self.now.route.epoch) };
        journal(next, None)
    }

    fn is_calm(&self) -> bool {
        self.seen.healthy && self.seen.calm.is_some_and(|calm| calm >= self.spec.limits.calm)
    }

    /// Aborts when the hold's conditions do not come.
    fn not_calm(&self) -> Option<Step> {
        if self.is_calm() || self.seen.in_state <= self.spec.limits.lag {
            return None;
        }
        let message = match self.seen.healthy {
            false => format!("the {} has no healthy target", self.now.next_owner().name()),
            true => format!("the lag did not close: {}", self.seen.lag),
        };
        Some(self.start_abort(Stop::new(StopCode::LagNeverCloses, message)))
    }

    fn shadow(&self) -> Step {
        if self.now.goal == Goal::Abort {
            return self.start_abort(Stop::new(StopCode::Asked, "a person asked for it"));
        }
        let act = match self.has_data() {
            true => vec![Action::Follow { from: self.now.from }],
            false => Vec::new(),
        };
        let found = &self.seen.shadow;
        if self.now.stopped.is_some() {
            return Step::Act(act);
        }
        if let Some(step) = self.reached() {
            return step;
        }
        if found.different > 0 && !self.now.accepted {
            let message = format!("{} of {} answers differ: {}", found.different, found.compared, found.example);
            return self.stop(StopCode::Differences, message);
        }
        let ready = if self.has_data() {
            if let Some(step) = self.not_calm() {
                return step;
            }
            self.is_calm()
        } else {
            self.seen.healthy
        };
        let canary = self.spec.canary_percent.is_some();
        let wanted = if self.now.route.canary { self.spec.limits.canary } else { self.spec.limits.shadow };
        // What began to differ in time is waited for.
        let in_doubt = found.doubtful > 0 && !self.now.accepted && self.seen.in_state < wanted + DOUBT;
        if !ready || !self.seen.route.acknowledged || self.seen.in_state < wanted || in_doubt {
            return Step::Act(act);
        }
        if canary && !self.now.route.canary {
            let route = self.route(false, self.now.from, self.now.route.epoch);
            let next = Progress { route: Route { shadow: true, canary: true, ..route }, ..self.now.clone() };
            return journal(next, "a share of the reads goes to the new side".to_owned());
        }
        self.start_hold()
    }

    fn start_hold(&self) -> Step {
        let mut next = self.enter(State::Hold);
        next.route = self.route(true, self.now.from, self.now.route.epoch);
        next.mark = None;
        journal(next, None)
    }

    /// The new side keeps up while the hold lasts.
    fn keep_up(&self) -> Vec<Action> {
        match self.has_data() {
            true => vec![Action::Follow { from: self.now.from }],
            false => Vec::new(),
        }
    }

    /// Why the hold must end now, if it must.
    fn too_long(&self, limit: u64, what: &str) -> Option<Stop> {
        if self.now.goal == Goal::Abort {
            return Some(Stop::new(StopCode::Asked, "a person asked for it"));
        }
        if self.seen.route.overflow {
            return Some(Stop::new(StopCode::ParkOverflow, "more requests had to be parked than may be"));
        }
        // A machine that was too slow for it once gets longer the next time; never longer than a hold may last.
        let limit = limit.saturating_mul(1 + u64::from(self.now.attempts));
        let late = self.seen.in_state > limit
            || self.seen.in_hold > self.spec.limits.hold
            || (self.seen.route.expired && self.seen.route.acknowledged);
        late.then(|| {
            let name = self.now.state.name();
            Stop::new(StopCode::HoldTooLong, format!("{name} took too long ({} ms): {what}", self.seen.in_hold))
        })
    }

    fn hold(&self) -> Step {
        if let Some(why) = self.too_long(self.spec.limits.hold, "not every proxy acknowledged the hold") {
            return self.start_abort(why);
        }
        if !self.seen.route.acknowledged {
            return Step::Act(self.keep_up());
        }
        if self.is_drained() {
            return self.start_fence(vec![State::Drain]);
        }
        journal(self.enter(State::Drain), None)
    }

    /// Nothing is in flight that the fence would make fail. With the contract what it refuses was not executed, and is sent
    /// again.
    fn is_drained(&self) -> bool {
        let RouteSeen { acknowledged, in_flight, unrepeatable, .. } = &self.seen.route;
        let refusable = self.spec.data == Data::Contract && *unrepeatable == 0;
        *acknowledged && (*in_flight == Some(0) || (refusable && in_flight.is_some()))
    }

    fn drain(&self) -> Step {
        if self.is_drained() && self.now.goal != Goal::Abort && self.seen.in_hold <= self.spec.limits.hold {
            return self.start_fence(Vec::new());
        }
        let limit = match self.spec.data {
            // The fence refuses what is in flight by its epoch: a stuck upload does not lengthen the hold.
            Data::Contract if self.seen.in_state > self.spec.limits.drain && self.seen.route.acknowledged => {
                return match self.too_long(u64::MAX, "writes were in flight") {
                    None => self.start_fence(Vec::new()),
                    Some(why) => self.start_abort(why),
                };
            }
            Data::Database => self.spec.limits.drain,
            Data::Contract | Data::None => self.spec.limits.hold,
        };
        match self.too_long(limit, "writes were in flight that cannot be refused") {
            Some(why) => self.start_abort(why),
            None => Step::Act(self.keep_up()),
        }
    }

    /// Everything is drained, or need not be.
    fn start_fence(&self, mut passed: Vec<State>) -> Step {
        if !self.has_data() {
            let mut next = self.enter(State::Release);
            next.route = self.route(true, self.now.next_owner(), self.now.route.epoch);
            passed.extend([State::Switch, State::Release]);
            return Step::Journal { next: Box::new(next), passed, why: None };
        }
        let mut next = self.enter(State::Fence);
        next.top = self.now.top + 1;
        passed.push(State::Fence);
        Step::Journal { next: Box::new(next), passed, why: None }
    }

    fn fence(&self) -> Step {
        let given_up = |old: &&SideSeen| !old.owner && old.epoch == self.now.top && old.released.is_some();
        let given_up = self.loser().filter(given_up);
        // What came late has come: to go on ends the hold sooner than to give it up.
        let limit = if given_up.is_some() { u64::MAX } else { self.spec.limits.fence };
        if let Some(why) = self.too_long(limit, "the owner did not give the scope up") {
            return self.start_abort(why);
        }
        let act = || {
            let mut act = vec![Action::GiveUp { side: self.now.from, epoch: self.now.top }];
            act.extend(self.keep_up());
            Step::Act(act)
        };
        let Some(old) = given_up else { return act() };
        let mut next = self.enter(State::CatchUp);
        next.mark = old.released.clone();
        // Often everything is there already: then this is one entry with the decision.
        let caught_up = Plan { now: &next, ..*self }.has_caught_up();
        match caught_up {
            true => Plan { now: &next, ..*self }.start_activate(vec![State::CatchUp]),
            false => journal(next, None),
        }
    }

    /// The new side has all that the old one had, and the same.
    fn has_caught_up(&self) -> bool {
        let (Some(mark), Some(new)) = (&self.now.mark, self.winner()) else { return false };
        !new.owner && new.applied >= mark.position && new.digest == mark.digest
    }

    fn catch_up(&self) -> Step {
        let limit = if self.has_caught_up() { u64::MAX } else { self.spec.limits.catch_up };
        if let Some(why) = self.too_long(limit, "the new side did not catch up") {
            return self.start_abort(why);
        }
        if self.has_caught_up() {
            return self.start_activate(Vec::new());
        }
        match (&self.now.mark, self.winner()) {
            (Some(mark), Some(new)) if new.applied >= mark.position && new.digest != mark.digest => {
                let message = format!(
                    "at change {} the digests differ: {} on the old side, {} on the new one",
                    mark.position, mark.digest, new.digest
                );
                self.start_abort(Stop::new(StopCode::DigestsDiffer, message))
            }
            _ => Step::Act(self.keep_up()),
        }
    }

    /// The decision and what follows from it are one entry: forward only from here. The new side has every row and no write is
    /// let out, so reads may go there while it takes the scope.
    fn start_activate(&self, mut passed: Vec<State>) -> Step {
        let mut next = self.enter(State::Activate);
        next.top = self.now.top + 1;
        next.route = self.route(true, self.now.next_owner(), next.top);
        passed.extend([State::Switch, State::Activate]);
        Step::Journal { next: Box::new(next), passed, why: None }
    }

    fn activate(&self) -> Step {
        let to = self.now.next_owner();
        if !self.winner().is_some_and(|new| new.owner && new.epoch == self.now.top) {
            let expect = self.now.mark.as_ref().map(|mark| (mark.position, mark.digest.clone()));
            return Step::Act(vec![Action::Take { side: to, epoch: self.now.top, expect }]);
        }
        let mut next = self.enter(State::Release);
        if (self.now.route.to, self.now.route.epoch) != (to, self.now.top) {
            next.route = self.route(true, to, self.now.top);
            return journal(next, None);
        }
        if !self.seen.route.acknowledged {
            return Step::Act(Vec::new());
        }
        next.route = self.route(false, to, self.now.top);
        journal(next, RELEASED.to_owned())
    }

    /// Reads first, then the parked writes.
    fn release(&self) -> Step {
        if !self.seen.route.acknowledged {
            return Step::Act(Vec::new());
        }
        let to = self.now.next_owner();
        if self.now.route.hold {
            let next = Progress { route: self.route(false, to, self.now.route.epoch), ..self.now.clone() };
            return journal(next, RELEASED.to_owned());
        }
        let mut next = self.enter(State::Watch);
        next.attempts = 0;
        next.mark = None;
        next.stopped = None;
        if self.now.is_back() {
            next.state = self.base();
            next.from = Side::Source;
            next.goal = Goal::Cut;
            next.until = None;
            let why = self.now.reason.as_ref().map_or(String::new(), |why| format!(": {}", why.message));
            next.stopped = Some(Stop::new(StopCode::RolledBack, format!("the scope is back on the source{why}")));
            next.reason = None;
            return journal(next, "rolled back".to_owned());
        }
        next.goal = if self.now.goal == Goal::Finish { Goal::Finish } else { Goal::Cut };
        journal(next, None)
    }

    fn watch(&self) -> Step {
        let back = |why: Stop| {
            let mut next = self.enter(self.base());
            next.from = Side::Destination;
            next.goal = Goal::Rollback;
            next.until = None;
            next.stopped = None;
            next.attempts = 0;
            let message = why.message.clone();
            next.reason = Some(why);
            if !self.has_data() {
                // There is nothing to follow.
                return Plan { now: &next, ..*self }.start_hold();
            }
            journal(next, message)
        };
        match self.now.goal {
            Goal::Rollback => return back(Stop::new(StopCode::Asked, "a person asked for it")),
            Goal::Finish => return journal(self.enter(State::Finish), "a person asked for it".to_owned()),
            Goal::Cut | Goal::Abort => {}
        }
        if let (Some(breach), None) = (&self.seen.breach, &self.now.stopped) {
            return back(Stop::new(StopCode::Breach, breach.clone()));
        }
        Step::Act(match self.has_data() {
            true => vec![Action::Follow { from: Side::Destination }],
            false => Vec::new(),
        })
    }

    fn finish(&self) -> Step {
        if !self.has_data() || self.seen.retired {
            return journal(self.enter(State::Finished), None);
        }
        Step::Act(vec![Action::Retire { owner: Side::Destination }])
    }

    fn start_abort(&self, why: Stop) -> Step {
        let mut next = self.enter(State::Abort);
        // A fence command may be under way, also one that was never answered.
        next.taking = matches!(self.now.state, State::Fence | State::CatchUp);
        if next.taking {
            next.top = self.now.top + 1;
        } else if self.now.route.version > 0 {
            next.route = self.route(false, self.now.from, self.now.route.epoch);
        }
        next.attempts += u32::from(self.now.state.holds());
        next.stopped = None;
        next.mark = None;
        let message = why.message.clone();
        next.reason = Some(why);
        journal(next, message)
    }

    fn abort(&self) -> Step {
        let from = self.now.from;
        if self.now.taking {
            if self.loser().is_some_and(|old| old.owner && old.epoch == self.now.top) {
                let route = self.route(false, from, self.now.top);
                let next = Progress { route, taking: false, ..self.now.clone() };
                return journal(next, "the owner has the scope again".to_owned());
            }
            return Step::Act(vec![Action::Take { side: from, epoch: self.now.top, expect: None }]);
        }
        if self.now.route.version > 0 && !self.seen.route.acknowledged {
            return Step::Act(Vec::new());
        }
        // Feeds and copies are taken away, as far as the sides can be reached soon.
        let ends = self.now.goal == Goal::Abort && !self.now.is_back() && self.has_data() && self.now.top > 0;
        if ends && !self.seen.retired && self.seen.in_state <= RETIRE_PATIENCE {
            return Step::Act(vec![Action::Retire { owner: from }]);
        }
        let why = self.now.reason.clone().unwrap_or_else(|| Stop::new(StopCode::Asked, "it was aborted"));
        let again = matches!(why.code, StopCode::HoldTooLong | StopCode::ParkOverflow)
            && self.now.goal != Goal::Abort
            && self.now.attempts < self.spec.limits.attempts;
        let mut next = self.enter(self.base());
        match (again, self.now.is_back(), self.now.goal) {
            (true, _, _) => {}
            (false, true, _) => {
                // The rollback did not come to pass: the new side is the owner still.
                next.state = State::Watch;
                next.from = Side::Source;
                next.goal = Goal::Cut;
                next.attempts = 0;
                next.stopped = Some(why);
                next.reason = None;
            }
            (false, false, Goal::Abort) => next.state = State::Aborted,
            (false, false, Goal::Cut | Goal::Rollback | Goal::Finish) => {
                next.attempts = 0;
                next.stopped = Some(why);
                next.reason = None;
            }
        }
        journal(next, None)
    }
}

fn journal(next: Progress, why: impl Into<Option<String>>) -> Step {
    Step::Journal { passed: vec![next.state], next: Box::new(next), why: why.into() }
}
