//! What is measured of a move.

use quarry_domain::cut::Side;
use quarry_domain::link::{CutReport, ShadowExample};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One move, there or back: its times and counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// `source` or `destination`: who owned the scope before.
    pub from: Option<Side>,
    pub began_ms: i64,
    pub ended_ms: Option<i64>,
    /// Rows copied before the changes were followed.
    pub rows_copied: u64,
    /// Rows of the full comparison before the hold, on both sides.
    pub rows_compared: u64,
    /// From the hold's journal entry to the acknowledgement of the open route by every proxy, in microseconds: the
    /// longest that a write can have waited.
    pub hold_micros: Option<u64>,
    /// What the proxies measured: until the last parked write was let out.
    pub hold_micros_proxies: Option<u64>,
    /// From the demand to the acknowledgement, in milliseconds.
    pub total_ms: Option<i64>,
    /// Holds that were aborted and tried again.
    pub aborted_holds: u32,
    /// `rows:sum` of the old owner's last change, and of the new owner at that change.
    pub digest_from: Option<String>,
    pub digest_to: Option<String>,
    pub position: Option<u64>,
    /// What the proxies counted at the end of this move, since they first saw the cut.
    pub traffic: Traffic,
    /// How long each state lasted in the end, in milliseconds, by its name.
    pub states_ms: BTreeMap<String, i64>,
}

/// The sum of what all proxies report of a cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    pub reads: u64,
    pub writes: u64,
    pub canary_reads: u64,
    pub parked: u64,
    pub parked_most: u64,
    pub in_flight_writes: u64,
    pub fenced_again: u64,
    pub unknown_outcomes: u64,
    pub left_while_parked: u64,
    pub unrepeatable: u64,
    pub shadow: Shadowed,
}

/// The sum of what all proxies compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadowed {
    pub copied: u64,
    pub dropped: u64,
    pub compared: u64,
    pub equal: u64,
    pub different: u64,
    pub noisy: u64,
    pub failed: u64,
    /// Different so far, and asked again until they agree or time is up.
    #[serde(default)]
    pub doubtful: u64,
    /// The newest, at most 10.
    pub examples: Vec<ShadowExample>,
}

impl Traffic {
    pub fn of<'a>(reports: impl Iterator<Item = &'a CutReport>) -> Self {
        let mut sum = Self::default();
        for report in reports {
            sum.reads += report.reads;
            sum.writes += report.writes;
            sum.canary_reads += report.canary_reads;
            sum.parked += report.parked;
            sum.parked_most += report.parked_most;
            sum.in_flight_writes += report.in_flight_writes;
            sum.fenced_again += report.fenced_again;
            sum.unknown_outcomes += report.unknown_outcomes;
            sum.left_while_parked += report.left_while_parked;
            sum.unrepeatable += report.unrepeatable;
            let (all, one) = (&mut sum.shadow, &report.shadow);
            all.copied += one.copied;
            all.dropped += one.dropped;
            all.compared += one.compared;
            all.equal += one.equal;
            all.different += one.different;
            all.noisy += one.noisy;
            all.failed += one.failed;
            all.doubtful += one.doubtful;
            all.examples.extend(one.examples.iter().cloned());
        }
        let most = quarry_domain::link::SHADOW_EXAMPLES;
        let over = sum.shadow.examples.len().saturating_sub(most);
        sum.shadow.examples.drain(..over);
        sum
    }
}

impl Move {
    pub fn begin(from: Side, now_ms: i64) -> Self {
        Self { from: Some(from), began_ms: now_ms, ..Self::default() }
    }
}

/// How a running cut goes, as it is seen now; it is not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// What does not go well at the moment, in words.
    pub trouble: Option<String>,
    pub rows_copied: u64,
    /// How long the last changes took to be applied at the other side.
    pub lag_ms: u64,
    /// Changes that were there and not yet applied.
    pub behind: u64,
    pub calm: bool,
    /// The service that is to take over has a healthy target.
    pub healthy: bool,
    /// What the databases say.
    pub owner_source: Option<bool>,
    pub owner_destination: Option<bool>,
    /// Position of the mark, while a fence has fallen.
    pub released: Option<u64>,
}
