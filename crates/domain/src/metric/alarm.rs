//! When an alarm changes its state. Rules: CloudWatch's guide, "Alarm evaluation" and "Configuring
//! how alarms treat missing data".

use serde::{Deserialize, Serialize};

/// What an alarm compares, and how many datapoints it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub comparison: Comparison,
    pub threshold: f64,
    /// N of "M out of N".
    pub evaluation_periods: usize,
    /// M of "M out of N".
    pub datapoints_to_alarm: usize,
    pub missing: Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    GreaterOrEqual,
    Greater,
    Less,
    LessOrEqual,
}

/// `TreatMissingData`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Missing,
    Ignore,
    Breaching,
    NotBreaching,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    #[serde(rename = "OK")]
    Ok,
    #[serde(rename = "ALARM")]
    Alarm,
    #[serde(rename = "INSUFFICIENT_DATA")]
    InsufficientData,
}

/// Datapoints that are looked at beyond the evaluation periods, for real ones in place of missing ones.
pub const BEYOND: usize = 2;

/// The state by the datapoints of the evaluation range, newest first, and the state so far.
pub fn evaluate(rule: &Rule, range: &[Option<f64>], current: State) -> State {
    let (n, m) = (rule.evaluation_periods, rule.datapoints_to_alarm);
    let real: Vec<bool> = range.iter().flatten().map(|value| rule.breaches(*value)).collect();
    let by_count = |breaching: usize| if breaching >= m { State::Alarm } else { State::Ok };
    if real.len() >= n {
        return by_count(real[..n].iter().filter(|b| **b).count());
    }
    let breaching = real.iter().filter(|b| **b).count();
    let lacking = n - real.len();
    match rule.missing {
        Missing::Breaching => by_count(breaching + lacking),
        Missing::NotBreaching => by_count(breaching),
        Missing::Missing if real.is_empty() => State::InsufficientData,
        Missing::Ignore if real.is_empty() => current,
        Missing::Missing | Missing::Ignore if breaching >= m => State::Alarm,
        Missing::Missing | Missing::Ignore if breaching + lacking < m => State::Ok,
        Missing::Missing if breaching == 0 => State::Ok,
        Missing::Missing => {
            // Against alarms that come too early: the breaching datapoints reach back far enough, and
            // nothing after the oldest of them was within the threshold.
            let oldest = range.iter().rposition(|v| v.is_some_and(|v| rule.breaches(v)));
            let clean = oldest.is_some_and(|at| range[..at].iter().flatten().all(|v| rule.breaches(*v)));
            if clean && oldest.is_some_and(|at| at + 1 >= m) { State::Alarm } else { current }
        }
        Missing::Ignore if breaching == 0 => State::Ok,
        Missing::Ignore => current,
    }
}

impl Rule {
    pub fn breaches(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::GreaterOrEqual => value >= self.threshold,
            Comparison::Greater => value > self.threshold,
            Comparison::Less => value < self.threshold,
            Comparison::LessOrEqual => value <= self.threshold,
        }
    }
}

impl Comparison {
    /// `None` also for the comparisons with an anomaly detection band.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "GreaterThanOrEqualToThreshold" => Self::GreaterOrEqual,
            "GreaterThanThreshold" => Self::Greater,
            "LessThanThreshold" => Self::Less,
            "LessThanOrEqualToThreshold" => Self::LessOrEqual,
            _ => return None,
        })
    }

    /// As an alarm's reason says it.
    pub fn words(self) -> &'static str {
        match self {
            Self::GreaterOrEqual => "greater than or equal to",
            Self::Greater => "greater than",
            Self::Less => "less than",
            Self::LessOrEqual => "less than or equal to",
        }
    }
}

impl Missing {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "missing" => Self::Missing,
            "ignore" => Self::Ignore,
            "breaching" => Self::Breaching,
            "notBreaching" => Self::NotBreaching,
            _ => return None,
        })
    }
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Ok, Self::Alarm, Self::InsufficientData].into_iter().find(|state| state.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(m: usize, missing: Missing) -> Rule {
        Rule {
            comparison: Comparison::Greater,
            threshold: 10.0,
            evaluation_periods: 3,
            datapoints_to_alarm: m,
            missing,
        }
    }

    /// The guide's pictures: oldest first, `X` breaching, `0` not, `-` missing.
    fn state(picture: &str, m: usize, missing: Missing) -> State {
        let mut range: Vec<Option<f64>> = picture
            .split(' ')
            .map(|c| match c {
                "X" => Some(11.0),
                "0" => Some(1.0),
                _ => None,
            })
            .collect();
        range.reverse();
        // OK as the state so far, so that keeping it shows.
        evaluate(&rule(m, missing), &range, State::Ok)
    }

    #[test]
    fn as_in_the_guides_tables() {
        use State::*;
        let all = [Missing::Missing, Missing::Ignore, Missing::Breaching, Missing::NotBreaching];
        for (picture, expected) in [
            ("0 - X - X", [Ok, Ok, Ok, Ok]),
            ("0 - - - -", [Ok, Ok, Ok, Ok]),
            ("- - - - -", [InsufficientData, Ok, Alarm, Ok]),
            ("0 X X - X", [Alarm, Alarm, Alarm, Alarm]),
            ("- - X - -", [Alarm, Ok, Alarm, Ok]),
        ] {
            assert_eq!(all.map(|missing| state(picture, 3, missing)), expected, "{picture}");
        }
        for (picture, expected) in [
            ("0 - X - X", [Alarm, Alarm, Alarm, Alarm]),
            ("0 0 X 0 X", [Alarm, Alarm, Alarm, Alarm]),
            ("- - - - 0", [Ok, Ok, Alarm, Ok]),
            ("- - - X -", [Alarm, Ok, Alarm, Ok]),
        ] {
            assert_eq!(all.map(|missing| state(picture, 2, missing)), expected, "{picture}");
        }
    }

    #[test]
    fn comparisons_at_the_threshold() {
        let breaches = |comparison, value| Rule { comparison, ..rule(1, Missing::Missing) }.breaches(value);
        assert!(!breaches(Comparison::Greater, 10.0) && breaches(Comparison::GreaterOrEqual, 10.0));
        assert!(!breaches(Comparison::Less, 10.0) && breaches(Comparison::LessOrEqual, 10.0));
    }
}
