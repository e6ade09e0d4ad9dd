//! The rules of a load balancer's listeners, in the order in which they are tried, and their forms.

use super::Ctx;
use crate::api::{Data, Told, short};
use crate::html::{self, table, text};
use crate::words;
use futures_util::future::{join3, try_join_all};
use maud::{Markup, html};
use quarry_aws::elbv2::op::{DescribeRules, DescribeTargetGroups};
use quarry_client::status::RuleView;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The section of all listeners' rules.
pub async fn part(ctx: &Ctx<'_>, balancer: &str, arn: &str, listeners: &[Value]) -> Markup {
    let of = listeners.iter().map(|listener| async move {
        let arn = listener.text("ListenerArn");
        ctx.api.all::<DescribeRules>(json!({"ListenerArn": arn}), "Rules").await.map(words::in_order)
    });
    let groups = ctx.api.all::<DescribeTargetGroups>(json!({}), "TargetGroups");
    let (rules, groups, hits): (Told<Vec<Vec<Value>>>, _, _) = join3(try_join_all(of), groups, ctx.api.rules()).await;
    let hits = hits.unwrap_or_default();
    let groups: Vec<(String, String)> = groups
        .unwrap_or_default()
        .iter()
        .map(|g| (g.text("TargetGroupArn").to_owned(), g.text("TargetGroupName").to_owned()))
        .collect();
    let rules = match rules {
        Ok(rules) => rules,
        Err(trouble) => return html::section("rules", "Rules", html::wrong(&trouble)),
    };
    html::section(
        "rules",
        "Rules",
        html! {
            @if listeners.is_empty() { p.none { "It has no listener." } }
            (html::folded("Add a listener", add_listener(ctx, balancer, arn, &groups)))
            @for (listener, rules) in listeners.iter().zip(&rules) { (of_listener(ctx, balancer, listener, rules, &groups, &hits)) }
        },
    )
}

fn of_listener(
    ctx: &Ctx<'_>,
    balancer: &str,
    listener: &Value,
    rules: &[Value],
    groups: &[(String, String)],
    hits: &BTreeMap<String, RuleView>,
) -> Markup {
    let all: u64 = rules.iter().filter_map(|rule| hits.get(rule.text("RuleArn"))).map(|hits| hits.requests).sum();
    let name = format!("{} {}", listener.text("Protocol"), listener.whole("Port"));
    let listener_arn = listener.text("ListenerArn");
    let place = |i: usize| i.checked_sub(1).and_then(|i| rules.get(i)).filter(|r| !r.flag("IsDefault"));
    let rows = rules.iter().enumerate().map(|(i, rule)| {
        let conditions = words::conditions(rule);
        let actions: Vec<String> = rule.list("Actions").iter().map(words::action).collect();
        let arn = rule.text("RuleArn");
        let next = rules.get(i + 1).filter(|r| !r.flag("IsDefault"));
        let hidden = [("balancer", balancer), ("listener", listener_arn), ("rule", arn)];
        let edit = html! {
            @if !rule.flag("IsDefault") {
                @if place(i).is_some() { (moving(ctx, &hidden, "earlier", rule)) }
                @if next.is_some() { (moving(ctx, &hidden, "later", rule)) }
                (html::action("delete-rule", ctx.token, &hidden, "Delete", html! {}))
            }
            (html::folded("Change", change(ctx, &hidden, rule, groups)))
        };
        vec![
            text(rule.text("Priority")),
            text(if conditions.is_empty() { "always".into() } else { conditions.join(" and ") }),
            text(actions.join(", then ")),
            taken(arn, hits.get(arn).copied().unwrap_or_default(), all),
            edit,
        ]
    });
    let caption = format!("Rules of {name}, in order");
    html! {
        h3 { (name) }
        (table(&caption, &["Priority", "If", "Then", "#Requests", "Actions"], rows.collect()))
        (html::folded(&format!("Add a rule to {name}"), add(ctx, balancer, listener_arn, rules, groups)))
        (html::action("delete-listener", ctx.token, &[("balancer", balancer), ("listener", listener_arn)],
            &format!("Delete the listener {name}"), html! {}))
    }
}

/// What a rule took, and which part of all that its listener got; brought up to date by itself, the forms beside it are not.
fn taken(arn: &str, hits: RuleView, all: u64) -> Markup {
    let share = hits.requests as f64 / all.max(1) as f64 * 100.0;
    html! {
        div #{ "hits-" (short(arn)) } data-live {
            strong { (hits.requests) }
            @if hits.last_minute > 0 { span.rate { " " (hits.last_minute) "/min" } }
            svg.share viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label=(format!("{share:.0} % of the listener's requests")) {
                rect.ground width="100" height="4" {}
                rect.part width=(format!("{share:.1}")) height="4" {}
            }
        }
    }
}

fn moving(ctx: &Ctx<'_>, hidden: &[(&str, &str)], way: &'static str, rule: &Value) -> Markup {
    let hidden: Vec<_> = hidden.iter().copied().chain([("way", way)]).collect();
    let label = format!("Move rule {} {way}", rule.text("Priority"));
    html! {
        form.action method="post" action="/do/move-rule" {
            input type="hidden" name="token" value=(ctx.token);
            @for (name, value) in &hidden { input type="hidden" name=(name) value=(value); }
            button type="submit" aria-label=(label) { @if way == "earlier" { "↑" } @else { "↓" } }
        }
    }
}

/// Where a rule forwards to; its conditions too, where they are of kinds that a line of text can hold.
fn change(ctx: &Ctx<'_>, hidden: &[(&str, &str)], rule: &Value, groups: &[(String, String)]) -> Markup {
    let now: Vec<_> = rule.list("Actions").iter().flat_map(words::groups).collect();
    let group = |i: usize| now.get(i).map_or("", |(arn, _)| arn.as_str());
    let weight = |i: usize| now.get(i).map_or_else(String::new, |(_, weight)| weight.to_string());
    let name = if rule.flag("IsDefault") { "modify-default" } else { "modify-rule" };
    let simple = rule.list("Conditions").iter().all(|c| matches!(c.text("Field"), "path-pattern" | "host-header"));
    let values = |field: &str| {
        let of = rule.list("Conditions").iter().filter(|c| c.text("Field") == field);
        of.flat_map(words::values).collect::<Vec<_>>().join(", ")
    };
    html::action(
        name,
        ctx.token,
        hidden,
        "Change the rule",
        html! {
            @if !rule.flag("IsDefault") && simple {
                input type="hidden" name="conditions" value="yes";
                (html::field("paths", "Paths", &values("path-pattern"), "text"))
                (html::field("hosts", "Hosts", &values("host-header"), "text"))
            }
            (html::choice("group", "Forward to", &with_none(groups), group(0)))
            (html::field("weight", "Weight", &weight(0), "number"))
            (html::choice("second", "And to", &with_none(groups), group(1)))
            (html::field("second_weight", "Weight of the second", &weight(1), "number"))
        },
    )
}

fn add(ctx: &Ctx<'_>, balancer: &str, listener: &str, rules: &[Value], groups: &[(String, String)]) -> Markup {
    let last = rules.iter().filter_map(|rule| rule.text("Priority").parse::<u32>().ok()).max().unwrap_or(0);
    html::action(
        "create-rule",
        ctx.token,
        &[("balancer", balancer), ("listener", listener)],
        "Add the rule",
        html! {
            (html::field("priority", "Priority", &(last + 1).to_string(), "number"))
            (html::field("paths", "Paths, such as /api/users*", "", "text"))
            (html::field("hosts", "Hosts", "", "text"))
            (html::choice("group", "Forward to", groups, ""))
        },
    )
}

fn add_listener(ctx: &Ctx<'_>, balancer: &str, arn: &str, groups: &[(String, String)]) -> Markup {
    html::action(
        "create-listener",
        ctx.token,
        &[("balancer", balancer), ("arn", arn)],
        "Add the listener",
        html! {
            (html::field("port", "Port, for HTTP", "80", "number"))
            (html::choice("group", "Forward to", groups, ""))
        },
    )
}

fn with_none(groups: &[(String, String)]) -> Vec<(String, String)> {
    [(String::new(), "—".to_owned())].into_iter().chain(groups.iter().cloned()).collect()
}
