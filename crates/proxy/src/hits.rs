//! How often each rule of a load balancer was taken, across snapshots.

use crate::target::get;
use quarry_domain::snapshot::Listener;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One counter per worker, so that counting never contends.
pub type Slots = Arc<[Slot]>;

/// The counter of one worker; only it writes here ([`add`](crate::target::add)).
#[derive(Default)]
#[repr(align(64))]
pub struct Slot(pub AtomicU64);

/// The counters of a load balancer's rules. Workers hold the slots in their tables; only the control thread comes here.
pub struct Hits {
    workers: usize,
    by_arn: Mutex<HashMap<String, Counted>>,
}

struct Counted {
    slots: Slots,
    /// What `serve` was told last.
    told: u64,
}

impl Hits {
    pub fn new(workers: usize) -> Self {
        Self { workers, by_arn: Mutex::default() }
    }

    /// The counters of a rule; of the default rule by its listener's ARN.
    pub fn of(&self, arn: &str) -> Slots {
        let mut all = self.locked();
        if let Some(known) = all.get(arn) {
            return known.slots.clone();
        }
        let slots: Slots = (0..self.workers).map(|_| Slot::default()).collect();
        all.insert(arn.to_owned(), Counted { slots: slots.clone(), told: 0 });
        slots
    }

    /// Forgets rules that no listener has any more.
    pub fn keep(&self, listeners: &[Listener]) {
        let mut all = self.locked();
        let rules: usize = listeners.iter().map(|listener| listener.rules.len() + 1).sum();
        if all.len() > rules {
            let own = listeners.iter().map(|listener| &listener.arn);
            let there: HashSet<&String> =
                own.chain(listeners.iter().flat_map(|l| &l.rules).map(|rule| &rule.arn)).collect();
            all.retain(|arn, _| there.contains(arn));
        }
    }

    /// Adds what was counted since it was told last, or with `all` whatever was ever counted: totals by ARN.
    pub fn tell(&self, all: bool, into: &mut BTreeMap<String, u64>) {
        for (arn, counted) in self.locked().iter_mut() {
            let total = counted.slots.iter().map(|slot| get(&slot.0)).sum();
            if total != counted.told || (all && total > 0) {
                counted.told = total;
                into.insert(arn.clone(), total);
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Counted>> {
        self.by_arn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::add;

    fn told(hits: &Hits, all: bool) -> Vec<(String, u64)> {
        let mut into = BTreeMap::new();
        hits.tell(all, &mut into);
        into.into_iter().collect()
    }

    #[test]
    fn what_was_counted_goes_on_from_table_to_table_and_is_told_once() {
        let hits = Hits::new(2);
        let (users, default) = (hits.of("users"), hits.of("listener"));
        add(&users[0].0, 2);
        add(&users[1].0, 1);
        assert_eq!(told(&hits, false), [("users".to_owned(), 3)]);
        assert!(told(&hits, false).is_empty());
        add(&hits.of("users")[0].0, 1);
        add(&default[0].0, 5);
        assert_eq!(told(&hits, false), [("listener".to_owned(), 5), ("users".to_owned(), 4)]);
        assert_eq!(told(&hits, true), [("listener".to_owned(), 5), ("users".to_owned(), 4)]);
        hits.keep(&[]);
        assert!(told(&hits, true).is_empty());
    }
}
