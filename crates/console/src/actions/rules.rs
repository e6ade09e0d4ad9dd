//! Rules of listeners: made, changed, moved, deleted.

use super::{Call, Plan, Planned};
use crate::api::{Api, Data};
use crate::form::{Form, encoded};
use crate::words;
use quarry_aws::elbv2::op::{CreateRule, DeleteRule, DescribeRules, ModifyListener, ModifyRule, SetRulePriorities};
use serde_json::{Value, json};

fn page(form: &Form) -> String {
    format!("/load-balancers/{}#rules", encoded(form.text("balancer")))
}

pub fn create(form: &Form) -> Planned {
    let priority = form.number("priority", "The priority")?;
    let input = json!({
        "ListenerArn": form.needed("listener", "The listener")?,
        "Priority": priority,
        "Conditions": conditions(form)?,
        "Actions": [{"Type": "forward", "TargetGroupArn": form.needed("group", "The target group")?}],
    });
    let call = Call::of::<CreateRule>(input);
    Ok(Plan::new(format!("Add rule {priority}"), call, format!("Rule {priority} is in force."), page(form)))
}

pub fn modify(form: &Form) -> Planned {
    let mut input = json!({"RuleArn": form.needed("rule", "The rule")?, "Actions": [forward(form)?]});
    if form.ticked("conditions") {
        input["Conditions"] = conditions(form)?;
    }
    Ok(Plan::new("Change a rule", Call::of::<ModifyRule>(input), "The rule is changed.", page(form)))
}

pub fn modify_default(form: &Form) -> Planned {
    let input = json!({"ListenerArn": form.needed("listener", "The listener")?, "DefaultActions": [forward(form)?]});
    let call = Call::of::<ModifyListener>(input);
    Ok(Plan::new("Change the default rule", call, "The default rule is changed.", page(form)))
}

pub fn delete(form: &Form) -> Planned {
    let call = Call::of::<DeleteRule>(json!({"RuleArn": form.needed("rule", "The rule")?}));
    Ok(Plan::new("Delete a rule", call, "The rule is deleted.", page(form))
        .warned("Requests that it matched go to the rules after it."))
}

/// Exchanges the priorities of a rule and the one before or after it.
pub async fn relocate(api: &Api, form: &Form) -> Planned {
    let (listener, rule) = (form.needed("listener", "The listener")?, form.needed("rule", "The rule")?);
    let rules = api.all::<DescribeRules>(json!({"ListenerArn": listener}), "Rules").await;
    let rules = words::in_order(rules.map_err(|error| error.to_string())?);
    let (one, other) = neighbours(&rules, rule, form.text("way") == "earlier")?;
    let priority = |rule: &Value| rule.text("Priority").parse::<i64>().unwrap_or_default();
    let pair = |rule: &Value, as_of: &Value| json!({"RuleArn": rule.text("RuleArn"), "Priority": priority(as_of)});
    let call = Call::of::<SetRulePriorities>(json!({"RulePriorities": [pair(one, other), pair(other, one)]}));
    let title = format!("Exchange rules {} and {}", one.text("Priority"), other.text("Priority"));
    Ok(Plan::new(title, call, "The order is changed.", page(form)))
}

fn neighbours<'a>(rules: &'a [Value], arn: &str, earlier: bool) -> Result<(&'a Value, &'a Value), String> {
    let at = rules.iter().position(|rule| rule.text("RuleArn") == arn).ok_or("There is no such rule any more.")?;
    let other = if earlier { at.checked_sub(1) } else { Some(at + 1) };
    let other = other.and_then(|i| rules.get(i)).filter(|rule| !rule.flag("IsDefault"));
    let one = Some(&rules[at]).filter(|rule| !rule.flag("IsDefault"));
    one.zip(other).ok_or_else(|| "The rule cannot be moved further.".into())
}

fn conditions(form: &Form) -> Result<Value, String> {
    let of = |field: &str, config: &str, values: Vec<String>| {
        (!values.is_empty()).then(|| json!({"Field": field, config: {"Values": values}}))
    };
    let all: Vec<Value> = [
        of("path-pattern", "PathPatternConfig", form.words("paths")),
        of("host-header", "HostHeaderConfig", form.words("hosts")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if all.is_empty() { Err("A rule needs a path or a host.".into()) } else { Ok(json!(all)) }
}

fn forward(form: &Form) -> Result<Value, String> {
    let first = form.needed("group", "The target group")?;
    let Some(second) = form.given("second") else {
        return Ok(json!({"Type": "forward", "TargetGroupArn": first}));
    };
    let weight = |name: &str| form.number_if_given(name, "The weight").map(|weight| weight.unwrap_or(1));
    let tuples = json!([
        {"TargetGroupArn": first, "Weight": weight("weight")?},
        {"TargetGroupArn": second, "Weight": weight("second_weight")?},
    ]);
    Ok(json!({"Type": "forward", "ForwardConfig": {"TargetGroups": tuples}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_change_places_with_their_neighbours_and_never_with_the_default() {
        let rules: Vec<Value> = [("1", false), ("5", false), ("default", true)]
            .map(|(p, d)| json!({"RuleArn": format!("arn:{p}"), "Priority": p, "IsDefault": d}))
            .to_vec();
        let moved = |arn: &str, earlier| {
            neighbours(&rules, arn, earlier)
                .map(|(a, b)| (a.text("Priority").to_owned(), b.text("Priority").to_owned()))
        };
        assert_eq!(moved("arn:5", true), Ok(("5".into(), "1".into())));
        assert_eq!(moved("arn:1", false), Ok(("1".into(), "5".into())));
        assert!(moved("arn:1", true).is_err() && moved("arn:5", false).is_err());
        assert!(moved("arn:default", true).is_err() && moved("arn:gone", true).is_err());
    }

    #[test]
    fn weights_are_sent_where_there_are_two() {
        let one = Form::parse("group=a&weight=9");
        assert_eq!(forward(&one), Ok(json!({"Type": "forward", "TargetGroupArn": "a"})));
        let two = forward(&Form::parse("group=a&weight=9&second=b")).unwrap();
        assert_eq!(two["ForwardConfig"]["TargetGroups"][1], json!({"TargetGroupArn": "b", "Weight": 1}));
        assert!(forward(&Form::default()).is_err());
        assert!(conditions(&Form::parse("paths=+")).is_err());
    }
}
