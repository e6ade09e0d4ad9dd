//! One service of a Compose file.

use super::values::{container_port, mebibytes, pairs, scalar, size, text, texts};
use super::{Converted, Fate, Note};
use crate::manifest::{Faults, Key, Kind, Node, Tag, is_service_name, seconds};
use crate::template::yaml::{Out, map};

/// Ports that are published for tools and speak no HTTP: SSH, mail, databases, queues, caches.
const NOT_HTTP: [u16; 16] =
    [22, 25, 465, 587, 1433, 1521, 3306, 5432, 5672, 6379, 9042, 9092, 11_211, 26_257, 27_017, 61_616];

pub struct Making<'a> {
    faults: &'a Faults,
    dir: &'a str,
    key: &'a Key,
    notes: &'a mut Vec<Note>,
    draft: Draft,
}

/// What the manifest will say.
#[derive(Default)]
struct Draft {
    build: Option<Out>,
    location: Option<String>,
    /// Published ports and exposed ones.
    published: Vec<u16>,
    exposed: Vec<u16>,
    healthcheck: Option<Out>,
    labels: Option<Out>,
    /// Fields at the manifest's top, in their order.
    fields: Vec<(&'static str, Out)>,
    cpu: Option<u64>,
    memory: Option<u64>,
    overrides: Vec<Out>,
}

impl<'a> Making<'a> {
    pub fn new(faults: &'a Faults, dir: &'a str, key: &'a Key, notes: &'a mut Vec<Note>) -> Self {
        Self { faults, dir, key, notes, draft: Draft::default() }
    }

    /// The service, unless something in it has no form of Compose's: that is a fault.
    pub fn convert(&mut self, node: &Node, has_root: &mut bool) -> Option<Converted> {
        let Some(entries) = node.map() else {
            return self.faults.wrong(&format!("services.{}", self.key.name), node, "a map");
        };
        let name = name(&self.key.name);
        if !is_service_name(&name) {
            self.faults.add(
                self.key.line,
                &format!("services.{}", self.key.name),
                "no name of a service can be made of this",
            );
            return None;
        }
        if name != self.key.name {
            let why = format!(
                "it is called {name}: names have small letters, digits and dashes. Others find it by that name"
            );
            self.note(self.key, "", Fate::Left(why));
        }
        for (key, value) in entries {
            if value.kind != Tag::Null && self.field(key, value).is_none() {
                self.faults.add(key.line, &self.path(key), "this is no form that Compose has for it");
            }
        }
        Some(self.finish(name, has_root))
    }

    fn path(&self, key: &Key) -> String {
        if key.line == self.key.line && key.name == self.key.name {
            return format!("services.{}", key.name);
        }
        format!("services.{}.{}", self.key.name, key.name)
    }

    fn note(&mut self, key: &Key, more: &str, fate: Fate) {
        let field = format!("{}{more}", self.path(key));
        self.notes.push(Note { line: key.line, field, fate });
    }

    fn taken(&mut self, key: &Key, into: &str) -> Option<()> {
        self.note(key, "", Fate::Taken(into.to_owned()));
        Some(())
    }

    fn left(&mut self, key: &Key, why: &str) -> Option<()> {
        self.note(key, "", Fate::Left(why.to_owned()));
        Some(())
    }

    /// A text with its variables, and a note of those that were written down.
    fn said(&mut self, key: &Key, raw: &str) -> String {
        let (text, note) = text(raw);
        if let Some(note) = note {
            self.left(key, &note);
        }
        text
    }

    fn map_of(&mut self, key: &Key, node: &Node) -> Option<Out> {
        let mut out = map! {};
        for (name, value) in pairs(node)? {
            let value = self.said(key, &value);
            out.set(name, value);
        }
        Some(out)
    }

    /// A path as manifests have it: from the workspace's root.
    fn rooted(&self, path: &str) -> String {
        let joined = format!("{}/{}", self.dir, path);
        let mut clean: Vec<&str> = Vec::new();
        for part in joined.split('/') {
            match part {
                "" | "." => {}
                ".." if clean.last().is_some_and(|last| *last != "..") => {
                    clean.pop();
                }
                part => clean.push(part),
            }
        }
        if clean.is_empty() { ".".into() } else { clean.join("/") }
    }

    fn field(&mut self, key: &Key, node: &Node) -> Option<()> {
        match key.name.as_str() {
            "image" => {
                let text = scalar(node)?;
                self.draft.location = Some(self.said(key, &text));
                self.taken(key, "image.location")
            }
            "build" => self.build(key, node),
            "ports" => self.ports(key, node),
            "expose" => {
                let Tag::List(items) = &node.kind else { return None };
                self.draft.exposed.extend(items.iter().filter_map(container_port));
                self.taken(key, "image.port")
            }
            "environment" => {
                let variables = self.map_of(key, node)?;
                self.draft.fields.push(("variables", variables));
                self.taken(key, "variables")
            }
            "env_file" => self.env_file(key, node),
            "command" | "entrypoint" => {
                let field = if key.name == "command" { "command" } else { "entrypoint" };
                let value = match &node.kind {
                    Tag::Scalar { text, .. } => self.said(key, text).into(),
                    _ => texts(node)?.iter().map(|word| self.said(key, word)).collect(),
                };
                self.draft.fields.push((field, value));
                self.taken(key, field)
            }
            "healthcheck" => self.healthcheck(key, node),
            "labels" => {
                self.draft.labels = Some(self.map_of(key, node)?);
                self.taken(key, "image.labels")
            }
            "deploy" => self.deploy(node),
            "scale" => {
                let count: u64 = scalar(node)?.parse().ok()?;
                self.draft.fields.push(("count", count.into()));
                self.taken(key, "count")
            }
            "cpus" => {
                self.draft.cpu = Some((scalar(node)?.parse::<f64>().ok()? * 1024.0).ceil() as u64);
                self.taken(key, "cpu, the next size of Fargate's")
            }
            "mem_limit" => {
                self.draft.memory = Some(mebibytes(&scalar(node)?)?);
                self.taken(key, "memory, the next size of Fargate's")
            }
            "platform" => match scalar(node)?.as_str() {
                text @ ("linux/amd64" | "linux/arm64" | "linux/x86_64") => {
                    self.draft.fields.push(("platform", text.into()));
                    self.taken(key, "platform")
                }
                _ => self.left(key, "images run on linux/amd64 and linux/arm64"),
            },
            "read_only" => {
                if scalar(node)? == "true" {
                    self.draft.fields.push(("storage", map! {"readonly_fs" => true}));
                    return self.taken(key, "storage.readonly_fs");
                }
                Some(())
            }
            "user" | "working_dir" => {
                let text = scalar(node)?;
                let text = self.said(key, &text);
                let field = if key.name == "user" { "User" } else { "WorkingDirectory" };
                self.define(key, field, text.into())
            }
            "init" => {
                let flag = scalar(node)? == "true";
                self.define(key, "LinuxParameters.InitProcessEnabled", flag.into())
            }
            "stop_grace_period" => match seconds(&scalar(node)?) {
                Some(wanted @ 2..=120) => self.define(key, "StopTimeout", wanted.into()),
                _ => self.left(key, "a task has from 2 to 120 whole seconds to end"),
            },
            "restart" => match scalar(node)?.as_str() {
                // Whatever ends is replaced.
                "always" | "unless-stopped" => self.taken(key, "what a service does by itself"),
                _ => self.left(key, "a service's tasks are always replaced; what runs once is `quarry task run`"),
            },
            name => self.left(key, why_not(name)),
        }
    }

    /// A rule of `taskdef_overrides`.
    fn define(&mut self, key: &Key, field: &str, value: Out) -> Option<()> {
        let path = format!("ContainerDefinitions[0].{field}");
        self.draft.overrides.push(map! {"path" => path, "value" => value});
        self.taken(key, &format!("taskdef_overrides: {field}"))
    }

    fn build(&mut self, key: &Key, node: &Node) -> Option<()> {
        if let Tag::Scalar { text, .. } = &node.kind {
            let context = self.said(key, text);
            if context.contains("://") || context.starts_with("git@") {
                return self.left(key, "what is built stands below this directory: check the repository out");
            }
            self.draft.build = Some(map! {"context" => self.rooted(&context)});
            return self.taken(key, "image.build");
        }
        let mut out = map! {};
        let context = node.get("context").map_or(Some(".".to_owned()), scalar)?;
        let context = self.said(key, &context);
        if context.contains("://") || context.starts_with("git@") {
            return self.left(key, "what is built stands below this directory: check the repository out");
        }
        let dockerfile = node.get("dockerfile").map_or(Some("Dockerfile".to_owned()), scalar)?;
        let dockerfile = self.said(key, &dockerfile);
        out.set("context", self.rooted(&context));
        out.set("dockerfile", self.rooted(&format!("{context}/{dockerfile}")));
        for (inner, value) in node.map()? {
            match inner.name.as_str() {
                "context" | "dockerfile" => {}
                "args" => {
                    let args = self.map_of(key, value)?;
                    out.set("args", args);
                }
                "target" => out.set("target", scalar(value)?),
                "cache_from" => out.set("cache_from", texts(value)?.iter().collect::<Out>()),
                other => {
                    let why =
                        Fate::Left("a manifest's build has context, dockerfile, args, target and cache_from".into());
                    self.notes.push(Note {
                        line: inner.line,
                        field: format!("services.{}.build.{other}", self.key.name),
                        fate: why,
                    });
                }
            }
        }
        self.draft.build = Some(out);
        self.taken(key, "image.build")
    }

    fn ports(&mut self, key: &Key, node: &Node) -> Option<()> {
        let Tag::List(items) = &node.kind else { return None };
        for item in items {
            match container_port(item) {
                Some(port) if NOT_HTTP.contains(&port) => {
                    self.draft.exposed.push(port);
                    let why = format!(
                        "{port} is no port of HTTP, and the load balancer has nothing else: other services find \
                                       it by its name, nobody outside does"
                    );
                    self.notes.push(Note { line: item.line, field: self.path(key), fate: Fate::Left(why) });
                }
                Some(port) => self.draft.published.push(port),
                None => {
                    let why = "only single TCP ports travel to a task".to_owned();
                    self.notes.push(Note { line: item.line, field: self.path(key), fate: Fate::Left(why) });
                }
            }
        }
        if let Some(first) = self.draft.published.first().copied() {
            for other in self.draft.published.split_off(1) {
                let why =
                    format!("{other} comes after {first}: write it under http.additional_rules, with target_port");
                self.left(key, &why);
            }
            self.taken(key, "image.port; the load balancer leads there by http.path");
        }
        Some(())
    }

    fn env_file(&mut self, key: &Key, node: &Node) -> Option<()> {
        let mut paths = Vec::new();
        match &node.kind {
            Tag::List(items) => {
                for item in items {
                    paths.push(scalar(item).or_else(|| item.get("path").and_then(scalar))?);
                }
            }
            _ => paths.push(scalar(node)?),
        }
        // Of a variable in several files the last one's value counts; so it is with one file.
        let last = paths.pop()?;
        for other in paths {
            self.left(key, &format!("{other}: a manifest has one env_file: put its variables into the other one"));
        }
        let path = self.rooted(&last);
        self.draft.fields.push(("env_file", path.into()));
        self.taken(key, "env_file")
    }

    fn healthcheck(&mut self, key: &Key, node: &Node) -> Option<()> {
        let disabled = node.get("disable").and_then(scalar).is_some_and(|text| text == "true");
        let test = node.get("test").map(|test| match &test.kind {
            Tag::Scalar { text, .. } => Some(vec!["CMD-SHELL".to_owned(), text.clone()]),
            _ => texts(test),
        });
        let Some(test) = test else {
            return if disabled {
                Some(())
            } else {
                self.left(key, "it has no test: the image's own check is not run")
            };
        };
        let test = test?;
        if disabled || test.first().is_some_and(|word| word == "NONE") {
            return Some(());
        }
        let words: Vec<String> = test.iter().map(|word| self.said(key, word)).collect();
        let mut out = map! {"command" => words.iter().collect::<Out>()};
        for (name, least, most) in [("interval", 5, 300), ("timeout", 2, 60), ("start_period", 0, 300)] {
            let Some(value) = node.get(name) else { continue };
            let Some(wanted) = seconds(&scalar(value)?) else {
                self.left(key, &format!("{name}: ECS has whole seconds"));
                continue;
            };
            let fit = wanted.clamp(least, most);
            if fit != wanted {
                self.left(key, &format!("{name}: ECS has {least}s to {most}s, so it is {fit}s"));
            }
            out.set(name, format!("{fit}s"));
        }
        if let Some(value) = node.get("retries") {
            let wanted: u64 = scalar(value)?.parse().ok()?;
            out.set("retries", wanted.clamp(1, 10));
        }
        self.draft.healthcheck = Some(out);
        self.taken(key, "image.healthcheck")
    }

    fn deploy(&mut self, node: &Node) -> Option<()> {
        for (inner, value) in node.map()? {
            let field = format!("services.{}.deploy.{}", self.key.name, inner.name);
            let fate = match inner.name.as_str() {
                "replicas" => {
                    let count: u64 = scalar(value)?.parse().ok()?;
                    self.draft.fields.push(("count", count.into()));
                    Fate::Taken("count".into())
                }
                "resources" => {
                    let limits = value.get("limits");
                    let of = |name: &str| limits.and_then(|limits| limits.get(name));
                    if let Some(cpus) = of("cpus") {
                        self.draft.cpu = Some((scalar(cpus)?.parse::<f64>().ok()? * 1024.0).ceil() as u64);
                    }
                    if let Some(memory) = of("memory") {
                        self.draft.memory = Some(mebibytes(&scalar(memory)?)?);
                    }
                    match limits {
                        Some(_) => Fate::Taken("cpu and memory, the next size of Fargate's".into()),
                        None => Fate::Left("only limits count: a task has its size for itself".into()),
                    }
                }
                "restart_policy" => Fate::Left("a service's tasks are always replaced".into()),
                _ => Fate::Left("deployments are the manifest's: deployment, count".into()),
            };
            self.notes.push(Note { line: inner.line, field, fate });
        }
        Some(())
    }

    fn finish(&mut self, name: String, has_root: &mut bool) -> Converted {
        let draft = std::mem::take(&mut self.draft);
        let published = draft.published.first().copied();
        let kind = if published.is_some() { Kind::LoadBalanced } else { Kind::Backend };
        let port = published.or(draft.exposed.first().copied());
        let mut out = map! {"name" => &name, "type" => kind.name()};
        if published.is_some() {
            let path = if *has_root { name.clone() } else { "/".to_owned() };
            *has_root = true;
            out.set("http", map! {"path" => path});
        }
        let builds = draft.build.is_some();
        let mut image = map! {};
        match (draft.build, draft.location) {
            // With both, Compose's image is the name of what is built.
            (Some(build), _) => image.set("build", build),
            (None, Some(location)) => image.set("location", location),
            (None, None) => {
                self.faults.add(
                    self.key.line,
                    &format!("services.{}", self.key.name),
                    "it has neither image nor build",
                );
            }
        }
        image.set_some("port", port);
        image.set_some("healthcheck", draft.healthcheck);
        image.set_some("labels", draft.labels);
        out.set("image", image);
        let (cpu, memory) = size(draft.cpu.unwrap_or(256), draft.memory.unwrap_or(512));
        out.set("cpu", cpu);
        out.set("memory", memory);
        if !draft.fields.iter().any(|(field, _)| *field == "count") {
            out.set("count", 1u64);
        }
        out.set("exec", true);
        out.set("network", map! {"connect" => true});
        let mut seen = Vec::new();
        for (field, value) in draft.fields {
            // `scale` and `deploy.replicas` say one thing.
            if !seen.contains(&field) {
                out.set(field, value);
                seen.push(field);
            }
        }
        if !draft.overrides.is_empty() {
            out.set("taskdef_overrides", draft.overrides.into_iter().collect::<Out>());
        }
        let head = "# Made of a Compose file. `quarry svc package` shows what becomes of it.\n\n";
        Converted { name, kind, port, manifest: format!("{head}{}", out.document()), builds }
    }
}

/// A name of a service as near as can be: `My_db` becomes `my-db`.
fn name(text: &str) -> String {
    let small = text.to_ascii_lowercase().replace(['_', '.'], "-");
    let mut out = String::new();
    for c in small.chars() {
        if c != '-' || !out.ends_with('-') {
            out.push(c);
        }
    }
    out.trim_matches('-').to_owned()
}

fn why_not(field: &str) -> &'static str {
    match field {
        "depends_on" | "links" => "services start without an order: let it try again until the other one answers",
        "volumes" => {
            "what a task writes goes with the task: COPY files into the image, keep data in a database outside; scratch \
             space is storage.volumes"
        }
        "tmpfs" => "scratch space is storage.volumes, with read_only: false",
        "networks" | "network_mode" | "dns" | "extra_hosts" | "external_links" => {
            "all services of an environment find each other by name"
        }
        "container_name" | "hostname" | "domainname" => "others find it by the service's name",
        "secrets" | "configs" => "put the values into the SSM Parameter Store and name them under secrets",
        "logging" => "logs go to CloudWatch Logs: `quarry svc logs`",
        "profiles" => "each service is deployed by itself: `quarry svc deploy`",
        "extends" => "write what it extends into it (`docker compose config` does)",
        "ulimits" | "shm_size" | "sysctls" | "cap_add" | "cap_drop" | "privileged" | "security_opt" => {
            "fields of the task definition are under taskdef_overrides, as far as Fargate has them"
        }
        name if name.starts_with("x-") => "it is nobody's but its author's",
        _ => "no manifest has anything like it",
    }
}
