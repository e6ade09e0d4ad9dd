use super::*;
use crate::metric::alarm::{self, Comparison, Missing, Rule, State};
use proptest::prelude::*;

fn tracking(target: f64) -> Tracking {
    Tracking { target, disable_scale_in: false, scale_out_cooldown_ms: 300_000, scale_in_cooldown_ms: 300_000 }
}

fn high(target: f64, value: f64) -> Signal {
    Signal::Tracking { policy: tracking(target), high: Some(value), low: None }
}

fn low(target: f64, value: f64) -> Signal {
    Signal::Tracking { policy: tracking(target), high: None, low: Some(value) }
}

fn quiet(target: f64) -> Signal {
    Signal::Tracking { policy: tracking(target), high: None, low: None }
}

fn decide(capacity: u32, history: &History, signals: &[Signal]) -> Decision {
    let suspended = Suspended::default();
    plan(&Situation { now_ms: 1_000_000, capacity, min: 1, max: 10, suspended, history, signals })
}

fn to(decision: Decision) -> Option<u32> {
    match decision {
        Decision::Scale { to, .. } => Some(to),
        Decision::Nothing | Decision::Held { .. } => None,
    }
}

#[test]
fn growth_is_proportional_and_bounded() {
    let fresh = History::default();
    assert_eq!(to(decide(2, &fresh, &[high(50.0, 90.0)])), Some(4));
    assert_eq!(to(decide(4, &fresh, &[high(50.0, 400.0)])), Some(10));
    let held = decide(10, &fresh, &[high(50.0, 400.0)]);
    assert_eq!(held, Decision::Held { policy: 0, reason: Held::AlreadyAtMaxCapacity });
}

#[test]
fn what_a_cooling_scale_out_added_counts() {
    let mut history = History::default();
    history.note(900_000, 2, 4, 300_000);
    // The same breach again asks for the same four.
    assert_eq!(to(decide(4, &history, &[high(50.0, 90.0)])), None);
    assert_eq!(to(decide(4, &history, &[high(50.0, 140.0)])), Some(6), "more than that is added at once");
    assert_eq!(to(decide(4, &History::default(), &[high(50.0, 90.0)])), Some(8), "once it cooled down");
}

#[test]
fn scaling_in_needs_all_and_waits_for_its_cooldown() {
    let fresh = History::default();
    assert_eq!(to(decide(6, &fresh, &[low(50.0, 20.0), low(100.0, 80.0)])), Some(5), "the one that leaves most");
    assert_eq!(to(decide(6, &fresh, &[low(50.0, 20.0), quiet(100.0)])), None);
    let disabled =
        Signal::Tracking { policy: Tracking { disable_scale_in: true, ..tracking(1.0) }, high: None, low: Some(0.0) };
    assert_eq!(to(decide(6, &fresh, std::slice::from_ref(&disabled))), None);
    assert_eq!(to(decide(6, &fresh, &[low(50.0, 20.0), disabled])), Some(3), "who never scales in has no say");
    let mut history = History::default();
    history.note(900_000, 8, 6, 300_000);
    assert_eq!(to(decide(6, &history, &[low(50.0, 20.0)])), None);
    assert_eq!(to(decide(6, &history, &[high(50.0, 70.0)])), Some(9), "scaling out does not wait for it");
    assert_eq!(to(decide(1, &fresh, &[low(50.0, 0.0)])), None);
}

#[test]
fn suspended_directions_rest() {
    let history = History::default();
    let with = |suspended, signals: &[Signal]| {
        to(plan(&Situation { now_ms: 0, capacity: 4, min: 1, max: 10, suspended, history: &history, signals }))
    };
    let out = Suspended { scale_out: true, ..Suspended::default() };
    let inward = Suspended { scale_in: true, ..Suspended::default() };
    assert_eq!(with(out, &[high(50.0, 100.0)]), None);
    assert_eq!(with(inward, &[high(50.0, 100.0)]), Some(8));
    assert_eq!(with(inward, &[low(50.0, 10.0)]), None);
}

#[test]
fn steps_as_in_the_guide() {
    let interval = |lower: Option<f64>, upper: Option<f64>, adjustment| Interval { lower, upper, adjustment };
    // The guide's example: threshold 50, percent of capacity.
    let out = Step {
        adjustment: Adjustment::PercentChange,
        min_magnitude: 0,
        cooldown_ms: 0,
        steps: vec![
            interval(Some(0.0), Some(10.0), 0),
            interval(Some(10.0), Some(20.0), 10),
            interval(Some(20.0), None, 30),
        ],
    };
    assert_eq!(out.adjust(10, 9.9), Some(10));
    assert_eq!(out.adjust(10, 10.0), Some(11));
    assert_eq!(out.adjust(11, 20.0), Some(14), "3.3 is three");
    let inward = Step {
        steps: vec![
            interval(Some(-10.0), Some(0.0), 0),
            interval(Some(-20.0), Some(-10.0), -10),
            interval(None, Some(-20.0), -30),
        ],
        ..out.clone()
    };
    assert_eq!(inward.adjust(14, -10.0), Some(13), "1.4 is one");
    assert_eq!(inward.adjust(13, -20.0), Some(10), "3.9 is three");
    assert_eq!(inward.adjust(10, -5.0), Some(10));
    let small = Step { min_magnitude: 2, ..out.clone() };
    assert_eq!(small.adjust(4, 10.0), Some(6));
    assert_eq!(out.adjust(4, 10.0), Some(5), "0.4 is one");
    let exact = Step { adjustment: Adjustment::Exact, steps: vec![interval(Some(0.0), None, 7)], ..out.clone() };
    assert_eq!(exact.adjust(3, 100.0), Some(7));
    assert_eq!(exact.adjust(3, -1.0), None);
    let change = Step { adjustment: Adjustment::Change, steps: vec![interval(None, Some(0.0), -5)], ..out };
    let signals = [Signal::Step { policy: change, breaches: vec![-3.0] }];
    assert_eq!(to(decide(4, &History::default(), &signals)), Some(1), "not below the minimum");
}

/// A service under a load, minute by minute, with the alarms of a target tracking policy.
struct Simulation {
    now_min: i64,
    capacity: u32,
    history: History,
    datapoints: Vec<Option<f64>>,
    alarms: [State; 2],
    changes: Vec<(i64, u32, u32)>,
}

impl Simulation {
    fn new(capacity: u32) -> Self {
        let alarms = [State::InsufficientData; 2];
        Self { now_min: 0, capacity, history: History::default(), datapoints: Vec::new(), alarms, changes: Vec::new() }
    }

    fn minute(&mut self, load: Option<f64>, policy: &Tracking, min: u32, max: u32) {
        self.now_min += 1;
        self.datapoints.insert(0, load.map(|load| load / f64::from(self.capacity.max(1))));
        self.datapoints.truncate(20);
        let rule = |comparison, threshold, periods: u32| Rule {
            comparison,
            threshold,
            evaluation_periods: periods as usize,
            datapoints_to_alarm: periods as usize,
            missing: Missing::Missing,
        };
        let rules = [
            rule(Comparison::Greater, policy.target, HIGH_PERIODS),
            rule(Comparison::Less, policy.target * LOW, LOW_PERIODS),
        ];
        for (state, rule) in self.alarms.iter_mut().zip(&rules) {
            let range = &self.datapoints[..self.datapoints.len().min(rule.evaluation_periods + alarm::BEYOND)];
            *state = alarm::evaluate(rule, range, *state);
        }
        let newest = self.datapoints.iter().flatten().next().copied();
        let in_alarm = |n: usize| newest.filter(|_| self.alarms[n] == State::Alarm);
        let signals = [Signal::Tracking { policy: policy.clone(), high: in_alarm(0), low: in_alarm(1) }];
        let now_ms = self.now_min * 60_000;
        let situation = Situation {
            now_ms,
            capacity: self.capacity,
            min,
            max,
            suspended: Suspended::default(),
            history: &self.history,
            signals: &signals,
        };
        if let Decision::Scale { to, cooldown_ms, .. } = plan(&situation) {
            self.history.note(now_ms, self.capacity, to, cooldown_ms);
            self.changes.push((self.now_min, self.capacity, to));
            self.capacity = to;
        }
    }
}

proptest! {
    #[test]
    fn a_constant_load_is_met_once_and_then_left_alone(
        start in 1u32..20, min in 1u32..5, extra in 0u32..30, target in 5.0f64..95.0, load in 0.0f64..2000.0
    ) {
        let max = min + extra;
        let mut run = Simulation::new(start.clamp(min, max));
        for _ in 0..240 {
            run.minute(Some(load), &tracking(target), min, max);
            prop_assert!((min..=max).contains(&run.capacity));
        }
        let directions: Vec<bool> = run.changes.iter().map(|(_, from, to)| to > from).collect();
        prop_assert!(directions.windows(2).all(|pair| pair[0] == pair[1]), "it flaps: {:?}", run.changes);
        prop_assert!(run.changes.iter().all(|(at, ..)| *at <= 120), "it does not settle: {:?}", run.changes);
        let value = load / f64::from(run.capacity);
        prop_assert!(value <= target + 1e-6 || run.capacity == max, "{value} above {target}");
        // Low enough that one fewer would do: then the alarm is within its tenth, or at the least.
        prop_assert!(value >= target * LOW - 1e-6 || run.capacity == min
            || load / f64::from(run.capacity - 1) > target - 1e-6, "{value} far below {target}");
    }

    #[test]
    fn bounds_hold_whatever_is_said(
        capacity in 0u32..50, min in 0u32..20, extra in 0u32..20,
        values in proptest::collection::vec((proptest::option::of(0.0f64..1e9), proptest::option::of(0.0f64..1e9), 0.1f64..100.0), 0..5),
        breaches in proptest::collection::vec(-1e6f64..1e6, 0..3), adjustment in -1000i32..1000, kind in 0u8..3,
        past in proptest::option::of((0u32..50, 0i64..2_000_000)),
    ) {
        let max = min + extra;
        let mut signals: Vec<Signal> = values.into_iter()
            .map(|(high, low, target)| Signal::Tracking { policy: tracking(target), high, low }).collect();
        let kind = [Adjustment::Change, Adjustment::Exact, Adjustment::PercentChange][kind as usize];
        let steps = vec![Interval { lower: None, upper: None, adjustment }];
        signals.push(Signal::Step {
            policy: Step { adjustment: kind, min_magnitude: 1, cooldown_ms: 0, steps }, breaches
        });
        let history = History { out: past.map(|(from, until_ms)| Event { from, until_ms }), inward: None };
        let decision = plan(&Situation {
            now_ms: 1_000_000, capacity, min, max, suspended: Suspended::default(), history: &history, signals: &signals
        });
        if let Decision::Scale { to, .. } = decision {
            prop_assert!(to != capacity);
            prop_assert!(to <= max || to < capacity);
            prop_assert!(to >= min || to > capacity);
        }
    }

    #[test]
    fn without_data_nothing_is_done(start in 1u32..20, target in 5.0f64..95.0) {
        let mut run = Simulation::new(start);
        for _ in 0..60 {
            run.minute(None, &tracking(target), 1, 20);
        }
        prop_assert!(run.changes.is_empty());
    }
}

#[test]
fn it_grows_within_minutes_and_shrinks_slowly() {
    let mut run = Simulation::new(1);
    let policy = tracking(50.0);
    for _ in 0..30 {
        run.minute(Some(180.0), &policy, 1, 10);
    }
    assert_eq!(run.capacity, 4);
    assert!(run.changes[0].0 <= 3, "{:?}", run.changes);
    let grown = run.now_min;
    for _ in 0..60 {
        run.minute(Some(10.0), &policy, 1, 10);
    }
    assert_eq!(run.capacity, 1);
    let shrunk = run.changes.last().unwrap().0;
    assert!(shrunk - grown >= i64::from(LOW_PERIODS) - 1, "{:?}", run.changes);
}
