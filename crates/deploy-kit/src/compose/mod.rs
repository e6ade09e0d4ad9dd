//! Compose files (the Compose Specification, compose-spec.io) turned into manifests: what can be said in a manifest is
//! taken over, and of all else is told why not, each by its line.

mod service;
mod values;

pub(crate) use values::size;

use crate::manifest::{Faults, Kind, Problems, Reading, Service, document};
use std::collections::BTreeMap;

/// What a Compose file becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    pub services: Vec<Converted>,
    /// In the file's order.
    pub notes: Vec<Note>,
}

/// A service with its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    pub name: String,
    pub kind: Kind,
    pub port: Option<u16>,
    /// The manifest's text.
    pub manifest: String,
    /// Whether its image is built, and needs a repository.
    pub builds: bool,
}

/// What became of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub line: usize,
    /// `services.web.ports`
    pub field: String,
    pub fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The manifest's field that says it.
    Taken(String),
    /// Why not, and what to do.
    Left(String),
}

/// Where a Compose file stands and for whom it is read.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The file's name in errors.
    pub file: &'a str,
    /// Its directory, from the workspace's root; empty for the root itself.
    pub dir: &'a str,
    /// Whether another service has the load balancer's `/` already.
    pub has_root: bool,
}

/// Turns a Compose file into manifests.
///
/// # Errors
/// The file is no YAML, or a field has a form that Compose has not; nothing is half converted.
pub fn convert(text: &str, at: At<'_>) -> Result<Composed, Problems> {
    let faults = Faults::new(at.file);
    let Some(node) = document(&faults, text) else {
        faults.judge()?;
        return Err(Problems(Vec::new()));
    };
    let (mut services, mut notes) = (Vec::new(), Vec::new());
    let (mut has_root, mut lines) = (at.has_root, Vec::new());
    for (key, value) in node.map().unwrap_or_default() {
        match key.name.as_str() {
            "services" => {
                for (name, value) in value.map().unwrap_or_default() {
                    let mut making = service::Making::new(&faults, at.dir, name, &mut notes);
                    if let Some(converted) = making.convert(value, &mut has_root) {
                        lines.push((name.line, format!("services.{}", name.name)));
                        services.push(converted);
                    }
                }
            }
            "version" | "name" => {}
            other if other.starts_with("x-") => {}
            other => notes.push(Note {
                line: key.line,
                field: other.to_owned(),
                fate: Fate::Left(top_level(other).to_owned()),
            }),
        }
    }
    if services.is_empty() {
        faults.add(node.line, "services", "there is no service in this file");
    }
    for service in &services {
        if services.iter().filter(|other| other.name == service.name).count() > 1 {
            faults.add(node.line, "services", format!("two of them would be called {}", service.name));
        }
    }
    for ((line, field), service) in lines.into_iter().zip(&services) {
        // What no manifest may say is told of the file that said it.
        let reading = Reading { shell: shell(&service.manifest), ..Reading::default() };
        for problem in Service::read("", &service.manifest, &reading).err().into_iter().flat_map(|problems| problems.0)
        {
            faults.add(line, &field, format!("no manifest may say this: {}: {}", problem.field, problem.message));
        }
    }
    faults.judge()?;
    notes.sort_by_key(|note| note.line);
    Ok(Composed { services, notes })
}

/// Something for each variable of the shell that a text names: they are looked at when it is deployed.
fn shell(text: &str) -> BTreeMap<String, String> {
    let names = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    names.map(|(name, _)| (name.to_owned(), "x".to_owned())).collect()
}

fn top_level(name: &str) -> &'static str {
    match name {
        "networks" => "all services of an environment find each other by name; security groups are in the manifest",
        "volumes" => {
            "what a task writes goes with the task: keep data in a database outside, or in a task's scratch space \
                      (storage.volumes)"
        }
        "secrets" | "configs" => {
            "put the values into the SSM Parameter Store and name them under secrets in the manifest"
        }
        "include" => "convert the other file by itself",
        _ => "no manifest has anything like it",
    }
}

#[cfg(test)]
mod tests;
