//! What survives whose death.

mod support;

use quarry_domain::isolation::Isolation;
use quarry_domain::link::BrokerRequest;
use quarry_domain::task::{ContainerState, Mount, TaskPhase, TaskRuntime};
use quarry_runtime::Runtime;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use support::{EXE, Place, ask, broker, exited, wait};

/// The daemon is killed; its task goes on, ends meanwhile or later, and the next daemon knows.
fn the_daemon_dies(isolation: Isolation) {
    let Some(place) = Place::open(isolation) else { return };
    let volume = place.runtime.volume_path("v").unwrap();
    let daemon = |id: &str, args: &[&str]| {
        let mut spec = place.task(id, args);
        spec.containers[0].mounts.push(Mount {
            source: volume.clone(),
            target: "/v".to_owned(),
            read_only: false,
            no_links: false,
        });
        let path = place.data().join(format!("{id}.json"));
        std::fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
        let mut child = Command::new(EXE)
            .arg("drive")
            .arg(place.data())
            .arg(&path)
            .env("QUARRY_ISOLATION", isolation.as_str())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "launched\n");
        child
    };
    let port = if isolation == Isolation::None { "port" } else { "3000" };
    let mut first = daemon("stays", &["serve", port]);
    let mut second = daemon("ends", &["exit-when", "/v/go", "42"]);
    place.wait("ends", "running", |t| t.phase == TaskPhase::Running);
    for child in [&mut first, &mut second] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(place.ask("stays", 3000).unwrap().starts_with("hello"));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !process_of(&place, "nursery").is_empty() {
        assert!(std::time::Instant::now() < end, "a nursery outlives its daemon");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    // Nobody watches now.
    std::fs::write(volume.join("go"), "").unwrap();
    place.wait("ends", "its end", |t| t.phase == TaskPhase::Exited);

    let mut config = support::config(place.data());
    config.isolation = Some(isolation);
    let next = Runtime::open(config).unwrap();
    let seen = next.observe().unwrap();
    assert_eq!(seen.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["ends", "stays"]);
    assert_eq!(exited(&seen[0].containers[0].state), (42, false));
    assert_eq!(seen[1].phase, TaskPhase::Running);
    assert!(ask(seen[1].entry.as_ref().unwrap(), 3000).unwrap().starts_with("hello"));
    next.signal("stays", None, quarry_domain::task::Signal::Kill).unwrap();
    let end = wait(&next, "stays", "its end", |t| t.phase == TaskPhase::Exited);
    assert_eq!(exited(&end.containers[0].state), (137, false));
}

#[test]
fn the_daemon_dies_with_user_namespaces() {
    the_daemon_dies(Isolation::UserNamespaces);
}

#[test]
fn the_daemon_dies_rootless() {
    the_daemon_dies(Isolation::Rootless);
}

#[test]
fn the_daemon_dies_among_plain_processes() {
    the_daemon_dies(Isolation::None);
}

/// A shim that is killed takes its task along, which is then lost, and removable.
#[test]
fn the_shim_dies() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless, Isolation::None] {
        let Some(place) = Place::open(isolation) else { continue };
        let port = if isolation == Isolation::None { "port" } else { "3000" };
        place.launch(&place.task("lost", &["serve", port]));
        let seen = place.wait("lost", "running", |t| t.phase == TaskPhase::Running);
        let ContainerState::Running { pid, .. } = seen.containers[0].state else { panic!("{seen:?}") };
        let (wake, woken) = std::sync::mpsc::channel();
        place.runtime.subscribe(Box::new(move || {
            let _ = wake.send(());
        }));
        let state = std::fs::read(place.data().join("tasks/lost/state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        let shim = state["shim"].as_u64().unwrap();
        assert!(Command::new("kill").args(["-9", &shim.to_string()]).status().unwrap().success());
        woken.recv_timeout(std::time::Duration::from_secs(5)).expect("the end of a shim is told");
        place.wait("lost", "its loss", |t| t.phase == TaskPhase::Lost);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z ")) {
            assert!(std::time::Instant::now() < end, "the task outlives its shim");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        place.runtime.remove("lost").unwrap();
        assert!(place.runtime.observe_one("lost").is_none());
    }
}

/// Tasks answer the load balancer without a holder, too; and the next one takes on the hub that they
/// are at: the same namespace with their interfaces in it.
#[test]
fn the_holder_dies() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        let Some(place) = Place::open(isolation) else { continue };
        let at_hub = |id: &str, address: u8| {
            let mut spec = place.task(id, &["serve", "3000"]);
            spec.address = Some([198, 18, 1, address].into());
            place.launch(&spec);
            assert!(place.ask(id, 3000).unwrap().starts_with("hello"));
        };
        at_hub("before", 1);
        let hub = place.runtime.hub().unwrap().unwrap();
        let namespace = || {
            let found: std::fs::File = broker(&hub.broker, &BrokerRequest::NetworkNamespace).ok()??.into();
            Some(std::os::unix::fs::MetadataExt::ino(&found.metadata().unwrap()))
        };
        let first = namespace().unwrap();
        for round in 0..2 {
            let holder = holder_of(&place);
            assert!(Command::new("kill").args(["-9", &holder]).status().unwrap().success());
            assert!(place.ask("before", 3000).unwrap().starts_with("hello"));
            let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while namespace().is_none() || holder_of(&place) == holder {
                assert!(std::time::Instant::now() < end, "no new holder");
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            assert_eq!(namespace(), Some(first), "{isolation:?}: another hub");
            at_hub(&format!("after-{round}"), 2 + round);
            let devices = std::fs::read_to_string(format!("/proc/{}/net/dev", holder_of(&place))).unwrap();
            assert!(devices.contains("qbefore"), "{devices}");
            assert!(devices.contains(&format!("qafter{round}")), "{devices}");
        }
    }
}

/// The process id of the holder, empty while there is none.
fn holder_of(place: &Place) -> String {
    process_of(place, "holder")
}

/// The process id of one that plays this role for the place, empty while there is none.
fn process_of(place: &Place, role: &str) -> String {
    let data = place.data();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&str> = command.split('\0').collect();
        if words.get(1) == Some(&role) && words.get(2).is_some_and(|d| std::path::Path::new(d) == data) {
            return entry.file_name().into_string().unwrap();
        }
    }
    String::new()
}

fn signal(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// Shims are no children of the nursery that made them and do not need it; the next task has another.
#[test]
fn the_nursery_dies() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless, Isolation::None] {
        let Some(place) = Place::open(isolation) else { continue };
        let port = if isolation == Isolation::None { "port" } else { "3000" };
        assert_eq!(process_of(&place, "nursery"), "", "there is none before it is needed");
        place.launch(&place.task("before", &["serve", port]));
        place.wait("before", "running", |t| t.phase == TaskPhase::Running);
        let first = process_of(&place, "nursery");
        let state = std::fs::read(place.data().join("tasks/before/state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        let shim = std::path::PathBuf::from(format!("/proc/{}", state["shim"]));
        let line = std::fs::read_to_string(shim.join("cmdline")).unwrap();
        let words: Vec<&str> = line.split('\0').filter(|word| !word.is_empty()).collect();
        assert_eq!(words, ["quarry", "shim", place.data().join("tasks/before").to_str().unwrap()]);
        let parent = |of: &std::path::Path| {
            let stat = std::fs::read_to_string(of.join("stat")).unwrap();
            stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(parent(&shim), parent(format!("/proc/{first}").as_ref()));

        signal("-KILL", &first);
        place.launch(&place.task("after", &["serve", port]));
        for id in ["before", "after"] {
            assert!(place.ask(id, 3000).unwrap().starts_with("hello"));
        }
        let second = process_of(&place, "nursery");
        assert_ne!(second, first);

        // With a request before it, perhaps.
        signal("-STOP", &second);
        std::thread::scope(|scope| {
            scope.spawn(|| place.launch(&place.task("meanwhile", &["serve", port])));
            std::thread::sleep(std::time::Duration::from_millis(50));
            signal("-KILL", &second);
        });
        assert!(place.ask("meanwhile", 3000).unwrap().starts_with("hello"));
        assert_eq!(place.runtime.observe().unwrap().len(), 3);
    }
}

/// Many at once: ranges, groups and names do not collide.
#[test]
fn twenty_at_once() {
    let Some(place) = Place::open(Isolation::UserNamespaces) else { return };
    std::thread::scope(|scope| {
        for n in 0..20u8 {
            let place = &place;
            scope.spawn(move || {
                let mut spec = place.task(&format!("t{n}"), &["serve", "3000"]);
                spec.address = Some([198, 18, 1, n].into());
                place.launch(&spec);
                assert!(place.ask(&spec.id, 3000).unwrap().starts_with("hello"));
                place.runtime.remove(&spec.id).unwrap();
            });
        }
    });
    assert!(place.runtime.observe().unwrap().is_empty());
}
