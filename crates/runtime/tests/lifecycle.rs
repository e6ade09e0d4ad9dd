//! A task's life, with every isolation this machine allows.

mod support;

use quarry_domain::isolation::Isolation;
use quarry_domain::task::{Signal, TaskPhase, TaskRuntime};

use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Place, exited};

/// Starts, answers, gets a signal, reports its exit code, leaves nothing (checked on drop).
fn from_start_to_end(isolation: Isolation) {
    let Some(place) = Place::open(isolation) else { return };
    let woken = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = woken.clone();
    place.runtime.subscribe(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let port = if isolation == Isolation::None { "port" } else { "3000" };
    let mut spec = place.task("a1", &["serve", port]);
    // As PID 1 without an init, the program must handle SIGTERM itself, which it does.
    spec.containers[0].init = false;
    place.launch(&spec);
    place.launch(&spec);
    let answer = place.ask("a1", 3000).unwrap();
    let source = if isolation == Isolation::None { "127.0.0.1" } else { "127.0.0.2" };
    assert_eq!(answer, format!("hello {source}"));
    place.runtime.signal("a1", None, Signal::Term).unwrap();
    let seen = place.wait("a1", "its end", |t| t.phase == TaskPhase::Exited);
    assert_eq!(exited(&seen.containers[0].state), (7, false));
    let log = std::fs::read_to_string(place.runtime.log_path("a1", "app")).unwrap();
    assert!(log.starts_with("serving on"), "{log}");
    assert!(woken.load(Ordering::SeqCst) >= 2);
    place.runtime.signal("a1", None, Signal::Kill).unwrap();
    place.runtime.remove("a1").unwrap();
    place.runtime.remove("a1").unwrap();
    assert!(place.runtime.observe().is_empty());
}

#[test]
fn with_user_namespaces() {
    from_start_to_end(Isolation::UserNamespaces);
}

#[test]
fn rootless() {
    from_start_to_end(Isolation::Rootless);
}

#[test]
fn as_plain_processes() {
    from_start_to_end(Isolation::None);
}
