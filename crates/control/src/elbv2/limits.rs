//! The default quotas of Application Load Balancers, as AWS publishes them.

pub const LOAD_BALANCERS: usize = 50;
pub const LISTENERS_PER_LOAD_BALANCER: usize = 50;
/// Not counting the default rule.
pub const RULES_PER_LISTENER: usize = 100;
/// Not counting the default certificate.
pub const CERTIFICATES_PER_LISTENER: usize = 25;
pub const TARGET_GROUPS: usize = 3000;
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
