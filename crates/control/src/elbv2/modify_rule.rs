//! `ModifyRule`: what is not named stays.

use super::{actions, conditions, errors, find, rules};
use crate::api::{Ctx, Result};
use crate::cut;
use quarry_aws::elbv2::{ModifyRuleInput, ModifyRuleOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: ModifyRuleInput) -> Result<ModifyRuleOutput> {
    let mut rule = find::rule(ctx.tx, input.rule_arn.as_deref(), "modified")?;
    cut::rule::guard_rule(ctx.tx, &rule.arn, "modified")?;
    if input.transforms.is_some_and(|transforms| !transforms.is_empty()) {
        return Err(errors::validation("Rule transforms are not supported here"));
    }
    let conditions = input.conditions.filter(|conditions| !conditions.is_empty());
    let actions = input.actions.filter(|actions| !actions.is_empty());
    if conditions.is_none() && actions.is_none() && input.reset_transforms.is_none() {
        return Err(errors::validation("Either conditions or actions must be specified"));
    }
    let conditions_changed = conditions.is_some();
    if conditions_changed {
        rule.conditions = conditions::read(conditions)?;
    }
    if conditions_changed {
        cut::rule::guard_priority(ctx.tx, &rule.listener_arn, rule.priority, &rule.conditions)?;
    }
    if actions.is_some() {
        let listener = find::listener(ctx.tx, Some(&rule.listener_arn))?;
        let balancer = rules::balancer_of(ctx.tx, &listener)?;
        rule.action = actions::read(ctx.tx, &balancer, actions, "actions")?;
    }
    ctx.tx.put(&rule)?;
    Ok(ModifyRuleOutput { rules: Some(vec![rules::show(&rule)]) })
}
