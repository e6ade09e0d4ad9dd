//! When a draining target is gone: every connected proxy has a snapshot in force in which it
//! drains and reports nothing in flight for it, or its deregistration delay ran out.

use super::server::Shared;
use crate::api::{Result, internally};
use crate::elbv2::records::{Target, TargetGroup};
use crate::store::tally::Tally;
use crate::store::{Item, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// What the proxies say about one draining target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// Every connected proxy knows that it drains and has nothing in flight for it.
    None,
    /// Some proxy has, or does not know yet.
    Some,
    /// No proxy is connected.
    Unknown,
}

/// Since when, in monotonic time, each draining target was seen to drain.
#[derive(Default)]
pub struct Drainer {
    since: HashMap<String, Duration>,
}

/// The keys of all targets that drain.
#[derive(Default)]
struct Draining(BTreeSet<String>);

impl Tally for Draining {
    type Of = Target;

    fn add(&mut self, target: &Target) {
        if target.draining {
            self.0.insert(target.key());
        }
    }

    fn remove(&mut self, target: &Target) {
        self.0.remove(&target.key());
    }
}

/// The decision: `waited` of `delay` have passed.
pub fn is_gone(in_flight: InFlight, waited: Duration, delay: Duration) -> bool {
    match in_flight {
        InFlight::None => true,
        InFlight::Some | InFlight::Unknown => waited >= delay,
    }
}

impl Drainer {
    /// Removes what is drained. Returns how long until a delay runs out, if anything drains still.
    pub fn once(&mut self, shared: &Shared) -> Result<Option<Duration>> {
        let platform = &shared.platform;
        let now = platform.door.clock.monotonic();
        let all = platform.store.tally(|draining: &Draining| draining.0.clone())?;
        let draining: Vec<(Target, u32)> = platform.store.read(|tx| {
            let mut draining = Vec::new();
            for key in all {
                let found = tx.get::<Target>(&key)?;
                let Some(target) = found.filter(|target| target.draining) else { continue };
                let group: Option<TargetGroup> = tx.get(&target.target_group_arn)?;
                let delay = group.map_or(0, |group| group.attributes.deregistration_delay);
                draining.push((target, delay));
            }
            Ok::<_, StoreError>(draining)
        })?;
        self.since.retain(|key, _| draining.iter().any(|(target, _)| target.key() == *key));
        let (mut gone, mut next) = (Vec::new(), None::<Duration>);
        for (target, delay) in draining {
            let since = *self.since.entry(target.key()).or_insert(now);
            let (waited, delay) = (now.saturating_sub(since), Duration::from_secs(delay.into()));
            let in_flight = shared.in_flight(&target.target_group_arn, target.registration);
            if is_gone(in_flight, waited, delay) {
                gone.push(target);
            } else {
                let left = delay.saturating_sub(waited);
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        if !gone.is_empty() {
            internally(platform, &shared.operations, |ctx| {
                for target in &gone {
                    // It may have been removed meanwhile.
                    ctx.tx.delete::<Target>(&target.key())?;
                }
                Ok(())
            })?;
            platform.seen.signal();
        }
        Ok(next)
    }
}
