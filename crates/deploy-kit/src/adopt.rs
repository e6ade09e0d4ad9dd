//! A service that runs on ECS already, written down as a manifest.

use crate::compose::size;
use crate::manifest::{Kind, Problems, Reading, Service as Manifest};
use crate::template::yaml::{Out, map};
use quarry_aws::ecs::{ContainerDefinition, Service, TaskDefinition};
use quarry_aws::elbv2::{Rule, TargetGroup};
use std::collections::BTreeMap;

/// What runs, as the APIs tell it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub service: Service,
    pub definition: TaskDefinition,
    /// That of the service's first load balancer.
    pub group: Option<TargetGroup>,
    /// The group's attributes by their names.
    pub attributes: BTreeMap<String, String>,
    /// The rules that forward to it, of all listeners, without those that have no condition.
    pub rules: Vec<Rule>,
    /// Whether a listener sends it what no rule takes.
    pub is_default: bool,
}

/// The manifest of a running service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub kind: Kind,
    pub manifest: String,
    /// What the manifest does not say: the field of ECS or of the load balancer, and what to do.
    pub left: Vec<(String, String)>,
}

/// Writes a running service down under a name.
///
/// # Errors
/// It runs with something that no manifest may say.
pub fn adopt(name: &str, found: &Found) -> Result<Adopted, Problems> {
    let mut making = Making { found, left: Vec::new(), overrides: Vec::new() };
    let (kind, document) = making.document(name);
    let head = "# Made of a service that runs. `quarry svc package` shows what becomes of it.\n\n";
    let manifest = format!("{head}{}", document.document());
    Manifest::read(&format!("copilot/{name}/manifest.yml"), &manifest, &Reading::default())?;
    Ok(Adopted { kind, manifest, left: making.left })
}

struct Making<'a> {
    found: &'a Found,
    left: Vec<(String, String)>,
    overrides: Vec<Out>,
}

impl Making<'_> {
    fn leave(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.left.push((field.into(), why.into()));
    }

    fn document(&mut self, name: &str) -> (Kind, Out) {
        let (service, definition) = (&self.found.service, &self.found.definition);
        let balancer = service.load_balancers.iter().flatten().next();
        let containers: Vec<&ContainerDefinition> = definition.container_definitions.iter().flatten().collect();
        let wanted = balancer.and_then(|balancer| balancer.container_name.as_deref());
        let by_name = containers.iter().position(|c| wanted.is_some() && c.name.as_deref() == wanted);
        let essential = || containers.iter().position(|c| c.essential != Some(false));
        let main = by_name.or_else(essential).unwrap_or(0);
        let none = ContainerDefinition::default();
        let own = containers.get(main).copied().unwrap_or(&none);
        let kind = if balancer.is_some() { Kind::LoadBalanced } else { Kind::Backend };
        let port = balancer.and_then(|b| b.container_port).or_else(|| first_port(own));

        let mut out = map! {"name" => name, "type" => kind.name()};
        if kind == Kind::LoadBalanced {
            out.set("http", self.http(name));
        }
        let mut image = map! {"location" => own.image.clone().unwrap_or_default()};
        image.set_some("port", port.and_then(|port| u64::try_from(port).ok()));
        self.common_of_image(own, &mut image);
        out.set("image", image);
        let sum = |of: &dyn Fn(&ContainerDefinition) -> Option<i32>| -> u64 {
            containers.iter().filter_map(|c| of(c)).map(|n| u64::try_from(n).unwrap_or(0)).sum()
        };
        let task = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u64>().ok());
        let cpu = task(&definition.cpu).unwrap_or_else(|| sum(&|c| c.cpu));
        let memory = task(&definition.memory).unwrap_or_else(|| sum(&|c| c.memory.or(c.memory_reservation)));
        let fit = size(cpu, memory);
        if fit != (cpu, memory) {
            let why = format!("{cpu} CPU units and {memory} MiB: Fargate's next size is {} and {}", fit.0, fit.1);
            self.leave("taskDefinition.cpu, memory", why);
        }
        out.set("cpu", fit.0);
        out.set("memory", fit.1);
        out.set("count", u64::try_from(service.desired_count.unwrap_or(1)).unwrap_or(1));
        out.set("exec", service.enable_execute_command == Some(true));
        out.set("network", map! {"connect" => true});
        if let Some(platform) = definition.runtime_platform.as_ref().and_then(|p| p.cpu_architecture.as_deref()) {
            out.set("platform", if platform == "ARM64" { "linux/arm64" } else { "linux/x86_64" });
        }
        self.common(own, &mut out);
        self.volumes(own, &mut out);
        if containers.len() > 1 {
            let mut sidecars = map! {};
            for container in containers.iter().enumerate().filter(|(i, _)| *i != main).map(|(_, c)| *c) {
                let sidecar = self.sidecar(container);
                sidecars.set(container.name.clone().unwrap_or_default(), sidecar);
            }
            out.set("sidecars", sidecars);
        }
        if let Some(d) = &service.deployment_configuration
            && d.minimum_healthy_percent.is_some_and(|percent| percent < 100)
        {
            match d.maximum_percent {
                Some(100) => out.set("deployment", map! {"rolling" => "recreate"}),
                _ => self.leave(
                    "service.deploymentConfiguration",
                    "new tasks come before old ones go; or take rolling: recreate",
                ),
            }
        }
        // The main container is the first one in a template.
        self.define(own);
        if let Some(role) = &definition.task_role_arn {
            self.overrides.push(map! {"path" => "TaskRoleArn", "value" => role});
        }
        self.surroundings();
        if !self.overrides.is_empty() {
            out.set("taskdef_overrides", std::mem::take(&mut self.overrides).into_iter().collect::<Out>());
        }
        (kind, out)
    }

    fn http(&mut self, name: &str) -> Out {
        // Paths, and from where each may be asked for; empty is from everywhere.
        let mut rules: Vec<(String, Vec<String>)> = Vec::new();
        let found = self.found;
        for rule in &found.rules {
            let of = format!("rule {}", rule.priority.as_deref().unwrap_or_default());
            let (mut paths, mut sources, mut has_path) = (Vec::new(), Vec::new(), false);
            for condition in rule.conditions.iter().flatten() {
                if let Some(patterns) = &condition.path_pattern_config {
                    has_path = true;
                    for pattern in patterns.values.iter().flatten() {
                        match path(pattern) {
                            Some(path) => paths.push(path),
                            None => self.leave(format!("{of}: {pattern}"), "a manifest has a path and all below it"),
                        }
                    }
                } else if let Some(blocks) = &condition.source_ip_config {
                    sources.extend(blocks.values.iter().flatten().cloned());
                } else {
                    let field = condition.field.as_deref().unwrap_or_default();
                    let why = match field {
                        "host-header" => "name hosts under http.alias, with a certificate in the environment",
                        _ => "a manifest's rules have paths, names and source addresses",
                    };
                    self.leave(format!("{of}: {field}"), why);
                }
            }
            if !has_path && !sources.is_empty() {
                paths.push("/".into());
            }
            for path in paths {
                match rules.iter().find(|(other, _)| *other == path) {
                    None => rules.push((path, sources.clone())),
                    Some((_, others)) if *others == sources => {}
                    Some(_) => self.leave(
                        format!("{of}: source-ip"),
                        format!(
                            "another rule for {path} has other addresses, and a manifest's paths are in one rule each"
                        ),
                    ),
                }
            }
        }
        if found.is_default {
            match rules.iter().find(|(path, _)| path == "/") {
                None => rules.push(("/".into(), Vec::new())),
                Some((_, sources)) if sources.is_empty() => {}
                Some(_) => self.leave(
                    "the listener's default action",
                    "it leads here from everywhere, and a rule for all paths from some addresses does, too",
                ),
            }
        }
        if rules.is_empty() {
            self.leave("loadBalancers", format!("no rule with a path leads to it: it gets /{name}"));
            rules.push((name.to_owned(), Vec::new()));
        }
        let mut all = rules.iter().map(|(path, sources)| {
            let mut rule = map! {"path" => path};
            if !sources.is_empty() {
                rule.set("allowed_source_ips", sources.iter().collect::<Out>());
            }
            self.set_group(&mut rule);
            rule
        });
        let mut http = all.next().unwrap_or_else(|| map! {});
        let more: Vec<Out> = all.collect();
        let group = found.group.clone().unwrap_or_default();
        let seconds = |n: i32| format!("{n}s");
        let mut check = map! {};
        check.set_some("path", group.health_check_path);
        let codes = group.matcher.and_then(|matcher| matcher.http_code);
        check.set_some("success_codes", codes);
        check.set_some("healthy_threshold", group.healthy_threshold_count.and_then(|n| u64::try_from(n).ok()));
        check.set_some("unhealthy_threshold", group.unhealthy_threshold_count.and_then(|n| u64::try_from(n).ok()));
        check.set_some("interval", group.health_check_interval_seconds.map(seconds));
        check.set_some("timeout", group.health_check_timeout_seconds.map(seconds));
        check.set_some("grace_period", found.service.health_check_grace_period_seconds.map(seconds));
        if !check.is_empty() {
            http.set("healthcheck", check);
        }
        if !more.is_empty() {
            http.set("additional_rules", more.into_iter().collect::<Out>());
        }
        http
    }

    /// What the target group says, of which each rule of a manifest has one of its own.
    fn set_group(&self, rule: &mut Out) {
        if self.found.attributes.get("stickiness.enabled").is_some_and(|value| value == "true") {
            rule.set("stickiness", true);
        }
        let delay = self.found.attributes.get("deregistration_delay.timeout_seconds");
        rule.set_some("deregistration_delay", delay.map(|seconds| format!("{seconds}s")));
        if self.found.group.as_ref().is_some_and(|group| group.protocol_version.as_deref() == Some("HTTP2")) {
            rule.set("version", "http2");
        }
    }

    /// What stands under `image` for the main container, and at the top of a sidecar.
    fn common_of_image(&mut self, container: &ContainerDefinition, out: &mut Out) {
        if let Some(check) = &container.health_check {
            let mut told = map! {"command" => check.command.iter().flatten().collect::<Out>()};
            let seconds = |n: i32| format!("{n}s");
            told.set_some("interval", check.interval.map(seconds));
            told.set_some("timeout", check.timeout.map(seconds));
            told.set_some("retries", check.retries.and_then(|n| u64::try_from(n).ok()));
            told.set_some("start_period", check.start_period.map(seconds));
            out.set("healthcheck", told);
        }
        if container.depends_on.as_ref().is_some_and(|all| !all.is_empty()) {
            let mut told = map! {};
            for one in container.depends_on.iter().flatten() {
                let condition = one.condition.clone().unwrap_or_default().to_ascii_lowercase();
                told.set(one.container_name.clone().unwrap_or_default(), condition);
            }
            out.set("depends_on", told);
        }
        if container.docker_labels.as_ref().is_some_and(|all| !all.is_empty()) {
            let mut told = map! {};
            for (name, value) in container.docker_labels.iter().flatten() {
                told.set(name, plain(value));
            }
            out.set("labels", told);
        }
    }

    fn common(&mut self, container: &ContainerDefinition, out: &mut Out) {
        let mut variables = map! {};
        for pair in container.environment.iter().flatten() {
            let name = pair.name.clone().unwrap_or_default();
            // Those come anew.
            if !name.starts_with("COPILOT_") {
                variables.set(name, plain(pair.value.as_deref().unwrap_or_default()));
            }
        }
        if !variables.is_empty() {
            out.set("variables", variables);
        }
        let mut secrets = map! {};
        for secret in container.secrets.iter().flatten() {
            secrets.set(secret.name.clone().unwrap_or_default(), secret.value_from.clone().unwrap_or_default());
        }
        if !secrets.is_empty() {
            out.set("secrets", secrets);
        }
        let words = |words: &Option<Vec<String>>| -> Option<Out> {
            words.as_ref().filter(|words| !words.is_empty()).map(|words| words.iter().map(|word| plain(word)).collect())
        };
        out.set_some("entrypoint", words(&container.entry_point));
        out.set_some("command", words(&container.command));
        let of = container.name.clone().unwrap_or_default();
        for (there, field, why) in [
            (filled(&container.environment_files), "environmentFiles", "name the file of variables as env_file"),
            (filled(&container.volumes_from), "volumesFrom", "name the volumes under storage"),
            (filled(&container.links), "links", "containers of a task share localhost"),
            (container.repository_credentials.is_some(), "repositoryCredentials", "copy the image to ECR"),
            (container.firelens_configuration.is_some(), "firelensConfiguration", "logs go to CloudWatch Logs"),
            (container.privileged == Some(true), "privileged", "Fargate has no privileged containers"),
            (filled(&container.resource_requirements), "resourceRequirements", "Fargate has no GPUs"),
        ] {
            if there {
                self.leave(format!("{of}.{field}"), why);
            }
        }
        if container.log_configuration.as_ref().is_some_and(|log| log.log_driver.as_deref() != Some("awslogs")) {
            self.leave(format!("{of}.logConfiguration"), "logs go to CloudWatch Logs");
        }
    }

    fn sidecar(&mut self, container: &ContainerDefinition) -> Out {
        let mut out = map! {"image" => container.image.clone().unwrap_or_default()};
        out.set_some("port", first_port(container).and_then(|port| u64::try_from(port).ok()));
        if container.essential == Some(false) {
            out.set("essential", false);
        }
        self.common_of_image(container, &mut out);
        self.common(container, &mut out);
        let mounts =
            container.mount_points.iter().flatten().filter(|mount| self.is_scratch(mount.source_volume.as_deref()));
        let mounts: Vec<Out> = mounts
            .map(|mount| {
                map! {
                    "source_volume" => mount.source_volume.clone().unwrap_or_default(),
                    "path" => mount.container_path.clone().unwrap_or_default(),
                    "read_only" => mount.read_only == Some(true),
                }
            })
            .collect();
        if !mounts.is_empty() {
            out.set("mount_points", mounts.into_iter().collect::<Out>());
        }
        out
    }

    /// Whether a volume is one that lives as long as its task.
    fn is_scratch(&self, name: Option<&str>) -> bool {
        let volume = self.found.definition.volumes.iter().flatten().find(|volume| volume.name.as_deref() == name);
        volume.is_some_and(|v| {
            let host = v.host.as_ref().and_then(|host| host.source_path.as_deref());
            host.is_none() && v.efs_volume_configuration.is_none() && v.docker_volume_configuration.is_none()
        })
    }

    fn volumes(&mut self, own: &ContainerDefinition, out: &mut Out) {
        let mut storage = map! {};
        if own.readonly_root_filesystem == Some(true) {
            storage.set("readonly_fs", true);
        }
        let gib = self.found.definition.ephemeral_storage.as_ref().and_then(|storage| storage.size_in_gib);
        storage.set_some("ephemeral", gib.and_then(|gib| u64::try_from(gib).ok()));
        let mut volumes = map! {};
        for volume in self.found.definition.volumes.iter().flatten() {
            let name = volume.name.clone().unwrap_or_default();
            let mount = own.mount_points.iter().flatten().find(|m| m.source_volume.as_deref() == Some(&name));
            match (self.is_scratch(Some(&name)), mount) {
                (true, Some(mount)) => volumes.set(
                    name,
                    map! {
                        "path" => mount.container_path.clone().unwrap_or_default(),
                        "read_only" => mount.read_only == Some(true),
                    },
                ),
                (true, None) => self
                    .leave(format!("volumes.{name}"), "only sidecars have it: give the main container a place for it"),
                (false, _) => self.leave(
                    format!("volumes.{name}"),
                    "it outlives its tasks, and a manifest's volumes do not: move the data before you deploy",
                ),
            }
        }
        if !volumes.is_empty() {
            storage.set("volumes", volumes);
        }
        if !storage.is_empty() {
            out.set("storage", storage);
        }
    }

    /// Fields that manifests have no name for, as rules.
    fn define(&mut self, own: &ContainerDefinition) {
        let number = |n: i32| u64::try_from(n).ok().map(Out::from);
        let init = own.linux_parameters.as_ref().and_then(|linux| linux.init_process_enabled);
        for (field, value) in [
            ("User", own.user.clone().map(Out::from)),
            ("WorkingDirectory", own.working_directory.clone().map(Out::from)),
            ("StopTimeout", own.stop_timeout.and_then(number)),
            ("StartTimeout", own.start_timeout.and_then(number)),
            ("LinuxParameters.InitProcessEnabled", init.map(Out::from)),
        ] {
            if let Some(value) = value {
                self.overrides.push(map! {"path" => format!("ContainerDefinitions[0].{field}"), "value" => value});
            }
        }
        for ulimit in own.ulimits.iter().flatten() {
            let mut value = map! {"Name" => ulimit.name.clone().unwrap_or_default()};
            value.set_some("SoftLimit", ulimit.soft_limit.and_then(number));
            value.set_some("HardLimit", ulimit.hard_limit.and_then(number));
            self.overrides.push(map! {"path" => "ContainerDefinitions[0].Ulimits[-]", "value" => value});
        }
    }

    /// What is around the tasks, and stays where it was.
    fn surroundings(&mut self) {
        let service = &self.found.service;
        if service.load_balancers.as_ref().is_some_and(|all| all.len() > 1) {
            self.leave(
                "service.loadBalancers",
                "the first one is taken: the others lead to it as before, by their own rules",
            );
        }
        if service.scheduling_strategy.as_deref() == Some("DAEMON") {
            self.leave("service.schedulingStrategy", "DAEMON: a manifest's services have a number of tasks");
        }
        if filled(&service.service_registries) {
            self.leave(
                "service.serviceRegistries",
                "others find it as <name>.<environment>.<application>.local and as <name>",
            );
        }
        let network = service.network_configuration.as_ref().and_then(|network| network.awsvpc_configuration.as_ref());
        if network.is_some_and(|network| filled(&network.security_groups)) {
            let why =
                "the environment has its own VPC and security group: write more under network.vpc.security_groups";
            self.leave("service.networkConfiguration", why);
        }
        if service.launch_type.as_deref() == Some("EC2") || filled(&service.placement_constraints) {
            self.leave("service.launchType", "EC2: write launch_type: EC2 into the manifest, and container_instances into the environment's, to have that again");
        }
    }
}

fn filled<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn first_port(container: &ContainerDefinition) -> Option<i32> {
    container.port_mappings.iter().flatten().find_map(|mapping| mapping.container_port)
}

/// A text that means the same in a manifest: its `${` is no variable.
fn plain(text: &str) -> String {
    text.replace("${", "\\${")
}

/// The path of a manifest's rule that takes what a pattern takes: `/api/posts*` and `/api/posts/*` are `api/posts`.
fn path(pattern: &str) -> Option<String> {
    let start = pattern.strip_suffix('*').unwrap_or(pattern);
    let start = start.trim_matches('/');
    if start.contains(['*', '?']) {
        return None;
    }
    Some(if start.is_empty() { "/".into() } else { start.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_aws::ecs::{KeyValuePair, LoadBalancer, MountPoint, PortMapping, Secret, Ulimit, Volume as EcsVolume};
    use quarry_aws::elbv2::{PathPatternConditionConfig, RuleCondition, SourceIpConditionConfig};

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn patterns_are_paths() {
        for (pattern, wanted) in
            [("/api/posts*", Some("api/posts")), ("/api/posts/*", Some("api/posts")), ("/*", Some("/")), ("/a*b", None)]
        {
            assert_eq!(path(pattern).as_deref(), wanted, "{pattern}");
        }
    }

    #[test]
    fn a_running_service_is_written_down() {
        let container = ContainerDefinition {
            name: some("app"),
            image: some("000000000000.dkr.ecr.us-east-1.localhost/posts:v1"),
            port_mappings: Some(vec![PortMapping { container_port: Some(3000), ..Default::default() }]),
            environment: Some(vec![KeyValuePair { name: some("A"), value: some("${B} it's") }]),
            secrets: Some(vec![Secret { name: some("T"), value_from: some("/shop/token") }]),
            ulimits: Some(vec![Ulimit { name: some("nofile"), soft_limit: Some(1), hard_limit: Some(2) }]),
            user: some("1000"),
            mount_points: Some(vec![MountPoint {
                source_volume: some("tmp"),
                container_path: some("/tmp"),
                read_only: None,
            }]),
            ..Default::default()
        };
        let proxy = ContainerDefinition {
            name: some("proxy"),
            image: some("envoy:1"),
            essential: Some(false),
            ..Default::default()
        };
        let paths = |patterns: &[&str]| RuleCondition {
            path_pattern_config: Some(PathPatternConditionConfig {
                values: Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let inside = RuleCondition {
            source_ip_config: Some(SourceIpConditionConfig { values: Some(vec!["10.0.0.0/8".into()]) }),
            ..Default::default()
        };
        let found = Found {
            service: Service {
                desired_count: Some(2),
                launch_type: some("EC2"),
                load_balancers: Some(vec![LoadBalancer {
                    container_name: some("app"),
                    container_port: Some(3000),
                    ..Default::default()
                }]),
                ..Default::default()
            },
            definition: TaskDefinition {
                container_definitions: Some(vec![
                    proxy,
                    ContainerDefinition { cpu: Some(200), memory: Some(700), ..container },
                ]),
                volumes: Some(vec![EcsVolume { name: some("tmp"), ..Default::default() }]),
                task_role_arn: some("arn:aws:iam::000000000000:role/app"),
                ..Default::default()
            },
            group: Some(TargetGroup { health_check_path: some("/up"), ..Default::default() }),
            attributes: BTreeMap::from([("deregistration_delay.timeout_seconds".into(), "5".into())]),
            rules: vec![
                Rule { conditions: Some(vec![paths(&["/api/posts", "/api/posts/*"])]), ..Default::default() },
                Rule { conditions: Some(vec![paths(&["/old/*"]), inside]), ..Default::default() },
            ],
            is_default: false,
        };
        let adopted = adopt("posts", &found).unwrap_or_else(|problems| panic!("{problems}"));
        let read = Manifest::read("m.yml", &adopted.manifest, &Reading::default()).unwrap();
        let http = read.http.as_ref().unwrap();
        let paths: Vec<_> = http.rules.iter().map(|rule| rule.path.as_str()).collect();
        assert_eq!((paths, http.rules[1].deregistration_delay), (vec!["api/posts", "old"], 5));
        let sources: Vec<_> = http.rules.iter().map(|rule| rule.allowed_source_ips.as_slice()).collect();
        assert_eq!(sources, [&[][..], &["10.0.0.0/8".to_owned()]], "each rule has its own");
        assert_eq!((read.cpu, read.memory, read.overrides.len()), (256, 1024, 3));
        assert_eq!(read.main.variables["A"], crate::manifest::Value::Text("${B} it's".into()));
        assert_eq!((read.sidecars[0].name.as_str(), read.sidecars[0].essential), ("proxy", false));
        assert_eq!(read.storage.volumes[0].path, "/tmp");
        let left: Vec<_> = adopted.left.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(left, ["taskDefinition.cpu, memory", "service.launchType"]);
    }
}
