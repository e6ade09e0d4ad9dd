//! The cut: moving one scope (path patterns, and the tables behind them) from one service to another under
//! load, and back. A rollback is the same move in the other direction, by the same code.
//!
//! The owner of a scope is what its databases say, never what the route says: each database holds a fence row
//! with an owner flag and an epoch, and a write that finds its database not the owner is refused as "not
//! executed". [`step`] decides purely; whoever drives it journals [`Step::Journal`] before anything is done in
//! the new state, and every [`Action`] may be sent any number of times.

mod findings;
mod plan;
mod scope;
#[cfg(test)]
mod tests;
mod wish;

use serde::{Deserialize, Serialize};

pub use findings::{Facts, Finding, ServiceFacts, Severity, SideFacts, findings};
pub use plan::step;
pub use scope::{BadScope, check_scope, overlaps};
pub use wish::{Refused, Wish, wish};

/// The two services of a cut. Which of them owns the scope changes; their names do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The old service.
    Source,
    /// The new service.
    Destination,
}

/// Where a cut is. Each is journaled before it is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum State {
    /// Feed, fence and keys on both sides; the rule exists.
    Prepare,
    /// Rows are copied.
    Backfill,
    /// Changes flow from the owner to the other side.
    Follow,
    /// Copies of reads go to the new side, answers are compared.
    Shadow,
    /// The balancer parks writes; reads stay where they are.
    Hold,
    /// Writes in flight come to their end.
    Drain,
    /// The owner gives the scope up.
    Fence,
    /// The other side has everything.
    CatchUp,
    /// Decided: forward only from here.
    Switch,
    /// The new owner takes the scope.
    Activate,
    /// The route moves: reads first, then the parked writes.
    Release,
    /// The reverse feed runs; a breach of the service level moves back.
    Watch,
    /// Feed and fences are taken away, the old side's tables retired.
    Finish,
    /// The owner takes the scope again, the route opens again.
    Abort,
    /// The end after `FINISH`.
    Finished,
    /// The end after an `ABORT` that a person asked for.
    Aborted,
}

/// What is behind the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Data {
    /// Nothing, or what both services share.
    None,
    /// Both applications offer the contract: a write that meets the fence is answered "not executed".
    Contract,
    /// Two databases, moved from outside by logical replication. The application cannot say "not executed",
    /// so no write may be in flight when the fence falls.
    Database,
}

/// What does not change during a cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spec {
    pub data: Data,
    /// Percent of reads that are copied while shadowing; `None`: no shadowing.
    pub shadow_percent: Option<u32>,
    /// Percent of reads that the new side answers before the switch; `None`: none.
    pub canary_percent: Option<u32>,
    /// The comparison before the hold may have met no row.
    pub allow_empty: bool,
    pub limits: Limits,
}

/// Deadlines, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    pub drain: u64,
    pub fence: u64,
    pub catch_up: u64,
    /// From the hold's begin; then it aborts, unless the switch is decided.
    pub hold: u64,
    /// So long the lag must have been small before the hold.
    pub calm: u64,
    /// A lag that has not closed after so long aborts.
    pub lag: u64,
    /// So long reads are shadowed at least.
    pub shadow: u64,
    /// And so long the canary gets its share.
    pub canary: u64,
    /// So many holds are tried before a person is asked; before each one that follows an abort, calm lasts longer.
    pub attempts: u32,
}

/// What is journaled of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Progress {
    pub state: State,
    /// Who owned the scope when this move began.
    pub from: Side,
    /// The highest epoch that was ever given to a command.
    pub top: u64,
    pub route: Route,
    /// Where the old owner stopped.
    pub mark: Option<Mark>,
    pub goal: Goal,
    /// Go no further than this state.
    pub until: Option<State>,
    /// It waits for a person.
    pub stopped: Option<Stop>,
    /// Why it aborts, while it does.
    pub reason: Option<Stop>,
    /// Differences found by shadowing were accepted by a person.
    pub accepted: bool,
    /// Holds that were aborted in a row.
    pub attempts: u32,
    /// While it aborts: the owner must take the scope again, since it may have given it up.
    pub taking: bool,
}

/// What the balancer is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Grows with every change.
    pub version: u64,
    /// Goes along with every write; a database of another epoch refuses it.
    pub epoch: u64,
    pub hold: bool,
    pub to: Side,
    pub shadow: bool,
    pub canary: bool,
}

/// The last change of an owner that gave the scope up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    pub position: u64,
    /// Over all rows of the scope and their keys.
    pub digest: String,
}

/// Where a person wants it to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// To the new side.
    Cut,
    /// Back to the old side.
    Rollback,
    /// To its end, on the new side.
    Finish,
    /// To its end, on the old side.
    Abort,
}

/// Why a cut waits or aborts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stop {
    pub code: StopCode,
    /// One sentence for a person.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum StopCode {
    /// `until` is reached.
    Reached,
    /// Something is missing on a side.
    NotReady,
    /// The new side has rows or an owner that it should not have.
    Conflict,
    /// Answers of the two sides differ.
    Differences,
    /// The full comparison met no row.
    NothingCompared,
    /// The full comparison found that a side's digest is not that of its rows.
    DigestWrong,
    /// The lag did not close.
    LagNeverCloses,
    /// The hold took too long.
    HoldTooLong,
    /// More requests had to be parked than may be.
    ParkOverflow,
    /// The two sides are not the same.
    DigestsDiffer,
    /// The service level was breached.
    Breach,
    /// A person asked for it.
    Asked,
    /// The scope is back where it was.
    RolledBack,
}

/// What one side's database says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SideSeen {
    /// Feed, fence and keys are there.
    pub prepared: bool,
    pub owner: bool,
    pub epoch: u64,
    /// Where its own feed ended when it gave the scope up in this epoch.
    pub released: Option<Mark>,
    /// The last change of the other side's feed that it has.
    pub applied: u64,
    /// Of its rows, as of [`applied`](Self::applied).
    pub digest: String,
}

/// What the proxies say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouteSeen {
    /// Every proxy that lives has the route's version in force, and there is one.
    pub acknowledged: bool,
    /// Writes in flight; `None` while a proxy has not said it as of the route's version.
    pub in_flight: Option<u64>,
    /// Those of them that could not be sent again if the fence refused them.
    pub unrepeatable: u64,
    pub overflow: bool,
    /// Some proxy let parked writes go, because the hold lasted too long for it.
    pub expired: bool,
}

/// What shadowing found, in this state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShadowSeen {
    pub compared: u64,
    pub different: u64,
    /// Answers that differ so far and are asked for again.
    pub doubtful: u64,
    /// The newest difference, for the message.
    pub example: String,
}

/// The full comparison of both sides, each with its own rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verified {
    /// Both digests are those of their rows: so many.
    Rows(u64),
    /// In words.
    Wrong(String),
}

/// Everything that is seen at one moment. "Unknown" is never "absent".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    pub source: Option<SideSeen>,
    pub destination: Option<SideSeen>,
    pub route: RouteSeen,
    /// The service that is to take over has healthy targets.
    pub healthy: bool,
    /// All rows are copied.
    pub copied: bool,
    /// For so long, in ms, the lag has been under 100 ms and no transaction old; `None`: it is not.
    pub calm: Option<u64>,
    /// What the lag is made of, for the message.
    pub lag: String,
    pub shadow: ShadowSeen,
    pub verified: Option<Verified>,
    /// How the service level was breached since the switch.
    pub breach: Option<String>,
    /// What keeps a side from being prepared, in words.
    pub missing: Option<String>,
    /// Feeds and fences are taken away on both sides.
    pub retired: bool,
    /// Ms since this state was entered.
    pub in_state: u64,
    /// Ms since the hold began.
    pub in_hold: u64,
}

/// What to do. Each may be done any number of times.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Feed, fence and keys on both sides, this one being the owner.
    Prepare { owner: Side },
    /// Copy rows to the other side.
    Copy { from: Side },
    /// Apply the changes of this side at the other.
    Follow { from: Side },
    /// Compare each side's digest with its rows.
    Verify,
    /// Compare-and-set: gives the scope up.
    GiveUp { side: Side, epoch: u64 },
    /// Compare-and-set: takes the scope; where it takes over from the other side, only at its mark.
    Take { side: Side, epoch: u64, expect: Option<(u64, String)> },
    /// Takes feeds and fences away; what the loser had is retired.
    Retire { owner: Side },
}

/// The planner's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this down, then ask again. `passed`: the states gone through, the last one the new one.
    Journal { next: Box<Progress>, passed: Vec<State>, why: Option<String> },
    /// Nothing to write down: do this, look again, ask again.
    Act(Vec<Action>),
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

impl State {
    /// As the journal and the API show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "PREPARE",
            Self::Backfill => "BACKFILL",
            Self::Follow => "FOLLOW",
            Self::Shadow => "SHADOW",
            Self::Hold => "HOLD",
            Self::Drain => "DRAIN",
            Self::Fence => "FENCE",
            Self::CatchUp => "CATCH-UP",
            Self::Switch => "SWITCH",
            Self::Activate => "ACTIVATE",
            Self::Release => "RELEASE",
            Self::Watch => "WATCH",
            Self::Finish => "FINISH",
            Self::Abort => "ABORT",
            Self::Finished => "FINISHED",
            Self::Aborted => "ABORTED",
        }
    }

    /// No more will happen.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Finished | Self::Aborted)
    }

    /// Writes are parked, or may be: whoever drives must be quick, and no proxy may be replaced.
    pub fn holds(self) -> bool {
        match self {
            Self::Hold
            | Self::Drain
            | Self::Fence
            | Self::CatchUp
            | Self::Switch
            | Self::Activate
            | Self::Release
            | Self::Abort => true,
            Self::Prepare
            | Self::Backfill
            | Self::Follow
            | Self::Shadow
            | Self::Watch
            | Self::Finish
            | Self::Finished
            | Self::Aborted => false,
        }
    }

    /// The switch is decided and the new owner is in force or will be.
    pub fn is_switched(self) -> bool {
        matches!(self, Self::Switch | Self::Activate | Self::Release | Self::Watch | Self::Finish | Self::Finished)
    }

    /// The states a cut with such data goes through, in order, as a plan shows them.
    pub fn path(spec: &Spec) -> Vec<Self> {
        let all = [
            Self::Prepare,
            Self::Backfill,
            Self::Follow,
            Self::Shadow,
            Self::Hold,
            Self::Drain,
            Self::Fence,
            Self::CatchUp,
            Self::Switch,
            Self::Activate,
            Self::Release,
            Self::Watch,
            Self::Finish,
        ];
        let of_data = [Self::Backfill, Self::Follow, Self::Fence, Self::CatchUp, Self::Activate];
        all.into_iter()
            .filter(|state| spec.data != Data::None || !of_data.contains(state))
            .filter(|state| *state != Self::Shadow || spec.shadows())
            .collect()
    }
}

impl Spec {
    /// Whether there is a state `SHADOW`.
    pub fn shadows(&self) -> bool {
        self.shadow_percent.is_some() || self.canary_percent.is_some()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain: 200,
            fence: 200,
            catch_up: 500,
            hold: 1000,
            calm: 500,
            lag: 120_000,
            shadow: 3000,
            canary: 3000,
            attempts: 5,
        }
    }
}

impl Progress {
    /// A cut that begins.
    pub fn new(until: Option<State>) -> Self {
        Self {
            state: State::Prepare,
            from: Side::Source,
            top: 0,
            route: Route { version: 0, epoch: 0, hold: false, to: Side::Source, shadow: false, canary: false },
            mark: None,
            goal: Goal::Cut,
            until,
            stopped: None,
            reason: None,
            accepted: false,
            attempts: 0,
            taking: false,
        }
    }

    /// Who owns the scope, as far as the journal knows: from the decision on the new one.
    pub fn owner(&self) -> Side {
        if self.state.is_switched() { self.next_owner() } else { self.from }
    }

    /// Whom this move goes to.
    pub fn next_owner(&self) -> Side {
        self.from.other()
    }

    /// A rollback is under way.
    pub fn is_back(&self) -> bool {
        self.from == Side::Destination
    }
}

impl Seen {
    pub fn side(&self, side: Side) -> Option<&SideSeen> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Destination => self.destination.as_ref(),
        }
    }
}

impl Stop {
    pub fn new(code: StopCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
