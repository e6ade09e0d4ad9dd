//! The weights of a rule that forwards, for whoever moves requests between target groups.

use super::records::{Listener, Rule, RuleAction};
use super::{actions, errors, rules};
use crate::api::{Ctx, Result};
use crate::cut;
use crate::store::{StoreError, Tx};
use quarry_aws::elbv2 as aws;
use quarry_domain::snapshot::{Action, Forward};
use std::collections::BTreeMap;

/// Weights by target group ARN.
pub type Weights = BTreeMap<String, u32>;

/// Of a rule, also a default one. `None`: there is no such rule, or it does not forward.
pub fn of(tx: &Tx<'_>, rule_arn: &str) -> Result<Option<Weights>, StoreError> {
    let action = match tx.get::<Rule>(rule_arn)? {
        Some(rule) => Some(rule.action),
        None => default_of(tx, rule_arn)?.map(|listener| listener.default_action),
    };
    Ok(action.and_then(|action| match action.action {
        Action::Forward(Forward { groups, .. }) => {
            Some(groups.into_iter().map(|group| (group.target_group_arn, group.weight)).collect())
        }
        Action::Redirect(_) | Action::FixedResponse(_) => None,
    }))
}

/// Sets them; everything else of the rule stays. Refused as ModifyRule and ModifyListener refuse.
pub fn set(ctx: &mut Ctx<'_>, rule_arn: &str, weights: &Weights) -> Result<()> {
    cut::rule::guard_rule(ctx.tx, rule_arn, "modified")?;
    if let Some(mut rule) = ctx.tx.get::<Rule>(rule_arn)? {
        let listener = super::find::listener(ctx.tx, Some(&rule.listener_arn))?;
        rule.action = forward(ctx, &listener, &rule.action, weights)?;
        return Ok(ctx.tx.put(&rule)?);
    }
    let found = default_of(ctx.tx, rule_arn)?;
    let mut listener = found.ok_or_else(|| errors::rule_not_found("One or more rules not found"))?;
    listener.default_action = forward(ctx, &listener, &listener.default_action, weights)?;
    Ok(ctx.tx.put(&listener)?)
}

fn forward(ctx: &Ctx<'_>, listener: &Listener, old: &RuleAction, weights: &Weights) -> Result<RuleAction> {
    let balancer = rules::balancer_of(ctx.tx, listener)?;
    let mut action = actions::show(old);
    action.target_group_arn = None;
    let tuples = weights.iter().map(|(arn, weight)| aws::TargetGroupTuple {
        target_group_arn: Some(arn.clone()),
        weight: Some(*weight as i32),
    });
    action.forward_config = Some(aws::ForwardActionConfig {
        target_groups: Some(tuples.collect()),
        ..action.forward_config.unwrap_or_default()
    });
    actions::read(ctx.tx, &balancer, Some(vec![action]), "actions")
}

fn default_of(tx: &Tx<'_>, rule_arn: &str) -> Result<Option<Listener>, StoreError> {
    Ok(tx.all::<Listener>()?.into_iter().find(|listener| listener.default_rule_arn == rule_arn))
}
