//! The quotas of Application Load Balancers, as AWS publishes them: those that AWS raises on request, with their
//! defaults, and those that are fixed.

use std::collections::BTreeMap;

/// Those that can be set, by the names that `DescribeAccountLimits` has for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas(BTreeMap<&'static str, usize>);

pub const LOAD_BALANCERS: &str = "application-load-balancers";
pub const LISTENERS_PER_LOAD_BALANCER: &str = "listeners-per-application-load-balancer";
/// Not counting default rules.
pub const RULES_PER_LISTENER: &str = "rules-per-application-load-balancer";
pub const TARGET_GROUPS: &str = "target-groups";

/// Name, AWS's default, and the most that this machine can be set to: it has 250 addresses for load balancers, the rest
/// is far beyond what was tried.
const ADJUSTABLE: [(&str, usize, usize); 4] = [
    (LOAD_BALANCERS, 50, 250),
    (LISTENERS_PER_LOAD_BALANCER, 50, 1000),
    (RULES_PER_LISTENER, 100, 10_000),
    (TARGET_GROUPS, 3000, 100_000),
];

/// Not counting the default certificate.
pub const CERTIFICATES_PER_LISTENER: usize = 25;
pub const TARGET_GROUPS_PER_ACTION: usize = 5;
pub const TARGET_GROUPS_PER_LOAD_BALANCER: usize = 100;
pub const TARGETS_PER_GROUP: usize = 1000;
pub const TAGS_PER_RESOURCE: usize = 50;
/// Match evaluations.
pub const VALUES_PER_CONDITION: usize = 3;
pub const VALUES_PER_RULE: usize = 5;
pub const WILDCARDS_PER_RULE: usize = 5;
/// Characters of one condition value.
pub const VALUE_LENGTH: usize = 128;

impl Default for Quotas {
    fn default() -> Self {
        Self(ADJUSTABLE.iter().map(|(name, usual, _)| (*name, *usual)).collect())
    }
}

impl Quotas {
    /// Of one of the names above.
    pub fn of(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn all(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.0.iter().map(|(name, value)| (*name, *value))
    }

    /// Sets one, given as `name=value`; the error says what can be set.
    pub fn set(&mut self, given: &str) -> Result<(), String> {
        let (name, value) = given.split_once('=').ok_or_else(|| format!("'{given}' is not NAME=VALUE"))?;
        let known = ADJUSTABLE.iter().find(|(known, ..)| *known == name);
        let Some((name, _, most)) = known else {
            let names: Vec<&str> = ADJUSTABLE.iter().map(|(name, ..)| *name).collect();
            return Err(format!("'{name}' is none of {}", names.join(", ")));
        };
        let value = value.parse().ok().filter(|value| (1..=*most).contains(value));
        let value = value.ok_or_else(|| format!("{name} can be 1 to {most}"))?;
        self.0.insert(name, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_set_by_name_within_bounds() {
        let mut quotas = Quotas::default();
        assert_eq!((quotas.of(LOAD_BALANCERS), quotas.of(TARGET_GROUPS)), (50, 3000));
        quotas.set("application-load-balancers=100").unwrap();
        assert_eq!(quotas.of(LOAD_BALANCERS), 100);
        for wrong in ["application-load-balancers=251", "application-load-balancers=x", "load-balancers=7", "7"] {
            assert!(quotas.set(wrong).is_err(), "{wrong}");
        }
        assert_eq!(quotas.of(LOAD_BALANCERS), 100);
    }
}
