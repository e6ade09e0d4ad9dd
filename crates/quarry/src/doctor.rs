//! `quarry doctor`: what this machine allows, and what to do about each gap.

use anyhow::Result;
use quarry_domain::isolation::Isolation;
use std::path::Path;
use std::process::ExitCode;

/// Probes by really making namespaces, mounts and control groups, and takes them away again.
pub fn run(data_dir: &Path, json: bool) -> Result<ExitCode> {
    let report = quarry_runtime::probe(data_dir, Path::new("/proc/self/exe"), quarry_runtime::forced()?)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("isolation in force: {}  ({})", report.isolation.as_str(), meaning(report.isolation));
    for finding in &report.findings {
        println!("  {} {:<28} {}", if finding.available { "yes" } else { "no " }, finding.name, finding.detail);
        if let Some(remedy) = &finding.remedy {
            println!("      → {remedy}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn meaning(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::UserNamespaces => "every task has namespaces and a user-id range of its own",
        Isolation::Rootless => "every task has namespaces of its own; all share one user id, without resource limits",
        Isolation::None => "tasks are plain processes, kept apart by nothing",
    }
}
