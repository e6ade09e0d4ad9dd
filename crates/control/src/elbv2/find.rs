//! Finding stored resources by what a request names, with the service's own errors.

use super::errors;
use super::records::{Listener, LoadBalancer, Rule, TargetGroup};
use crate::api::Result;
use crate::store::Tx;
use quarry_domain::arn::resource_part;

/// The member's value, or the error of a request without it.
pub fn required<T>(value: Option<T>, member: &str) -> Result<T> {
    value.ok_or_else(|| {
        errors::validation(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

pub fn load_balancer(tx: &Tx<'_>, arn: Option<&str>) -> Result<LoadBalancer> {
    let arn = required(arn, "loadBalancerArn")?;
    check(arn, "loadbalancer/", "load balancer")?;
    tx.get(arn)?.ok_or_else(|| errors::load_balancer_not_found(format!("Load balancer '{arn}' not found")))
}

pub fn target_group(tx: &Tx<'_>, arn: Option<&str>) -> Result<TargetGroup> {
    let arn = required(arn, "targetGroupArn")?;
    check(arn, "targetgroup/", "target group")?;
    tx.get(arn)?.ok_or_else(|| errors::target_group_not_found(format!("Target group '{arn}' not found")))
}

pub fn listener(tx: &Tx<'_>, arn: Option<&str>) -> Result<Listener> {
    let arn = required(arn, "listenerArn")?;
    check(arn, "listener/", "listener")?;
    tx.get(arn)?.ok_or_else(|| errors::listener_not_found(format!("Listener '{arn}' not found")))
}

/// A rule other than a default rule.
pub fn rule(tx: &Tx<'_>, arn: Option<&str>, verb: &str) -> Result<Rule> {
    let arn = required(arn, "ruleArn")?;
    check(arn, "listener-rule/", "listener rule")?;
    if let Some(rule) = tx.get(arn)? {
        return Ok(rule);
    }
    if tx.all::<Listener>()?.iter().any(|listener| listener.default_rule_arn == arn) {
        return Err(errors::operation_not_permitted(format!("Default rule '{arn}' cannot be {verb}")));
    }
    Err(errors::rule_not_found("One or more rules not found"))
}

/// That it is an ARN of the right kind at all.
pub fn check(arn: &str, prefix: &str, kind: &str) -> Result<()> {
    if arn.starts_with("arn:") && resource_part(arn).starts_with(prefix) {
        Ok(())
    } else {
        Err(errors::validation(format!("'{arn}' is not a valid {kind} ARN")))
    }
}
