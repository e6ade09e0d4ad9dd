//! `quarry coverage`: which of AWS's operations are served, and which others were asked for.

use crate::installation::Installation;
use anyhow::{Context, Result};
use quarry_client::status;
use quarry_wire::ServiceModel;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// How the table is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
    /// As SPECIFICATION.md holds it.
    Markdown,
}

#[derive(Serialize)]
struct Service {
    service: &'static str,
    name: &'static str,
    served: Vec<&'static str>,
    unserved: Vec<&'static str>,
    /// Calls of what is not served, since the running Quarry's start.
    called: BTreeMap<String, u64>,
}

/// Prints the table. Calls are told where a Quarry runs on the data directory.
pub fn run(data_dir: &Path, form: Form) -> Result<()> {
    let table = table();
    if form == Form::Markdown {
        print!("{}", markdown(&table));
        return Ok(());
    }
    let called = called(data_dir)?;
    print(table, called, form)
}

/// By service and operation; nothing where none runs.
fn called(data_dir: &Path) -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
    let Ok(serving) = Installation::open(data_dir).and_then(|installation| installation.serving()) else {
        return Ok(BTreeMap::new());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(status::unserved(&serving.endpoint))
        .with_context(|| format!("what was called is not known: {}", serving.endpoint))
}

fn table() -> Vec<Service> {
    let operations = quarry_control::operations();
    let names: BTreeSet<_> = operations.names().collect();
    let row = |service: &&'static ServiceModel| {
        let is_served = |name: &&'static str| names.contains(&(service.id, *name));
        let (served, unserved) = service.all.iter().copied().partition(is_served);
        Service { service: service.id, name: service.sdk_id, served, unserved, called: BTreeMap::new() }
    };
    quarry_aws::SERVICES.iter().map(row).collect()
}

fn print(mut table: Vec<Service>, mut called: BTreeMap<String, BTreeMap<String, u64>>, form: Form) -> Result<()> {
    for service in &mut table {
        service.called = called.remove(service.service).unwrap_or_default();
    }
    if form == Form::Json {
        let whole = serde_json::json!({ "services": table, "others_called": called });
        println!("{}", serde_json::to_string_pretty(&whole)?);
        return Ok(());
    }
    for service in &table {
        let (served, all) = (service.served.len(), service.served.len() + service.unserved.len());
        println!("{:<26} {served:>3} of {all}", service.service);
    }
    let services = table.into_iter().map(|s| (s.service.to_owned(), s.called)).chain(called);
    let lines: Vec<String> = services
        .flat_map(|(service, called)| called.into_iter().map(move |(name, n)| format!("  {n:>6} {service} {name}")))
        .collect();
    if !lines.is_empty() {
        println!("\nCalled, and not served, since the start:\n{}", lines.join("\n"));
    }
    Ok(())
}

fn markdown(table: &[Service]) -> String {
    let mut out = String::from("| Service | Served | Operations |\n|---|---|---|\n");
    for service in table.iter().filter(|s| !s.served.is_empty()) {
        let all = service.served.len() + service.unserved.len();
        let _ =
            writeln!(out, "| {} | {} of {all} | {} |", service.name, service.served.len(), grouped(&service.served));
    }
    out
}

/// Names by their first word: `Create{Cluster, Service}, RunTask`.
fn grouped(names: &[&str]) -> String {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let end = name.char_indices().skip(1).find(|(_, c)| c.is_ascii_uppercase()).map_or(name.len(), |(at, _)| at);
        let (verb, rest) = name.split_at(end);
        groups.entry(verb).or_default().push(rest);
    }
    let groups = groups.into_iter().map(|(verb, rests)| match &rests[..] {
        [rest] => format!("{verb}{rest}"),
        rests => format!("{verb}{{{}}}", rests.join(", ")),
    });
    groups.collect::<Vec<_>>().join("; ")
}
