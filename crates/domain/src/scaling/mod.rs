//! Autoscaling: what an alarm's breach means for a capacity. Pure, under given time. Rules: AWS's
//! guide to Application Auto Scaling, "Target tracking scaling policies", "Step scaling policies"
//! and "How multiple policies work together".

pub mod schedule;

#[cfg(test)]
mod tests;

use crate::door::UnixMillis;
use serde::{Deserialize, Serialize};

/// What is to be decided on, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation<'a> {
    pub now_ms: UnixMillis,
    /// What is wanted at present, such as a service's desired count.
    pub capacity: u32,
    pub min: u32,
    pub max: u32,
    pub suspended: Suspended,
    pub history: &'a History,
    /// One for each policy, with what its alarms say.
    pub signals: &'a [Signal],
}

/// `SuspendedState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    pub scale_in: bool,
    pub scale_out: bool,
    pub scheduled: bool,
}

/// The last scaling in each direction, while its cooldown matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub out: Option<Event>,
    pub inward: Option<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The capacity before it.
    pub from: u32,
    /// When its cooldown ends.
    pub until_ms: UnixMillis,
}

/// A policy and what its alarms say.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    Tracking {
        policy: Tracking,
        /// The metric's value, if the alarm for too high is in ALARM.
        high: Option<f64>,
        /// The metric's value, if the alarm for low enough is in ALARM.
        low: Option<f64>,
    },
    Step {
        policy: Step,
        /// By how much the metric is above (or below) the threshold, for each alarm in ALARM.
        breaches: Vec<f64>,
    },
}

/// A target tracking policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracking {
    pub target: f64,
    pub disable_scale_in: bool,
    pub scale_out_cooldown_ms: i64,
    pub scale_in_cooldown_ms: i64,
}

/// A step scaling policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub adjustment: Adjustment,
    /// Least change of a [`Adjustment::PercentChange`].
    pub min_magnitude: u32,
    pub cooldown_ms: i64,
    pub steps: Vec<Interval>,
}

/// `AdjustmentType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    Change,
    Exact,
    PercentChange,
}

/// A step: the adjustment for breaches between two bounds, which are relative to the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    pub adjustment: i32,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// No policy asks for anything, or a cooldown holds it.
    Nothing,
    /// Set the capacity because of the policy at this index.
    Scale { to: u32, policy: usize, cooldown_ms: i64 },
    /// The policy at this index asks for more or less, and may not have it.
    Held { policy: usize, reason: Held },
}

/// Codes of AWS's not scaled reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    AlreadyAtMaxCapacity,
    AlreadyAtMinCapacity,
}

/// The alarm for low enough lies this much below the target.
pub const LOW: f64 = 0.9;
/// Datapoints, of a minute each, in the alarm for too high.
pub const HIGH_PERIODS: u32 = 3;
/// Datapoints, of a minute each, in the alarm for low enough.
pub const LOW_PERIODS: u32 = 15;
/// Cooldown of a target tracking policy of an ECS service where none is set, in seconds.
pub const DEFAULT_COOLDOWN: i32 = 300;

/// What is to be done in a situation.
///
/// Out: the policy that asks for most decides, at once; while a scale-out cools down, what it added
/// counts as part of what the next one asks for, so that only more than that is added. In: target
/// tracking policies only when all of them that may scale in agree, and no policy scales out; of all
/// that ask, the one that leaves most decides; not while a scale-in cools down.
pub fn plan(situation: &Situation<'_>) -> Decision {
    let out = outward(situation);
    if out != Decision::Nothing {
        return out;
    }
    inward(situation)
}

fn outward(s: &Situation<'_>) -> Decision {
    let cooling = s.history.out.as_ref().filter(|event| event.until_ms > s.now_ms);
    let base = cooling.map_or(s.capacity, |event| event.from.min(s.capacity));
    let wanted = s.signals.iter().enumerate().filter_map(|(index, signal)| {
        let (to, cooldown_ms) = match signal {
            Signal::Tracking { policy, high, .. } => {
                (policy.proportional(base, (*high)?), policy.scale_out_cooldown_ms)
            }
            Signal::Step { policy, breaches } => {
                let to = breaches.iter().filter_map(|breach| policy.adjust(base, *breach)).max()?;
                (to, policy.cooldown_ms)
            }
        };
        (to > base).then_some((to, index, cooldown_ms))
    });
    let Some((to, policy, cooldown_ms)) = wanted.max_by_key(|(to, index, _)| (*to, std::cmp::Reverse(*index))) else {
        return Decision::Nothing;
    };
    if s.suspended.scale_out {
        return Decision::Nothing;
    }
    match to.min(s.max) {
        to if to > s.capacity => Decision::Scale { to, policy, cooldown_ms },
        _ if s.capacity >= s.max => Decision::Held { policy, reason: Held::AlreadyAtMaxCapacity },
        _ => Decision::Nothing,
    }
}

fn inward(s: &Situation<'_>) -> Decision {
    let too_high = |signal: &Signal| matches!(signal, Signal::Tracking { high: Some(_), .. });
    let disagrees = |signal: &Signal| match signal {
        Signal::Tracking { policy, low, .. } => !policy.disable_scale_in && low.is_none(),
        Signal::Step { .. } => false,
    };
    let agreed = !s.signals.iter().any(disagrees);
    let any_high = s.signals.iter().any(too_high);
    let wanted = s.signals.iter().enumerate().filter_map(|(index, signal)| {
        let (to, cooldown_ms) = match signal {
            Signal::Tracking { policy, .. } if policy.disable_scale_in || !agreed => return None,
            Signal::Tracking { policy, low, .. } => {
                (policy.proportional(s.capacity, (*low)?), policy.scale_in_cooldown_ms)
            }
            Signal::Step { policy, breaches } => {
                let adjusted = breaches.iter().filter_map(|breach| policy.adjust(s.capacity, *breach));
                (adjusted.filter(|to| *to < s.capacity).max()?, policy.cooldown_ms)
            }
        };
        Some((to, index, cooldown_ms))
    });
    let Some((to, policy, cooldown_ms)) = wanted.max_by_key(|(to, index, _)| (*to, std::cmp::Reverse(*index))) else {
        return Decision::Nothing;
    };
    let cooling = s.history.inward.as_ref().is_some_and(|event| event.until_ms > s.now_ms);
    if any_high || cooling || s.suspended.scale_in || to >= s.capacity {
        return Decision::Nothing;
    }
    match to.max(s.min) {
        to if to < s.capacity => Decision::Scale { to, policy, cooldown_ms },
        _ => Decision::Held { policy, reason: Held::AlreadyAtMinCapacity },
    }
}

impl History {
    /// Takes down that the capacity was changed. Scaling out ends the cooldown of scaling in.
    pub fn note(&mut self, now_ms: UnixMillis, from: u32, to: u32, cooldown_ms: i64) {
        let event = Some(Event { from, until_ms: now_ms + cooldown_ms });
        if to > from {
            self.inward = None;
            // Within a cooldown the larger scale-out counts from where the first one began.
            match self.out.as_ref().filter(|event| event.until_ms > now_ms) {
                Some(running) => self.out = Some(Event { from: running.from, until_ms: now_ms + cooldown_ms }),
                None => self.out = event,
            }
        } else {
            self.inward = event;
            self.out = None;
        }
    }
}

impl Tracking {
    /// The capacity at which the metric would be at or below its target.
    fn proportional(&self, capacity: u32, value: f64) -> u32 {
        let exact = f64::from(capacity.max(1)) * value / self.target;
        // What is a whole number but for rounding stays one.
        (exact - 1e-9).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
    }
}

impl Step {
    /// The capacity that a breach leads to; `None` where no step is for it.
    fn adjust(&self, capacity: u32, breach: f64) -> Option<u32> {
        let step = self.steps.iter().find(|step| step.holds(breach))?;
        let adjustment = i64::from(step.adjustment);
        let to = match self.adjustment {
            Adjustment::Exact => adjustment,
            Adjustment::Change => i64::from(capacity) + adjustment,
            Adjustment::PercentChange => {
                let exact = f64::from(capacity) * f64::from(step.adjustment) / 100.0;
                // Toward zero, but at least one either way.
                let whole = if exact == 0.0 { 0.0 } else { exact.signum() * exact.abs().floor().max(1.0) };
                let least = f64::from(self.min_magnitude);
                let change = if whole == 0.0 { 0.0 } else { whole.signum() * whole.abs().max(least) };
                i64::from(capacity) + change as i64
            }
        };
        Some(to.clamp(0, i64::from(u32::MAX)) as u32)
    }
}

impl Interval {
    /// Above the threshold the lower bound belongs to the step, below it the upper one.
    fn holds(&self, breach: f64) -> bool {
        let lower = self.lower.unwrap_or(f64::NEG_INFINITY);
        let upper = self.upper.unwrap_or(f64::INFINITY);
        if breach >= 0.0 && upper > 0.0 { lower <= breach && breach < upper } else { lower < breach && breach <= upper }
    }
}
