//! Target health: when to probe, and what the outcomes make of a target. Pure; the proxy probes.
//!
//! States, reasons and descriptions are those of `DescribeTargetHealth`. This project's own choices,
//! where AWS documents none: the first probe goes out at registration; while a target has never
//! answered, it is tried again after 5 ms, 10 ms, 20 ms and so on up to the interval, and failures of
//! those early tries count only once per interval.

mod matcher;

pub use matcher::CodeMatcher;

use crate::link::{TargetReason, TargetState};
use crate::snapshot::HealthCheck;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered with this status code.
    Status(u16),
    /// No connection, or it broke before an answer came; in words if there is more to say.
    Failed(Option<String>),
    /// No whole answer head within the timeout.
    TimedOut,
}

/// State, reason and description as `DescribeTargetHealth` shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub state: TargetState,
    pub reason: Option<TargetReason>,
    pub description: Option<String>,
}

/// What is known of a target, for another process that goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub verdict: Verdict,
    /// Checks in a row.
    pub passes: u32,
    pub failures: u32,
}

/// Follows the health of one target. Times are monotonic, from the same origin in all calls.
#[derive(Clone, Debug)]
pub struct Monitor {
    check: Settings,
    verdict: Verdict,
    passes: u32,
    failures: u32,
    /// When the next failure counts while the target has never answered.
    tick: Duration,
    due: Duration,
    backoff: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    interval: Duration,
    healthy_threshold: u32,
    unhealthy_threshold: u32,
    matcher: CodeMatcher,
    enabled: bool,
}

const FIRST_RETRY: Duration = Duration::from_millis(5);

impl Verdict {
    /// A state with AWS's description of its reason.
    pub fn new(state: TargetState, reason: Option<TargetReason>) -> Self {
        Self { state, reason, description: reason.map(|r| description(r).to_owned()) }
    }

    /// A deregistered target whose requests may finish.
    pub fn draining() -> Self {
        Self::new(TargetState::Draining, Some(TargetReason::DeregistrationInProgress))
    }

    /// A target of a group that no load balancer uses.
    pub fn unused() -> Self {
        Self::new(TargetState::Unused, Some(TargetReason::NotInUse))
    }
}

impl Monitor {
    /// A newly registered target, to be probed at once.
    pub fn new(check: &HealthCheck, now: Duration) -> Self {
        let check = Settings::from(check);
        let verdict = if check.enabled {
            Verdict::new(TargetState::Initial, Some(TargetReason::RegistrationInProgress))
        } else {
            Verdict::new(TargetState::Unavailable, Some(TargetReason::HealthCheckDisabled))
        };
        let tick = now + check.interval;
        Self { check, verdict, passes: 0, failures: 0, tick, due: now, backoff: FIRST_RETRY }
    }

    /// A target of which this much is known from elsewhere, to be probed at once.
    pub fn resume(check: &HealthCheck, known: Known, now: Duration) -> Self {
        let new = Self::new(check, now);
        // Whether it is probed at all may have changed meanwhile.
        let was_probed = known.verdict.state != TargetState::Unavailable;
        if was_probed != new.check.enabled {
            return new;
        }
        Self { verdict: known.verdict, passes: known.passes, failures: known.failures, ..new }
    }

    pub fn known(&self) -> Known {
        Known { verdict: self.verdict.clone(), passes: self.passes, failures: self.failures }
    }

    /// Takes changed settings over; the state stays and the next probe is due at once.
    pub fn reconfigure(&mut self, check: &HealthCheck, now: Duration) {
        let settings = Settings::from(check);
        if settings == self.check {
            return;
        }
        if settings.enabled != self.check.enabled {
            *self = Self::new(check, now);
            return;
        }
        self.check = settings;
        self.tick = now + self.check.interval;
        self.due = now;
    }

    /// When the next probe is due; `None` if the target is not to be probed.
    pub fn next_probe(&self) -> Option<Duration> {
        self.check.enabled.then_some(self.due)
    }

    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Takes in the outcome of a probe that started at `started` and ended at `now`.
    /// Returns whether the verdict changed.
    pub fn observe(&mut self, outcome: &Outcome, started: Duration, now: Duration) -> bool {
        let before = self.verdict.clone();
        let failure = match outcome {
            Outcome::Status(code) if self.check.matcher.accepts(*code) => None,
            Outcome::Status(code) => Some(Verdict {
                state: TargetState::Unhealthy,
                reason: Some(TargetReason::ResponseCodeMismatch),
                description: Some(format!("Health checks failed with these codes: [{code}]")),
            }),
            Outcome::Failed(detail) => {
                let plain = Verdict::new(TargetState::Unhealthy, Some(TargetReason::FailedHealthChecks));
                Some(match detail {
                    Some(detail) => Verdict { description: Some(format!("Health checks failed: {detail}")), ..plain },
                    None => plain,
                })
            }
            Outcome::TimedOut => Some(Verdict::new(TargetState::Unhealthy, Some(TargetReason::Timeout))),
        };
        let unanswered = !matches!(outcome, Outcome::Status(_));
        self.due = (started + self.check.interval).max(now);
        match failure {
            None => self.passed(),
            Some(failed) => {
                let early = self.verdict.state == TargetState::Initial && unanswered;
                if early {
                    self.due = (now + self.backoff).min(self.tick.max(now));
                    self.backoff = (self.backoff * 2).min(self.check.interval);
                }
                let counts = !early || now >= self.tick;
                if counts {
                    self.tick = now + self.check.interval;
                    self.failed(failed);
                }
            }
        }
        if self.verdict.reason == Some(TargetReason::RegistrationInProgress) {
            self.verdict = Verdict::new(TargetState::Initial, Some(TargetReason::InitialHealthChecking));
        }
        self.verdict != before
    }

    fn passed(&mut self) {
        self.failures = 0;
        self.passes = self.passes.saturating_add(1);
        self.backoff = FIRST_RETRY;
        let enough = match self.verdict.state {
            TargetState::Initial => true,
            TargetState::Unhealthy => self.passes >= self.check.healthy_threshold,
            TargetState::Healthy | TargetState::Unused | TargetState::Draining | TargetState::Unavailable => false,
        };
        if enough {
            self.verdict = Verdict::new(TargetState::Healthy, None);
        }
    }

    fn failed(&mut self, verdict: Verdict) {
        self.passes = 0;
        self.failures = self.failures.saturating_add(1);
        let enough = match self.verdict.state {
            TargetState::Initial | TargetState::Healthy => self.failures >= self.check.unhealthy_threshold,
            // The reason shown is the newest one.
            TargetState::Unhealthy => true,
            TargetState::Unused | TargetState::Draining | TargetState::Unavailable => false,
        };
        if enough {
            self.verdict = verdict;
        }
    }
}

impl From<&HealthCheck> for Settings {
    fn from(check: &HealthCheck) -> Self {
        Self {
            interval: Duration::from_secs(u64::from(check.interval.max(1))),
            healthy_threshold: check.healthy_threshold.max(1),
            unhealthy_threshold: check.unhealthy_threshold.max(1),
            matcher: CodeMatcher::parse(&check.matcher).unwrap_or_default(),
            enabled: check.enabled,
        }
    }
}

/// AWS's text for a reason that has a fixed one.
pub fn description(reason: TargetReason) -> &'static str {
    match reason {
        TargetReason::RegistrationInProgress => "Target registration is in progress",
        TargetReason::InitialHealthChecking => "Initial health checks in progress",
        TargetReason::ResponseCodeMismatch => "Health checks failed with these codes: []",
        TargetReason::Timeout => "Request timed out",
        TargetReason::FailedHealthChecks => "Health checks failed",
        TargetReason::NotRegistered => "Target is not registered to the target group",
        TargetReason::NotInUse => "Target group is not configured to receive traffic from the load balancer",
        TargetReason::DeregistrationInProgress => "Target deregistration is in progress",
        TargetReason::InvalidState => "Target is in the stopped state",
        TargetReason::HealthCheckDisabled => "Health checks are disabled for this target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ListenerProtocol;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(6);

    fn check() -> HealthCheck {
        HealthCheck {
            enabled: true,
            protocol: ListenerProtocol::Http,
            path: "/".into(),
            port: None,
            interval: 6,
            timeout: 5,
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            matcher: "200-299".into(),
        }
    }

    /// Lets virtual time run until `end`; each probe takes no time and sees what `world` says.
    fn run(monitor: &mut Monitor, end: Duration, world: impl Fn(Duration) -> Outcome) -> Vec<(Duration, TargetState)> {
        let mut changes = Vec::new();
        while let Some(now) = monitor.next_probe().filter(|due| *due <= end) {
            let before = monitor.verdict().state;
            monitor.observe(&world(now), now, now);
            if monitor.verdict().state != before {
                changes.push((now, monitor.verdict().state));
            }
        }
        changes
    }

    #[test]
    fn the_first_passing_check_makes_a_new_target_healthy() {
        let mut monitor = Monitor::new(&check(), Duration::ZERO);
        assert_eq!(monitor.verdict().reason, Some(TargetReason::RegistrationInProgress));
        assert_eq!(monitor.next_probe(), Some(Duration::ZERO));
        assert!(monitor.observe(&Outcome::Status(204), Duration::ZERO, Duration::from_millis(1)));
        assert_eq!(monitor.verdict(), &Verdict::new(TargetState::Healthy, None));
        assert_eq!(monitor.next_probe(), Some(INTERVAL));
    }

    #[test]
    fn a_starting_target_is_found_soon_after_its_port_opens() {
        for start in [3u64, 12, 40, 170, 900] {
            let start = Duration::from_millis(start);
            let mut monitor = Monitor::new(&check(), Duration::ZERO);
            let changes =
                run(
                    &mut monitor,
                    INTERVAL,
                    |now| {
                        if now >= start { Outcome::Status(200) } else { Outcome::Failed(None) }
                    },
                );
            let [(at, TargetState::Healthy)] = changes[..] else { panic!("{changes:?}") };
            assert!(at <= start * 2 + FIRST_RETRY, "open at {start:?}, found at {at:?}");
        }
    }

    #[test]
    fn early_failures_count_once_per_interval() {
        let mut monitor = Monitor::new(&check(), Duration::ZERO);
        let changes = run(&mut monitor, Duration::from_secs(60), |_| Outcome::Failed(None));
        assert_eq!(changes, [(INTERVAL * 2, TargetState::Unhealthy)]);
        assert_eq!(monitor.verdict().description.as_deref(), Some("Health checks failed"));
    }

    #[test]
    fn thresholds_count_in_a_row() {
        let mut monitor = Monitor::new(&check(), Duration::ZERO);
        let script = [200, 500, 200, 500, 500, 200, 200, 503, 200, 200, 200];
        let changes = run(&mut monitor, INTERVAL * 10, |now| {
            Outcome::Status(script[(now.as_secs() / INTERVAL.as_secs()) as usize])
        });
        assert_eq!(
            changes,
            [
                (Duration::ZERO, TargetState::Healthy),
                (INTERVAL * 4, TargetState::Unhealthy),
                (INTERVAL * 10, TargetState::Healthy)
            ]
        );
    }

    #[test]
    fn reasons_and_descriptions_are_those_of_aws() {
        let mut monitor = Monitor::new(&check(), Duration::ZERO);
        for n in 0..3u32 {
            monitor.observe(&Outcome::Status(502), INTERVAL * n, INTERVAL * n);
        }
        assert_eq!(monitor.verdict().reason, Some(TargetReason::ResponseCodeMismatch));
        assert_eq!(monitor.verdict().description.as_deref(), Some("Health checks failed with these codes: [502]"));
        monitor.observe(&Outcome::TimedOut, INTERVAL * 4, INTERVAL * 5);
        assert_eq!(monitor.verdict().reason, Some(TargetReason::Timeout));
        assert_eq!(monitor.verdict().description.as_deref(), Some("Request timed out"));
        let json = serde_json::to_string(&Verdict::draining().reason).unwrap();
        assert_eq!(json, "\"Target.DeregistrationInProgress\"");
    }

    #[test]
    fn what_is_known_goes_on_in_another_process() {
        let (check, now) = (check(), Duration::from_secs(5));
        let mut first = Monitor::new(&check, Duration::ZERO);
        first.observe(&Outcome::Status(200), Duration::ZERO, Duration::ZERO);
        first.observe(&Outcome::TimedOut, Duration::ZERO, now);
        let text = serde_json::to_string(&first.known()).unwrap();
        let mut second = Monitor::resume(&check, serde_json::from_str(&text).unwrap(), now);
        assert_eq!((second.verdict(), second.next_probe()), (first.verdict(), Some(now)));
        // Its failures in a row are counted on.
        for monitor in [&mut first, &mut second] {
            for _ in 1..check.unhealthy_threshold {
                monitor.observe(&Outcome::TimedOut, now, now);
            }
            assert_eq!(monitor.verdict().state, TargetState::Unhealthy);
        }
        let off = HealthCheck { enabled: false, ..check };
        assert_eq!(Monitor::resume(&off, first.known(), now).verdict().state, TargetState::Unavailable);
    }

    #[test]
    fn disabled_checks_are_not_probed() {
        let mut settings = check();
        settings.enabled = false;
        let mut monitor = Monitor::new(&settings, Duration::ZERO);
        assert_eq!(monitor.next_probe(), None);
        assert_eq!(monitor.verdict().state, TargetState::Unavailable);
        monitor.reconfigure(&check(), Duration::from_secs(9));
        assert_eq!(monitor.next_probe(), Some(Duration::from_secs(9)));
    }

    proptest! {
        #[test]
        fn time_moves_on_and_health_needs_its_thresholds(outcomes in proptest::collection::vec(0u8..4, 1..200)) {
            let mut monitor = Monitor::new(&check(), Duration::ZERO);
            let (mut passes, mut now) = (0u32, Duration::ZERO);
            for outcome in outcomes {
                let due = monitor.next_probe().unwrap();
                prop_assert!(due >= now);
                prop_assert!(due <= now + INTERVAL);
                now = due;
                let before = monitor.verdict().state;
                let outcome = match outcome {
                    0 => Outcome::Status(200),
                    1 => Outcome::Status(500),
                    2 => Outcome::Failed(None),
                    _ => Outcome::TimedOut,
                };
                passes = if outcome == Outcome::Status(200) { passes + 1 } else { 0 };
                monitor.observe(&outcome, now, now);
                let after = monitor.verdict().state;
                if before == TargetState::Unhealthy && after == TargetState::Healthy {
                    prop_assert!(passes >= 3);
                }
                if before == TargetState::Initial && passes > 0 {
                    prop_assert_eq!(after, TargetState::Healthy);
                }
                prop_assert!(!(before != TargetState::Initial && after == TargetState::Initial));
            }
        }
    }
}
