//! Manifests in the form of AWS Copilot: `copilot/<service>/manifest.yml` and
//! `copilot/environments/<environment>/manifest.yml`, read for one environment.
//!
//! Each field is honoured or refused; a refusal names the file, the line, the field and what to do. The meaning of the
//! fields and their defaults are those of Copilot's documentation ("Manifest").

mod container;
mod count;
mod deployment;
mod environment;
mod http;
mod network;
mod overrides;
mod section;
mod service;
mod storage;
mod write;
mod yaml;

pub use container::{Build, Check, Condition, Container, Image, Mount, Secret, Value};
pub use count::{Cooldown, Count, Goal, Range, Scaling};
pub use deployment::{Alarms, Deployment};
pub use environment::{Environment, Instances, Subnet};
pub use http::{Http, Protocol, Rule, TargetCheck};
pub use network::{Connect, Network, Placement};
pub use overrides::{Override, Step, Tree};
pub use service::{Kind, LaunchType, Platform, Service, variables_of_file};
pub use storage::{Storage, Volume};
pub use write::{NewImage, NewService, new_environment, new_service};

pub(crate) use section::{Faults, seconds};
pub(crate) use service::is_service_name;
pub(crate) use yaml::{Key, Kind as Tag, Node};

use section::Section;
use std::collections::BTreeMap;
use std::fmt;

/// Something in a manifest that is wrong or not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{message}", named(.field))]
pub struct Problem {
    pub file: String,
    pub line: usize,
    /// `http.healthcheck.path`; empty for the whole file.
    pub field: String,
    pub message: String,
}

/// All that is wrong in a manifest, at least one thing, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// For whom a manifest is read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub app: String,
    pub environment: String,
    /// Variables of the shell, for `${NAME}` in values.
    pub shell: BTreeMap<String, String>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

fn named(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

/// What kind of service a manifest says it is, where it is written for none of ours: its `type`.
///
/// # Errors
/// The text is no YAML, or has no type.
pub fn kind_of(file: &str, text: &str) -> Result<String, Problems> {
    let faults = Faults::new(file);
    let node = document(&faults, text);
    let kind = node.as_ref().and_then(|node| Section::of(&faults, "", node)?.text("type"));
    match kind {
        Some(kind) => Ok(kind),
        None => {
            faults.add(1, "type", "is missing: say which type of service this is");
            Err(faults.judge().err().unwrap_or(Problems(Vec::new())))
        }
    }
}

/// The document, or a fault.
pub(crate) fn document(faults: &Faults, text: &str) -> Option<Node> {
    match yaml::parse(text) {
        Ok(node) => Some(node),
        Err(fault) => {
            faults.add(fault.line, "", format!("this is not YAML: {}", fault.message));
            None
        }
    }
}

/// The document as it is for an environment: its overrides laid on, `${NAME}` replaced.
fn prepared(faults: &Faults, text: &str, reading: &Reading) -> Option<Node> {
    let mut node = document(faults, text)?;
    if let Some(over) = node.get("environments").and_then(|all| all.get(&reading.environment)).cloned()
        && over.kind != yaml::Kind::Null
    {
        if over.map().is_none() {
            faults.add(over.line, &format!("environments.{}", reading.environment), "a map is expected");
        }
        node.merge(&over);
    }
    if let yaml::Kind::Map(entries) = &mut node.kind {
        entries.retain(|(key, _)| key.name != "environments");
    }
    let replaced = node.each_scalar(&mut |line, text| {
        interpolate(text, reading).map_err(|name| {
            faults.add(
                line,
                "",
                format!("${{{name}}} is not set: export {name} in this shell, or write \\${{{name}}}"),
            );
        })
    });
    replaced.ok().map(|()| node)
}

/// Replaces `${NAME}`; `\${NAME}` stays as `${NAME}`. The name that is not known.
fn interpolate(text: &str, reading: &Reading) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        let name = rest[at + 2..].split('}').next().filter(|name| rest[at + 2..].len() > name.len() && is_name(name));
        let Some(name) = name else {
            out.push_str(&rest[..at + 2]);
            rest = &rest[at + 2..];
            continue;
        };
        if let Some(before) = rest[..at].strip_suffix('\\') {
            out.push_str(before);
            out.push_str(&format!("${{{name}}}"));
        } else {
            out.push_str(&rest[..at]);
            out.push_str(match name {
                "COPILOT_APPLICATION_NAME" => &reading.app,
                "COPILOT_ENVIRONMENT_NAME" => &reading.environment,
                _ => reading.shell.get(name).ok_or_else(|| name.to_owned())?,
            });
        }
        rest = &rest[at + 3 + name.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests;
