//! The program's own commands: env, doctor, ls, stop, and their bad input.

use quarry_testkit::Platform;
use std::io::{Read, Write};
use std::process::Command;

fn quarry(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_quarry"))
        .args(arguments)
        .env_remove("AWS_ENDPOINT_URL")
        .output()
        .expect("quarry runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_shell_is_pointed_at_the_running_stack_and_it_ends() {
    let platform = Platform::start(env!("CARGO_BIN_EXE_quarry")).unwrap();
    let env = platform.env().unwrap();
    let value = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    assert_eq!(value("AWS_ENDPOINT_URL").as_deref(), Some(platform.endpoint.as_str()));
    assert_eq!(value("AWS_DISABLE_HOST_PREFIX_INJECTION").as_deref(), Some("true"));
    assert_eq!(value("AWS_REGION"), value("AWS_DEFAULT_REGION"));

    let listed = platform.quarry(&["ls", "--json"]).unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listing: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listing["services"], serde_json::json!([]));

    let second = platform.quarry(&["serve", "--listen", "127.0.0.1:0"]).unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("already runs"), "{said}");

    assert!(platform.quarry(&["stop"]).unwrap().status.success());
    let gone = platform.quarry(&["ls"]).unwrap();
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(!gone.status.success() && said.contains("quarry serve"), "{said}");
}

#[test]
fn doctor_names_what_this_machine_allows() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let (ok, out, said) = quarry(&["doctor", "--json", "--data-dir", data]);
    assert!(ok, "{said}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(["user-namespaces", "rootless", "none"].contains(&report["isolation"].as_str().unwrap()), "{report}");
    let findings = report["findings"].as_array().unwrap();
    assert!(!findings.is_empty());
    for finding in findings {
        let gap = finding["available"] == false;
        assert_eq!(finding["remedy"].is_string(), gap, "a gap has a remedy, and nothing else has: {finding}");
    }
}

#[test]
fn bad_input_is_refused_in_one_clear_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let long = format!("/tmp/{}", "x".repeat(120));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, expected) in [
        (vec!["serve", "--listen", "0.0.0.0:4566", "--data-dir", data], "not a loopback address"),
        (vec!["serve", "--listen", &address, "--data-dir", data], "another program has it"),
        (vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", &long], "choose a shorter one"),
        (vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/nowhere"], "data directory"),
        (vec!["env", "--data-dir", "/tmp/quarry-was-never-here"], "no installation"),
        (vec!["stop", "--data-dir", "/tmp/quarry-was-never-here"], "no installation"),
        (vec!["logs", "nothing", "--data-dir", "/tmp/quarry-was-never-here"], "no installation"),
    ] {
        let (ok, _, said) = quarry(&arguments);
        assert!(!ok && said.contains(expected), "{arguments:?} said: {said}");
    }
}

/// One request to the endpoint: the answer's head and body.
fn ask(platform: &Platform, path: &str, headers: &str) -> String {
    let authority = platform.endpoint.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(authority).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_console_is_shown_to_whoever_has_the_key_and_to_no_foreign_page() {
    let platform = Platform::start(env!("CARGO_BIN_EXE_quarry")).unwrap();
    let refused = ask(&platform, "/console", "");
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("www-authenticate: Basic"), "{refused}");
    let wrong = ask(&platform, "/console", "Authorization: Basic QUtJQTpub3Bl\r\n");
    assert!(wrong.starts_with("HTTP/1.1 401"), "{wrong}");

    let env = platform.env().unwrap();
    let value = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap();
    let key = format!("{}:{}", value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"));
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key);
    let shown = ask(&platform, "/console", &format!("Authorization: Basic {key}\r\n"));
    assert!(shown.starts_with("HTTP/1.1 200") && shown.contains("<html"), "{shown}");
    assert!(shown.to_ascii_lowercase().contains("content-security-policy:"), "{shown}");

    let foreign = ask(&platform, "/console", &format!("Authorization: Basic {key}\r\nSec-Fetch-Site: cross-site\r\n"));
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
}
