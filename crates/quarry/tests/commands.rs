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

    let gone = platform.quarry(&["gc", "--json"]).unwrap();
    let said: serde_json::Value = serde_json::from_slice(&gone.stdout).unwrap();
    assert_eq!(said, serde_json::json!({"layers": 0, "bytes": 0, "unpacked": 0}));

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
    assert!(findings.iter().any(|finding| finding["name"] == "session-manager-plugin"), "{report}");
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
        (
            vec!["serve", "--listen", "127.0.0.1:0", "--console", "0.0.0.0:4567", "--data-dir", data],
            "not a loopback address",
        ),
        (
            vec!["serve", "--listen", "127.0.0.1:0", "--console", &address, "--data-dir", data],
            "choose another with --console",
        ),
        (vec!["open", "--data-dir", "/tmp/quarry-was-never-here"], "no installation"),
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

/// The part of SPECIFICATION.md that `quarry coverage --markdown` prints.
const COVERAGE: (&str, &str) = ("<!-- quarry coverage --markdown -->\n", "<!-- end of coverage -->\n");

#[test]
fn the_specification_lists_what_is_served() {
    let (ok, printed, said) = quarry(&["coverage", "--markdown"]);
    assert!(ok, "{said}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../SPECIFICATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(COVERAGE.0).expect("where the table begins");
    let (table, tail) = rest.split_once(COVERAGE.1).expect("where the table ends");
    if std::env::var_os("UPDATE_COVERAGE").is_some() {
        std::fs::write(path, format!("{head}{}{printed}{}{tail}", COVERAGE.0, COVERAGE.1)).unwrap();
        return;
    }
    let services =
        |table: &str| table.lines().skip(2).filter_map(|l| Some(l.split(" | ").next()?.to_owned())).collect::<Vec<_>>();
    assert!(services(&printed).len() > 10, "{printed}");
    for service in services(table) {
        assert!(services(&printed).contains(&service), "{service} is in SPECIFICATION.md and not served");
    }
    // An older table is a reminder on a developer's machine, and a failure in CI.
    if table != printed {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "SPECIFICATION.md is not current: see CONTRIBUTING.md"
        );
        println!("SPECIFICATION.md is not current: see CONTRIBUTING.md");
    }
}

#[test]
fn calls_of_what_is_not_served_are_counted() {
    let platform = Platform::start(env!("CARGO_BIN_EXE_quarry")).unwrap();
    let authority = platform.endpoint.trim_start_matches("http://").to_owned();
    for (head, body, status) in [
        ("X-Amz-Target: AmazonEC2ContainerServiceV20141113.CreateTaskSet", "{}", "400"),
        ("X-Amz-Target: AmazonEC2ContainerServiceV20141113.CreateTaskSet", "{}", "400"),
        ("X-Amz-Target: AmazonSQS.SendMessage", "{}", "400"),
        ("Content-Type: application/x-www-form-urlencoded", "Action=CreateLaunchTemplates&Version=2016-11-15", "400"),
    ] {
        let mut stream = std::net::TcpStream::connect(&authority).unwrap();
        let length = body.len();
        write!(stream, "POST / HTTP/1.1\r\nHost: {authority}\r\n{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    // What is served is counted by how it was answered; without a signature it is refused.
    let mut stream = std::net::TcpStream::connect(&authority).unwrap();
    let target = "AmazonEC2ContainerServiceV20141113.ListClusters";
    write!(stream, "POST / HTTP/1.1\r\nHost: {authority}\r\nX-Amz-Target: {target}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
    let calls = ask(&platform, "/_quarry/v1/calls", "");
    assert!(calls.ends_with(r#"{"ecs":{"ListClusters":{"answered":0,"failed":0,"refused":1}}}"#), "{calls}");

    let printed = platform.quarry(&["coverage", "--json"]).unwrap();
    let table: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    let service = |id: &str| table["services"].as_array().unwrap().iter().find(|s| s["service"] == id).unwrap().clone();
    assert_eq!(service("ecs")["called"], serde_json::json!({"CreateTaskSet": 2}));
    assert_eq!(service("ec2")["called"], serde_json::json!({"CreateLaunchTemplates": 1}));
    assert_eq!(table["others_called"], serde_json::json!({"AmazonSQS": {"SendMessage": 1}}));
    let served = service("ecs")["served"].as_array().unwrap().clone();
    assert!(served.contains(&"RunTask".into()) && !served.contains(&"CreateTaskSet".into()), "{served:?}");
    let text = String::from_utf8(platform.quarry(&["coverage"]).unwrap().stdout).unwrap();
    assert!(text.contains("2 ecs CreateTaskSet"), "{text}");
}

#[test]
fn shells_learn_to_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let (ok, script, said) = quarry(&["completion", shell]);
        assert!(ok && script.contains("svc") && script.contains("dockerfile"), "{shell}: {said}");
    }
}

#[test]
fn commands_end_with_their_reader() {
    let platform = Platform::start(env!("CARGO_BIN_EXE_quarry")).unwrap();
    for arguments in
        [&["env"][..], &["ls"], &["ps"], &["ls", "--json"], &["cut", "ls", "--json"], &["completion", "bash"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_quarry"));
        command.args(arguments).stdout(writer).env_remove("AWS_ENDPOINT_URL");
        let output = command.env("QUARRY_DATA_DIR", platform.data_dir()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.as_ref()), (Some(141), ""), "{arguments:?}");
    }
}
