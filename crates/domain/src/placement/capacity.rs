//! Capacity provider strategies: which provider the next task of a service or request goes to.
//! Base and weight as the ECS API reference defines them.

use std::collections::BTreeMap;

/// One item of a strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub provider: String,
    /// This many tasks at least, before weights count.
    pub base: u32,
    /// The share of the tasks beyond the bases; 0 gets none of them.
    pub weight: u32,
}

/// The provider of the next task, when each has the tasks counted in `held`. `None` where no item
/// takes any more.
pub fn next_provider<'a>(strategy: &'a [Share], held: &BTreeMap<String, u32>) -> Option<&'a str> {
    let of = |share: &Share| held.get(&share.provider).copied().unwrap_or(0);
    if let Some(share) = strategy.iter().find(|share| of(share) < share.base) {
        return Some(&share.provider);
    }
    // The one that stays furthest behind its share: (beyond + 1) / weight is the least.
    let beyond = |share: &Share| u64::from(of(share) - share.base) + 1;
    let mut best: Option<&Share> = None;
    for share in strategy.iter().filter(|share| share.weight > 0) {
        let behind = |other: &Share| beyond(share) * u64::from(other.weight) < beyond(other) * u64::from(share.weight);
        if best.is_none_or(behind) {
            best = Some(share);
        }
    }
    best.map(|share| share.provider.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    fn spread(strategy: &[Share], tasks: u32) -> BTreeMap<String, u32> {
        let mut held = BTreeMap::new();
        for _ in 0..tasks {
            let Some(provider) = next_provider(strategy, &held) else { break };
            *held.entry(provider.to_owned()).or_default() += 1;
        }
        held
    }

    fn share(provider: &str, base: u32, weight: u32) -> Share {
        Share { provider: provider.into(), base, weight }
    }

    #[test]
    fn base_first_and_then_by_weight() {
        let strategy = [share("FARGATE", 2, 1), share("FARGATE_SPOT", 0, 3)];
        assert_eq!(spread(&strategy, 2), BTreeMap::from([("FARGATE".to_owned(), 2)]));
        let ten = spread(&strategy, 10);
        assert_eq!((ten["FARGATE"], ten["FARGATE_SPOT"]), (4, 6));
        assert_eq!(spread(&[share("FARGATE", 1, 0)], 5)["FARGATE"], 1, "a weight of 0 takes no more than its base");
        assert_eq!(next_provider(&[], &BTreeMap::new()), None);
    }

    proptest! {
        /// Beyond the bases, nobody is a whole task away from its exact share of any number of tasks.
        #[test]
        fn shares_are_kept(weights in prop::collection::vec(0u32..20, 1..5), base in 0u32..4, tasks in 0u32..60) {
            let strategy: Vec<Share> = weights.iter().enumerate()
                .map(|(n, &weight)| share(&format!("p{n}"), if n == 0 { base } else { 0 }, weight)).collect();
            let total: u32 = weights.iter().sum();
            let held = spread(&strategy, tasks);
            if total > 0 {
                prop_assert_eq!(held.values().sum::<u32>(), tasks);
            }
            let beyond = tasks.saturating_sub(base);
            for share in strategy.iter().filter(|_| total > 0) {
                let got = f64::from(held.get(&share.provider).copied().unwrap_or(0).saturating_sub(share.base));
                let exact = f64::from(beyond) * f64::from(share.weight) / f64::from(total);
                prop_assert!((got - exact).abs() < f64::from(weights.len() as u32), "{} {got} {exact}", share.provider);
            }
        }
    }
}
