//! What is said of a machine, and of one that allows less.

mod support;

use quarry_domain::isolation::{Isolation, IsolationReport};
use quarry_runtime::{FORCE, Runtime, probe};
use std::path::Path;
use std::process::Command;
use support::{EXE, config};

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("qr").tempdir_in("/tmp").unwrap()
}

#[test]
fn every_gap_has_a_remedy_and_nothing_is_left() {
    let dir = directory();
    let report = probe(dir.path(), Path::new(EXE), None).unwrap();
    let names: Vec<&str> = report.findings.iter().map(|f| f.name.as_str()).collect();
    for name in ["limits of CPU, memory and processes", "ports below 1024", "landlock"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for finding in &report.findings {
        assert_eq!(finding.available, finding.remedy.is_none(), "{finding:?}");
        assert!(!finding.detail.is_empty());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(quarry_runtime::leftovers(dir.path()).is_empty());
}

#[test]
fn what_is_forced_and_cannot_be_is_one_clear_error() {
    let dir = directory();
    let mut config = config(dir.path());
    config.isolation = Some(Isolation::None);
    let runtime = Runtime::open(config.clone()).unwrap();
    assert_eq!(quarry_domain::task::TaskRuntime::isolation(&*runtime).isolation, Isolation::None);
    assert!(runtime.hub().unwrap().is_none());
    if !rustix::process::geteuid().is_root() {
        config.isolation = Some(Isolation::UserNamespaces);
        let error = Runtime::open(config).err().unwrap().to_string();
        assert!(error.contains("user-namespaces cannot work here") && error.contains("needs root"), "{error}");
    }
    let output = Command::new(EXE).arg("probe").arg(dir.path()).env(FORCE, "chroot").output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.contains("QUARRY_ISOLATION must be"), "{answer}");
}

/// Where user namespaces are used up or turned off, tasks become plain processes, and it is said.
#[test]
fn a_machine_without_user_namespaces() {
    let dir = directory();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" probe \"$1\"";
    let output = Command::new("unshare").args(["-Ur", "sh", "-c", script, EXE]).arg(dir.path()).output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        other => {
            println!("skipped: no user namespace to lower the limit in: {other:?}");
            return;
        }
    };
    let report: Result<IsolationReport, String> = serde_json::from_slice(&output.stdout).unwrap();
    let report = report.unwrap();
    assert_eq!(report.isolation, Isolation::None);
    let remedies: Vec<String> = report.findings.into_iter().filter_map(|f| f.remedy).collect();
    assert!(remedies.iter().any(|r| r.contains("user.max_user_namespaces")), "{remedies:?}");
}

#[test]
fn a_data_directory_with_too_long_a_name() {
    let dir = directory();
    let long = dir.path().join("x".repeat(90));
    let error = Runtime::open(config(&long)).err().unwrap().to_string();
    assert!(error.contains("choose a shorter path"), "{error}");
    assert!(!long.exists());
}
