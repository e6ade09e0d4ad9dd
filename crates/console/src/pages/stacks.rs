//! Stacks: what they made, what happened.

use super::{Ctx, overview};
use crate::api::{Data, Told, Trouble};
use crate::html::{self, Page, live, part, section, table, text, with_query};
use futures_util::future::join3;
use maud::{Markup, html};
use quarry_aws::cloudformation::op::{DescribeStackEvents, DescribeStacks, GetTemplate, ListStackResources};
use serde_json::{Value, json};

/// Events shown unless more are asked for.
const EVENTS: usize = 50;

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let stacks = ctx.api.all::<DescribeStacks>(json!({}), "Stacks").await?;
    Ok(Page::new("Stacks", live("all", "All stacks", overview::stacks_table(&stacks))))
}

pub async fn one(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let found = ctx.api.ask::<DescribeStacks>(json!({"StackName": name})).await?;
    let stack = found.list("Stacks").first().ok_or_else(|| Trouble::Missing(format!("stack {name}")))?;
    let of = json!({"StackName": name});
    let (events, resources, template) = join3(
        ctx.api.all::<DescribeStackEvents>(of.clone(), "StackEvents"),
        ctx.api.all::<ListStackResources>(of.clone(), "StackResourceSummaries"),
        ctx.api.ask::<GetTemplate>(of),
    )
    .await;
    let shown = if ctx.query.ticked("events") { usize::MAX } else { EVENTS };
    let body = html! {
        (live("stack", "Stack", facts(stack)))
        (live("resources", "Resources", part(&resources, |all| resources_table(all))))
        (live("events", "Events", part(&events, |all| html! {
            (events_table(&all[..shown.min(all.len())]))
            @if all.len() > shown { p { a href={ (with_query(ctx.path, ctx.query, "events", "all")) "#events" } { "All events" } } }
        })))
        (section("outputs", "Outputs", pairs("Outputs", stack.list("Outputs"), "OutputKey", "OutputValue")))
        (section("parameters", "Parameters", pairs("Parameters", stack.list("Parameters"), "ParameterKey", "ParameterValue")))
        (section("template", "Template", part(&template, |answer| {
            let body = answer.at("TemplateBody");
            let body = body.as_str().map_or_else(|| serde_json::to_string_pretty(body).unwrap_or_default(), str::to_owned);
            html::folded("The template", html::copied("Template", &body))
        })))
        (section("delete", "Delete", html::action("delete-stack", ctx.token, &[("stack", name)], "Delete this stack", html! {})))
    };
    Ok(Page::new(name, body).under("Stacks", "/stacks"))
}

fn facts(stack: &Value) -> Markup {
    html::facts(vec![
        ("Status", html::state(stack.text("StackStatus"))),
        ("Reason", text(stack.text("StackStatusReason"))),
        ("Description", text(stack.text("Description"))),
        ("Created", html::when(stack.time("CreationTime"))),
        ("Updated", html::when(stack.time("LastUpdatedTime"))),
        ("Termination protection", text(if stack.flag("EnableTerminationProtection") { "on" } else { "off" })),
        ("Id", html::code(stack.text("StackId"))),
    ])
}

fn resources_table(resources: &[Value]) -> Markup {
    let rows = resources.iter().map(|one| {
        vec![
            text(one.text("LogicalResourceId")),
            text(one.text("ResourceType")),
            html::code(one.text("PhysicalResourceId")),
            html::state(one.text("ResourceStatus")),
            text(one.text("ResourceStatusReason")),
        ]
    });
    table("Resources", &["Name", "Type", "Id", "Status", "Reason"], rows.collect())
}

fn events_table(events: &[Value]) -> Markup {
    let rows = events.iter().map(|event| {
        vec![
            html::when(event.time("Timestamp")),
            text(event.text("LogicalResourceId")),
            text(event.text("ResourceType")),
            html::state(event.text("ResourceStatus")),
            text(event.text("ResourceStatusReason")),
        ]
    });
    table("Events", &["At", "Name", "Type", "Status", "Reason"], rows.collect())
}

fn pairs(caption: &str, list: &[Value], key: &str, value: &str) -> Markup {
    let rows = list.iter().map(|one| vec![text(one.text(key)), text(one.text(value))]);
    table(caption, &["Name", "Value"], rows.collect())
}
