//! Tasks: pages of them, and one with its containers.

use super::{Ctx, clusters, task_definitions};
use crate::api::{Api, Data, Told, Trouble, short};
use crate::form::encoded;
use crate::html::{self, Page, live, more, section, table, text, with_query};
use futures_util::future::try_join_all;
use maud::{Markup, html};
use quarry_aws::ecs::op::{DescribeTasks, ListTasks};
use serde_json::{Value, json};
use std::cmp::Reverse;

/// Tasks on one page, unless more are asked for.
const SHOWN: usize = 50;
const CHOICES: [usize; 3] = [50, 200, 1000];
/// Tasks that one call lists at most.
const LISTED: usize = 100;
const STATES: [&str; 2] = ["RUNNING", "STOPPED"];

/// As many tasks as are wanted, from as many listings as that takes, and the token of what follows.
pub async fn some(api: &Api, cluster: &str, mut wanted: Value, count: usize) -> Told<(Vec<Value>, String)> {
    let mut arns: Vec<Value> = Vec::new();
    wanted["cluster"] = json!(cluster);
    let next = loop {
        wanted["maxResults"] = json!((count - arns.len()).min(LISTED));
        let listed = api.ask::<ListTasks>(wanted.clone()).await?;
        arns.extend(listed.list("taskArns").iter().cloned());
        let next = listed.text("nextToken").to_owned();
        if next.is_empty() || arns.len() >= count {
            break next;
        }
        wanted["nextToken"] = json!(next);
    };
    let described = arns.chunks(clusters::AT_ONCE).map(|chunk| async move {
        let answer = api.ask::<DescribeTasks>(json!({"cluster": cluster, "tasks": chunk})).await?;
        Told::Ok(answer.list("tasks").to_vec())
    });
    let mut tasks: Vec<Value> = try_join_all(described).await?.into_iter().flatten().collect();
    tasks.sort_by_key(newest_first);
    Ok((tasks, next))
}

fn newest_first(task: &Value) -> Reverse<Option<i64>> {
    Reverse(task.time("stoppedAt").or(task.time("createdAt")).map(|at| at.millis()))
}

pub async fn list(ctx: &Ctx<'_>, cluster: &str) -> Told<Page> {
    let status = ctx.query.given("status").unwrap_or(STATES[0]);
    let count = ctx.query.text("show").parse().ok().filter(|count| CHOICES.contains(count)).unwrap_or(SHOWN);
    let mut wanted = json!({"desiredStatus": status});
    for (name, member) in [("service", "serviceName"), ("family", "family"), ("after", "nextToken")] {
        if let Some(value) = ctx.query.given(name) {
            wanted[member] = json!(value);
        }
    }
    let (tasks, next) = some(ctx.api, cluster, wanted, count).await?;
    let of = ctx.query.given("service").map(|service| format!(" of {service}")).unwrap_or_default();
    let body = html! {
        p { @for (i, one) in STATES.iter().enumerate() {
            @if i > 0 { " · " }
            a href=(with_query(ctx.path, ctx.query, "status", one)) aria-current=[(*one == status).then_some("true")] {
                "Desired status " (one)
            }
        } }
        (section("choose", "Which", html! {
            p { "On one page: " @for (i, one) in CHOICES.iter().enumerate() {
                @if i > 0 { " · " }
                a href=(with_query(ctx.path, ctx.query, "show", &one.to_string())) aria-current=[(*one == count).then_some("true")] { (one) }
            } }
            // The script alone can do this; it shows the field.
            label.field data-filter="tasks-live" hidden { span { "Of these, only those with" } input type="search" autocomplete="off"; }
        }))
        (live("tasks", "Tasks", html! { (listing(cluster, &tasks)) (more(ctx.path, ctx.query, &next)) }))
    };
    let own = format!("/clusters/{}", encoded(cluster));
    Ok(Page::new(format!("Tasks{of}"), body).under("Clusters", "/clusters").under(cluster, own))
}

/// A table of tasks.
pub fn listing(cluster: &str, tasks: &[Value]) -> Markup {
    let folder = format!("/clusters/{}/tasks", encoded(cluster));
    let rows = tasks.iter().map(|task| {
        vec![
            html::link_in(&folder, short(task.text("taskArn"))),
            text(task.text("group").strip_prefix("service:").unwrap_or(task.text("group"))),
            html! {
                (html::state(task.text("lastStatus")))
                @if task.text("healthStatus") != "UNKNOWN" { " " (html::state(task.text("healthStatus"))) }
            },
            task_definitions::link(short(task.text("taskDefinitionArn"))),
            html::when(task.time("startedAt").or(task.time("createdAt"))),
            text(task.text("stoppedReason")),
        ]
    });
    table("Tasks", &["Task", "Of", "Status", "Task definition", "Since", "Stopped because"], rows.collect())
}

pub async fn one(ctx: &Ctx<'_>, cluster: &str, id: &str) -> Told<Page> {
    let described = ctx.api.ask::<DescribeTasks>(json!({"cluster": cluster, "tasks": [id]})).await?;
    let missing = || Trouble::Missing(format!("task {id} in cluster {cluster}"));
    let task = described.list("tasks").first().ok_or_else(missing)?;
    let service = task.text("group").strip_prefix("service:").unwrap_or_default();
    let folder = format!("/clusters/{}", encoded(cluster));
    let details = task.list("attachments").iter().flat_map(|a| a.list("details"));
    let address = details.filter(|d| d.text("name") == "privateIPv4Address").map(|d| d.text("value")).next();
    let facts = html::facts(vec![
        ("Last status", html::state(task.text("lastStatus"))),
        ("Desired status", text(task.text("desiredStatus"))),
        ("Health", html::state(task.text("healthStatus"))),
        ("Stopped because", text(task.text("stoppedReason"))),
        ("Stop code", text(task.text("stopCode"))),
        ("Service", html! { @if !service.is_empty() { (html::link_in(&format!("{folder}/services"), service)) } }),
        ("Task definition", task_definitions::link(short(task.text("taskDefinitionArn")))),
        ("Started by", text(task.text("startedBy"))),
        ("Address", html::code(address.unwrap_or_default())),
        ("Container instance", html::code(short(task.text("containerInstanceArn")))),
        ("CPU units", text(task.text("cpu"))),
        ("Memory in MiB", text(task.text("memory"))),
        ("Created", html::when(task.time("createdAt"))),
        ("Image pulled", html::when(task.time("pullStoppedAt"))),
        ("Started", html::when(task.time("startedAt"))),
        ("Stopping", html::when(task.time("stoppingAt"))),
        ("Stopped", html::when(task.time("stoppedAt"))),
        ("ARN", html::code(task.text("taskArn"))),
    ]);
    let running = task.text("desiredStatus") != "STOPPED";
    let body = html! {
        (live("task", "Task", facts))
        (live("containers", "Containers", containers(task)))
        @if !service.is_empty() {
            (section("logs", "Logs", html! { p {
                a href={ (folder) "/services/" (encoded(service)) "/logs?task=" (encoded(id)) } { "What its containers wrote" }
            } }))
        }
        @if running {
            (section("stop", "Stop", html::action(
                "stop-task", ctx.token, &[("cluster", cluster), ("task", id)], "Stop this task",
                html::field("reason", "Reason", "", "text"),
            )))
            (section("exec", "Run a command in it", html::copied("Command", &format!("quarry exec {id} --cluster {cluster} -- /bin/sh"))))
        }
    };
    let page = Page::new(id, body).under("Clusters", "/clusters").under(cluster, folder.clone());
    Ok(page.under("Tasks", format!("{folder}/tasks")))
}

fn containers(task: &Value) -> Markup {
    let rows = task.list("containers").iter().map(|container| {
        let bindings: Vec<String> = container
            .list("networkBindings")
            .iter()
            .map(|b| format!("{} → {}", b.whole("hostPort"), b.whole("containerPort")))
            .collect();
        vec![
            text(container.text("name")),
            html::state(container.text("lastStatus")),
            html::state(container.text("healthStatus")),
            html::code(container.text("image")),
            text(bindings.join(", ")),
            container.at("exitCode").as_i64().map(text).unwrap_or_default(),
            text(container.text("reason")),
        ]
    });
    table("Containers", &["Container", "Status", "Health", "Image", "Ports", "#Exit code", "Reason"], rows.collect())
}
