//! `SetRulePriorities`: all of them at once or none, so that two rules may swap places.

use super::records::Rule;
use super::{errors, find, rules};
use crate::api::{Ctx, Result};
use crate::cut;
use quarry_aws::elbv2::{SetRulePrioritiesInput, SetRulePrioritiesOutput};
use std::collections::{BTreeMap, BTreeSet};

pub fn handle(ctx: &mut Ctx<'_>, input: SetRulePrioritiesInput) -> Result<SetRulePrioritiesOutput> {
    let pairs = input.rule_priorities.unwrap_or_default();
    if pairs.is_empty() {
        return Err(errors::validation("At least one rule priority must be specified"));
    }
    let (mut wanted, mut given): (BTreeMap<String, Rule>, BTreeSet<u32>) = Default::default();
    for pair in pairs {
        let mut rule = find::rule(ctx.tx, pair.rule_arn.as_deref(), "modified")?;
        cut::rule::guard_rule(ctx.tx, &rule.arn, "modified")?;
        rule.priority = errors::in_range(find::required(pair.priority, "priority")?, "priority", 1, 50_000)?;
        if !given.insert(rule.priority) {
            return Err(errors::validation(format!("Priority '{}' was provided multiple times", rule.priority)));
        }
        let arn = rule.arn.clone();
        if wanted.insert(arn.clone(), rule).is_some() {
            return Err(errors::validation(format!("Rule '{arn}' was provided multiple times")));
        }
    }
    let listeners: BTreeSet<String> = wanted.values().map(|rule| rule.listener_arn.clone()).collect();
    let [listener] = listeners.iter().collect::<Vec<_>>()[..] else {
        return Err(errors::validation("All rules must belong to the same listener"));
    };
    for other in rules::sorted(ctx.tx, listener)? {
        if !wanted.contains_key(&other.arn) && given.contains(&other.priority) {
            return Err(errors::priority_in_use(format!("Priority '{}' is currently in use", other.priority)));
        }
    }
    for rule in wanted.values() {
        cut::rule::guard_priority(ctx.tx, listener, rule.priority, &rule.conditions)?;
        ctx.tx.put(rule)?;
    }
    let mut changed: Vec<&Rule> = wanted.values().collect();
    changed.sort_by_key(|rule| rule.priority);
    Ok(SetRulePrioritiesOutput { rules: Some(changed.into_iter().map(rules::show).collect()) })
}
