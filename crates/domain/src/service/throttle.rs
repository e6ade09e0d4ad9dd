//! Service throttle logic: a service whose tasks again and again do not start waits longer and
//! longer between attempts, up to 15 minutes. A new deployment starts without delay.

use crate::door::UnixMillis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest delay between attempts.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Attempts after which the service is said to be unable to start tasks consistently.
pub const ANNOUNCED_AFTER: u32 = 3;

/// How often in a row a deployment failed to start its tasks. Tasks that were started together and
/// failed together count as one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    pub failures: u32,
    /// When the last counted failure was seen.
    pub last_ms: UnixMillis,
}

impl Throttle {
    /// Counts a task made at `created_ms` that was seen to have failed at `now_ms`. Returns whether
    /// this is a further attempt, not one more task of an attempt that is counted already.
    pub fn failed(&mut self, created_ms: UnixMillis, now_ms: UnixMillis) -> bool {
        if self.failures > 0 && created_ms < self.last_ms {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.last_ms = now_ms;
        true
    }

    /// A task of it runs well.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// How long to wait after the last failure: nothing after the first, then 1, 2, 4 … seconds.
    pub fn delay(&self) -> Duration {
        match self.failures {
            0 | 1 => Duration::ZERO,
            n => Duration::from_secs(1u64 << (n - 2).min(16)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_fifteen_minutes_and_a_success_resets_it() {
        let mut throttle = Throttle::default();
        let mut delays = Vec::new();
        for n in 0..14 {
            assert!(throttle.failed(n * 10, n * 10 + 5));
            delays.push(throttle.delay().as_secs());
        }
        assert_eq!(delays[..6], [0, 1, 2, 4, 8, 16]);
        assert_eq!(delays[13], 900);
        throttle.succeeded();
        assert_eq!(throttle.delay(), Duration::ZERO);
    }

    #[test]
    fn tasks_of_one_attempt_count_once() {
        let mut throttle = Throttle::default();
        assert!(throttle.failed(100, 200));
        for _ in 0..9 {
            assert!(!throttle.failed(100, 210));
        }
        assert!(throttle.failed(220, 300));
        assert_eq!(throttle.failures, 2);
    }
}
