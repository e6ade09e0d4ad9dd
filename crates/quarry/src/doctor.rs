//! `quarry doctor`: what this machine allows, and what to do about each gap.

use anyhow::Result;
use quarry_domain::isolation::{Finding, Isolation};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

/// Probes by really making namespaces, mounts and control groups, and takes them away again.
pub fn run(data_dir: &Path, json: bool) -> Result<ExitCode> {
    let mut report = quarry_runtime::probe(data_dir, Path::new("/proc/self/exe"), quarry_runtime::forced()?)?;
    report.findings.push(plugin(&std::env::var_os("PATH").unwrap_or_default()));
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

/// The program that the aws CLI hands a session of ExecuteCommand to, in one of these folders.
fn plugin(path: &OsStr) -> Finding {
    let runs = |file: &Path| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let found = std::env::split_paths(path).map(|folder| folder.join("session-manager-plugin")).find(|file| runs(file));
    Finding {
        name: "session-manager-plugin".to_owned(),
        available: found.is_some(),
        detail: match &found {
            Some(file) => format!("{}: `aws ecs execute-command` opens sessions with it", file.display()),
            None => "not found: `aws ecs execute-command` opens no session without it".to_owned(),
        },
        remedy: found.is_none().then(|| "optional: `quarry exec` needs none; or install AWS's".to_owned()),
    }
}

fn meaning(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::UserNamespaces => "every task has namespaces and a user-id range of its own",
        Isolation::Rootless => "every task has namespaces of its own; all share one user id, without resource limits",
        Isolation::None => "tasks are plain processes, kept apart by nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_a_program_that_may_be_run() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("session-manager-plugin");
        let path = std::env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let absent = plugin(&path);
        assert!(!absent.available && absent.remedy.unwrap().contains("quarry exec"), "{}", absent.detail);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = plugin(&path);
        assert!(found.available && found.remedy.is_none() && found.detail.starts_with(file.to_str().unwrap()));
    }
}
