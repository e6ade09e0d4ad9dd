//! Commands that are run in a container from outside, with every isolation this machine allows.

mod support;

use quarry_domain::isolation::Isolation;
use quarry_domain::task::{Exec, ExecSpec, Signal, TaskPhase, TaskRuntime};
use rustix::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use support::Place;

const PATIENCE: Duration = Duration::from_secs(30);

fn command(words: &[&str], terminal: bool) -> ExecSpec {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    ExecSpec { container: "app".to_owned(), command, terminal }
}

fn say(to: &OwnedFd, text: &str) {
    assert_eq!(rustix::io::write(to, text.as_bytes()).unwrap(), text.len());
}

/// Reads until `wanted` has been said.
fn hear(from: &OwnedFd, wanted: &str) -> String {
    let (end, mut heard) = (Instant::now() + PATIENCE, String::new());
    let mut buffer = [0u8; 4096];
    while !heard.contains(wanted) {
        assert!(Instant::now() < end, "{wanted:?} was not said: {heard}");
        match rustix::io::read(from, &mut buffer[..]) {
            Ok(n) => heard.push_str(&String::from_utf8_lossy(&buffer[..n])),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    heard
}

fn code(exec: &Exec) -> i32 {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(code) = exec.end.ended().unwrap() {
            return code;
        }
        assert!(Instant::now() < end, "the command does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn commands(isolation: Isolation) {
    let Some(place) = Place::open(isolation) else { return };
    let port = if isolation == Isolation::None { "port" } else { "3000" };
    let mut spec = place.task("host", &["serve", port]);
    spec.containers[0].env.push("COLOUR=green".to_owned());
    spec.containers[0].secrets.0.push("SECRET=hidden".to_owned());
    if isolation == Isolation::UserNamespaces {
        spec.containers[0].user = "1000:100".to_owned();
        spec.containers[0].working_dir = "/srv/app".to_owned();
    }
    place.launch(&spec);
    place.wait("host", "running", |t| t.phase == TaskPhase::Running);

    // Over pipes: input, output and errors apart; an end of input is one; the code is passed on.
    let exec = place.runtime.exec("host", &command(&["/app", "talk"], false)).unwrap();
    say(&exec.input, "hello\nenv COLOUR\nenv SECRET\nterminal\nerror oh\n");
    let heard = hear(&exec.output, "terminal 0\n");
    assert_eq!(heard, "said hello\ngreen\nhidden\nterminal 0\n");
    assert_eq!(hear(exec.errors.as_ref().unwrap(), "oh\n"), "oh\n");
    let (output, end) = (exec.output.try_clone().unwrap(), exec.end);
    drop(exec.input);
    hear(&output, "no more\n");
    let left = Exec { input: output.try_clone().unwrap(), output, errors: None, end };
    assert_eq!(code(&left), 0);
    let exec = place.runtime.exec("host", &command(&["/app", "end", "9"], false)).unwrap();
    assert_eq!(code(&exec), 9);

    // On a terminal, which has a size.
    let exec = place.runtime.exec("host", &command(&["/app", "talk"], true)).unwrap();
    exec.end.resize(exec.output.as_fd(), 33, 101);
    say(&exec.input, "terminal\nsize\nenv TERM\n");
    hear(&exec.output, "xterm-256color\r\n");
    say(&exec.input, "size\n");
    assert!(hear(&exec.output, "columns\r\n").contains("33 rows, 101 columns"));
    say(&exec.input, "\u{3}");
    assert_eq!(code(&exec), 130, "the terminal's interrupt");

    // With the rights of the container's program, and no others.
    if isolation == Isolation::UserNamespaces {
        let exec = place.runtime.exec("host", &command(&["/app", "talk"], true)).unwrap();
        say(&exec.input, "show\n");
        let heard = hear(&exec.output, "root app,").replace('\r', "");
        for line in [
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "user 1000:100",
            "cwd /srv/app",
            "hostname host-host",
            "root-writable false",
        ] {
            assert!(heard.lines().any(|l| l == line), "{line} is missing in\n{heard}");
        }
    }

    // What cannot run says why, also to whoever asks for too much.
    let error = match place.runtime.exec("host", &command(&["/no/such"], true)) {
        Err(error) => error,
        Ok(exec) => {
            let end = Instant::now() + PATIENCE;
            loop {
                match exec.end.ended() {
                    Err(error) => break error,
                    Ok(code) => assert_eq!(code, None),
                }
                assert!(Instant::now() < end);
            }
        }
    };
    assert!(error.to_string().contains("exec: \"/no/such\""), "{error}");
    let other = ExecSpec { container: "none".to_owned(), ..command(&["/app"], true) };
    assert!(place.runtime.exec("host", &other).is_err_and(|e| e.to_string().contains("in container none")));
    assert!(place.runtime.exec("nobody", &command(&["/app"], true)).is_err());

    // Whoever asked goes: the command is killed. The container ends: so does the command.
    let exec = place.runtime.exec("host", &command(&["/app", "talk"], false)).unwrap();
    say(&exec.input, "hello\n");
    hear(&exec.output, "said hello\n");
    let output = exec.output.try_clone().unwrap();
    drop(exec);
    let end = Instant::now() + PATIENCE;
    while rustix::io::read(output.as_fd(), &mut [0u8; 64][..]) != Ok(0) {
        assert!(Instant::now() < end, "the command lives on");
        std::thread::sleep(Duration::from_millis(2));
    }
    let exec = place.runtime.exec("host", &command(&["/app", "talk"], true)).unwrap();
    place.runtime.signal("host", None, Signal::Kill).unwrap();
    assert_eq!(code(&exec), 137);
    place.wait("host", "its end", |t| t.phase == TaskPhase::Exited);
}

#[test]
fn with_user_namespaces() {
    commands(Isolation::UserNamespaces);
}

#[test]
fn rootless() {
    commands(Isolation::Rootless);
}

#[test]
fn as_plain_processes() {
    commands(Isolation::None);
}
