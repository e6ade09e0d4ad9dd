//! The suites of clients (`tests/suites`): every operation that a client is asked to call, step by step.
//!
//! With `QUARRY_SUITES` naming a directory, the outcome is put there for `cargo xtask clients`.

use crate::EXE;
use crate::shell::Shell;
use quarry_testkit::{Platform, client_program};
use std::path::Path;

#[test]
fn boto3() {
    run("boto3", &["-c", "import boto3"]);
}

#[test]
fn aws() {
    if client_program("aws").is_some() {
        run("aws", &["-c", "import boto3"]);
    }
}

/// Runs a client's suite against a platform of its own, once a probe of Python went well.
fn run(client: &str, probe: &[&str]) {
    let Some(python) = client_program("python3") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let probed = shell.command(&python).args(probe).output().unwrap();
    if !probed.status.success() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{client}: no boto3, and CI=true");
        println!("skipped: boto3 not found");
        return;
    }
    let output = shell.command(&python).args(["-B", "crates/quarry/tests/suites/run.py", client]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let (steps, outcome) = printed.trim_end().rsplit_once('\n').unwrap_or(("", &printed));
    if let Some(directory) = std::env::var_os("QUARRY_SUITES") {
        std::fs::write(Path::new(&directory).join(format!("{client}.json")), outcome).unwrap();
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{steps}\n{said}\nserve said:\n{}", platform.log());
    println!("{steps}");
}
