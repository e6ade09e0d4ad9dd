//! `DescribeRules`: of one listener in order of evaluation, or by ARN.

use super::records::{Listener, Rule};
use super::{errors, find, page, rules};
use crate::api::{Ctx, Result};
use quarry_aws::elbv2::{DescribeRulesInput, DescribeRulesOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeRulesInput) -> Result<DescribeRulesOutput> {
    let arns = input.rule_arns.unwrap_or_default();
    let shown = match (input.listener_arn.as_deref(), arns.as_slice()) {
        (Some(_), [_, ..]) => {
            return Err(errors::validation(
                "Listener rule ARNs and a listener ARN cannot be specified at the same time",
            ));
        }
        (None, []) => {
            return Err(errors::validation("You must specify either listener rule ARNs or a listener ARN"));
        }
        (Some(arn), []) => {
            find::check(arn, "listener/", "listener")?;
            let listener: Listener =
                ctx.tx.get(arn)?.ok_or_else(|| errors::listener_not_found("One or more listeners not found"))?;
            let mut shown: Vec<_> = rules::sorted(ctx.tx, arn)?.iter().map(rules::show).collect();
            shown.push(rules::show_default(&listener));
            shown
        }
        (None, arns) => {
            let listeners: Vec<Listener> = ctx.tx.all()?;
            let mut shown = Vec::new();
            for arn in arns {
                find::check(arn, "listener-rule/", "listener rule")?;
                let default = listeners.iter().find(|listener| listener.default_rule_arn == *arn);
                shown.push(match (default, ctx.tx.get::<Rule>(arn)?) {
                    (Some(listener), _) => rules::show_default(listener),
                    (None, Some(rule)) => rules::show(&rule),
                    (None, None) => return Err(errors::rule_not_found("One or more rules not found")),
                });
            }
            shown
        }
    };
    let key = |rule: &quarry_aws::elbv2::Rule| rule.rule_arn.clone().unwrap_or_default();
    let keyed: Vec<_> = shown.into_iter().map(|rule| (key(&rule), rule)).collect();
    let (keyed, next_marker) = page::page(keyed, |(key, _)| key, input.marker.as_deref(), input.page_size)?;
    Ok(DescribeRulesOutput { rules: Some(keyed.into_iter().map(|(_, rule)| rule).collect()), next_marker })
}
