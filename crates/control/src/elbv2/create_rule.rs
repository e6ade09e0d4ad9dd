//! `CreateRule`.

use super::records::Rule;
use super::{actions, conditions, errors, find, limits, rules, tags};
use crate::api::{Ctx, Result};
use crate::cut;
use quarry_aws::elbv2::{CreateRuleInput, CreateRuleOutput};
use quarry_domain::arn::resource_part;

pub fn handle(ctx: &mut Ctx<'_>, input: CreateRuleInput) -> Result<CreateRuleOutput> {
    let listener = find::listener(ctx.tx, input.listener_arn.as_deref())?;
    let balancer = rules::balancer_of(ctx.tx, &listener)?;
    let priority = errors::in_range(find::required(input.priority, "priority")?, "priority", 1, 50_000)?;
    if input.transforms.is_some_and(|transforms| !transforms.is_empty()) {
        return Err(errors::validation("Rule transforms are not supported here"));
    }
    let tags = tags::read(input.tags)?;
    let conditions = conditions::read(input.conditions)?;
    let action = actions::read(ctx.tx, &balancer, input.actions, "actions")?;
    let others = rules::sorted(ctx.tx, &listener.arn)?;
    if others.iter().any(|other| other.priority == priority) {
        return Err(errors::priority_in_use(format!("Priority '{priority}' is currently in use")));
    }
    let quota = ctx.platform.config.quotas.of(limits::RULES_PER_LISTENER);
    if others.len() >= quota {
        return Err(errors::too_many_rules(format!(
            "The maximum number of rules '{quota}' on load balancer '{}' has been reached",
            balancer.arn
        )));
    }
    cut::rule::guard_priority(ctx.tx, &listener.arn, priority, &conditions)?;
    let within = resource_part(&listener.arn).trim_start_matches("listener/");
    let id = ctx.platform.door.hex(16);
    let rule = Rule {
        arn: ctx.platform.place().arn("elasticloadbalancing", format_args!("listener-rule/{within}/{id}")),
        listener_arn: listener.arn.clone(),
        priority,
        conditions,
        action,
    };
    ctx.tx.put(&rule)?;
    tags::put(ctx.tx, &rule.arn, tags)?;
    Ok(CreateRuleOutput { rules: Some(vec![rules::show(&rule)]) })
}
