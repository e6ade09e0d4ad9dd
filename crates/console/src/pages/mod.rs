//! The pages: each asks the API for what it shows, and draws it.

mod alarms;
mod clusters;
mod create_service;
mod cuts;
mod load_balancers;
pub mod logs;
mod metrics;
mod namespaces;
mod overview;
mod repositories;
mod requests;
mod roles;
mod rules;
mod services;
mod stacks;
mod target_groups;
mod task_definitions;
mod tasks;
mod traces;

use crate::api::{Api, Told, Trouble};
use crate::form::{Form, segments};
use crate::html::Page;
use futures_util::future::BoxFuture;

/// What a page is made of.
pub struct Ctx<'a> {
    pub api: &'a Api,
    /// What forms carry.
    pub token: &'a str,
    pub query: &'a Form,
    /// The page's path, without the query.
    pub path: &'a str,
}

/// The page at the context's path.
pub async fn page(ctx: &Ctx<'_>) -> Told<Page> {
    let segments = segments(ctx.path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let page: BoxFuture<'_, Told<Page>> = match segments[..] {
        [] => Box::pin(overview::page(ctx)),
        ["clusters"] => Box::pin(clusters::list(ctx)),
        ["clusters", cluster] => Box::pin(clusters::one(ctx, cluster)),
        ["clusters", cluster, "create-service"] => Box::pin(create_service::page(ctx, cluster)),
        ["clusters", cluster, "tasks"] => Box::pin(tasks::list(ctx, cluster)),
        ["clusters", cluster, "tasks", task] => Box::pin(tasks::one(ctx, cluster, task)),
        ["clusters", cluster, "services", service] => Box::pin(services::one(ctx, cluster, service)),
        ["clusters", cluster, "services", service, "logs"] => Box::pin(logs::of_service(ctx, cluster, service)),
        ["task-definitions"] => Box::pin(task_definitions::families(ctx)),
        ["task-definitions", family] => Box::pin(task_definitions::family(ctx, family)),
        ["task-definitions", family, revision] => Box::pin(task_definitions::revision(ctx, family, revision)),
        ["load-balancers"] => Box::pin(load_balancers::list(ctx)),
        ["load-balancers", name] => Box::pin(load_balancers::one(ctx, name)),
        ["load-balancers", name, "requests"] => Box::pin(requests::page(ctx, name)),
        ["target-groups"] => Box::pin(target_groups::list(ctx)),
        ["target-groups", name] => Box::pin(target_groups::one(ctx, name)),
        ["repositories"] => Box::pin(repositories::list(ctx)),
        ["repositories", name] => Box::pin(repositories::one(ctx, name)),
        ["stacks"] => Box::pin(stacks::list(ctx)),
        ["stacks", name] => Box::pin(stacks::one(ctx, name)),
        ["namespaces"] => Box::pin(namespaces::list(ctx)),
        ["namespaces", id] => Box::pin(namespaces::one(ctx, id)),
        ["roles"] => Box::pin(roles::list(ctx)),
        ["roles", name] => Box::pin(roles::one(ctx, name)),
        ["logs"] => Box::pin(logs::groups(ctx)),
        ["logs", group] => Box::pin(logs::group(ctx, group)),
        ["metrics"] => Box::pin(metrics::list(ctx)),
        ["metrics", "chart"] => Box::pin(metrics::one(ctx)),
        ["alarms"] => Box::pin(alarms::list(ctx)),
        ["alarms", name] => Box::pin(alarms::one(ctx, name)),
        ["traces"] => Box::pin(traces::list(ctx)),
        ["traces", id] => Box::pin(traces::one(ctx, id)),
        ["cuts"] => Box::pin(cuts::list(ctx)),
        ["cuts", id] => Box::pin(cuts::one(ctx, id)),
        _ => return Err(Trouble::Missing(format!("page {}", ctx.path))),
    };
    page.await
}
