//! One timer per connection: what it is waiting for, and since when.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// What a client's connection is doing; decides what running out of time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between requests: closed silently.
    Idle,
    /// A request's head is incomplete: 408. Bytes that trickle in do not extend it.
    Head,
    /// Waiting for more of a request's body: 408.
    Upload,
    /// A write of a cut on hold, waiting to go on. The hold has a deadline of its own, and what the fence refused
    /// is tried for a limited time: this is beyond both.
    Parked,
    /// Waiting for the target: 504.
    Answer,
    /// An answer is on its way: cut off.
    Streaming,
    /// Bytes in both directions after an upgrade: closed.
    Tunnel,
}

/// Shared by all parts of a connection's work; checked by its one timer.
pub struct Watch {
    last: Cell<Instant>,
    limit: Cell<Duration>,
    phase: Cell<Phase>,
}

const PARKED: Duration = Duration::from_secs(3600);

impl Watch {
    pub fn new(limit: Duration) -> Self {
        Self { last: Cell::new(Instant::now()), limit: Cell::new(limit), phase: Cell::new(Phase::Idle) }
    }

    /// Something moved.
    pub fn touch(&self) -> Instant {
        let now = Instant::now();
        self.last.set(now);
        now
    }

    pub fn set_limit(&self, limit: Duration) {
        self.limit.set(limit);
    }

    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters a phase and starts its time.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.touch();
    }

    /// Changes what is waited for within an exchange; once an answer streams, it streams.
    pub fn wait_for(&self, phase: Phase) {
        if !matches!(self.phase.get(), Phase::Streaming | Phase::Tunnel) {
            self.phase.set(phase);
        }
    }

    /// When something last moved.
    pub fn last(&self) -> Instant {
        self.last.get()
    }

    pub fn deadline(&self) -> Instant {
        let limit = if self.phase.get() == Phase::Parked { PARKED } else { self.limit.get() };
        self.last.get() + limit
    }
}
