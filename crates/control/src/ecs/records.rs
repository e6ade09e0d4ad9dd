//! What is stored of clusters, task definitions, services, tasks and container instances.

use super::capacity::Launch;
use crate::store::Item;
use quarry_aws::ecs as aws;
use quarry_domain::arn::short_name;
use quarry_domain::placement::Demand;
use quarry_domain::service::{Rollout, Throttle};
use quarry_domain::task::{ContainerHealth, TaskEntry, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    pub arn: String,
    pub name: String,
    /// A deleted cluster stays describable as INACTIVE.
    pub active: bool,
    pub settings: Vec<aws::ClusterSetting>,
    pub configuration: Option<aws::ClusterConfiguration>,
    pub capacity_providers: Vec<String>,
    pub default_strategy: Vec<aws::CapacityProviderStrategyItem>,
    pub tags: Tags,
}

/// One revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinition {
    pub arn: String,
    pub family: String,
    pub revision: i32,
    pub status: DefinitionStatus,
    /// As DescribeTaskDefinition shows it, completed with ECS's defaults.
    pub definition: aws::TaskDefinition,
    pub tags: Tags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DefinitionStatus {
    Active,
    Inactive,
    DeleteInProgress,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub arn: String,
    pub name: String,
    pub cluster_arn: String,
    pub status: ServiceStatus,
    pub desired_count: u32,
    /// What CreateService and UpdateService set and DescribeServices echoes: load balancers,
    /// placement, deployment configuration and the like.
    pub config: aws::Service,
    /// Oldest first; the last one with status PRIMARY is what the service should be.
    pub deployments: Vec<Deployment>,
    pub steady: bool,
    /// The current deployment configuration was announced to block the deployment.
    pub blocked: bool,
    pub client_token: Option<String>,
    pub tags: Tags,
    pub inactive_since_ms: Option<i64>,
    /// ARN of the newest service deployment.
    #[serde(default)]
    pub service_deployment: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceStatus {
    Active,
    Draining,
    Inactive,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// `ecs-svc/` and digits.
    pub id: String,
    pub task_definition: String,
    #[serde(default)]
    pub launch: Launch,
    /// Its tasks are registered with the alternate target groups.
    #[serde(default)]
    pub alternate: bool,
    pub primary: bool,
    pub rollout: Rollout,
    pub rollout_reason: String,
    /// In a row; reset by a task that becomes healthy.
    pub failed_tasks: u32,
    pub throttle: Throttle,
    pub created_ms: i64,
    pub updated_ms: i64,
}

/// The newest 100 events of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceEvents {
    pub service_arn: String,
    /// Newest first.
    pub events: VecDeque<ServiceEvent>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceEvent {
    pub id: String,
    pub at_ms: i64,
    pub message: String,
}

/// A task that has not stopped yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub arn: String,
    pub cluster_arn: String,
    pub task_definition_arn: String,
    /// `service:<name>`, `family:<family>` or what RunTask said.
    pub group: String,
    pub started_by: Option<String>,
    /// Service ARN and deployment id.
    pub service: Option<(String, String)>,
    #[serde(default)]
    pub launch_type: LaunchType,
    #[serde(default)]
    pub capacity_provider: Option<String>,
    /// GiB, with launch type FARGATE.
    #[serde(default)]
    pub ephemeral_storage: Option<i32>,
    /// What it is placed by when there is room; set while it is PROVISIONING.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// The instance that it was placed on; none with launch type FARGATE.
    pub container_instance_arn: Option<String>,
    pub ec2_instance_id: Option<String>,
    pub availability_zone: String,
    pub status: LastStatus,
    /// Whether its desired status is RUNNING; STOPPED if not.
    pub wanted: bool,
    pub overrides: aws::TaskOverride,
    /// What it takes from its container instance.
    pub demand: Demand,
    /// Where its own connections on the hub network come from.
    pub address: Option<Ipv4Addr>,
    /// Where others reach it; unique among the tasks that have not stopped. See [`quarry_domain::address`].
    #[serde(default)]
    pub private_address: Option<Ipv4Addr>,
    /// In network mode awsvpc.
    #[serde(default)]
    pub interface: Option<Interface>,
    /// What it asks for the credentials of its role by.
    #[serde(default)]
    pub credentials_id: Option<String>,
    /// Commands may be run in it from outside.
    #[serde(default)]
    pub exec: bool,
    /// How connections get into it: from when it runs until its processes are gone.
    #[serde(default)]
    pub entry: Option<TaskEntry>,
    pub containers: Vec<Container>,
    pub ports: Vec<Port>,
    /// Where it is registered, or will be when it runs.
    pub targets: Vec<TargetRef>,
    pub registered: bool,
    /// Its service registry.
    #[serde(default)]
    pub registry: Option<Registry>,
    pub stop: Option<Stop>,
    /// Until when it is protected from scale-in; none if it is not.
    #[serde(default)]
    pub protected_until_ms: Option<i64>,
    /// It was healthy at some time.
    #[serde(default)]
    pub came_up: bool,
    /// Grows with every task.
    pub order: u64,
    pub version: i64,
    pub created_ms: i64,
    pub pull_started_ms: Option<i64>,
    pub pull_stopped_ms: Option<i64>,
    pub started_ms: Option<i64>,
    pub stopping_ms: Option<i64>,
    /// When its processes were to be ended.
    #[serde(default)]
    pub terminated_ms: Option<i64>,
    pub execution_stopped_ms: Option<i64>,
    pub stopped_ms: Option<i64>,
    pub tags: Tags,
}

/// How a task is to be placed that waits for its capacity provider's group to grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub launch: Launch,
    pub strategies: Vec<aws::PlacementStrategy>,
    pub constraints: Vec<aws::PlacementConstraint>,
}

/// A capacity provider of an Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityProvider {
    pub arn: String,
    pub name: String,
    /// Name and ARN of its Auto Scaling group.
    pub group: String,
    pub group_arn: String,
    /// Complete: what a request left out has ECS's default.
    pub scaling: aws::ManagedScaling,
    pub termination_protection: bool,
    pub draining: bool,
    /// It was changed after it was made, which its `updateStatus` says.
    #[serde(default)]
    pub updated: bool,
    pub tags: Tags,
}

/// `launchType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LaunchType {
    #[default]
    Ec2,
    Fargate,
}

/// The elastic network interface of a task: its attachment of type `ElasticNetworkInterface`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The attachment's id.
    pub attachment: String,
    /// `eni-…`.
    pub id: String,
    pub subnet: String,
    pub mac: String,
    pub private_dns_name: String,
}

/// `lastStatus`. The interface of a task is attached when the task is placed, so that only those that
/// wait for a capacity provider's group to grow begin as PROVISIONING, the others as PENDING, and registration with the target
/// groups is one step with becoming RUNNING, so ACTIVATING is never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LastStatus {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub name: String,
    /// The segment of its ARN after the task's.
    pub id: String,
    pub image: String,
    pub image_digest: Option<String>,
    /// The image's own signal for stopping, if it names one.
    pub stop_signal: Option<String>,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    #[serde(default = "yes")]
    pub essential: bool,
    /// What its health check says; none where it has none.
    #[serde(default)]
    pub health: Option<ContainerHealth>,
    pub cpu: i32,
    pub memory: Option<i32>,
    pub memory_reservation: Option<i32>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub container: String,
    pub container_port: u16,
    pub host_port: u16,
}

/// The service registry that a task is registered in as soon as it is healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    pub arn: String,
    /// As registered: the host port, or in network mode awsvpc the container port.
    pub port: Option<u16>,
    /// What was said last of its health; nothing while it is not registered.
    pub healthy: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRef {
    pub group_arn: String,
    pub container: String,
    /// Instance id.
    pub id: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub code: StopCode,
    pub reason: String,
}

/// `stopCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopCode {
    TaskFailedToStart,
    EssentialContainerExited,
    UserInitiated,
    ServiceSchedulerInitiated,
    TerminationNotice,
}

/// A task that has stopped; describable for an hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoppedTask(pub Task);

/// A `clientToken` that RunTask was called with. Kept as long as the first task that it started can
/// be described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunToken {
    /// See [`run_token_key`].
    pub key: String,
    /// The request, as JSON.
    pub request: String,
    /// Ids of what it started: at least one.
    pub tasks: Vec<TaskId>,
}

/// The id by which a task asks for the credentials of its role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRoleCredentials {
    /// A UUID.
    pub id: String,
    pub task: TaskId,
    pub role_arn: String,
    /// Of those that were given last.
    pub access_key_id: Option<String>,
}

/// A host port of an instance that a live task holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    pub ec2_instance_id: String,
    pub port: u16,
    pub task: TaskId,
    pub container_port: u16,
    /// Absent until the task runs.
    pub entry: Option<TaskEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerInstance {
    pub arn: String,
    /// Last segment of the ARN.
    pub id: String,
    pub cluster_arn: String,
    pub ec2_instance_id: String,
    /// CPU units registered.
    pub cpu: u32,
    /// MiB registered.
    pub memory: u32,
    /// ACTIVE if not: it takes no new task and services move theirs away.
    pub draining: bool,
    /// Name of the capacity provider whose group launched it.
    #[serde(default)]
    pub capacity_provider: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub registered_ms: i64,
    pub version: i64,
    pub tags: Tags,
}

/// A setting of the account that differs from ECS's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSetting {
    pub name: String,
    pub value: String,
}

macro_rules! item {
    ($type:ty, $kind:literal, $key:expr, $parent:expr) => {
        impl Item for $type {
            const KIND: &'static str = $kind;
            fn key(&self) -> String {
                let key: fn(&Self) -> String = $key;
                key(self)
            }
            fn parent(&self) -> String {
                let parent: fn(&Self) -> String = $parent;
                parent(self)
            }
        }
    };
}

impl CapacityProvider {
    /// Whether ECS sets the size of its group.
    pub fn scales(&self) -> bool {
        self.scaling.status.as_deref() == Some("ENABLED")
    }
}

item!(CapacityProvider, "ecs.capacity-provider", |p| p.arn.clone(), |_| String::new());
item!(Cluster, "ecs.cluster", |c| c.arn.clone(), |_| String::new());
item!(TaskDefinition, "ecs.task-definition", |d| d.arn.clone(), |d| d.family.clone());
item!(Service, "ecs.service", |s| s.arn.clone(), |s| s.cluster_arn.clone());
item!(ServiceEvents, "ecs.service-events", |e| e.service_arn.clone(), |_| String::new());
item!(StoppedTask, "ecs.stopped-task", |t| t.0.id.clone(), |t| t.0.cluster_arn.clone());
item!(RunToken, "ecs.run-token", |t| t.key.clone(), |t| t.tasks.first().cloned().unwrap_or_default());
item!(TaskRoleCredentials, "ecs.task-role-credentials", |c| c.id.clone(), |c| c.task.clone());
item!(HostPort, "ecs.host-port", |p| host_port_key(&p.ec2_instance_id, p.port), |p| p.task.clone());
item!(ContainerInstance, "ecs.container-instance", |i| i.arn.clone(), |i| i.cluster_arn.clone());
item!(AccountSetting, "ecs.account-setting", |s| s.name.clone(), |_| String::new());

impl Item for Task {
    const KIND: &'static str = "ecs.task";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn parent(&self) -> String {
        self.cluster_arn.clone()
    }
    /// The ARN of its service.
    fn owner(&self) -> String {
        self.service.as_ref().map(|(arn, _)| arn.clone()).unwrap_or_default()
    }
}

/// The key of a [`RunToken`]: tokens are per cluster.
pub fn run_token_key(cluster_arn: &str, token: &str) -> String {
    format!("{cluster_arn} {token}")
}

/// The key of a [`HostPort`].
pub fn host_port_key(ec2_instance_id: &str, port: u16) -> String {
    format!("{ec2_instance_id}:{port}")
}

impl LastStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }

    /// Counted as pending in services, clusters and instances.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Provisioning | Self::Pending | Self::Activating)
    }
}

impl Task {
    /// Of its task definition.
    pub fn family(&self) -> &str {
        short_name(&self.task_definition_arn).split(':').next().unwrap_or_default()
    }

    /// Whether scaling, deployments and draining spare it.
    pub fn is_protected(&self, now_ms: i64) -> bool {
        self.protected_until_ms.is_some_and(|until| until > now_ms)
    }

    /// Whether an essential container has a health check.
    pub fn is_checked(&self) -> bool {
        self.containers.iter().any(|container| container.essential && container.health.is_some())
    }

    /// Over the health checks of its essential containers: one that is unhealthy makes the task so, and all
    /// must be healthy for the task to be.
    pub fn health(&self) -> ContainerHealth {
        let mut checked = self.containers.iter().filter(|c| c.essential).filter_map(|c| c.health).peekable();
        if checked.peek().is_none() {
            return ContainerHealth::Unknown;
        }
        checked.fold(ContainerHealth::Healthy, |task, container| match (task, container) {
            (ContainerHealth::Unhealthy, _) | (_, ContainerHealth::Unhealthy) => ContainerHealth::Unhealthy,
            (ContainerHealth::Unknown, _) | (_, ContainerHealth::Unknown) => ContainerHealth::Unknown,
            (ContainerHealth::Healthy, ContainerHealth::Healthy) => ContainerHealth::Healthy,
        })
    }
}

impl LaunchType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::Fargate => "FARGATE",
        }
    }
}

impl StopCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::TerminationNotice => "TerminationNotice",
        }
    }
}

impl DefinitionStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
        }
    }
}

impl ServiceStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

impl Service {
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.primary)
    }

    pub fn load_balancers(&self) -> &[aws::LoadBalancer] {
        self.config.load_balancers.as_deref().unwrap_or_default()
    }

    /// The target group with which a deployment's tasks are registered for this load balancer.
    pub fn target_group<'a>(&self, balancer: &'a aws::LoadBalancer, deployment: &str) -> Option<&'a str> {
        let of = self.deployments.iter().find(|of| of.id == deployment);
        target_group(balancer, of.is_some_and(|of| of.alternate))
    }
}

/// The target group of a service's load balancer, or the alternate one where it has one.
pub fn target_group(balancer: &aws::LoadBalancer, alternate: bool) -> Option<&str> {
    let other = balancer.advanced_configuration.as_ref().and_then(|a| a.alternate_target_group_arn.as_deref());
    other.filter(|_| alternate).or(balancer.target_group_arn.as_deref())
}
