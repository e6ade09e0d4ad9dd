//! The listener rule of a cut: made or taken over at the beginning, its weights moved with the journal, and what the
//! snapshot says of it. And the guard: what a running cut stands on is not changed from outside.

use super::records::{Cut, OwnedRule};
use crate::api::{Ctx, Result};
use crate::ecs::blue_green;
use crate::ecs::records::Service;
use crate::elbv2::records::{Rule, RuleAction};
use crate::elbv2::{self, errors, find};
use crate::store::{StoreError, Tx};
use quarry_aws::elbv2 as aws;
use quarry_aws::elbv2::op;
use quarry_domain::cut::{Data, Side};
use quarry_domain::snapshot::{Action, Canary, Condition, CutScope, Forward, Shadow, WeightedGroup};
use quarry_wire::ServiceError;
use std::collections::BTreeMap;

/// Percent of copied reads that the old side is asked twice.
const BASELINE_PERCENT: u8 = 10;
/// Milliseconds after which a proxy lets parked writes go where the fence can refuse them, and where it cannot.
const HOLD_DEADLINE: u32 = 1500;
const LONG_HOLD_DEADLINE: u32 = 15_000;
/// Beyond the first priorities of a listener, which people use.
const PRIORITIES: std::ops::RangeInclusive<u32> = 1..=50_000;

/// A rule for these paths that a cut may take over: it forwards to the source alone.
pub fn existing(tx: &Tx<'_>, listener_arn: &str, paths: &[String]) -> Result<Option<Rule>> {
    let rules = elbv2::rules::sorted(tx, listener_arn)?;
    Ok(rules.into_iter().find(|rule| match rule.conditions.as_slice() {
        [Condition::PathPattern(values)] => same(values, paths),
        _ => false,
    }))
}

fn same(one: &[String], other: &[String]) -> bool {
    let sorted = |values: &[String]| {
        let mut values = values.to_vec();
        values.sort();
        values
    };
    sorted(one) == sorted(other)
}

/// Rules before the priority that take some of the paths away.
pub fn before(tx: &Tx<'_>, listener_arn: &str, priority: u32, paths: &[String]) -> Result<Vec<String>> {
    let rules = elbv2::rules::sorted(tx, listener_arn)?;
    let takes = |rule: &Rule| {
        let patterns = rule.conditions.iter().find_map(|condition| match condition {
            Condition::PathPattern(values) => Some(values),
            _ => None,
        });
        rule.priority < priority && patterns.is_none_or(|values| quarry_domain::cut::overlaps(values, paths))
    };
    Ok(rules.into_iter().filter(takes).map(|rule| rule.arn).collect())
}

/// The priority for a new rule: just before the first rule that takes some of the paths, where there is room.
pub fn free_priority(tx: &Tx<'_>, listener_arn: &str, paths: &[String]) -> Result<Option<u32>> {
    let rules = elbv2::rules::sorted(tx, listener_arn)?;
    let taken: Vec<u32> = rules.iter().map(|rule| rule.priority).collect();
    let below = before(tx, listener_arn, u32::MAX, paths)?;
    let bound = rules.iter().filter(|rule| below.contains(&rule.arn)).map(|rule| rule.priority).min();
    let free = |priority: &u32| !taken.contains(priority);
    Ok(match bound {
        Some(bound) => (*PRIORITIES.start()..bound).rev().find(free),
        None => PRIORITIES.clone().find(free),
    })
}

/// Makes the rule, or takes the existing one over; then the weights are those of the beginning.
pub fn take(ctx: &mut Ctx<'_>, listener_arn: &str, paths: &[String]) -> Result<OwnedRule> {
    if let Some(rule) = existing(ctx.tx, listener_arn, paths)? {
        return Ok(OwnedRule { arn: rule.arn, before: Some(rule.action) });
    }
    let priority = free_priority(ctx.tx, listener_arn, paths)?
        .ok_or_else(|| errors::priority_in_use("There is no free priority before the rules that take these paths"))?;
    let made = ctx.invoke::<op::CreateRule>(aws::CreateRuleInput {
        listener_arn: Some(listener_arn.to_owned()),
        priority: Some(priority as i32),
        conditions: Some(vec![aws::RuleCondition {
            field: Some("path-pattern".into()),
            values: Some(paths.to_vec()),
            ..Default::default()
        }]),
        // Replaced at once by the weights; a fixed answer needs nothing that could be missing.
        actions: Some(vec![aws::Action {
            r#type: Some("fixed-response".into()),
            fixed_response_config: Some(aws::FixedResponseActionConfig {
                status_code: Some("503".into()),
                ..Default::default()
            }),
            ..Default::default()
        }]),
        ..Default::default()
    })?;
    let arn = made.rules.into_iter().flatten().find_map(|rule| rule.rule_arn);
    let arn = arn.ok_or_else(|| errors::rule_not_found("The rule was not made"))?;
    Ok(OwnedRule { arn, before: None })
}

/// Both groups are the rule's; all of the weight is with one. What the API checks of a forward action is checked.
pub fn point(ctx: &mut Ctx<'_>, cut: &Cut, to: Side) -> Result<()> {
    let mut rule = find::rule(ctx.tx, Some(&cut.rule.arn), "modified")?;
    let listener = find::listener(ctx.tx, Some(&rule.listener_arn))?;
    let balancer = elbv2::rules::balancer_of(ctx.tx, &listener)?;
    let weighted = |side: Side| aws::TargetGroupTuple {
        target_group_arn: Some(cut.part(side).target_group_arn.clone()),
        weight: Some(i32::from(side == to)),
    };
    let action = aws::Action {
        r#type: Some("forward".into()),
        forward_config: Some(aws::ForwardActionConfig {
            target_groups: Some(vec![weighted(Side::Source), weighted(Side::Destination)]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let order = rule.action.order;
    rule.action = elbv2::actions::read(ctx.tx, &balancer, Some(vec![action]), "actions")?;
    rule.action.order = order;
    Ok(ctx.tx.put(&rule)?)
}

/// The cut is over and the scope is where it was: so is the rule.
pub fn give_back(ctx: &mut Ctx<'_>, cut: &Cut) -> Result<()> {
    let Some(mut rule) = ctx.tx.get::<Rule>(&cut.rule.arn)? else { return Ok(()) };
    match &cut.rule.before {
        Some(before) => {
            rule.action = before.clone();
            ctx.tx.put(&rule)?;
        }
        None => {
            ctx.tx.delete::<Rule>(&rule.arn)?;
            elbv2::tags::forget(ctx.tx, &rule.arn)?;
        }
    }
    Ok(())
}

/// Whether a rule's action is one that a cut may take over: it sends everything to this group.
pub fn sends_to(action: &RuleAction, group_arn: &str) -> bool {
    match &action.action {
        Action::Forward(Forward { groups, .. }) => {
            let mut weighted = groups.iter().filter(|group: &&WeightedGroup| group.weight > 0);
            groups.iter().any(|group| group.target_group_arn == group_arn)
                && weighted.all(|group| group.target_group_arn == group_arn)
        }
        Action::Redirect(_) | Action::FixedResponse(_) => false,
    }
}

/// What the snapshot says of the rules that cuts own, by rule ARN.
pub fn scopes(tx: &Tx<'_>) -> Result<BTreeMap<String, CutScope>, StoreError> {
    let cuts = tx.all::<Cut>()?.into_iter().filter(|cut| !cut.has_ended());
    Ok(cuts.filter(|cut| cut.progress.route.version > 0).map(|cut| (cut.rule.arn.clone(), scope(&cut))).collect())
}

fn scope(cut: &Cut) -> CutScope {
    let route = &cut.progress.route;
    let other = cut.part(route.to.other()).target_group_arn.clone();
    let percent = |percent: Option<u32>| percent.unwrap_or(0).min(100) as u8;
    let contract = cut.spec.data == Data::Contract;
    CutScope {
        cut: cut.id.clone(),
        version: route.version,
        epoch: route.epoch,
        hold: route.hold,
        hold_deadline_ms: if contract { HOLD_DEADLINE } else { LONG_HOLD_DEADLINE },
        contract,
        shadow: route.shadow.then(|| Shadow {
            target_group_arn: other.clone(),
            share_percent: percent(cut.spec.shadow_percent),
            baseline_percent: BASELINE_PERCENT,
            ignore: cut.ignore.clone(),
        }),
        canary: route.canary.then(|| Canary { target_group_arn: other, percent: percent(cut.spec.canary_percent) }),
    }
}

/// Refuses a change of a rule that a running cut owns.
pub fn guard_rule(tx: &Tx<'_>, rule_arn: &str, verb: &str) -> Result<()> {
    match running(tx)?.into_iter().find(|cut| cut.rule.arn == rule_arn) {
        Some(cut) => Err(errors::operation_not_permitted(format!(
            "Rule '{rule_arn}' cannot be {verb} because it is owned by {}: finish or abort it",
            cut.id
        ))),
        None => Ok(()),
    }
}

/// Refuses the deletion of a listener with a rule that a running cut owns.
pub fn guard_listener(tx: &Tx<'_>, listener_arn: &str) -> Result<()> {
    match running(tx)?.into_iter().find(|cut| cut.listener_arn == listener_arn) {
        Some(cut) => Err(errors::operation_not_permitted(format!(
            "Listener '{listener_arn}' cannot be deleted because a rule of it is owned by {}: finish or abort it",
            cut.id
        ))),
        None => Ok(()),
    }
}

/// Refuses a new rule that would take requests of a running cut's scope away.
pub fn guard_priority(tx: &Tx<'_>, listener_arn: &str, priority: u32, conditions: &[Condition]) -> Result<()> {
    for cut in running(tx)?.into_iter().filter(|cut| cut.listener_arn == listener_arn) {
        let Some(owned) = tx.get::<Rule>(&cut.rule.arn)? else { continue };
        let patterns = conditions.iter().find_map(|condition| match condition {
            Condition::PathPattern(values) => Some(values),
            _ => None,
        });
        let overlaps = patterns.is_none_or(|values| quarry_domain::cut::overlaps(values, &cut.paths));
        if priority < owned.priority && overlaps {
            return Err(errors::operation_not_permitted(format!(
                "Priority '{priority}' would take requests away from rule '{}', which is owned by {}",
                owned.arn, cut.id
            )));
        }
    }
    Ok(())
}

/// Refuses what would end a service that a running cut is about, with the error that `refuse` makes of the reason.
pub fn guard_service(tx: &Tx<'_>, service_arn: &str, refuse: fn(String) -> ServiceError) -> Result<()> {
    let cut = running(tx)?
        .into_iter()
        .find(|cut| [&cut.from, &cut.to].into_iter().any(|part| part.service_arn == service_arn));
    match cut {
        Some(cut) => {
            Err(refuse(format!("The service is part of {}, which has not ended: finish or abort it.", cut.id)))
        }
        None => Ok(()),
    }
}

/// Why a blue/green deployment that has not ended keeps a cut from the rule or from one of the services.
pub fn shifted(tx: &Tx<'_>, rule: Option<&str>, services: [&str; 2]) -> Result<Option<String>, StoreError> {
    let mut by = match rule {
        Some(rule) => blue_green::owner_of_rule(tx, rule)?,
        None => None,
    };
    for arn in services {
        if let Some(service) = tx.get::<Service>(arn)?
            && blue_green::is_shifting(tx, &service)?
        {
            by = Some(service.arn);
        }
    }
    Ok(by.map(|arn| format!("a blue/green deployment of {arn} has not ended: wait for it, or stop it")))
}

/// Cuts that have not ended.
pub fn running(tx: &Tx<'_>) -> Result<Vec<Cut>, StoreError> {
    Ok(tx.all::<Cut>()?.into_iter().filter(|cut| !cut.has_ended()).collect())
}

/// Whether some cut parks writes now: no proxy is to be replaced meanwhile.
pub fn is_holding(tx: &Tx<'_>) -> Result<bool, StoreError> {
    Ok(running(tx)?.iter().any(|cut| cut.progress.state.holds()))
}
