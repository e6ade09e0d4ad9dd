//! The tour, whole: as this machine allows, and where it allows less.

use serde_json::Value;
use std::process::{Command, Stdio};

/// Runs `quarry tour` with an isolation forced, and returns its report.
fn tour(isolation: Option<&str>) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quarry"));
    command.args(["tour", "--json", "--rate", "100", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
    command.env_remove("AWS_ENDPOINT_URL");
    if let Some(isolation) = isolation {
        command.env("QUARRY_ISOLATION", isolation);
    }
    let output = command.output().expect("quarry runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the tour failed:\n{said}");
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

fn check(report: &Value) {
    assert_eq!(report["failures_elsewhere"], 0, "{report:#}");
    assert_eq!(report["leftovers"], Value::Array(Vec::new()), "{report:#}");
    assert!(report["answers_compared"].as_u64() >= Some(20), "{report:#}");
    assert_eq!(report["killed"]["service"], "threads");
    for (number, service) in ["users", "threads", "posts"].into_iter().enumerate() {
        let written = &report["writes"][service];
        assert!(written["acknowledged"].as_u64() > Some(10), "{report:#}");
        for none in ["failed", "missing", "doubled"] {
            assert_eq!(written[none], 0, "{service}, {none}: {report:#}");
        }
        let cut = &report["cuts"][number];
        assert_eq!((&cut["scope"], &cut["digests_agree"]), (&service.into(), &true.into()), "{report:#}");
        let moves = if service == "posts" { 3 } else { 1 };
        assert_eq!(cut["holds_ms"].as_array().map(Vec::len), Some(moves), "{report:#}");
        assert!(report["requests"][service]["sent"].as_u64() > Some(0), "no load reached {service}: {report:#}");
    }
}

#[test]
fn the_tour_holds() {
    check(&tour(None));
}

#[test]
fn the_tour_holds_without_namespaces_and_says_so() {
    let report = tour(Some("none"));
    assert_eq!(report["isolation"], "none");
    check(&report);
}

#[test]
fn the_tour_holds_rootless_where_that_works() {
    let doctor = Command::new(env!("CARGO_BIN_EXE_quarry"))
        .args(["doctor", "--json", "--data-dir", "/tmp/quarry-doctor"])
        .env("QUARRY_ISOLATION", "rootless")
        .output()
        .expect("quarry runs");
    if !doctor.status.success() {
        println!("skipped: rootless namespaces not found here: {}", String::from_utf8_lossy(&doctor.stderr));
        return;
    }
    let report = tour(Some("rootless"));
    assert_eq!(report["isolation"], "rootless");
    check(&report);
}
