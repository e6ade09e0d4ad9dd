//! A service's manifest as a whole.

use super::container::{
    check, check_dependencies, depends_on, image, port, secrets, sidecars, texts, variables, words,
};
use super::overrides::{Override, overrides};
use super::section::{Faults, Section};
use super::yaml::{Kind as Yaml, Node};
use super::{Container, Count, Deployment, Http, Image, Network, Placement, Problems, Reading, Storage, prepared};
use std::collections::BTreeMap;

/// A service as its manifest wants it in one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub kind: Kind,
    pub main: Container,
    pub sidecars: Vec<Container>,
    pub http: Option<Http>,
    /// CPU units and MiB of the whole task.
    pub cpu: u64,
    pub memory: u64,
    pub count: Count,
    /// Whether commands can be run in its containers.
    pub exec: bool,
    pub platform: Platform,
    /// `launch_type`, which Copilot's manifests do not have.
    pub launch_type: LaunchType,
    pub storage: Storage,
    pub network: Network,
    pub deployment: Deployment,
    /// Days for which logs are kept.
    pub log_retention: u64,
    /// In the order in which they are laid on the task definition.
    pub overrides: Vec<Override>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    LoadBalanced,
    Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    X86,
    Arm,
}

/// Where tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchType {
    Fargate,
    /// On the environment's container instances.
    Ec2,
}

/// The sizes that CloudWatch Logs keeps logs for, in days.
const RETENTIONS: [u64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

impl Kind {
    pub const ALL: [Self; 2] = [Self::LoadBalanced, Self::Backend];

    /// As manifests and `--svc-type` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalanced => "Load Balanced Web Service",
            Self::Backend => "Backend Service",
        }
    }

    /// The kind of a name, or what to do about a name that is none of ours.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| match name {
            "Worker Service" => "Worker Service is not supported: it lives by SQS and SNS, which are not here; \
                 run the worker as a Backend Service that asks its queue itself"
                .into(),
            "Scheduled Job" => "Scheduled Job is not supported: run it by `quarry task run` from the scheduler you \
                 have (cron, a systemd timer)"
                .into(),
            "Request-Driven Web Service" => "Request-Driven Web Service is App Runner's and not supported: \
                 a Load Balanced Web Service does the same"
                .into(),
            "Static Site" => "Static Site is CloudFront's and S3's and not supported: serve the files from a \
                 Load Balanced Web Service"
                .into(),
            other => format!(
                "{other:?} is no type of service: take {:?} or {:?}",
                Self::LoadBalanced.name(),
                Self::Backend.name()
            ),
        })
    }
}

impl Platform {
    /// This machine's.
    pub fn here() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm } else { Self::X86 }
    }

    /// As images name it.
    pub fn image(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// As ECS's `RuntimePlatform` has it.
    pub fn ecs(self) -> &'static str {
        match self {
            Self::X86 => "X86_64",
            Self::Arm => "ARM64",
        }
    }
}

impl LaunchType {
    /// As ECS has it.
    pub fn ecs(self) -> &'static str {
        match self {
            Self::Fargate => "FARGATE",
            Self::Ec2 => "EC2",
        }
    }
}

impl Service {
    /// Reads a manifest for an environment. `file`: its name in errors.
    ///
    /// # Errors
    /// Everything in it that is wrong or not served, each with its line.
    pub fn read(file: &str, text: &str, reading: &Reading) -> Result<Self, Problems> {
        let faults = Faults::new(file);
        let node = prepared(&faults, text, reading);
        let service = node.as_ref().and_then(|node| top(&faults, node));
        faults.judge()?;
        service.ok_or_else(|| Problems(Vec::new()))
    }

    /// The main container, then the sidecars.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        std::iter::once(&self.main).chain(&self.sidecars)
    }

    /// The container and port that a rule leads to.
    pub fn target(&self, rule: &super::Rule) -> (&str, u16) {
        let container = rule.target_container.as_ref().and_then(|name| self.containers().find(|c| c.name == *name));
        // Without its own name for a container, a port may be a sidecar's.
        let of_port = || self.sidecars.iter().find(|c| rule.target_port.is_some() && c.port == rule.target_port);
        let container = container.or_else(of_port).unwrap_or(&self.main);
        (&container.name, rule.target_port.or(container.port).unwrap_or(80))
    }
}

fn top(faults: &Faults, node: &Node) -> Option<Service> {
    let section = Section::of(faults, "", node)?;
    let Some(kind) = section.text("type") else {
        section.fault("type", format!("is missing: {:?} or {:?}", Kind::ALL[0].name(), Kind::ALL[1].name()));
        return None;
    };
    let kind = match Kind::named(&kind) {
        Ok(kind) => kind,
        Err(message) => {
            section.fault("type", message);
            return None;
        }
    };
    let name = section.text("name").unwrap_or_default();
    if !is_service_name(&name) {
        section.fault(
            "name",
            format!("{name:?} is no name of a service: small letters, digits and dashes, a letter first"),
        );
    }
    section.refuse(&[
        ("nlb", "there are no network load balancers: take http"),
        ("publish", "there is no SNS: send to your queue from the service itself"),
        ("subscribe", "there is no SQS: read your queue from the service itself"),
        ("alerting", "make the alarm with `aws cloudwatch put-metric-alarm`"),
        ("cdn", "there is no CloudFront"),
    ]);
    if let Some(inner) = section.section("observability") {
        inner.refuse(&[("tracing", "it adds a sidecar from ECR Public: send traces from the service itself")]);
        inner.finish();
    }
    let http = Http::read(&section);
    match kind {
        Kind::LoadBalanced if section.node("http").is_none_or(|node| !matches!(node.kind, Yaml::Map(_))) => {
            section.fault("http", "a Load Balanced Web Service needs it, with a path: or take a Backend Service");
        }
        Kind::Backend if http.is_some() => {
            section
                .fault("http", "internal load balancers are not supported: others find a Backend Service by its name");
        }
        _ => {}
    }
    let storage = Storage::read(&section);
    let inner = section.section("image");
    if inner.is_none() {
        section.fault("image", "is missing: what the service runs");
    }
    let found = inner.as_ref().and_then(image);
    let line = inner.as_ref().map_or(1, |s| s.line);
    let main = Container {
        name: name.clone(),
        image: found.clone().unwrap_or(Image::Location(String::new())),
        port: inner.as_ref().and_then(|s| port(s, "port")),
        essential: true,
        variables: section.section("variables").map(|s| variables(&s)).unwrap_or_default(),
        env_file: section.text("env_file"),
        secrets: section.section("secrets").map(|s| secrets(&s)).unwrap_or_default(),
        entrypoint: words(&section, "entrypoint").unwrap_or_default(),
        command: words(&section, "command").unwrap_or_default(),
        check: inner.as_ref().and_then(check),
        depends_on: inner.as_ref().map(depends_on).unwrap_or_default(),
        labels: inner.as_ref().and_then(|s| s.section("labels")).map(|s| texts(&s)).unwrap_or_default(),
        mounts: Vec::new(),
    };
    if kind == Kind::LoadBalanced && main.port.is_none() && inner.as_ref().is_some_and(|s| s.node("port").is_none()) {
        faults.add(line, "image.port", "is missing: the port that the service listens on");
    }
    if let Some(inner) = inner {
        inner.finish();
    }
    let sidecars = section.section("sidecars").map(|s| sidecars(&s)).unwrap_or_default();
    let containers: Vec<_> = std::iter::once(&main).chain(&sidecars).collect();
    check_dependencies(faults, line, &containers);
    for rule in http.iter().flat_map(|http| &http.rules) {
        let Some(name) = &rule.target_container else { continue };
        match containers.iter().find(|container| container.name == *name) {
            None => faults.add(rule.line, "http.target_container", format!("there is no container {name}")),
            Some(container) if container.port.is_none() && rule.target_port.is_none() => {
                faults.add(
                    rule.line,
                    "http.target_container",
                    format!("{name} has no port: say which one it listens on"),
                );
            }
            Some(_) => {}
        }
    }
    for mount in sidecars.iter().flat_map(|container| &container.mounts) {
        if storage.volumes.iter().all(|volume| volume.name != mount.volume) {
            faults.add(
                line,
                "sidecars.mount_points",
                format!("there is no volume {} in storage.volumes", mount.volume),
            );
        }
    }
    let launch_type = match section.word("launch_type", &["FARGATE", "EC2"]) {
        Some("EC2") => LaunchType::Ec2,
        _ => LaunchType::Fargate,
    };
    let (of_cpu, of_memory) = match launch_type {
        LaunchType::Fargate => (256..=16_384, 512..=122_880),
        LaunchType::Ec2 => (128..=196_608, 6..=1_048_576),
    };
    let (cpu, memory) = (section.number("cpu", of_cpu).unwrap_or(256), section.number("memory", of_memory));
    let memory = memory.unwrap_or(512);
    if launch_type == LaunchType::Fargate && !fits(cpu, memory) {
        section.fault("memory", format!("Fargate has no size of cpu {cpu} and memory {memory}: {}", sizes(cpu)));
    }
    let count = Count::read(&section);
    if count.needs_load_balancer() && http.is_none() {
        section
            .fault("count", "requests and response_time are measured by a load balancer, which this service has not");
    }
    let platform = platform(&section);
    let on_spot = matches!(count, Count::Spot(_)) || spot_from(&count);
    if platform == Platform::Arm && on_spot {
        section.fault("count", "Fargate Spot has no ARM machines");
    }
    let network = Network::read(&section);
    if launch_type == LaunchType::Ec2 {
        if on_spot {
            section.fault("count", "Spot is Fargate's here, and launch_type is EC2: give a number, or a range");
        }
        if storage.ephemeral.is_some() {
            section.fault("storage", "ephemeral is Fargate's: a task on a container instance has the instance's room");
        }
        if network.placement == Placement::Public {
            let why = "tasks on container instances have no public addresses: say placement: private under network.vpc";
            section.fault("launch_type", why);
        }
    }
    let service = Service {
        name,
        kind,
        main,
        sidecars,
        http,
        cpu,
        memory,
        count,
        exec: section.flag("exec").unwrap_or(false),
        platform,
        launch_type,
        storage,
        network,
        deployment: Deployment::read(&section),
        log_retention: retention(&section),
        overrides: overrides(&section),
    };
    section.finish();
    found.map(|_| service)
}

fn spot_from(count: &Count) -> bool {
    matches!(count, Count::Scaled(scaling) if scaling.range.spot_from.is_some())
}

fn retention(parent: &Section<'_>) -> u64 {
    let Some(section) = parent.section("logging") else { return 30 };
    let instead = "logs go to CloudWatch Logs: read them there, or send them on from a sidecar of your own";
    let refused = [
        "image",
        "destination",
        "enableMetadata",
        "secretOptions",
        "configFilePath",
        "variables",
        "secrets",
        "env_file",
    ];
    section.refuse(&refused.map(|name| (name, instead)));
    let days = section.number("retention", 1..=3653).unwrap_or(30);
    if !RETENTIONS.contains(&days) {
        section.fault("retention", format!("{days} is none of CloudWatch's: {RETENTIONS:?}"));
    }
    section.finish();
    days
}

/// `linux/x86_64` and the like, or a map of family and architecture.
fn platform(parent: &Section<'_>) -> Platform {
    let Some(node) = parent.node("platform") else { return Platform::X86 };
    let (os, architecture) = if let Yaml::Map(_) = node.kind {
        let Some(section) = parent.section("platform") else { return Platform::X86 };
        let both = (section.text("osfamily"), section.text("architecture"));
        section.finish();
        (both.0.unwrap_or_else(|| "linux".into()), both.1.unwrap_or_else(|| "x86_64".into()))
    } else {
        let text = parent.text("platform").unwrap_or_default();
        let (os, architecture) = text.split_once('/').unwrap_or((&text, "x86_64"));
        (os.to_owned(), architecture.to_owned())
    };
    if !os.eq_ignore_ascii_case("linux") {
        parent.fault("platform", format!("{os} is not supported: take linux/x86_64 or linux/arm64"));
    }
    match architecture.to_ascii_lowercase().as_str() {
        "x86_64" | "amd64" => Platform::X86,
        "arm64" | "aarch64" => Platform::Arm,
        other => {
            parent.fault("platform", format!("{other} is not supported: take linux/x86_64 or linux/arm64"));
            Platform::X86
        }
    }
}

/// The sizes of tasks that Fargate has (ECS's developer guide, "Task size").
fn fits(cpu: u64, memory: u64) -> bool {
    let gib = memory / 1024;
    match cpu {
        256 => [512, 1024, 2048].contains(&memory),
        512 => memory.is_multiple_of(1024) && (1..=4).contains(&gib),
        1024 => memory.is_multiple_of(1024) && (2..=8).contains(&gib),
        2048 => memory.is_multiple_of(1024) && (4..=16).contains(&gib),
        4096 => memory.is_multiple_of(1024) && (8..=30).contains(&gib),
        8192 => memory.is_multiple_of(4096) && (16..=60).contains(&gib),
        16_384 => memory.is_multiple_of(8192) && (32..=120).contains(&gib),
        _ => false,
    }
}

fn sizes(cpu: u64) -> String {
    match cpu {
        256 => "512, 1024 or 2048".into(),
        512 => "1024 to 4096 in steps of 1024".into(),
        1024 => "2048 to 8192 in steps of 1024".into(),
        2048 => "4096 to 16384 in steps of 1024".into(),
        4096 => "8192 to 30720 in steps of 1024".into(),
        8192 => "16384 to 61440 in steps of 4096".into(),
        16_384 => "32768 to 122880 in steps of 8192".into(),
        _ => "cpu is one of 256, 512, 1024, 2048, 4096, 8192, 16384".into(),
    }
}

/// What Copilot allows, so that names of stacks and repositories can be made of it.
pub(crate) fn is_service_name(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(letters)
        && !name.ends_with('-')
        && !name.contains("--")
}

/// The variables of a file of `NAME=value` lines, by ECS's rules of environment files.
pub fn variables_of_file(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .collect()
}
