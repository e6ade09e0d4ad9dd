//! A task's life, with every isolation this machine allows.

mod support;

use quarry_domain::isolation::Isolation;
use quarry_domain::task::{
    ContainerHealth, ContainerState, Dependency, DependsOn, HealthCheckSpec, Mount, ObservedTask, Signal, TaskPhase,
    TaskRuntime,
};

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
    let left = quarry_runtime::leftovers(place.data()).join("\n");
    assert!(left.contains("shim") && left.contains("/app serve"), "{left}");
    if isolation != Isolation::None {
        assert!(left.contains("holder"), "{left}");
        assert!(left.contains("network namespace net:["), "{left}");
    }
    assert_eq!(left.contains("control group"), place.runtime.isolation().limits, "{left}");
    let usage = place.runtime.usage("a1").expect("what runs uses something");
    assert!((10_000..1 << 30).contains(&usage.memory_bytes), "{usage:?}");
    assert!(usage.cpu_ns < 600_000_000_000, "{usage:?}");
    let stats = place.runtime.stats("a1").pop().expect("what runs has statistics");
    assert_eq!(stats.name, "app");
    assert!((10_000..1 << 40).contains(&stats.memory) && stats.machine_cpu_ns > stats.cpu_ns, "{stats:?}");
    assert_eq!(stats.networks.contains_key("eth0"), isolation != Isolation::None, "{stats:?}");
    if place.runtime.isolation().limits {
        assert!(stats.processes.is_some_and(|n| n >= 1) && stats.memory_details.len() > 5, "{stats:?}");
        assert!(stats.cpu_user_ns.is_some() && stats.memory_limit < 1 << 50, "{stats:?}");
    }
    place.runtime.signal("a1", None, Signal::Term).unwrap();
    let seen = place.wait("a1", "its end", |t| t.phase == TaskPhase::Exited);
    assert_eq!(exited(&seen.containers[0].state), (7, false));
    let log = std::fs::read_to_string(place.runtime.log_path("a1", "app")).unwrap();
    assert!(log.starts_with("serving on"), "{log}");
    assert!(woken.load(Ordering::SeqCst) >= 2);
    place.runtime.signal("a1", None, Signal::Kill).unwrap();
    place.runtime.remove("a1").unwrap();
    place.runtime.remove("a1").unwrap();
    assert!(place.runtime.observe().unwrap().is_empty());
    assert_eq!(place.runtime.usage("a1"), None);
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

/// A container that cannot start says why; the task ends with that reason.
#[test]
fn what_cannot_start_says_why() {
    for isolation in [Isolation::UserNamespaces, Isolation::None] {
        let Some(place) = Place::open(isolation) else { continue };
        let mut missing = place.task("missing", &[]);
        missing.containers[0].args = vec!["/no/such/program".to_owned()];
        let (state, _) = place.run(&missing);
        let ContainerState::Failed { reason, .. } = state else { panic!("{state:?}") };
        assert!(reason.starts_with("CannotStartContainerError: exec: \"/no/such/program\""), "{reason}");

        let mut nobody = place.task("nobody", &["show"]);
        nobody.containers[0].user = "someone".to_owned();
        if isolation == Isolation::UserNamespaces {
            let (state, _) = place.run(&nobody);
            let ContainerState::Failed { reason, .. } = state else { panic!("{state:?}") };
            assert!(reason.contains("CannotCreateContainerError: unable to find user someone"), "{reason}");
        }
        let mut bad = place.task("bad", &["show"]);
        bad.containers[0].name = "../x".to_owned();
        assert!(place.runtime.launch(&bad).unwrap_err().to_string().contains("is no container name"));
        bad = place.task("../bad", &["show"]);
        assert!(place.runtime.launch(&bad).unwrap_err().to_string().contains("is no task id"));
        assert!(place.runtime.observe_one("bad").is_none());
    }
}

/// Layers lie on each other as images mean it: later ones replace, whiteouts hide, an opaque
/// directory begins anew.
#[test]
fn layers_on_layers() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless, Isolation::None] {
        let Some(place) = Place::open(isolation) else { continue };
        let mut spec = place.task("layers", &["list"]);
        let layers = &mut spec.containers[0].image.layers;
        let files: [(&str, u32, &[u8]); 6] = [
            ("d/stays", 0o644, b"1"),
            ("d/changes", 0o644, b"1"),
            ("d/goes", 0o644, b"1"),
            ("o/old", 0o644, b"1"),
            ("all/a/b", 0o644, b"1"),
            ("file", 0o644, b"1"),
        ];
        layers.push(support::layer_of(place.data(), "one", &files));
        let files: [(&str, u32, &[u8]); 7] = [
            ("d/changes", 0o644, b"2"),
            ("d/.wh.goes", 0o644, b""),
            ("d/comes", 0o600, b"2"),
            ("o/.wh..wh..opq", 0o644, b""),
            ("o/new", 0o644, b"2"),
            (".wh.all", 0o644, b""),
            ("file/is/now/a/directory", 0o644, b"2"),
        ];
        // A file below where the other layer has a file: its directories take the file's place.
        layers.push(support::layer_of(place.data(), "two", &files));
        let root = match isolation {
            Isolation::None => place.data().join("tasks/layers/root-0").display().to_string(),
            _ => String::new(),
        };
        let directories = ["d", "o", "file/is/now/a"].map(|d| format!("{root}/{d}"));
        spec.containers[0].args.extend(directories);
        let (state, log) = place.run(&spec);
        assert_eq!(exited(&state).0, 0, "{log}");
        let log = log.replace(&root, "");
        let wanted = "/d: changes=2 comes=2 stays=1\n/o: new=2\n/file/is/now/a: directory=2\n";
        assert_eq!(log, wanted, "{isolation:?}");
        let mut gone = spec.clone();
        gone.id = "gone".to_owned();
        let missing = root.replace("tasks/layers", "tasks/gone");
        gone.containers[0].args = ["/app", "list"].map(str::to_owned).into();
        gone.containers[0].args.push(format!("{missing}/all"));
        let (state, log) = place.run(&gone);
        assert_ne!(exited(&state).0, 0, "{isolation:?}: {log}");
        assert!(log.contains("No such file"), "{log}");
    }
}

/// A task without an address has loopback only, and answers all the same.
#[test]
fn a_task_without_an_address() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        let Some(place) = Place::open(isolation) else { continue };
        let mut spec = place.task("alone", &["serve", "3000"]);
        (spec.address, spec.dns) = (None, None);
        place.launch(&spec);
        assert_eq!(place.ask("alone", 3000).unwrap(), "hello 127.0.0.2");
    }
}

/// A shim that cannot begin is no silent loss.
#[test]
fn a_stillborn_shim_says_why() {
    let Some(place) = Place::open(Isolation::None) else { return };
    // Its socket's name is taken by a directory.
    std::fs::create_dir_all(place.data().join("tasks/still/s/x")).unwrap();
    let (state, _) = place.run(&place.task("still", &["show"]));
    let ContainerState::Failed { reason, .. } = state else { panic!("{state:?}") };
    assert!(reason.starts_with("ResourceInitializationError: "), "{reason}");
}

/// Containers of a task share its network, not their files and processes; each has its exit code.
#[test]
fn containers_of_one_task() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        containers_share(isolation);
    }
}

fn containers_share(isolation: Isolation) {
    let Some(place) = Place::open(isolation) else { return };
    let mut spec = place.task("pair", &["serve", "3000"]);
    let mut second = place.container("side", &["connect", "127.0.0.1:3000"]);
    second.init = true;
    spec.containers.push(second);
    place.launch(&spec);
    let seen = place.wait("pair", "the side's end", |t| {
        t.containers.len() == 2 && matches!(t.containers[1].state, ContainerState::Exited { .. })
    });
    assert_eq!(seen.phase, TaskPhase::Running);
    assert_eq!(exited(&seen.containers[1].state).0, 0);
    let log = std::fs::read_to_string(place.runtime.log_path("pair", "side")).unwrap();
    // The first container may not have been listening yet; what counts is whose network it is.
    assert!(log.contains("connected hello 127.0.0.1") || log.contains("refused"), "{log}");
    place.runtime.signal("pair", Some("side"), Signal::Kill).unwrap();
    assert!(place.ask("pair", 3000).unwrap().starts_with("hello"));
    place.runtime.signal("pair", Some("app"), Signal::Kill).unwrap();
    let seen = place.wait("pair", "its end", |t| t.phase == TaskPhase::Exited);
    assert_eq!(exited(&seen.containers[0].state), (137, false));
}

/// Health is what a command in the container says; containers start when what they wait for has come
/// to pass, and never when it cannot.
#[test]
fn health_and_order() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        health_and_order_of(isolation);
    }
}

fn health_and_order_of(isolation: Isolation) {
    let Some(place) = Place::open(isolation) else { return };
    let depends = |container: &str, condition| DependsOn { container: container.to_owned(), condition };
    let mut spec = place.task("ordered", &["sickens", "4"]);
    spec.containers[0].health_check = Some(HealthCheckSpec {
        command: vec!["/app".to_owned(), "well".to_owned()],
        interval: 1,
        timeout: 5,
        start_period: 0,
        retries: 2,
    });
    spec.containers[0].depends_on = vec![depends("init", Dependency::Success)];
    let mut after = place.container("after", &["serve", "3000"]);
    after.depends_on = vec![depends("app", Dependency::Healthy)];
    let mut never = place.container("never", &["serve", "3001"]);
    never.depends_on = vec![depends("fails", Dependency::Success)];
    // Whatever it ended with, and as soon as it has started.
    let mut over = place.container("over", &["end", "5"]);
    over.depends_on = vec![depends("fails", Dependency::Complete)];
    let mut beside = place.container("beside", &["serve", "3002"]);
    beside.depends_on = vec![depends("over", Dependency::Start), depends("app", Dependency::Start)];
    // In no order of their own.
    spec.containers.extend([after, never, beside, over]);
    spec.containers.push(place.container("init", &["end", "0"]));
    spec.containers.push(place.container("fails", &["end", "3"]));
    place.launch(&spec);
    let seen = place.wait("ordered", "all have started or never will", |t| t.phase == TaskPhase::Running);
    let of = |task: &ObservedTask, name: &str| task.containers.iter().find(|c| c.name == name).unwrap().clone();
    assert_eq!(of(&seen, "app").health, ContainerHealth::Healthy);
    let (ContainerState::Running { started_at_ms: app, .. }, ContainerState::Running { started_at_ms: after, .. }) =
        (of(&seen, "app").state, of(&seen, "after").state)
    else {
        panic!("{seen:#?}")
    };
    let ContainerState::Exited { code: 0, at_ms: init, .. } = of(&seen, "init").state else { panic!("{seen:#?}") };
    assert!(init <= app && app + 900 <= after, "{seen:#?}");
    let ended = |t: &ObservedTask| matches!(of(t, "over").state, ContainerState::Exited { .. });
    let later = place.wait("ordered", "what waited for a failure has ended, too", ended);
    let ContainerState::Exited { code: 3, at_ms: failed, .. } = of(&later, "fails").state else { panic!("{later:#?}") };
    let ContainerState::Exited { code: 5, at_ms: over, .. } = of(&later, "over").state else { panic!("{later:#?}") };
    let ContainerState::Running { started_at_ms: beside, .. } = of(&later, "beside").state else {
        panic!("{later:#?}")
    };
    assert!(failed <= over && app <= beside, "{later:#?}");
    let ContainerState::Failed { reason, .. } = of(&seen, "never").state else { panic!("{seen:#?}") };
    assert!(reason.contains("container fails did not become Success"), "{reason}");
    place.wait("ordered", "its sickness", |t| of(t, "app").health == ContainerHealth::Unhealthy);
    // Its command is gone with its container.
    place.runtime.signal("ordered", None, Signal::Kill).unwrap();
    place.wait("ordered", "its end", |t| t.phase == TaskPhase::Exited);
}

/// The small init reaps orphans, passes SIGTERM on and ends with the program's code.
#[test]
fn the_init_process() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        init_process(isolation);
    }
}

fn init_process(isolation: Isolation) {
    let Some(place) = Place::open(isolation) else { return };
    let mut spec = place.task("init", &["orphans"]);
    spec.containers[0].init = true;
    place.launch(&spec);
    place.ask("init", 3000).unwrap();
    let log = std::fs::read_to_string(place.runtime.log_path("init", "app")).unwrap();
    assert!(log.contains("pid 2 orphans 0"), "{log}");
    place.runtime.signal("init", None, Signal::Term).unwrap();
    let seen = place.wait("init", "its end", |t| t.phase == TaskPhase::Exited);
    assert_eq!(exited(&seen.containers[0].state), (7, false));
}

/// A volume is shared by tasks with different id ranges, and its files are owned on disk as the
/// containers see them.
#[test]
fn a_volume_shared_by_tasks() {
    use std::os::unix::fs::MetadataExt;
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless, Isolation::None] {
        let Some(place) = Place::open(isolation) else { continue };
        let volume = place.runtime.volume_path("board").unwrap();
        let mount =
            |read_only| Mount { source: volume.clone(), target: "/data".to_owned(), read_only, no_links: false };
        let mut one = place.task("one", &["write", "/data/file", "from one"]);
        one.containers[0].mounts.push(mount(false));
        let (state, log) = place.run(&one);
        assert_eq!(exited(&state).0, 0, "{log}");
        let file = std::fs::metadata(volume.join("file")).unwrap();
        assert_eq!(file.uid(), rustix::process::geteuid().as_raw());
        let mut two = place.task("two", &["write", "/data/file", "from two"]);
        two.containers[0].mounts.push(mount(false));
        let (state, log) = place.run(&two);
        assert_eq!((exited(&state).0, log.trim()), (0, "from two"));
        if isolation != Isolation::None {
            let mut three = place.task("three", &["write", "/data/file", "from three"]);
            three.containers[0].mounts.push(mount(true));
            let (state, log) = place.run(&three);
            assert_ne!(exited(&state).0, 0);
            assert!(log.contains("Read-only file system"), "{log}");
        }
        assert_eq!(std::fs::read_to_string(volume.join("file")).unwrap(), "from two");
        assert!(place.runtime.volume_path("../x").is_err());
    }
}

/// Ulimits, Linux parameters, hosts and system controls, as a container finds them.
#[test]
fn what_a_container_asks_for() {
    use quarry_domain::task::{Capability, ContainerOptions, Tmpfs, Ulimit, UlimitName};
    let tmpfs = |target: &str, read_only, settings: &[(&str, &str)]| Tmpfs {
        target: target.to_owned(),
        size: 3,
        read_only,
        executable: read_only,
        settings: settings.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
    };
    let options = ContainerOptions {
        ulimits: vec![
            Ulimit { resource: UlimitName::Nofile, soft: 100, hard: 200 },
            Ulimit { resource: UlimitName::Stack, soft: 1 << 20, hard: 1 << 21 },
        ],
        tmpfs: vec![tmpfs("/run", false, &[("mode", "0755")]), tmpfs("/opt/x", true, &[])],
        shared_memory: Some(5),
        capabilities: vec![Capability::Chown, Capability::SysPtrace],
        extra_hosts: vec![("10.0.0.7".parse().unwrap(), "db".to_owned())],
        system_controls: vec![
            ("net/core/somaxconn".to_owned(), "77".to_owned()),
            ("kernel/shmmni".to_owned(), "99".to_owned()),
        ],
    };
    let Some(place) = Place::open(Isolation::UserNamespaces) else { return };
    let mut spec = place.task("options", &["options"]);
    spec.containers[0].options = options.clone();
    let (state, log) = place.run(&spec);
    assert_eq!(exited(&state).0, 0, "{log}");
    for line in [
        "Max open files 100 200 files",
        "Max stack size 1048576 2097152 bytes",
        "Max core file size 0 0 bytes",
        "somaxconn 77",
        "shmmni 99",
        "10.0.0.7\tdb",
        "CapEff:\t0000000000080001",
        "run true",
        "opt false",
        "chown 0",
        "traceme 0",
    ] {
        assert!(log.lines().any(|l| l == line), "{line} is missing in\n{log}");
    }
    let mount =
        |at: &str| log.lines().find(|l| l.starts_with(&format!("{at} "))).unwrap_or_else(|| panic!("{at}: {log}"));
    assert!(
        mount("/run").contains("noexec") && mount("/run").contains("size=3072k") && mount("/run").contains("mode=755")
    );
    assert!(mount("/opt/x").contains("ro,nosuid,nodev,") && !mount("/opt/x").contains("noexec"));
    assert!(mount("/dev/shm").contains("size=5120k"), "{log}");

    // Another user has none of the capabilities; without them nothing of it works.
    for (id, user, keep) in [("other", "1000:1000", true), ("plain", "", false)] {
        let mut spec = place.task(id, &["options"]);
        spec.containers[0].user = user.to_owned();
        spec.containers[0].options.tmpfs = options.tmpfs.clone();
        if keep {
            spec.containers[0].options.capabilities = options.capabilities.clone();
        }
        let (_, log) = place.run(&spec);
        assert!(log.contains("CapEff:\t0000000000000000") && log.contains("chown -1"), "{id}: {log}");
        assert_eq!(log.contains("traceme 0"), keep, "{id}: {log}");
    }

    // What cannot be had is said.
    let mut spec = place.task("controls", &["options"]);
    spec.containers[0].options.system_controls = vec![("net/core/no_such".to_owned(), "1".to_owned())];
    let (state, _) = place.run(&spec);
    let ContainerState::Failed { reason, .. } = state else { panic!("{state:?}") };
    assert!(reason.contains("the system control net.core.no_such: No such file"), "{reason}");
}

/// What a task has written is known; output that is needed no more leaves the disk; layers that nobody uses go.
#[test]
fn what_is_on_the_disk() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        let Some(place) = Place::open(isolation) else { continue };
        let mut spec = place.task("fills", &["fill", "/filled", "6"]);
        spec.containers[0].image.layers.push(support::layer_of(place.data(), "more", &[("more", 0o644, b"1")]));
        place.launch(&spec);
        place.wait("fills", "running", |t| t.phase == TaskPhase::Running);
        let log = place.runtime.log_path("fills", "app");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("filled\n") {
            assert!(std::time::Instant::now() < end, "it does not fill");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // Six MiB of a file, and one of output.
        let written = place.runtime.written("fills").unwrap();
        assert!((7 << 20..8 << 20).contains(&written), "{written}");
        let length = std::fs::metadata(&log).unwrap().len();
        place.runtime.release_log("fills", "app", 1 << 20).unwrap();
        let written = place.runtime.written("fills").unwrap();
        assert!((6 << 20..7 << 20).contains(&written), "{written}");
        assert_eq!(std::fs::metadata(&log).unwrap().len(), length);
        assert!(std::fs::read(&log).unwrap().ends_with(b"filled\n"));
        assert_eq!(place.runtime.written("none"), None);

        let idle = std::time::Duration::ZERO;
        assert_eq!(place.runtime.collect(idle).unwrap(), 0, "a task has them");
        place.runtime.remove("fills").unwrap();
        assert_eq!(place.runtime.collect(std::time::Duration::from_secs(600)).unwrap(), 0, "a moment ago");
        assert_eq!(place.runtime.collect(idle).unwrap(), 2);
        assert_eq!(std::fs::read_dir(place.data().join("layers")).unwrap().count(), 0);
        // They come back when they are wanted.
        let (state, _) = place.run(&place.task("again", &["end", "0"]));
        assert_eq!(exited(&state).0, 0);
    }
}

/// A folder of the host is shown as it is, if no part of its path is a link.
#[test]
fn a_folder_of_the_host() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        let Some(place) = Place::open(isolation) else { continue };
        let root = place.data().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("host/inner")).unwrap();
        std::os::unix::fs::symlink("inner", root.join("host/link")).unwrap();
        for (id, folder, well) in [("straight", "host/inner", true), ("bent", "host/link", false)] {
            let mut spec = place.task(id, &["write", "/data/file", "hello"]);
            let target = "/data".to_owned();
            let mount = Mount { source: root.join(folder), target, read_only: false, no_links: true };
            spec.containers[0].mounts.push(mount);
            let (state, log) = place.run(&spec);
            assert_eq!(matches!(state, ContainerState::Exited { code: 0, .. }), well, "{id}: {state:?} {log}");
        }
        assert_eq!(std::fs::read_to_string(root.join("host/inner/file")).unwrap(), "hello");
    }
}

/// Who a container is and what it sees.
#[test]
fn the_inside_of_a_container() {
    let Some(place) = Place::open(Isolation::UserNamespaces) else { return };
    let mut spec = place.task("inside", &["show"]);
    spec.containers[0].user = "1000:100".to_owned();
    spec.containers[0].working_dir = "/srv/app".to_owned();
    spec.containers[0].env.push("HOME=/srv".to_owned());
    spec.containers[0].read_only_root = true;
    let (state, log) = place.run(&spec);
    assert_eq!(exited(&state).0, 0, "{log}");
    for line in [
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "pid 1",
        "user 1000:100",
        "cwd /srv/app",
        "hostname host-inside",
        "resolv nameserver 198.19.0.1 options timeout:2 attempts:3",
        "home /srv",
        "root-writable false",
        "tmp-writable true",
        "stdout-reopens true",
        "root app,dev,etc,proc,srv,sys,tmp",
    ] {
        assert!(log.lines().any(|l| l == line), "{line} is missing in\n{log}");
    }
}

/// Where version 2 is mounted, in whatever use: nothing is moved into a group of it.
#[test]
fn a_child_begins_in_the_group_of_version_two() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let Some(line) = mounts.lines().find(|line| line.contains(" - cgroup2 ")) else {
        println!("skipped: control groups of version 2 not found");
        return;
    };
    let root = std::path::Path::new(line.split(' ').nth(4).unwrap());
    let name = format!("quarry-test-{}", std::process::id());
    if let Err(error) = std::fs::create_dir(root.join(&name)) {
        println!("skipped: permission to make control groups not found ({error})");
        return;
    }
    let mut harness = std::process::Command::new(env!("CARGO_BIN_EXE_quarry-runtime-harness"));
    let ran = harness.arg("begins-in").arg(root).arg(&name).status();
    std::fs::remove_dir(root.join(&name)).unwrap();
    assert!(ran.unwrap().success());
}
