//! Which load balancers use which target groups: by the actions of their listeners and rules.

use super::records::{Listener, Rule, RuleAction};
use crate::store::tally::Tally;
use crate::store::{Item, StoreError, Tx};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// By target group ARN, the load balancers' ARNs.
pub type Uses = BTreeMap<String, BTreeSet<String>>;

/// Of all target groups that are used.
pub fn uses(tx: &Tx<'_>) -> Result<Arc<Uses>, StoreError> {
    tx.derived("uses of target groups", &[Listener::KIND, Rule::KIND], || {
        let mut uses = Uses::new();
        let mut owner = BTreeMap::new();
        let (listeners, rules) = (tx.shared::<Listener>()?, tx.shared::<Rule>()?);
        for listener in listeners.iter() {
            for group in listener.default_action.target_groups() {
                uses.entry(group.to_owned()).or_default().insert(listener.load_balancer_arn.clone());
            }
            owner.insert(&listener.arn, &listener.load_balancer_arn);
        }
        for rule in rules.iter() {
            let Some(load_balancer) = owner.get(&rule.listener_arn) else { continue };
            for group in rule.action.target_groups() {
                uses.entry(group.to_owned()).or_default().insert((*load_balancer).clone());
            }
        }
        Ok(uses)
    })
}

/// The load balancers that use one target group.
pub fn users(tx: &Tx<'_>, group_arn: &str) -> Result<BTreeSet<String>, StoreError> {
    let names = |of: &Counts| of.get(group_arn).map(|of| of.keys().cloned().collect()).unwrap_or_default();
    let mut users: BTreeSet<String> = tx.tally(|of: &OfListeners| names(&of.0))?;
    let listeners: BTreeSet<String> = tx.tally(|of: &OfRules| names(&of.0))?;
    for arn in listeners {
        users.extend(tx.find::<Listener>(&arn)?.map(|listener| listener.load_balancer_arn.clone()));
    }
    Ok(users)
}

/// The target groups that one load balancer uses.
pub fn of_balancer(tx: &Tx<'_>, balancer_arn: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut groups = BTreeSet::new();
    for listener in tx.children_of::<Listener>(balancer_arn)? {
        groups.extend(listener.default_action.target_groups().map(str::to_owned));
        for rule in tx.children_of::<Rule>(&listener.arn)? {
            groups.extend(rule.action.target_groups().map(str::to_owned));
        }
    }
    Ok(groups)
}

/// By target group ARN: who forwards there, and how often.
type Counts = HashMap<String, BTreeMap<String, u32>>;

/// By load balancer.
#[derive(Default)]
struct OfListeners(Counts);

/// By listener.
#[derive(Default)]
struct OfRules(Counts);

impl Tally for OfListeners {
    type Of = Listener;
    fn add(&mut self, listener: &Listener) {
        add(&mut self.0, &listener.default_action, &listener.load_balancer_arn);
    }
    fn remove(&mut self, listener: &Listener) {
        remove(&mut self.0, &listener.default_action, &listener.load_balancer_arn);
    }
}

impl Tally for OfRules {
    type Of = Rule;
    fn add(&mut self, rule: &Rule) {
        add(&mut self.0, &rule.action, &rule.listener_arn);
    }
    fn remove(&mut self, rule: &Rule) {
        remove(&mut self.0, &rule.action, &rule.listener_arn);
    }
}

fn add(counts: &mut Counts, action: &RuleAction, by: &str) {
    for group in action.target_groups() {
        *counts.entry(group.to_owned()).or_default().entry(by.to_owned()).or_default() += 1;
    }
}

fn remove(counts: &mut Counts, action: &RuleAction, by: &str) {
    for group in action.target_groups() {
        let Some(of) = counts.get_mut(group) else { continue };
        if let Some(n) = of.get_mut(by) {
            *n -= 1;
        }
        of.retain(|_, n| *n > 0);
        if of.is_empty() {
            counts.remove(group);
        }
    }
}
