//! Latencies in logarithmic buckets: 32 to each doubling, so a value read back is at most about 3 % too high.

use serde::Serialize;
use std::time::Duration;

const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;

/// Counts of microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum_us: u128,
    max_us: u64,
}

/// What a histogram says, in microseconds. All are 0 when it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub mean_us: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    /// Exact.
    pub max_us: u64,
}

impl Histogram {
    pub fn add(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let index = bucket(us);
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, 0);
        }
        self.buckets[index] += 1;
        self.count += 1;
        self.sum_us += u128::from(us);
        self.max_us = self.max_us.max(us);
    }

    /// Adds another histogram's values.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The value that this share of all (0 to 1) does not exceed, in microseconds.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return last_of(index).min(self.max_us);
            }
        }
        self.max_us
    }

    pub fn latency(&self) -> Latency {
        Latency {
            mean_us: self.sum_us.checked_div(u128::from(self.count)).unwrap_or(0) as u64,
            p50_us: self.quantile(0.5),
            p90_us: self.quantile(0.9),
            p99_us: self.quantile(0.99),
            max_us: self.max_us,
        }
    }
}

/// Below 32 each value has its bucket; above, each doubling has 32.
fn bucket(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    (u64::from(shift) * SUB + (value >> shift)) as usize
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    let first = (bucket % SUB + SUB) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_all_values_without_gaps() {
        for value in (0..100_000).chain((0..64).map(|bit| 1 << bit)).chain([u64::MAX]) {
            let last = last_of(bucket(value));
            assert!(last >= value && (last - value) as f64 <= value as f64 / 31.0, "{value} {last}");
            assert!(last == u64::MAX || bucket(last + 1) == bucket(value) + 1, "{value} {last}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.latency(), Latency::default());
        let mut half = Histogram::default();
        for us in 1..=1000 {
            let to = if us % 2 == 0 { &mut half } else { &mut histogram };
            to.add(Duration::from_micros(us));
        }
        histogram.merge(&half);
        let latency = histogram.latency();
        assert_eq!((latency.mean_us, latency.max_us), (500, 1000));
        for (read, exact) in [(latency.p50_us, 500), (latency.p90_us, 900), (latency.p99_us, 990)] {
            assert!(read >= exact && read <= exact + exact / 31, "{read} for {exact}");
        }
    }
}
