//! Slow start: a target that becomes healthy in a group with others gets a share of requests that grows
//! linearly over the group's slow start duration.
//!
//! As Application Load Balancers have it, a target begins slowly only where the group already has a
//! healthy target that does not; a target that fails its health checks begins anew.

use crate::table::Config;
use crate::target::Target;
use quarry_domain::link::TargetState;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// When each healthy target of groups with slow start began; kept across changes of the table.
#[derive(Default)]
pub struct SlowStart {
    /// By target; `None` for those with their full share from the beginning.
    began: HashMap<u64, Option<Instant>>,
    /// What another proxy knew, until the targets are met here.
    resumed: HashMap<(String, u64), Option<Instant>>,
}

/// For another proxy: target group, registration, and how long ago the target began; `None` for one that has its full
/// share.
pub type Begun = (String, u64, Option<Duration>);

/// A target's way to its full share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    pub began: Instant,
    pub duration: Duration,
}

impl SlowStart {
    /// Takes note of who is healthy now.
    pub fn update(&mut self, config: &Config, state: &dyn Fn(&Target) -> TargetState, now: Instant) {
        let mut before = std::mem::take(&mut self.began);
        if !self.resumed.is_empty() {
            for target in config.groups.iter().flat_map(|group| &group.open) {
                let known = self.resumed.remove(&(target.group_arn.clone(), target.registration));
                before.extend(known.map(|began| (target.uid, began)));
            }
            self.resumed.clear();
        }
        for group in config.groups.iter().filter(|group| !group.slow_start.is_zero()) {
            let healthy = || group.open.iter().filter(|t| state(t) == TargetState::Healthy);
            let at_full_share = |t: u64| match before.get(&t) {
                Some(Some(began)) => now.duration_since(*began) >= group.slow_start,
                Some(None) => true,
                None => false,
            };
            let others_carry = healthy().any(|t| at_full_share(t.uid));
            for target in healthy() {
                let began = before.get(&target.uid).copied().unwrap_or(others_carry.then_some(now));
                self.began.insert(target.uid, began);
            }
        }
    }

    /// What is known of the targets.
    pub fn known(&self, config: &Config, now: Instant) -> Vec<Begun> {
        let open = config.groups.iter().flat_map(|group| &group.open);
        let known = open.filter_map(|target| Some((target, self.began.get(&target.uid)?)));
        known
            .map(|(target, began)| {
                let ago = began.map(|began| now.saturating_duration_since(began));
                (target.group_arn.clone(), target.registration, ago)
            })
            .collect()
    }

    /// The next [`update`](Self::update) goes on from what another proxy knew.
    pub fn resume(&mut self, known: Vec<Begun>, now: Instant) {
        let began = |ago: Option<Duration>| ago.and_then(|ago| now.checked_sub(ago));
        self.resumed = known.into_iter().map(|(arn, n, ago)| ((arn, n), began(ago))).collect();
    }

    /// The way that a target of this group is still on.
    pub fn ramp(&self, target: &Target, duration: Duration, now: Instant) -> Option<Ramp> {
        let began = self.began.get(&target.uid).copied().flatten()?;
        (now.duration_since(began) < duration).then_some(Ramp { began, duration })
    }
}

impl Ramp {
    /// Of a full share of 65,536; never nothing at all, so that a first request can come.
    pub fn share(&self, now: Instant) -> u32 {
        let (gone, whole) = (now.saturating_duration_since(self.began).as_millis(), self.duration.as_millis().max(1));
        ((gone.min(whole) * 65_536 / whole) as u32).max(65)
    }
}
