//! Task definitions: families, revisions, and what differs between two.

use super::Ctx;
use crate::api::{Data, Told, Trouble, short};
use crate::form::encoded;
use crate::html::{self, Page, more, section, table, text};
use futures_util::future::join_all;
use maud::{Markup, html};
use quarry_aws::ecs::op::{DescribeTaskDefinition, ListTaskDefinitionFamilies, ListTaskDefinitions};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Families whose newest revision is looked at.
const DESCRIBED: usize = 100;
/// Revisions on one page.
const SHOWN: i64 = 50;
/// What a revision says of itself and not of its tasks.
const OF_ITSELF: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "compatibilities",
    "requiresAttributes",
    "family",
];

/// A link to the page of `family:revision`.
pub fn link(name: &str) -> Markup {
    match name.split_once(':') {
        Some((family, revision)) => {
            html::link(&format!("/task-definitions/{}/{}", encoded(family), encoded(revision)), name)
        }
        None => text(name),
    }
}

pub async fn families(ctx: &Ctx<'_>) -> Told<Page> {
    let families = ctx.api.all::<ListTaskDefinitionFamilies>(json!({"status": "ACTIVE"}), "families").await?;
    let names: Vec<&str> = families.iter().filter_map(Value::as_str).collect();
    let newest = join_all(names.iter().take(DESCRIBED).map(|family| describe(ctx, family))).await;
    let rows = names.iter().enumerate().map(|(i, family)| {
        let newest = newest.get(i).and_then(|found| found.as_ref().ok()).unwrap_or(&Value::Null);
        let images = newest.list("containerDefinitions").iter().map(|container| container.text("image"));
        let revision = newest.at("revision").as_i64().map_or_else(String::new, |number| format!("{family}:{number}"));
        vec![
            html::link_in("/task-definitions", family),
            if revision.is_empty() { Markup::default() } else { link(&revision) },
            html! { @for image in images { code { (image) } " " } },
            html::when(newest.time("registeredAt")),
        ]
    });
    let columns = ["Family", "Newest revision", "Images", "Registered"];
    let body = section("families", "Families", table("Families with an active revision", &columns, rows.collect()));
    Ok(Page::new("Task definitions", body))
}

pub async fn family(ctx: &Ctx<'_>, family: &str) -> Told<Page> {
    let status = ctx.query.given("status").unwrap_or("ACTIVE");
    let mut wanted = json!({"familyPrefix": family, "status": status, "sort": "DESC", "maxResults": SHOWN});
    if let Some(after) = ctx.query.given("after") {
        wanted["nextToken"] = json!(after);
    }
    let listed = ctx.api.ask::<ListTaskDefinitions>(wanted).await?;
    let names: Vec<&str> = listed.texts("taskDefinitionArns").into_iter().map(short).collect();
    let pairs: Vec<_> = names.iter().zip(names.iter().skip(1).map(Some).chain([None])).collect();
    let rows = pairs.into_iter().map(|(name, older)| {
        let compare = older.and_then(|older| {
            let (_, revision) = name.split_once(':')?;
            let (_, older) = older.split_once(':')?;
            let path = format!("/task-definitions/{}/{revision}?with={older}", encoded(family));
            Some(html::link(&path, &format!("what differs from {older}")))
        });
        vec![link(name), compare.unwrap_or_default()]
    });
    let body = html! {
        p {
            a href="?status=ACTIVE" aria-current=[(status == "ACTIVE").then_some("true")] { "Active" } " · "
            a href="?status=INACTIVE" aria-current=[(status == "INACTIVE").then_some("true")] { "Inactive" }
        }
        (section("revisions", "Revisions", html! {
            (table("Revisions", &["Revision", "Differences"], rows.collect()))
            (more(ctx.path, ctx.query, listed.text("nextToken")))
        }))
    };
    Ok(Page::new(family, body).under("Task definitions", "/task-definitions"))
}

pub async fn revision(ctx: &Ctx<'_>, family: &str, revision: &str) -> Told<Page> {
    let name = format!("{family}:{revision}");
    let definition = describe(ctx, &name).await?;
    let other = match ctx.query.given("with") {
        Some(other) => Some((other, describe(ctx, &format!("{family}:{other}")).await?)),
        None => None,
    };
    let before = revision.parse::<u32>().ok().filter(|number| *number > 1).map(|number| (number - 1).to_string());
    let with = other.as_ref().map(|(other, _)| (*other).to_owned()).or(before).unwrap_or_default();
    let body = html! {
        (section("definition", "Task definition", html::facts(vec![
            ("Status", html::state(definition.text("status"))),
            ("Network mode", text(definition.text("networkMode"))),
            ("CPU units", text(definition.text("cpu"))),
            ("Memory in MiB", text(definition.text("memory"))),
            ("Task role", text(short(definition.text("taskRoleArn")))),
            ("Execution role", text(short(definition.text("executionRoleArn")))),
            ("Registered", html::when(definition.time("registeredAt"))),
            ("ARN", html::code(definition.text("taskDefinitionArn"))),
        ])))
        (section("containers", "Containers", containers(&definition)))
        (section("differences", "Differences", html! {
            form.action method="get" {
                (html::field("with", "Compare with revision", &with, "number"))
                button type="submit" { "Compare" }
            }
            @if let Some((other, older)) = &other { (difference_table(older, &definition, other, revision)) }
        }))
        (section("json", "As JSON", html! {
            (html::folded("The whole definition", html::copied("Task definition", &pretty(&definition))))
        }))
        @if definition.text("status") == "ACTIVE" {
            (section("deregister", "Deregister", html::action(
                "deregister-task-definition", ctx.token, &[("definition", &name)], "Deregister this revision", html! {},
            )))
        }
    };
    let folder = format!("/task-definitions/{}", encoded(family));
    Ok(Page::new(name, body).under("Task definitions", "/task-definitions").under(family, folder))
}

async fn describe(ctx: &Ctx<'_>, name: &str) -> Told<Value> {
    let mut answer = ctx.api.ask::<DescribeTaskDefinition>(json!({"taskDefinition": name})).await?;
    match answer["taskDefinition"].take() {
        Value::Null => Err(Trouble::Missing(format!("task definition {name}"))),
        definition => Ok(definition),
    }
}

fn containers(definition: &Value) -> Markup {
    let rows = definition.list("containerDefinitions").iter().map(|container| {
        let ports: Vec<String> =
            container.list("portMappings").iter().map(|p| p.whole("containerPort").to_string()).collect();
        let number = |name: &str| container.at(name).as_i64().map(text).unwrap_or_default();
        vec![
            text(container.text("name")),
            html::code(container.text("image")),
            text(ports.join(", ")),
            number("cpu"),
            number("memory"),
            text(container.text("logConfiguration.logDriver")),
        ]
    });
    table("Containers", &["Container", "Image", "Ports", "#CPU units", "#MiB", "Log driver"], rows.collect())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn difference_table(older: &Value, newer: &Value, from: &str, to: &str) -> Markup {
    let rows = differences(older, newer).into_iter().map(|(path, old, new)| {
        let cell = |value: Option<String>, class: &str| html! { @if let Some(value) = value { code class=(class) { (value) } } };
        vec![html::code(&path), cell(old, "removed"), cell(new, "added")]
    });
    let columns = ["Member", &format!("Revision {from}"), &format!("Revision {to}")];
    table(&format!("What differs between {from} and {to}"), &columns, rows.collect())
}

/// What differs between two definitions: where, before, after. What is named is compared by name, not by place.
fn differences(older: &Value, newer: &Value) -> Vec<(String, Option<String>, Option<String>)> {
    let (older, newer) = (flat(older), flat(newer));
    let paths: BTreeSet<&String> = older.keys().chain(newer.keys()).collect();
    let of = |all: &BTreeMap<String, String>, path: &String| all.get(path).cloned();
    let all = paths.into_iter().map(|path| (path.clone(), of(&older, path), of(&newer, path)));
    all.filter(|(_, old, new)| old != new).collect()
}

fn flat(definition: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in definition.as_object().into_iter().flatten() {
        if !OF_ITSELF.contains(&name.as_str()) {
            flatten(name.clone(), value, &mut all);
        }
    }
    all
}

fn flatten(path: String, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| flatten(format!("{path}.{name}"), value, into));
        }
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                let named = ["name", "containerName", "sourceVolume"].iter().find_map(|key| item[*key].as_str());
                let place = named.map_or_else(|| i.to_string(), str::to_owned);
                flatten(format!("{path}[{place}]"), item, into);
            }
        }
        Value::String(text) => {
            into.insert(path, text.clone());
        }
        other => {
            into.insert(path, other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_by_name_and_not_by_place() {
        let environment = |pairs: &[(&str, &str)]| -> Value {
            pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
        };
        let definition = |image: &str, environment: Value, revision: i64| {
            json!({"family": "posts", "revision": revision, "containerDefinitions":
                [{"name": "posts", "image": image, "environment": environment, "essential": true}]})
        };
        let older = definition("posts:1", environment(&[("A", "1"), ("B", "2")]), 1);
        let newer = definition("posts:2", environment(&[("B", "2"), ("C", "3")]), 2);
        let told = differences(&older, &newer);
        let paths: Vec<_> = told.iter().map(|(path, _, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "containerDefinitions[posts].environment[A].name",
                "containerDefinitions[posts].environment[A].value",
                "containerDefinitions[posts].environment[C].name",
                "containerDefinitions[posts].environment[C].value",
                "containerDefinitions[posts].image",
            ]
        );
        assert_eq!(told[4].1.as_deref().zip(told[4].2.as_deref()), Some(("posts:1", "posts:2")));
        assert!(differences(&older, &definition("posts:1", environment(&[("B", "2"), ("A", "1")]), 9)).is_empty());
    }
}
