//! Sampling rules (AWS's documentation, "Configuring sampling rules"): which requests are recorded.

use crate::rule::Pattern;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the rule that is always there and comes last.
pub const DEFAULT: &str = "Default";

/// Which requests a rule is for, and how many of them are recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingRule {
    pub name: String,
    /// The lowest comes first.
    pub priority: i32,
    /// The share that is recorded beyond the reservoir, 0 to 1.
    pub fixed_rate: f64,
    /// So many a second are recorded before the rate is asked.
    pub reservoir: u32,
    /// Patterns with `*` and `?`.
    pub service_name: String,
    pub service_type: String,
    pub host: String,
    pub method: String,
    pub path: String,
    pub resource_arn: String,
    /// Attributes of segments that must be there, with patterns of their values; what begins a trace has none.
    pub has_attributes: bool,
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub service_name: &'a str,
    pub service_type: &'a str,
    pub host: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub resource_arn: &'a str,
}

/// The rules in their order, each with what it has taken this second. Shared by all who ask.
#[derive(Debug, Default)]
pub struct Sampler {
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    rule: SamplingRule,
    /// Of service name, service type, host, method, path and resource, in this order.
    patterns: [Option<Pattern>; 6],
    reservoir: Reservoir,
}

/// How many were taken in the running second: the second in the upper half, the count in the lower.
#[derive(Debug, Default)]
struct Reservoir(AtomicU64);

impl Default for SamplingRule {
    /// X-Ray's own default: one request a second, and one of twenty of the others.
    fn default() -> Self {
        let any = || "*".to_owned();
        Self {
            name: DEFAULT.to_owned(),
            priority: 10_000,
            fixed_rate: 0.05,
            reservoir: 1,
            service_name: any(),
            service_type: any(),
            host: any(),
            method: any(),
            path: any(),
            resource_arn: any(),
            has_attributes: false,
        }
    }
}

impl Compiled {
    fn new(rule: SamplingRule) -> Self {
        let texts = [&rule.service_name, &rule.service_type, &rule.host, &rule.method, &rule.path, &rule.resource_arn];
        let patterns = texts.map(|text| (text != "*").then(|| Pattern::ignoring_case(text)));
        Self { rule, patterns, reservoir: Reservoir::default() }
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        let Asked { service_name, service_type, host, method, path, resource_arn } = *asked;
        let values = [service_name, service_type, host, method, path, resource_arn];
        let mut pairs = self.patterns.iter().zip(values);
        !self.rule.has_attributes
            && pairs.all(|(pattern, value)| pattern.as_ref().is_none_or(|pattern| pattern.matches(value.as_bytes())))
    }
}

impl Sampler {
    /// By priority, then by name, as X-Ray asks them.
    pub fn new(mut rules: Vec<SamplingRule>) -> Self {
        rules.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        Self { rules: rules.into_iter().map(Compiled::new).collect() }
    }

    /// Whether a request is recorded. `random`: any number; `now`: seconds since 1970.
    pub fn takes(&self, asked: &Asked<'_>, now: u32, random: u64) -> bool {
        let Some(first) = self.rules.iter().find(|rule| rule.matches(asked)) else { return false };
        let Compiled { rule, reservoir, .. } = first;
        // 53 bits are what a double holds.
        reservoir.take(now, rule.reservoir) || ((random >> 11) as f64 / (1u64 << 53) as f64) < rule.fixed_rate
    }
}

impl Reservoir {
    fn take(&self, now: u32, limit: u32) -> bool {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let (second, count) = ((held >> 32) as u32, held as u32);
            let count = if second == now { count } else { 0 };
            (count < limit).then(|| u64::from(now) << 32 | u64::from(count + 1))
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked {
        service_name: "board",
        service_type: "AWS::ElasticLoadBalancingV2::LoadBalancer",
        host: "a.example",
        method: "GET",
        path: "/api/posts/1",
        resource_arn: "arn:aws:x",
    };

    #[test]
    fn the_reservoir_is_taken_first_then_the_rate() {
        let rule = |reservoir, fixed_rate| SamplingRule { reservoir, fixed_rate, ..Default::default() };
        let sampler = Sampler::new(vec![rule(2, 0.0)]);
        let takes = |now| (0..5).filter(|_| sampler.takes(&ASKED, now, u64::MAX)).count();
        assert_eq!((takes(7), takes(7), takes(8)), (2, 0, 2));
        let half = Sampler::new(vec![rule(0, 0.5)]);
        assert!(half.takes(&ASKED, 1, u64::MAX / 2 - (1 << 12)) && !half.takes(&ASKED, 1, u64::MAX / 2 + (1 << 12)));
        let (all, none) = (Sampler::new(vec![rule(0, 1.0)]), Sampler::new(vec![rule(0, 0.0)]));
        assert!(all.takes(&ASKED, 1, u64::MAX) && !none.takes(&ASKED, 1, 0));
        assert!(!Sampler::default().takes(&ASKED, 1, 0));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let never = SamplingRule {
            name: "never".into(),
            priority: 1,
            fixed_rate: 0.0,
            reservoir: 0,
            path: "/API/*".into(),
            method: "G?T".into(),
            ..Default::default()
        };
        let sampler = Sampler::new(vec![SamplingRule { fixed_rate: 1.0, ..Default::default() }, never.clone()]);
        assert!(!sampler.takes(&ASKED, 1, 0));
        assert!(sampler.takes(&Asked { method: "POST", ..ASKED }, 1, 0));
        let with = SamplingRule { has_attributes: true, ..never };
        assert!(!Sampler::new(vec![SamplingRule { fixed_rate: 1.0, ..with }]).takes(&ASKED, 1, 0));
    }
}
