//! Task definitions, target groups and services, as parts 2 and 4 of the documents make them.

use crate::tour::answers::Site;
use crate::tour::platform::Quarry;
use crate::tour::report::Report;
use crate::tour::screen::Screen;
use crate::tour::split::Services;
use crate::tour::stack::Stack;
use crate::tour::{SERVICES, STACK, VERSION};
use anyhow::{Context, Result, bail, ensure};
use quarry_aws::ecs::op::{CreateService, DescribeServices, RegisterTaskDefinition, UpdateService};
use quarry_aws::ecs::{
    ContainerDefinition, CreateServiceRequest, Deployment, DescribeServicesRequest, DockerVolumeConfiguration,
    KeyValuePair, LoadBalancer, LogConfiguration, MountPoint, PortMapping, RegisterTaskDefinitionRequest, Service,
    UpdateServiceRequest, Volume,
};
use quarry_aws::elbv2::op::{CreateListener, CreateTargetGroup, DescribeLoadBalancers, DescribeTargetHealth};
use quarry_aws::elbv2::{
    Action, CreateListenerInput, CreateTargetGroupInput, DescribeLoadBalancersInput, DescribeTargetHealthInput,
};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// A service behind the load balancer.
#[derive(Clone)]
pub struct Deployed {
    pub name: String,
    pub target_group_arn: String,
}

/// The monolith, and how clients reach it.
pub struct Monolith {
    pub service: Deployed,
    pub listener_arn: String,
    pub site: Site,
    /// Where tasks reach the load balancer.
    pub url_for_tasks: String,
}

/// How long anything may take to become healthy before the tour gives up.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn deploy_monolith(screen: &Screen, report: &mut Report, quarry: &Quarry, stack: &Stack) -> Result<Monolith> {
    screen.heading("Deploy the monolith (ECS, load balancer)");
    let step = screen.step("task definition, target group, listener HTTP 80, service api");
    let target_group_arn = target_group(quarry, stack, "api").await?;
    let listener = quarry
        .aws
        .call::<CreateListener>(CreateListenerInput {
            load_balancer_arn: Some(stack.load_balancer_arn.clone()),
            protocol: Some("HTTP".into()),
            port: Some(80),
            default_actions: Some(vec![forward(&target_group_arn)]),
            ..Default::default()
        })
        .await?;
    let listener_arn = listener
        .listeners
        .unwrap_or_default()
        .into_iter()
        .find_map(|l| l.listener_arn)
        .context("the listener has no ARN")?;
    let (bound, note) = quarry.bound(&listener_arn).await?;
    let host = dns_name(quarry, stack).await?;
    let address = *bound.first().context("the load balancer listens nowhere")?;
    let url_for_tasks = match report.isolation.as_str() {
        "none" => format!("http://{address}"),
        _ => format!("http://{host}"),
    };
    // Where a feature is once it was cut out: the load balancer knows.
    let peers: Vec<_> = SERVICES.iter().map(|name| (peer(name), url_for_tasks.clone())).collect();
    let environment = peers.into_iter().chain([("CUT_ADMIN_PORT", admin_port()?)]).collect::<Vec<_>>();
    register(quarry, "api", &environment).await?;
    let service = create_service(quarry, report, stack, "api", target_group_arn).await?;
    let site = Site { address, host: host.clone() };
    let ready = site.get("/").await?;
    ensure!(
        ready.status == 200 && ready.body == b"Ready to receive requests",
        "the monolith answers {} {:?}",
        ready.status,
        String::from_utf8_lossy(&ready.body)
    );
    report.times.monolith = step.done("Ready to receive requests");
    if let Some(note) = note {
        screen.fact(note);
    }
    for address in &bound {
        screen.fact(format!("http://{address}/"));
    }
    Ok(Monolith { service, listener_arn, site, url_for_tasks })
}

/// 256 CPU units, a hard limit in MiB, container port 3000, host port 0; data on a volume of its own.
pub async fn register(quarry: &Quarry, name: &str, environment: &[(&str, String)]) -> Result<()> {
    let place = quarry.installation.place();
    let image = format!("{}.dkr.ecr.{}.amazonaws.com/{name}:{VERSION}", place.account, place.region);
    let database = [("DATABASE_PATH", format!("/data/{name}.db"))];
    let variable =
        |(name, value): &(&str, String)| KeyValuePair { name: Some((*name).into()), value: Some(value.clone()) };
    let variables = environment.iter().chain(&database).map(variable).collect();
    let mut container = ContainerDefinition {
        name: Some(name.into()),
        image: Some(image),
        cpu: Some(256),
        memory: Some(if name == "web" { 128 } else { 256 }),
        essential: Some(true),
        port_mappings: Some(vec![PortMapping {
            container_port: Some(3000),
            host_port: Some(0),
            protocol: Some("tcp".into()),
            ..Default::default()
        }]),
        environment: Some(variables),
        log_configuration: Some(LogConfiguration {
            log_driver: Some("awslogs".into()),
            options: Some(BTreeMap::from([
                ("awslogs-group".into(), format!("ECSLogGroup-{STACK}")),
                ("awslogs-region".into(), place.region),
                ("awslogs-stream-prefix".into(), "board".into()),
            ])),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut volumes = Vec::new();
    if name != "web" {
        let volume = format!("{name}-data");
        container.mount_points = Some(vec![MountPoint {
            source_volume: Some(volume.clone()),
            container_path: Some("/data".into()),
            ..Default::default()
        }]);
        volumes.push(Volume {
            name: Some(volume),
            docker_volume_configuration: Some(DockerVolumeConfiguration {
                scope: Some("shared".into()),
                autoprovision: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        });
    }
    quarry
        .aws
        .call::<RegisterTaskDefinition>(RegisterTaskDefinitionRequest {
            family: Some(name.into()),
            network_mode: Some("bridge".into()),
            container_definitions: Some(vec![container]),
            volumes: Some(volumes),
            ..Default::default()
        })
        .await?;
    Ok(())
}

/// The variable that says where a feature is.
fn peer(name: &str) -> &'static str {
    match name {
        "users" => "USERS_URL",
        "threads" => "THREADS_URL",
        _ => "POSTS_URL",
    }
}

/// A port inside the task. Without isolation the tasks share the machine's ports, so each gets a free one.
fn admin_port() -> Result<String> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port().to_string())
}

/// The task definition of a service of its own. Before the cut it starts empty and fenced, and its rows come by the
/// cut; afterwards it needs nothing of that any more.
pub async fn register_service(quarry: &Quarry, monolith_url: &str, name: &str, to_be_cut: bool) -> Result<()> {
    let others = SERVICES.iter().filter(|other| **other != name && name != "web");
    let mut environment: Vec<_> = others.map(|other| (peer(other), monolith_url.to_owned())).collect();
    if name != "web" {
        environment.push(("IMPORT", String::new()));
        if to_be_cut {
            environment.push(("CUT_DESTINATION", name.to_owned()));
            environment.push(("CUT_ADMIN_PORT", admin_port()?));
        }
    }
    register(quarry, name, &environment).await
}

/// The cuts are finished: the services run on as any others.
pub async fn without_cut(screen: &Screen, quarry: &Quarry, services: &Services) -> Result<()> {
    let step = screen.step("a new revision of users, threads and posts without the cut's settings");
    for service in &services.services {
        register_service(quarry, &services.url_for_tasks, &service.name, false).await?;
        quarry
            .aws
            .call::<UpdateService>(UpdateServiceRequest {
                cluster: Some(services.stack.cluster.clone()),
                service: Some(service.name.clone()),
                task_definition: Some(service.name.clone()),
                ..Default::default()
            })
            .await?;
    }
    let deadline = Instant::now() + PATIENCE;
    for service in &services.services {
        loop {
            let deployments = describe(quarry, &services.stack, &service.name).await?.deployments.unwrap_or_default();
            let completed = |one: &Deployment| one.rollout_state.as_deref() == Some("COMPLETED");
            if deployments.len() == 1 && deployments.iter().all(completed) {
                break;
            }
            ensure!(Instant::now() < deadline, "{} is not deployed anew after 60 s", service.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        wait_healthy(quarry, &services.stack, service, 1).await?;
    }
    step.done("rolled out");
    Ok(())
}

/// The documents' health check: healthy 2, unhealthy 2, timeout 5, interval 6.
pub async fn target_group(quarry: &Quarry, stack: &Stack, name: &str) -> Result<String> {
    let made = quarry
        .aws
        .call::<CreateTargetGroup>(CreateTargetGroupInput {
            name: Some(name.into()),
            protocol: Some("HTTP".into()),
            port: Some(80),
            vpc_id: Some(stack.vpc.clone()),
            healthy_threshold_count: Some(2),
            unhealthy_threshold_count: Some(2),
            health_check_timeout_seconds: Some(5),
            health_check_interval_seconds: Some(6),
            ..Default::default()
        })
        .await?;
    let group = made.target_groups.unwrap_or_default().into_iter().next();
    group.and_then(|g| g.target_group_arn).context("the target group has no ARN")
}

/// Creates the service with one task and waits until its target is healthy.
pub async fn create_service(
    quarry: &Quarry,
    report: &mut Report,
    stack: &Stack,
    name: &str,
    target_group_arn: String,
) -> Result<Deployed> {
    let start = Instant::now();
    quarry
        .aws
        .call::<CreateService>(CreateServiceRequest {
            cluster: Some(stack.cluster.clone()),
            service_name: Some(name.into()),
            task_definition: Some(name.into()),
            desired_count: Some(1),
            launch_type: Some("EC2".into()),
            role: Some(stack.service_role.clone()),
            load_balancers: Some(vec![LoadBalancer {
                target_group_arn: Some(target_group_arn.clone()),
                container_name: Some(name.into()),
                container_port: Some(3000),
                ..Default::default()
            }]),
            ..Default::default()
        })
        .await?;
    let deployed = Deployed { name: name.into(), target_group_arn };
    wait_healthy(quarry, stack, &deployed, 1).await?;
    report.first_task_starts_ms.push(start.elapsed().as_secs_f64() * 1e3);
    Ok(deployed)
}

/// Waits until exactly `count` targets are healthy and no other is registered.
pub async fn wait_healthy(quarry: &Quarry, stack: &Stack, deployed: &Deployed, count: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let states = target_states(quarry, &deployed.target_group_arn).await?;
        if states.len() == count && states.iter().all(|s| s == "healthy") {
            return Ok(());
        }
        if Instant::now() > deadline {
            let service = describe(quarry, stack, &deployed.name).await?;
            let events: Vec<_> =
                service.events.unwrap_or_default().into_iter().take(3).filter_map(|e| e.message).collect();
            bail!(
                "{} has targets {states:?} after {} s, {count} healthy ones were expected: {}",
                deployed.name,
                PATIENCE.as_secs(),
                events.join(" | ")
            );
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// The health states of a group's targets.
pub async fn target_states(quarry: &Quarry, target_group_arn: &str) -> Result<Vec<String>> {
    let health = quarry
        .aws
        .call::<DescribeTargetHealth>(DescribeTargetHealthInput {
            target_group_arn: Some(target_group_arn.into()),
            ..Default::default()
        })
        .await?;
    let targets = health.target_health_descriptions.unwrap_or_default();
    Ok(targets.into_iter().filter_map(|t| t.target_health?.state).collect())
}

pub async fn describe(quarry: &Quarry, stack: &Stack, name: &str) -> Result<Service> {
    let described = quarry
        .aws
        .call::<DescribeServices>(DescribeServicesRequest {
            cluster: Some(stack.cluster.clone()),
            services: Some(vec![name.into()]),
            ..Default::default()
        })
        .await?;
    described.services.unwrap_or_default().into_iter().next().with_context(|| format!("there is no service {name}"))
}

pub fn forward(target_group_arn: &str) -> Action {
    Action { r#type: Some("forward".into()), target_group_arn: Some(target_group_arn.into()), ..Default::default() }
}

async fn dns_name(quarry: &Quarry, stack: &Stack) -> Result<String> {
    let described = quarry
        .aws
        .call::<DescribeLoadBalancers>(DescribeLoadBalancersInput {
            load_balancer_arns: Some(vec![stack.load_balancer_arn.clone()]),
            ..Default::default()
        })
        .await?;
    let balancer = described.load_balancers.unwrap_or_default().into_iter().next();
    balancer.and_then(|b| b.dns_name).context("the load balancer has no DNS name")
}
