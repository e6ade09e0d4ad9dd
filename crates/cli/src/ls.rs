//! `quarry ls`: what runs, and the URLs that work.

use crate::connection::Connection;
use crate::ecs;
use crate::table::{short, table};
use anyhow::Result;
use quarry_aws::ecs::op::{DescribeContainerInstances, DescribeServices, ListContainerInstances, ListServices};
use quarry_aws::ecs::{
    DescribeContainerInstancesRequest, DescribeServicesRequest, ListContainerInstancesRequest, ListServicesRequest,
    ListTasksRequest,
};
use quarry_client::status::ListenerView;
use quarry_client::{Client, status};
use serde::Serialize;

/// ECS describes at most this many services at once.
const SERVICES_AT_ONCE: usize = 10;

#[derive(Serialize)]
struct Listing {
    load_balancers: Vec<LoadBalancerRow>,
    services: Vec<ServiceRow>,
    tasks: Vec<TaskRow>,
    container_instances: Vec<InstanceRow>,
}

#[derive(Serialize)]
struct LoadBalancerRow {
    name: String,
    port: u16,
    /// Each works on this machine as it stands.
    urls: Vec<String>,
    error: Option<String>,
}

#[derive(Serialize)]
pub struct ServiceRow {
    pub cluster: String,
    pub name: String,
    status: String,
    pub desired: i32,
    pub running: i32,
    pending: i32,
    task_definition: String,
}

#[derive(Serialize)]
struct TaskRow {
    cluster: String,
    id: String,
    group: String,
    status: String,
    container_instance: String,
}

#[derive(Serialize)]
struct InstanceRow {
    cluster: String,
    id: String,
    ec2_instance: String,
    status: String,
    running_tasks: i32,
}

pub async fn run(connection: &Connection, json: bool) -> Result<()> {
    let listing = gather(connection).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&listing)?);
        return Ok(());
    }
    print(&listing);
    Ok(())
}

async fn gather(connection: &Connection) -> Result<Listing> {
    let aws = connection.client()?;
    let listeners = status::listeners(&connection.endpoint).await?;
    let mut listing = Listing {
        load_balancers: listeners.into_iter().map(load_balancer).collect(),
        services: Vec::new(),
        tasks: Vec::new(),
        container_instances: Vec::new(),
    };
    for cluster in ecs::clusters(&aws, None).await? {
        services(&aws, &cluster, &mut listing.services).await?;
        tasks(&aws, &cluster, &mut listing.tasks).await?;
        instances(&aws, &cluster, &mut listing.container_instances).await?;
    }
    Ok(listing)
}

/// URLs by name where the address is the load balancer's own, by number for the shared one.
fn load_balancer(view: ListenerView) -> LoadBalancerRow {
    let own = view.bound.first().map(|a| format!("http://{}:{}/", view.dns_name, a.port()));
    let numbered = view.bound.iter().map(|a| format!("http://{a}/"));
    LoadBalancerRow {
        name: view.load_balancer_name,
        port: view.port,
        urls: own.into_iter().chain(numbered).map(|url| url.replace(":80/", "/")).collect(),
        error: view.error,
    }
}

pub async fn services(aws: &Client, cluster: &str, rows: &mut Vec<ServiceRow>) -> Result<()> {
    let input = ListServicesRequest { cluster: Some(cluster.into()), ..Default::default() };
    let pages = aws.paginate::<ListServices>(input).await?;
    let arns: Vec<_> = pages.into_iter().flat_map(|p| p.service_arns.unwrap_or_default()).collect();
    for chunk in arns.chunks(SERVICES_AT_ONCE) {
        let input = DescribeServicesRequest {
            cluster: Some(cluster.into()),
            services: Some(chunk.to_vec()),
            ..Default::default()
        };
        let described = aws.call::<DescribeServices>(input).await?;
        rows.extend(described.services.unwrap_or_default().into_iter().map(|s| ServiceRow {
            cluster: short(cluster).into(),
            name: s.service_name.unwrap_or_default(),
            status: s.status.unwrap_or_default(),
            desired: s.desired_count.unwrap_or_default(),
            running: s.running_count.unwrap_or_default(),
            pending: s.pending_count.unwrap_or_default(),
            task_definition: short(&s.task_definition.unwrap_or_default()).into(),
        }));
    }
    Ok(())
}

async fn tasks(aws: &Client, cluster: &str, rows: &mut Vec<TaskRow>) -> Result<()> {
    let input = ListTasksRequest { cluster: Some(cluster.into()), ..Default::default() };
    rows.extend(ecs::tasks(aws, input).await?.into_iter().map(|t| TaskRow {
        cluster: short(cluster).into(),
        id: short(&t.task_arn.unwrap_or_default()).into(),
        group: t.group.unwrap_or_default(),
        status: t.last_status.unwrap_or_default(),
        container_instance: short(&t.container_instance_arn.unwrap_or_default()).into(),
    }));
    Ok(())
}

async fn instances(aws: &Client, cluster: &str, rows: &mut Vec<InstanceRow>) -> Result<()> {
    let input = ListContainerInstancesRequest { cluster: Some(cluster.into()), ..Default::default() };
    let pages = aws.paginate::<ListContainerInstances>(input).await?;
    let arns: Vec<_> = pages.into_iter().flat_map(|p| p.container_instance_arns.unwrap_or_default()).collect();
    for chunk in arns.chunks(ecs::AT_ONCE) {
        let input = DescribeContainerInstancesRequest {
            cluster: Some(cluster.into()),
            container_instances: Some(chunk.to_vec()),
            ..Default::default()
        };
        let described = aws.call::<DescribeContainerInstances>(input).await?;
        rows.extend(described.container_instances.unwrap_or_default().into_iter().map(|i| InstanceRow {
            cluster: short(cluster).into(),
            id: short(&i.container_instance_arn.unwrap_or_default()).into(),
            ec2_instance: i.ec2_instance_id.unwrap_or_default(),
            status: i.status.unwrap_or_default(),
            running_tasks: i.running_tasks_count.unwrap_or_default(),
        }));
    }
    Ok(())
}

fn print(listing: &Listing) {
    let rows = listing.load_balancers.iter().map(|b| {
        let shown: Vec<_> = b.urls.iter().chain(&b.error).map(String::as_str).collect();
        [b.name.clone(), b.port.to_string(), shown.join("  ")]
    });
    section("load balancers", &table(["NAME", "PORT", "URLS"], rows), listing.load_balancers.is_empty());
    let rows = listing.services.iter().map(|s| {
        [
            s.cluster.clone(),
            s.name.clone(),
            s.status.clone(),
            format!("{}/{}", s.running, s.desired),
            s.pending.to_string(),
            s.task_definition.clone(),
        ]
    });
    let heading = ["CLUSTER", "NAME", "STATUS", "RUNNING", "PENDING", "TASK DEFINITION"];
    section("services", &table(heading, rows), listing.services.is_empty());
    let rows = listing
        .tasks
        .iter()
        .map(|t| [t.cluster.clone(), t.id.clone(), t.group.clone(), t.status.clone(), t.container_instance.clone()]);
    let heading = ["CLUSTER", "ID", "GROUP", "STATUS", "CONTAINER INSTANCE"];
    section("tasks", &table(heading, rows), listing.tasks.is_empty());
    let rows = listing.container_instances.iter().map(|i| {
        [i.cluster.clone(), i.id.clone(), i.ec2_instance.clone(), i.status.clone(), i.running_tasks.to_string()]
    });
    let heading = ["CLUSTER", "ID", "EC2 INSTANCE", "STATUS", "TASKS"];
    section("container instances", &table(heading, rows), listing.container_instances.is_empty());
}

fn section(title: &str, table: &str, empty: bool) {
    println!("{title}{}", if empty { ": none" } else { "" });
    if !empty {
        for line in table.lines() {
            println!("  {line}");
        }
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_port_that_was_really_bound() {
        let view = |port: u16| ListenerView {
            listener_arn: String::new(),
            load_balancer_name: "demo".into(),
            dns_name: "demo-1.us-east-1.elb.localhost".into(),
            port: 80,
            bound: vec![([127, 80, 0, 1], port).into(), ([127, 0, 0, 1], port).into()],
            error: None,
        };
        let urls = load_balancer(view(80)).urls;
        assert_eq!(urls, ["http://demo-1.us-east-1.elb.localhost/", "http://127.80.0.1/", "http://127.0.0.1/"]);
        assert_eq!(load_balancer(view(8080)).urls[0], "http://demo-1.us-east-1.elb.localhost:8080/");
    }
}
