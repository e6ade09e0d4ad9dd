//! boto3's waiters, paginators and exceptions, on tasks that really run.

use crate::EXE;
use crate::registry::image;
use crate::shell::{Shell, said};
use quarry_testkit::{Platform, client_program};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

fn has_boto3(shell: &Shell, python: &Path) -> bool {
    let Err(why) = said(shell.command(python).args(["-c", "import boto3"]).output().unwrap()) else { return true };
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "boto3 not found, and CI=true: {why}");
    println!("skipped: boto3 not found");
    false
}

#[test]
fn boto3_waits_pages_and_catches() {
    let Some(python) = client_program("python3") else { return };
    let Some(_) = client_program("aws") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    if !has_boto3(&shell, &python) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let built = image(dir.path());
    shell.aws_ok("ecr create-repository --repository-name api");
    platform.push("api", "v1", built).unwrap();

    let script = |part: &str| {
        let mut command = shell.command(&python);
        let output = command.args(["crates/quarry/tests/clients/smoke.py", part]).output().unwrap();
        said(output).unwrap_or_else(|why| panic!("{part}: {why}\nserve said:\n{}", platform.log()))
    };
    script("start");
    // What is healthy to boto3 answers.
    let listed = platform.quarry(&["ls", "--json"]).unwrap();
    let listing: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let url = listing["load_balancers"][0]["urls"][1].as_str().unwrap_or_else(|| panic!("{listing:#}"));
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here\n"), "{answer}");
    script("end");
}
