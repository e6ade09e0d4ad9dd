//! What the page shows, as plain data: made by `gather`, drawn by `render`.

/// A part of the page, or why the API did not tell it.
pub type Part<T> = Result<Vec<T>, String>;

#[derive(Clone, Debug)]
pub struct Page {
    pub endpoint: String,
    pub region: String,
    pub load_balancers: Part<LoadBalancer>,
    pub target_groups: Part<TargetGroup>,
    pub clusters: Part<Cluster>,
    pub stacks: Part<Stack>,
    pub repositories: Part<Repository>,
}

#[derive(Clone, Debug, Default)]
pub struct LoadBalancer {
    pub name: String,
    pub state: String,
    pub dns_name: String,
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, Default)]
pub struct Listener {
    /// As the API knows it: `HTTP 80`.
    pub name: String,
    /// Each works on this machine as it stands.
    pub urls: Vec<String>,
    /// Why it does not listen, and what to do.
    pub error: Option<String>,
    /// In the order in which they are tried; the default comes last.
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub priority: String,
    pub conditions: Vec<String>,
    pub actions: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct TargetGroup {
    pub name: String,
    /// Protocol, port and kind of targets.
    pub kind: String,
    pub health_check: String,
    pub targets: Vec<Target>,
}

#[derive(Clone, Debug, Default)]
pub struct Target {
    /// `id:port`.
    pub name: String,
    pub state: String,
    /// Reason and description, where the state has some.
    pub why: String,
}

#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub name: String,
    pub status: String,
    pub services: Vec<Service>,
    pub tasks: Vec<Task>,
    pub instances: Vec<Instance>,
}

#[derive(Clone, Debug, Default)]
pub struct Service {
    pub name: String,
    pub status: String,
    pub desired: i32,
    pub running: i32,
    pub pending: i32,
    pub task_definition: String,
    /// The newest first.
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, Default)]
pub struct Event {
    /// ISO 8601.
    pub at: String,
    pub message: String,
}

#[derive(Clone, Debug, Default)]
pub struct Task {
    pub id: String,
    pub group: String,
    pub status: String,
    pub task_definition: String,
    pub container_instance: String,
    /// Of a task that stopped.
    pub stopped_reason: String,
}

#[derive(Clone, Debug, Default)]
pub struct Instance {
    pub id: String,
    pub ec2_instance: String,
    pub status: String,
    pub tasks: i32,
    /// `remaining of registered`, in CPU units and MiB.
    pub cpu: String,
    pub memory: String,
}

#[derive(Clone, Debug, Default)]
pub struct Stack {
    pub name: String,
    pub status: String,
    pub reason: String,
    /// ISO 8601.
    pub created: String,
    /// Key and value.
    pub outputs: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Repository {
    pub name: String,
    pub uri: String,
    pub images: Vec<Image>,
}

#[derive(Clone, Debug, Default)]
pub struct Image {
    pub tags: Vec<String>,
    pub digest: String,
    /// In bytes, compressed.
    pub size: i64,
    /// ISO 8601.
    pub pushed: String,
}
