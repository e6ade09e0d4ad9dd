//! What the operations on rules share.

use super::records::{Listener, LoadBalancer, Rule};
use super::{actions, conditions, find};
use crate::api::Result;
use crate::store::Tx;
use quarry_aws::elbv2 as aws;

pub fn show(rule: &Rule) -> aws::Rule {
    aws::Rule {
        rule_arn: Some(rule.arn.clone()),
        priority: Some(rule.priority.to_string()),
        conditions: Some(rule.conditions.iter().map(conditions::show).collect()),
        actions: Some(vec![actions::show(&rule.action)]),
        is_default: Some(false),
        transforms: Some(Vec::new()),
    }
}

/// A listener's default action, as the rule that it is.
pub fn show_default(listener: &Listener) -> aws::Rule {
    aws::Rule {
        rule_arn: Some(listener.default_rule_arn.clone()),
        priority: Some("default".into()),
        conditions: Some(Vec::new()),
        actions: Some(vec![actions::show(&listener.default_action)]),
        is_default: Some(true),
        transforms: Some(Vec::new()),
    }
}

/// A listener's rules in ascending priority, without the default rule.
pub fn sorted(tx: &Tx<'_>, listener_arn: &str) -> Result<Vec<Rule>> {
    let mut rules: Vec<Rule> = tx.children(listener_arn)?;
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

/// The load balancer that a listener belongs to.
pub fn balancer_of(tx: &Tx<'_>, listener: &Listener) -> Result<LoadBalancer> {
    find::load_balancer(tx, Some(&listener.load_balancer_arn))
}
