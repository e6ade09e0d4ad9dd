//! `image`, `variables`, `secrets`, `entrypoint` and the like: what the main container and sidecars have in common.

use super::section::{Faults, Section};
use super::yaml::{Kind, Node};
use std::collections::BTreeMap;

/// A container of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub image: Image,
    pub port: Option<u16>,
    pub essential: bool,
    /// Environment variables, without those of `env_file`.
    pub variables: BTreeMap<String, Value>,
    /// A path from the workspace's root.
    pub env_file: Option<String>,
    pub secrets: BTreeMap<String, Secret>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub check: Option<Check>,
    pub depends_on: BTreeMap<String, Condition>,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    Build(Build),
    /// The name of an image that is there.
    Location(String),
}

/// What is built; paths from the workspace's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    pub dockerfile: String,
    pub context: String,
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub cache_from: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// The name of a CloudFormation export.
    Export(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Name or ARN of a parameter of Systems Manager.
    Parameter(String),
    /// The name of a secret of Secrets Manager, with what may follow it: `name:json-key::`.
    Secret(String),
    /// The name of a CloudFormation export that holds a name or an ARN.
    Export(String),
}

/// A container's health check; times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub command: Vec<String>,
    pub interval: u64,
    pub retries: u64,
    pub timeout: u64,
    pub start_period: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Start,
    Healthy,
    Complete,
    Success,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub volume: String,
    pub path: String,
    pub read_only: bool,
}

impl Condition {
    /// As ECS's `ContainerDependency` has it.
    pub fn ecs(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Healthy => "HEALTHY",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
        }
    }
}

/// `image` as far as it names an image: `build` or `location`.
pub(super) fn image(section: &Section<'_>) -> Option<Image> {
    section.refuse(&[("credentials", "copy the image to ECR and name it there: its tokens are fetched by themselves")]);
    let build = section.node("build").and_then(|node| build(section, node));
    let location = section.text("location");
    match (build, location) {
        (Some(_), Some(_)) => {
            section.fault("location", "stands beside build: keep one of them");
            None
        }
        (Some(build), None) => Some(Image::Build(build)),
        (None, Some(location)) => Some(Image::Location(location)),
        (None, None) => {
            if section.node("build").is_none() && section.node("location").is_none() {
                let line = section.line;
                section.faults.add(line, &section.path, "say what to run: build (a Dockerfile) or location (an image)");
            }
            None
        }
    }
}

fn build(parent: &Section<'_>, node: &Node) -> Option<Build> {
    if let Kind::Scalar { text, .. } = &node.kind {
        let (dockerfile, context) = (text.clone(), dir_of(text));
        return Some(Build { dockerfile, context, args: BTreeMap::new(), target: None, cache_from: Vec::new() });
    }
    let section = Section::of(parent.faults, &parent.at("build"), node)?;
    let (dockerfile, context) = match (section.text("dockerfile"), section.text("context")) {
        (Some(dockerfile), Some(context)) => (dockerfile, context),
        (Some(dockerfile), None) => {
            let context = dir_of(&dockerfile);
            (dockerfile, context)
        }
        (None, Some(context)) => (format!("{}/Dockerfile", context.trim_end_matches('/')), context),
        (None, None) => ("Dockerfile".into(), ".".into()),
    };
    let build = Build {
        dockerfile,
        context,
        args: section.section("args").map(|args| texts(&args)).unwrap_or_default(),
        target: section.text("target"),
        cache_from: section.texts("cache_from").unwrap_or_default(),
    };
    section.finish();
    Some(build)
}

fn dir_of(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) => "/".into(),
        Some((dir, _)) => dir.into(),
        None => ".".into(),
    }
}

/// All entries as texts.
pub(super) fn texts(section: &Section<'_>) -> BTreeMap<String, String> {
    let text = |key: &str, node: &Node| match &node.kind {
        Kind::Null => Some(String::new()),
        _ => section.faults.text(&section.at(key), node),
    };
    let all = section.entries().iter();
    all.filter_map(|(key, node)| Some((key.name.clone(), text(&key.name, node)?))).collect()
}

pub(super) fn variables(section: &Section<'_>) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (key, node) in section.entries() {
        let path = section.at(&key.name);
        let value = match &node.kind {
            Kind::Null => Some(Value::Text(String::new())),
            Kind::Map(_) => Section::of(section.faults, &path, node).and_then(|inner| {
                let export = inner.text("from_cfn").map(Value::Export);
                inner.finish();
                export
            }),
            _ => section.faults.text(&path, node).map(Value::Text),
        };
        all.extend(value.map(|value| (key.name.clone(), value)));
    }
    all
}

pub(super) fn secrets(section: &Section<'_>) -> BTreeMap<String, Secret> {
    let mut all = BTreeMap::new();
    for (key, node) in section.entries() {
        let path = section.at(&key.name);
        let value = match &node.kind {
            Kind::Map(_) => Section::of(section.faults, &path, node).and_then(|inner| {
                let secret = inner.text("secretsmanager").map(Secret::Secret);
                let export = inner.text("from_cfn").map(Secret::Export);
                if secret.is_some() == export.is_some() {
                    inner.faults.add(inner.line, &path, "take one of secretsmanager and from_cfn");
                }
                inner.finish();
                secret.or(export)
            }),
            _ => section.faults.text(&path, node).map(|text| match text.strip_prefix("arn:") {
                Some(rest) if rest.contains(":secretsmanager:") => Secret::Secret(text.clone()),
                _ => Secret::Parameter(text),
            }),
        };
        all.extend(value.map(|value| (key.name.clone(), value)));
    }
    all
}

/// A list of words, or a text that a shell would split into them.
pub(super) fn words(section: &Section<'_>, name: &'static str) -> Option<Vec<String>> {
    let node = section.node(name)?;
    let Kind::Scalar { text, .. } = &node.kind else { return section.texts(name) };
    let words = split(text);
    if words.is_none() {
        section.fault(name, "a quote is not closed");
    }
    words
}

/// As a shell splits words: spaces, both kinds of quotes, backslashes; nothing is expanded.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().push(letters.next()?),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

pub(super) fn check(section: &Section<'_>) -> Option<Check> {
    let section = section.section("healthcheck")?;
    let check = Check {
        command: section
            .texts("command")
            .unwrap_or_else(|| vec!["CMD-SHELL".into(), "curl -f http://localhost/ || exit 1".into()]),
        interval: section.seconds("interval", 5..=300).unwrap_or(10),
        retries: section.number("retries", 1..=10).unwrap_or(2),
        timeout: section.seconds("timeout", 2..=60).unwrap_or(5),
        start_period: section.seconds("start_period", 0..=300).unwrap_or(0),
    };
    section.finish();
    Some(check)
}

pub(super) fn depends_on(section: &Section<'_>) -> BTreeMap<String, Condition> {
    let Some(section) = section.section("depends_on") else { return BTreeMap::new() };
    let mut all = BTreeMap::new();
    for (name, text) in texts(&section) {
        let condition = match text.to_ascii_lowercase().as_str() {
            "start" => Condition::Start,
            "healthy" => Condition::Healthy,
            "complete" => Condition::Complete,
            "success" => Condition::Success,
            _ => {
                section.fault(&name, format!("{text:?} is not one of start, healthy, complete, success"));
                continue;
            }
        };
        all.insert(name, condition);
    }
    all
}

/// `sidecars`.
pub(super) fn sidecars(section: &Section<'_>) -> Vec<Container> {
    let mut all = Vec::new();
    for (key, node) in section.entries() {
        let Some(section) = Section::of(section.faults, &section.at(&key.name), node) else { continue };
        all.extend(sidecar(&key.name, &section));
        section.finish();
    }
    all
}

fn sidecar(name: &str, section: &Section<'_>) -> Option<Container> {
    let found = match section.node("image") {
        None => {
            section.fault("image", "is missing: a sidecar runs an image");
            None
        }
        Some(Node { kind: Kind::Scalar { text, .. }, .. }) => Some((Image::Location(text.clone()), None)),
        Some(_) => section.section("image").and_then(|inner| {
            let found = image(&inner).map(|image| (image, inner.section("depends_on").map(|_| depends_on(&inner))));
            inner.finish();
            found
        }),
    };
    section.refuse(&[("credentialsParameter", "copy the image to ECR and name it there")]);
    let container = Container {
        name: name.to_owned(),
        image: Image::Location(String::new()),
        port: port(section, "port"),
        essential: section.flag("essential").unwrap_or(true),
        variables: section.section("variables").map(|s| variables(&s)).unwrap_or_default(),
        env_file: section.text("env_file"),
        secrets: section.section("secrets").map(|s| secrets(&s)).unwrap_or_default(),
        entrypoint: words(section, "entrypoint").unwrap_or_default(),
        command: words(section, "command").unwrap_or_default(),
        check: check(section),
        depends_on: depends_on(section),
        labels: section.section("labels").map(|s| texts(&s)).unwrap_or_default(),
        mounts: mounts(section),
    };
    let (image, more) = found?;
    let depends_on = more.unwrap_or_default().into_iter().chain(container.depends_on.clone()).collect();
    Some(Container { image, depends_on, ..container })
}

/// A port, also written as `8080/tcp`.
pub(super) fn port(section: &Section<'_>, name: &'static str) -> Option<u16> {
    let text = section.text(name)?;
    let number = text.strip_suffix("/tcp").unwrap_or(&text);
    match number.parse() {
        Ok(port) if port > 0 => Some(port),
        _ => {
            let hint = if text.contains("/udp") { ": only TCP travels to a task" } else { "" };
            section.fault(name, format!("{text:?} is not a TCP port from 1 to 65535{hint}"));
            None
        }
    }
}

fn mounts(section: &Section<'_>) -> Vec<Mount> {
    let mut all = Vec::new();
    for item in section.list("mount_points").unwrap_or_default() {
        let Some(mount) = Section::of(section.faults, &section.at("mount_points"), item) else { continue };
        let (volume, path) = (mount.text("source_volume"), mount.text("path"));
        let read_only = mount.flag("read_only").unwrap_or(true);
        match (volume, path) {
            (Some(volume), Some(path)) => all.push(Mount { volume, path, read_only }),
            _ => mount.faults.add(mount.line, &mount.path, "source_volume and path are both needed"),
        }
        mount.finish();
    }
    all
}

/// Dependencies that cannot be met.
pub(super) fn check_dependencies(faults: &Faults, line: usize, containers: &[&Container]) {
    for container in containers {
        for (name, condition) in &container.depends_on {
            let field = format!("{}.depends_on.{name}", container.name);
            match containers.iter().find(|other| other.name == *name) {
                None => faults.add(line, &field, "no container of this service has that name"),
                Some(other) if other.essential && matches!(condition, Condition::Complete | Condition::Success) => {
                    faults.add(
                        line,
                        &field,
                        format!("{name} is essential and never completes: make it essential: false"),
                    );
                }
                Some(_) => {}
            }
        }
    }
    for container in containers {
        let mut seen = vec![container.name.as_str()];
        let mut next: Vec<&str> = container.depends_on.keys().map(String::as_str).collect();
        while let Some(name) = next.pop() {
            if name == container.name {
                faults.add(line, &format!("{name}.depends_on"), "the containers wait for each other in a circle");
                return;
            }
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let other = containers.iter().find(|c| c.name == name);
            next.extend(other.iter().flat_map(|c| c.depends_on.keys().map(String::as_str)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(split(r#"/bin/a --b "c d" 'e f' g\ h """#).unwrap(), ["/bin/a", "--b", "c d", "e f", "g h", ""]);
        assert_eq!(split("'x"), None);
        assert_eq!(split("  ").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_context_of_a_dockerfile_is_its_directory() {
        assert_eq!([dir_of("a/b/Dockerfile"), dir_of("Dockerfile"), dir_of("/Dockerfile")], ["a/b", ".", "/"]);
    }
}
