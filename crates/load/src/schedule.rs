//! Which path the n-th request takes: by weight, evenly mixed, the same in every run.

use crate::{ConfigError, PathSpec};

/// Largest sum of weights: the length of the table.
const MAX_WEIGHTS: u32 = 100_000;

/// A table of indices into the paths, gone through again and again.
pub(crate) struct Schedule(Vec<usize>);

impl Schedule {
    pub(crate) fn new(paths: &[PathSpec]) -> Result<Self, ConfigError> {
        let sum = paths.iter().fold(0u32, |sum, spec| sum.saturating_add(spec.weight));
        if sum == 0 {
            return Err(ConfigError::NoPaths);
        }
        if sum > MAX_WEIGHTS {
            return Err(ConfigError::Weights(MAX_WEIGHTS));
        }
        // Each turn every path gains its weight, and the richest pays the sum: no path comes in a bunch.
        let mut gained = vec![0i64; paths.len()];
        let mut table = Vec::with_capacity(sum as usize);
        for _ in 0..sum {
            let mut richest = 0;
            for (index, spec) in paths.iter().enumerate() {
                gained[index] += i64::from(spec.weight);
                if gained[index] > gained[richest] {
                    richest = index;
                }
            }
            gained[richest] -= i64::from(sum);
            table.push(richest);
        }
        Ok(Self(table))
    }

    /// Index of the path of request `number`.
    pub(crate) fn path(&self, number: u64) -> usize {
        self.0[(number % self.0.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_and_mixed() {
        let spec = |weight| PathSpec::new("a", "/").weight(weight);
        let schedule = Schedule::new(&[spec(5), spec(0), spec(1), spec(2)]).unwrap();
        assert_eq!(schedule.0, [0, 3, 0, 0, 2, 0, 3, 0]);
        assert_eq!((schedule.path(8), schedule.path(u64::MAX)), (0, schedule.0[7]));
        assert_eq!(Schedule::new(&[]).err(), Some(ConfigError::NoPaths));
        assert_eq!(Schedule::new(&[spec(0)]).err(), Some(ConfigError::NoPaths));
        assert_eq!(Schedule::new(&[spec(u32::MAX), spec(2)]).err(), Some(ConfigError::Weights(MAX_WEIGHTS)));
    }
}
