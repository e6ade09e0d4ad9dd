//! Records as responses show them.

use super::capacity::Launch;
use super::capacity::PLATFORM_VERSION;
use super::container_instances::{RESERVED_PORTS, remaining, task_counts};
use super::network::Network;
use super::records::{
    Cluster, ContainerInstance, Deployment, Interface, LastStatus, LaunchType, Service, ServiceEvents, ServiceStatus,
    Task, TaskDefinition,
};
use super::{counts, deployments, tags};
use crate::api::{Ctx, Result};
use crate::store::{StoreError, Tx};
use quarry_aws::ecs as aws;
use quarry_domain::service::Rollout;
use quarry_domain::task::ContainerHealth;
use quarry_wire::Timestamp;
use std::sync::Arc;

fn at(ms: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(ms))
}

fn text(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

pub fn failure(arn: &str, reason: &str) -> aws::Failure {
    aws::Failure { arn: text(arn), reason: text(reason), detail: None }
}

/// `include`: the parts that are shown only when asked for.
pub fn cluster(tx: &Tx<'_>, cluster: &Cluster, include: &[String]) -> Result<aws::Cluster, StoreError> {
    let asked = |part: &str| include.iter().any(|asked| asked == part);
    let ec2 = counts::of(tx, cluster, LaunchType::Ec2)?;
    let fargate = counts::of(tx, cluster, LaunchType::Fargate)?;
    let statistics = || {
        let numbers = [
            ("runningEC2TasksCount", ec2.running_tasks),
            ("runningFargateTasksCount", fargate.running_tasks),
            ("pendingEC2TasksCount", ec2.pending_tasks),
            ("pendingFargateTasksCount", fargate.pending_tasks),
            ("activeEC2ServiceCount", ec2.active_services),
            ("activeFargateServiceCount", fargate.active_services),
            ("drainingEC2ServiceCount", ec2.draining_services),
            ("drainingFargateServiceCount", fargate.draining_services),
        ];
        let pair = |(name, n): (&str, i32)| aws::KeyValuePair { name: text(name), value: text(n.to_string()) };
        numbers.map(pair).into()
    };
    Ok(aws::Cluster {
        cluster_arn: text(&cluster.arn),
        cluster_name: text(&cluster.name),
        status: text(if cluster.active { "ACTIVE" } else { "INACTIVE" }),
        registered_container_instances_count: Some(tx.children_of::<ContainerInstance>(&cluster.arn)?.len() as i32),
        running_tasks_count: Some(ec2.running_tasks + fargate.running_tasks),
        pending_tasks_count: Some(ec2.pending_tasks + fargate.pending_tasks),
        active_services_count: Some(ec2.active_services + fargate.active_services),
        statistics: Some(if asked("STATISTICS") { statistics() } else { Vec::new() }),
        tags: Some(if asked("TAGS") { tags::show(&cluster.tags) } else { Vec::new() }),
        settings: Some(if asked("SETTINGS") { cluster.settings.clone() } else { Vec::new() }),
        configuration: cluster.configuration.clone().filter(|_| asked("CONFIGURATIONS")),
        capacity_providers: Some(cluster.capacity_providers.clone()),
        default_capacity_provider_strategy: Some(cluster.default_strategy.clone()),
        ..aws::Cluster::default()
    })
}

pub fn task_definition(record: &TaskDefinition) -> aws::TaskDefinition {
    let mut shown = record.definition.clone();
    shown.status = text(record.status.as_str());
    shown
}

/// A service with its counts, deployments and events.
pub fn service(tx: &Tx<'_>, service: &Service, with_tags: bool) -> Result<aws::Service, StoreError> {
    let tasks = tx.owned::<Task>(&service.arn)?;
    let count = |deployment: Option<&str>, f: fn(LastStatus) -> bool| {
        let of = |task: &&Arc<Task>| deployment.is_none_or(|id| task.service.as_ref().is_some_and(|(_, d)| d == id));
        tasks.iter().filter(of).filter(|task| f(task.status)).count() as i32
    };
    let is_running = |status| status == LastStatus::Running;
    let show = |deployment: &Deployment| aws::Deployment {
        id: text(&deployment.id),
        status: text(if deployment.primary { "PRIMARY" } else { "ACTIVE" }),
        task_definition: text(&deployment.task_definition),
        desired_count: Some(if deployment.primary { service.desired_count as i32 } else { 0 }),
        running_count: Some(count(Some(&deployment.id), is_running)),
        pending_count: Some(count(Some(&deployment.id), LastStatus::is_pending)),
        failed_tasks: Some(deployment.failed_tasks as i32),
        created_at: at(deployment.created_ms),
        updated_at: at(deployment.updated_ms),
        launch_type: launch_type(&deployment.launch),
        capacity_provider_strategy: Some(deployment.launch.strategy.clone()).filter(|items| !items.is_empty()),
        platform_version: deployment.launch.platform_version.as_ref().map(|_| PLATFORM_VERSION.to_owned()),
        platform_family: deployment.launch.platform_version.as_ref().map(|_| "Linux".to_owned()),
        network_configuration: deployment.launch.network.as_ref().map(Network::shown),
        rollout_state: text(match deployment.rollout {
            Rollout::InProgress => "IN_PROGRESS",
            Rollout::Completed => "COMPLETED",
            Rollout::Failed => "FAILED",
        }),
        rollout_state_reason: text(&deployment.rollout_reason),
        ..aws::Deployment::default()
    };
    let events: Option<ServiceEvents> = tx.get(&service.arn)?;
    let event = |event: super::records::ServiceEvent| aws::ServiceEvent {
        id: Some(event.id),
        created_at: at(event.at_ms),
        message: Some(event.message),
    };
    let gone = service.status == ServiceStatus::Inactive;
    let mut revisions = Vec::new();
    // The primary one first, then the newest.
    let mut ordered: Vec<&Deployment> = service.deployments.iter().rev().collect();
    ordered.sort_by_key(|deployment| !deployment.primary);
    for deployment in &ordered {
        let [requested, running, pending] = deployments::count(&tasks, service, &deployment.id);
        revisions.push(aws::ServiceCurrentRevisionSummary {
            arn: text(deployments::revision_arn(&service.arn, &deployment.id)),
            requested_task_count: Some(requested),
            running_task_count: Some(running),
            pending_task_count: Some(pending),
        });
    }
    Ok(aws::Service {
        current_service_deployment: service.service_deployment.clone().filter(|_| !gone),
        current_service_revisions: (!gone && service.service_deployment.is_some()).then_some(revisions),
        service_arn: text(&service.arn),
        service_name: text(&service.name),
        cluster_arn: text(&service.cluster_arn),
        status: text(service.status.as_str()),
        desired_count: Some(service.desired_count as i32),
        running_count: Some(count(None, is_running)),
        pending_count: Some(count(None, LastStatus::is_pending)),
        task_definition: service.primary().map(|deployment| deployment.task_definition.clone()),
        deployments: Some(if gone { Vec::new() } else { ordered.into_iter().map(show).collect() }),
        events: Some(events.into_iter().flat_map(|events| events.events).map(event).collect()),
        tags: with_tags.then(|| tags::show(&service.tags)),
        ..service.config.clone()
    })
}

/// Shown only where no strategy is.
pub fn launch_type(launch: &Launch) -> Option<String> {
    launch.strategy.is_empty().then(|| launch.launch_type.as_str().to_owned())
}

pub fn task(task: &Task, with_tags: bool) -> aws::Task {
    let overrides = aws::TaskOverride {
        container_overrides: Some(task.overrides.container_overrides.clone().unwrap_or_default()),
        ..task.overrides.clone()
    };
    let attribute = |(name, value): (&str, &str)| aws::Attribute {
        name: text(name),
        value: text(value),
        ..aws::Attribute::default()
    };
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let fargate = task.launch_type == LaunchType::Fargate;
    aws::Task {
        task_arn: text(&task.arn),
        cluster_arn: text(&task.cluster_arn),
        task_definition_arn: text(&task.task_definition_arn),
        container_instance_arn: task.container_instance_arn.clone(),
        availability_zone: text(&task.availability_zone),
        group: text(&task.group),
        started_by: task.started_by.clone(),
        launch_type: text(task.launch_type.as_str()),
        capacity_provider_name: task.capacity_provider.clone(),
        platform_version: fargate.then(|| PLATFORM_VERSION.to_owned()),
        platform_family: fargate.then(|| "Linux".to_owned()),
        ephemeral_storage: task.ephemeral_storage.map(|gib| aws::EphemeralStorage { size_in_gib: Some(gib) }),
        last_status: text(task.status.as_str()),
        desired_status: text(if task.wanted { "RUNNING" } else { "STOPPED" }),
        health_status: text(health(task.health())),
        cpu: text(task.demand.cpu.to_string()),
        memory: text(task.demand.memory.to_string()),
        overrides: Some(overrides),
        containers: Some(task.containers.iter().map(|c| container(task, c)).collect()),
        attachments: Some(task.interface.iter().map(|interface| attachment(task, interface)).collect()),
        attributes: Some(vec![attribute(("ecs.cpu-architecture", architecture))]),
        enable_execute_command: Some(task.exec),
        connectivity: text("CONNECTED"),
        connectivity_at: task.pull_started_ms.and_then(at),
        created_at: at(task.created_ms),
        pull_started_at: task.pull_started_ms.and_then(at),
        pull_stopped_at: task.pull_stopped_ms.and_then(at),
        started_at: task.started_ms.and_then(at),
        stopping_at: task.stopping_ms.and_then(at),
        execution_stopped_at: task.execution_stopped_ms.and_then(at),
        stopped_at: task.stopped_ms.and_then(at),
        stop_code: task.stop.as_ref().map(|stop| stop.code.as_str().to_owned()),
        stopped_reason: task.stop.as_ref().map(|stop| stop.reason.clone()),
        tags: Some(if with_tags { tags::show(&task.tags) } else { Vec::new() }),
        version: Some(task.version),
        ..aws::Task::default()
    }
}

fn health(health: ContainerHealth) -> &'static str {
    match health {
        ContainerHealth::Unknown => "UNKNOWN",
        ContainerHealth::Healthy => "HEALTHY",
        ContainerHealth::Unhealthy => "UNHEALTHY",
    }
}

fn attachment(task: &Task, interface: &Interface) -> aws::Attachment {
    let detail = |(name, value): (&str, &str)| aws::KeyValuePair { name: text(name), value: text(value) };
    let address = task.private_address.map(|address| address.to_string()).unwrap_or_default();
    aws::Attachment {
        id: text(&interface.attachment),
        r#type: text("ElasticNetworkInterface"),
        status: text(if task.status == LastStatus::Stopped { "DELETED" } else { "ATTACHED" }),
        details: Some(
            [
                ("subnetId", interface.subnet.as_str()),
                ("networkInterfaceId", &interface.id),
                ("macAddress", &interface.mac),
                ("privateDnsName", &interface.private_dns_name),
                ("privateIPv4Address", &address),
            ]
            .map(detail)
            .into(),
        ),
    }
}

fn container(task: &Task, container: &super::records::Container) -> aws::Container {
    let bindings = task.ports.iter().filter(|port| port.container == container.name);
    let binding = |port: &super::records::Port| aws::NetworkBinding {
        bind_ip: text("0.0.0.0"),
        container_port: Some(i32::from(port.container_port)),
        host_port: Some(i32::from(port.host_port)),
        protocol: text("tcp"),
        ..aws::NetworkBinding::default()
    };
    let interface = |interface: &Interface| aws::NetworkInterface {
        attachment_id: text(&interface.attachment),
        private_ipv4_address: task.private_address.map(|address| address.to_string()),
        ..aws::NetworkInterface::default()
    };
    let started = task.started_ms.is_some();
    let status = match task.status {
        LastStatus::Provisioning | LastStatus::Pending | LastStatus::Activating => "PENDING",
        _ if container.exit_code.is_some() || !started => "STOPPED",
        LastStatus::Running | LastStatus::Deactivating | LastStatus::Stopping => "RUNNING",
        LastStatus::Deprovisioning | LastStatus::Stopped => "STOPPED",
    };
    aws::Container {
        container_arn: text(task.arn.replacen(":task/", ":container/", 1) + "/" + &container.id),
        task_arn: text(&task.arn),
        name: text(&container.name),
        image: text(&container.image),
        image_digest: container.image_digest.clone(),
        managed_agents: task.exec.then(|| {
            let agent = aws::ManagedAgent {
                name: text("ExecuteCommandAgent"),
                last_status: text(status),
                last_started_at: task.started_ms.and_then(at),
                reason: None,
            };
            vec![agent]
        }),
        runtime_id: started.then(|| container.id.replace('-', "")),
        last_status: text(status),
        exit_code: container.exit_code,
        reason: container.reason.clone(),
        network_bindings: Some(match &task.interface {
            None if started => bindings.map(binding).collect(),
            // The address says everything.
            None | Some(_) => Vec::new(),
        }),
        network_interfaces: Some(task.interface.iter().map(interface).collect()),
        health_status: text(health(container.health.unwrap_or_default())),
        cpu: text(container.cpu.to_string()),
        memory: container.memory.map(|mib| mib.to_string()),
        memory_reservation: container.memory_reservation.map(|mib| mib.to_string()),
        ..aws::Container::default()
    }
}

pub fn container_instance(
    ctx: &Ctx<'_>,
    instance: &ContainerInstance,
    with_tags: bool,
) -> Result<aws::ContainerInstance, StoreError> {
    let tasks = ctx.tx.children_of::<Task>(&instance.cluster_arn)?;
    let left = remaining(instance, &tasks, None);
    let (running, pending) = task_counts(instance, &tasks);
    let attribute = |(name, value): (&String, &String)| aws::Attribute {
        name: text(name),
        value: Some(value.clone()).filter(|value| !value.is_empty()),
        ..aws::Attribute::default()
    };
    Ok(aws::ContainerInstance {
        container_instance_arn: text(&instance.arn),
        ec2_instance_id: text(&instance.ec2_instance_id),
        status: text(if instance.draining { "DRAINING" } else { "ACTIVE" }),
        agent_connected: Some(true),
        capacity_provider_name: instance.capacity_provider.clone(),
        version: Some(instance.version),
        version_info: Some(aws::VersionInfo {
            agent_version: text(env!("CARGO_PKG_VERSION")),
            docker_version: text(format!("quarry: {}", ctx.platform.runtime.isolation().isolation.as_str())),
            ..aws::VersionInfo::default()
        }),
        running_tasks_count: Some(running),
        pending_tasks_count: Some(pending),
        registered_resources: Some(resources(instance.cpu, instance.memory, &RESERVED_PORTS)),
        remaining_resources: Some(resources(left.cpu, left.memory, &left.ports.iter().copied().collect::<Vec<_>>())),
        attributes: Some(instance.attributes.iter().map(attribute).collect()),
        attachments: Some(Vec::new()),
        registered_at: at(instance.registered_ms),
        tags: Some(if with_tags { tags::show(&instance.tags) } else { Vec::new() }),
        ..aws::ContainerInstance::default()
    })
}

fn resources(cpu: u32, memory: u32, ports: &[u16]) -> Vec<aws::Resource> {
    let resource = |name: &str, kind: &str| aws::Resource {
        name: text(name),
        r#type: text(kind),
        double_value: Some(0.0),
        long_value: Some(0),
        integer_value: Some(0),
        ..aws::Resource::default()
    };
    let number = |name: &str, n: u32| aws::Resource { integer_value: Some(n as i32), ..resource(name, "INTEGER") };
    let set = |name: &str, values: Vec<String>| aws::Resource {
        string_set_value: Some(values),
        ..resource(name, "STRINGSET")
    };
    vec![
        number("CPU", cpu),
        number("MEMORY", memory),
        set("PORTS", ports.iter().map(u16::to_string).collect()),
        set("PORTS_UDP", Vec::new()),
    ]
}
