//! Clusters: their services, tasks, container instances and how busy they are.

use super::{Ctx, overview};
use crate::api::{Api, Data, Told, Trouble, short};
use crate::chart::chart;
use crate::form::encoded;
use crate::html::{self, Page, live, part, section, table, text};
use crate::metrics::{self, Query};
use futures_util::future::{join3, try_join_all};
use maud::{Markup, html};
use quarry_aws::ecs::op::{DescribeClusters, DescribeContainerInstances, ListClusters, ListContainerInstances};
use serde_json::{Value, json};

/// Clusters, container instances and tasks that ECS describes at once.
pub const AT_ONCE: usize = 100;
/// Minutes that charts show.
pub const MINUTES: i64 = 60;

pub async fn list(ctx: &Ctx<'_>) -> Told<Page> {
    let arns = ctx.api.all::<ListClusters>(json!({}), "clusterArns").await?;
    let described = arns.chunks(AT_ONCE).map(|chunk| describe(ctx.api, json!(chunk)));
    let clusters: Vec<Value> = try_join_all(described).await?.into_iter().flatten().collect();
    let rows = clusters.iter().map(|cluster| {
        vec![
            html::link_in("/clusters", cluster.text("clusterName")),
            html::state(cluster.text("status")),
            text(cluster.whole("activeServicesCount")),
            text(cluster.whole("runningTasksCount")),
            text(cluster.whole("pendingTasksCount")),
            text(cluster.whole("registeredContainerInstancesCount")),
        ]
    });
    let columns = ["Cluster", "Status", "#Services", "#Running tasks", "#Pending tasks", "#Container instances"];
    Ok(Page::new("Clusters", live("all", "All clusters", table("Clusters", &columns, rows.collect()))))
}

async fn describe(api: &Api, names: Value) -> Told<Vec<Value>> {
    Ok(api.ask::<DescribeClusters>(json!({"clusters": names})).await?.list("clusters").to_vec())
}

/// A cluster that is there.
pub async fn named(api: &Api, name: &str) -> Told<Value> {
    let missing = || Trouble::Missing(format!("cluster {name}"));
    describe(api, json!([name])).await?.into_iter().next().ok_or_else(missing)
}

pub async fn one(ctx: &Ctx<'_>, name: &str) -> Told<Page> {
    let cluster = named(ctx.api, name).await?;
    let (services, instances, used) =
        join3(overview::services_of(ctx.api, name), instances(ctx.api, name), usage(ctx.api, name, None)).await;
    let own = format!("/clusters/{}", encoded(name));
    let facts = html::facts(vec![
        ("Status", html::state(cluster.text("status"))),
        ("Running tasks", text(cluster.whole("runningTasksCount"))),
        ("Pending tasks", text(cluster.whole("pendingTasksCount"))),
        ("ARN", html::code(cluster.text("clusterArn"))),
    ]);
    let body = html! {
        (live("cluster", "Cluster", facts))
        (live("services", "Services", part(&services, |all| overview::services_table(all))))
        (section("tasks", "Tasks", html! { p {
            a href={ (own) "/tasks" } { "Running tasks" } " · "
            a href={ (own) "/tasks?status=STOPPED" } { "Stopped tasks" } " · "
            a href={ (own) "/create-service" } { "Create a service" }
        } }))
        (live("instances", "Container instances", part(&instances, |all| instances_table(all))))
        (live("usage", "CPU and memory", part(&used, |used| usage_chart(used))))
        (section("delete", "Delete", html::action("delete-cluster", ctx.token, &[("cluster", name)], "Delete this cluster", html! {})))
    };
    Ok(Page::new(name, body).under("Clusters", "/clusters"))
}

async fn instances(api: &Api, cluster: &str) -> Told<Vec<Value>> {
    let arns = api.all::<ListContainerInstances>(json!({"cluster": cluster}), "containerInstanceArns").await?;
    let described = arns.chunks(AT_ONCE).map(|chunk| async move {
        let input = json!({"cluster": cluster, "containerInstances": chunk});
        Told::Ok(api.ask::<DescribeContainerInstances>(input).await?.list("containerInstances").to_vec())
    });
    Ok(try_join_all(described).await?.into_iter().flatten().collect())
}

fn instances_table(instances: &[Value]) -> Markup {
    let rows = instances.iter().map(|instance| {
        let amount = |list: &str, name: &str| {
            instance.list(list).iter().find(|r| r.text("name") == name).map_or(0, |r| r.whole("integerValue"))
        };
        let free = |name: &str| {
            text(format!("{} of {}", amount("remainingResources", name), amount("registeredResources", name)))
        };
        vec![
            html::code(short(instance.text("containerInstanceArn"))),
            html::code(instance.text("ec2InstanceId")),
            html::state(instance.text("status")),
            text(instance.whole("runningTasksCount")),
            free("CPU"),
            free("MEMORY"),
        ]
    });
    let columns = ["Container instance", "EC2 instance", "Status", "#Tasks", "#CPU units free", "#MiB free"];
    table("Container instances", &columns, rows.collect())
}

/// CPU and memory in percent of what is reserved, of a cluster or a service.
pub async fn usage(api: &Api, cluster: &str, service: Option<&str>) -> Told<Vec<metrics::Series>> {
    let service = service.map(|service| ("ServiceName", service));
    let dimensions: Vec<_> = [("ClusterName", cluster)].into_iter().chain(service).collect();
    let of = |name| Query::new("AWS/ECS", name, &dimensions, "Average");
    metrics::last(api, &[of("CPUUtilization"), of("MemoryUtilization")], MINUTES).await
}

pub fn usage_chart(used: &[metrics::Series]) -> Markup {
    match used {
        [cpu, memory] => chart("Utilization in the last hour", "%", &[("CPU", cpu), ("memory", memory)]),
        _ => html! {},
    }
}
