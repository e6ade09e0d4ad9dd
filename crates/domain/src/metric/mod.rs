//! Metrics: what is kept of many values ([`Statistics`]), what is asked of them ([`Statistic`]),
//! when an alarm changes its state ([`alarm`]), and metric math ([`math`]). Names are CloudWatch's.

pub mod alarm;
pub mod math;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is kept of the values of one period: the statistic set, and how the values are spread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    pub sum: f64,
    pub count: f64,
    pub min: f64,
    pub max: f64,
    /// How many values fell into each bucket; `None` where only a statistic set was given.
    pub spread: Option<Spread>,
}

/// Values counted in buckets whose bounds grow by a tenth, as CloudWatch keeps them. Values below
/// zero have no bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread(BTreeMap<i16, f64>);

/// A statistic that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
    /// `p0` to `p100`, also with decimals.
    Percentile(f64),
}

/// The bucket of zero.
const ZERO: i16 = i16::MIN;

impl Statistics {
    /// One value, `count` times.
    pub fn of(value: f64, count: f64) -> Self {
        let spread = Spread::bucket(value).map(|bucket| Spread(BTreeMap::from([(bucket, count)])));
        Self { sum: value * count, count, min: value, max: value, spread }
    }

    /// A statistic set. Where all its values are the same, they are known one by one.
    pub fn set(sum: f64, count: f64, min: f64, max: f64) -> Self {
        match min == max {
            true => Self { sum, ..Self::of(min, count) },
            false => Self { sum, count, min, max, spread: None },
        }
    }

    /// Takes other values in.
    pub fn add(&mut self, other: &Self) {
        if self.count == 0.0 {
            *self = other.clone();
            return;
        }
        if other.count == 0.0 {
            return;
        }
        self.sum += other.sum;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        match (&mut self.spread, &other.spread) {
            (Some(mine), Some(theirs)) => theirs.0.iter().for_each(|(b, n)| *mine.0.entry(*b).or_default() += n),
            _ => self.spread = None,
        }
    }

    /// A share of the values, as if they came evenly over time: there are fewer of them.
    pub fn share(&self, share: f64) -> Self {
        let mut part = self.clone();
        part.sum *= share;
        part.count *= share;
        part.spread.iter_mut().flat_map(|spread| spread.0.values_mut()).for_each(|n| *n *= share);
        part
    }

    /// `None` where it cannot be told: of no values, or a percentile of which only a set is known.
    pub fn get(&self, statistic: Statistic) -> Option<f64> {
        if self.count <= 0.0 {
            return None;
        }
        match statistic {
            Statistic::SampleCount => Some(self.count),
            Statistic::Average => Some(self.sum / self.count),
            Statistic::Sum => Some(self.sum),
            Statistic::Minimum => Some(self.min),
            Statistic::Maximum => Some(self.max),
            Statistic::Percentile(p) => Some(self.spread.as_ref()?.percentile(p)?.clamp(self.min, self.max)),
        }
    }
}

impl Spread {
    fn bucket(value: f64) -> Option<i16> {
        match value {
            0.0 => Some(ZERO),
            v if v > 0.0 && v.is_finite() => {
                Some((v.ln() / 1.1f64.ln()).floor().clamp(f64::from(ZERO + 1), f64::from(i16::MAX)) as i16)
            }
            _ => None,
        }
    }

    /// The middle of the bucket in which the value of this rank lies.
    fn percentile(&self, p: f64) -> Option<f64> {
        let total: f64 = self.0.values().sum();
        let rank = (p / 100.0 * total).max(f64::MIN_POSITIVE);
        let mut seen = 0.0;
        for (bucket, n) in &self.0 {
            seen += n;
            if seen >= rank - 1e-9 {
                return Some(if *bucket == ZERO { 0.0 } else { 1.1f64.powf(f64::from(*bucket) + 0.5) });
            }
        }
        None
    }

    /// As compact text, for the store: `bucket:count,…`.
    pub fn to_text(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(bucket, n)| format!("{bucket}:{n}")).collect();
        pairs.join(",")
    }

    /// Of [`to_text`](Self::to_text); `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        let pairs = text.split(',').filter(|pair| !pair.is_empty());
        let parsed = pairs.map(|pair| {
            let (bucket, n) = pair.split_once(':')?;
            Some((bucket.parse().ok()?, n.parse().ok()?))
        });
        parsed.collect::<Option<_>>().map(Self)
    }
}

impl Statistic {
    /// By its name in the API, such as `Average` or `p99.9`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "SampleCount" => Self::SampleCount,
            "Average" => Self::Average,
            "Sum" => Self::Sum,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            _ => {
                let digits = name.strip_prefix('p')?;
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                    return None;
                }
                Self::Percentile(digits.parse().ok().filter(|p| (0.0..=100.0).contains(p))?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statistics_of_values() {
        let mut all = Statistics::default();
        for value in 1..=100 {
            all.add(&Statistics::of(f64::from(value), 1.0));
        }
        assert_eq!(all.get(Statistic::Average), Some(50.5));
        assert_eq!(all.get(Statistic::SampleCount), Some(100.0));
        let p90 = all.get(Statistic::parse("p90").unwrap()).unwrap();
        assert!((85.0..=95.0).contains(&p90), "{p90}");
        assert_eq!(all.get(Statistic::Percentile(100.0)).map(|p| p <= 100.0), Some(true));
        all.add(&Statistics::set(10.0, 4.0, 1.0, 5.0));
        assert_eq!(all.get(Statistic::Percentile(50.0)), None, "a set hides its values");
        assert_eq!(Statistic::parse("p101"), None);
        assert_eq!(Statistic::parse("tm99"), None);
    }

    proptest! {
        #[test]
        fn a_percentile_is_within_a_tenth_and_the_text_is_the_same(
            mut values in proptest::collection::vec(0.001f64..1e6, 1..50), p in 0.0f64..100.0
        ) {
            let mut all = Statistics::default();
            values.iter().for_each(|v| all.add(&Statistics::of(*v, 1.0)));
            values.sort_by(f64::total_cmp);
            let rank = ((p / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let got = all.get(Statistic::Percentile(p)).unwrap();
            prop_assert!((got / exact - 1.0).abs() < 0.1, "{got} for {exact}");
            let spread = all.spread.unwrap();
            prop_assert_eq!(Spread::from_text(&spread.to_text()), Some(spread));
        }
    }
}
