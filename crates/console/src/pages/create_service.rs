//! The form that makes a service.

use super::{Ctx, clusters};
use crate::api::{Data, Told, short};
use crate::form::encoded;
use crate::html::{self, Page, section};
use futures_util::future::try_join3;
use maud::html;
use quarry_aws::ecs::op::ListTaskDefinitions;
use quarry_aws::elbv2::op::DescribeTargetGroups;
use serde_json::json;

/// Revisions offered.
const REVISIONS: i64 = 100;

pub async fn page(ctx: &Ctx<'_>, cluster: &str) -> Told<Page> {
    let (_, definitions, groups) = try_join3(
        clusters::named(ctx.api, cluster),
        ctx.api.ask::<ListTaskDefinitions>(json!({"sort": "DESC", "maxResults": REVISIONS})),
        ctx.api.all::<DescribeTargetGroups>(json!({}), "TargetGroups"),
    )
    .await?;
    let definitions: Vec<(String, String)> = definitions
        .texts("taskDefinitionArns")
        .into_iter()
        .map(|arn| (short(arn).to_owned(), short(arn).to_owned()))
        .collect();
    let groups = groups.iter().map(|g| (g.text("TargetGroupArn").to_owned(), g.text("TargetGroupName").to_owned()));
    let groups: Vec<_> = [(String::new(), "none".to_owned())].into_iter().chain(groups).collect();
    let types = ["EC2", "FARGATE"].map(|t| (t.to_owned(), t.to_owned()));
    let fields = html! {
        (html::field("service", "Service name", "", "text"))
        (html::choice("definition", "Task definition", &definitions, ""))
        (html::field("desired", "Number of tasks", "1", "number"))
        (html::choice("launch_type", "Launch type", &types, "EC2"))
        (html::choice("group", "Target group", &groups, ""))
        (html::field("container", "Container name, with a target group", "", "text"))
        (html::field("port", "Container port, with a target group", "", "number"))
        (html::field("subnets", "Subnets, for network mode awsvpc", "", "text"))
        (html::field("security_groups", "Security groups, for network mode awsvpc", "", "text"))
        (html::tick("circuit_breaker", "give up a deployment that fails, and roll back"))
    };
    let form = html::action("create-service", ctx.token, &[("cluster", cluster)], "Create the service", fields);
    let body = section("create", "Service", form);
    let page = Page::new("Create a service", body).under("Clusters", "/clusters");
    Ok(page.under(cluster, format!("/clusters/{}", encoded(cluster))))
}
