//! A rule's cut, compiled: what the routing table says of it.

use super::scope::Scope;
use super::shadow::ShadowEntry;
use quarry_domain::snapshot::CutScope;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The cut that owns a rule, as of one snapshot.
pub struct CutEntry {
    pub scope: Arc<Scope>,
    pub version: u64,
    pub epoch: u64,
    /// See [`CutScope::contract`].
    pub contract: bool,
    pub shadow: Option<Arc<ShadowEntry>>,
    canary: Option<Share>,
}

/// A share of reads for a target group, by its index.
struct Share {
    group: usize,
    percent: u8,
}

impl CutEntry {
    pub fn compile(cut: &CutScope, scope: Arc<Scope>, groups: &HashMap<&str, usize>) -> Self {
        let share = |arn: &str, percent| Some(Share { group: *groups.get(arn)?, percent });
        Self {
            scope,
            version: cut.version,
            epoch: cut.epoch,
            contract: cut.contract,
            shadow: cut.shadow.as_ref().map(|shadow| Arc::new(ShadowEntry::compile(shadow))),
            canary: cut.canary.as_ref().and_then(|c| share(&c.target_group_arn, c.percent)),
        }
    }

    /// Counts a request (but not `again`). For a read of the canary's share: its target group. `random` decides;
    /// clients that have just written read where they wrote.
    pub fn begin(
        &self,
        is_read: bool,
        again: bool,
        has_written: impl FnOnce() -> bool,
        random: impl FnOnce() -> u64,
    ) -> Option<usize> {
        let counts = &self.scope.counts;
        if !again {
            let counter = if is_read { &counts.reads } else { &counts.writes };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let canary = self.canary.as_ref().filter(|_| is_read)?;
        if random() % 100 >= u64::from(canary.percent) || has_written() {
            return None;
        }
        counts.canary_reads.fetch_add(1, Ordering::Relaxed);
        Some(canary.group)
    }

    /// Whether clients that write have to be told from others.
    pub fn has_canary(&self) -> bool {
        self.canary.is_some()
    }
}
