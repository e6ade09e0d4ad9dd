//! A container that tries to get out, or to take more than its share.

mod support;

use quarry_domain::isolation::Isolation;
use quarry_domain::link::BrokerRequest;
use quarry_domain::task::{Capability, ContainerState, Limits, TaskPhase, TaskRuntime};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use support::{Place, broker, exited};

fn nothing_escapes(isolation: Isolation, user: &str) {
    let Some(place) = Place::open(isolation) else { return };
    let secret = place.data().join("secret");
    std::fs::write(&secret, "of the host").unwrap();
    let mut spec = place.task("escape", &["escape"]);
    spec.containers[0].user = user.to_owned();
    spec.containers[0].options.capabilities = Capability::USUAL.to_vec();
    spec.containers[0].env.push(format!("HOST_SECRET={}", secret.display()));
    let (state, log) = place.run(&spec);
    assert_eq!(exited(&state).0, 0, "{log}");
    assert!(log.ends_with("done\n"), "{log}");
    let escaped: Vec<&str> = log.lines().filter(|l| l.starts_with("ESCAPED")).collect();
    assert!(escaped.is_empty(), "{isolation:?} as {user:?}: {escaped:#?}");
    assert!(log.lines().filter(|l| l.starts_with("held")).count() > 70, "{log}");
}

#[test]
fn root_in_a_user_namespace() {
    nothing_escapes(Isolation::UserNamespaces, "");
}

#[test]
fn a_user_in_a_user_namespace() {
    nothing_escapes(Isolation::UserNamespaces, "1000:1000");
}

#[test]
fn rootless() {
    nothing_escapes(Isolation::Rootless, "");
}

/// Without namespaces a process sees the host; what needs none holds all the same.
#[test]
fn plain_processes_have_no_privilege() {
    let Some(place) = Place::open(Isolation::None) else { return };
    let (state, log) = place.run(&place.task("plain", &["calls"]));
    assert_eq!(exited(&state).0, 0, "{log}");
    for way in ["mount", "unshare user", "clone user", "clone3", "bpf", "keyctl", "chroot", "mknod disk", "ptrace init"]
    {
        assert!(log.lines().any(|l| l == format!("held {way}")), "{way}: {log}");
    }
    assert!(log.contains("ESCAPED see other processes"), "the escape program cannot see an escape: {log}");
}

/// Tasks reach the hub, under their own address, and neither each other nor the host.
#[test]
fn who_reaches_whom() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        let Some(place) = Place::open(isolation) else { continue };
        let hub = place.runtime.hub().unwrap().unwrap();
        let address = SocketAddr::from(([198, 19, 1, 7], 80));
        let listener: TcpListener = broker(&hub.broker, &BrokerRequest::Listen { address }).unwrap().unwrap().into();
        listener.set_nonblocking(false).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(format!("hub to {}", peer.ip()).as_bytes());
            }
        });
        let server = place.task("server", &["serve", "3000"]);
        place.launch(&server);
        place.ask("server", 3000).unwrap();
        let host = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let _host = TcpListener::bind(("0.0.0.0", host)).unwrap();

        let client = place.task("client", &["connect", "198.19.1.7:80"]);
        let (_, log) = place.run(&client);
        assert_eq!(log.trim(), format!("connected hub to {}", client.address.unwrap()), "{isolation:?}");
        for (index, target) in [
            format!("{}:3000", server.address.unwrap()),
            format!("127.0.0.1:{host}"),
            format!("198.19.0.1:{host}"),
            "192.0.2.1:80".to_owned(),
        ]
        .iter()
        .enumerate()
        {
            let (_, log) = place.run(&place.task(&format!("client{index}"), &["connect", target]));
            assert!(log.starts_with("refused"), "{isolation:?} {target}: {log}");
        }
        // Two proxies may listen while one follows the other.
        let names = SocketAddr::from(([198, 19, 0, 1], 53));
        for request in [BrokerRequest::Datagram { address: names }, BrokerRequest::Listen { address: names }] {
            let sockets = [(); 2].map(|()| broker(&hub.broker, &request).unwrap().unwrap());
            for socket in sockets {
                let bound = rustix::net::getsockname(&socket).unwrap();
                assert_eq!(SocketAddr::try_from(bound).unwrap(), names);
            }
        }
        assert!(broker(&hub.broker, &BrokerRequest::Signal { container: None, signal: 9 }).is_err());
        let release = BrokerRequest::Release { address: [198, 19, 1, 7].into() };
        broker(&hub.broker, &release).unwrap();
        let (_, log) = place.run(&place.task("after", &["connect", "198.19.1.7:80"]));
        assert!(log.starts_with("refused"), "{log}");
    }
}

/// Others reach a task at its private address, where a socket in the hub listens for it; where none
/// does they are refused. The task reaches itself there without leaving.
#[test]
fn private_addresses() {
    for isolation in [Isolation::UserNamespaces, Isolation::Rootless] {
        let Some(place) = Place::open(isolation) else { continue };
        let hub = place.runtime.hub().unwrap().unwrap();
        let mut server = place.task("server", &["serve", "3000"]);
        let private = server.private_address.unwrap();
        // Nothing listens in the hub yet: what this finds is in the task itself.
        server.containers.push(place.container("self", &["reach", &format!("{private}:3000")]));
        server.containers.push(place.container("alone", &["connect", &format!("{private}:3001")]));
        place.launch(&server);
        place.ask("server", 3000).unwrap();
        let said = |container: &str| {
            place.wait("server", "what it says", |t| {
                t.containers.iter().any(|c| c.name == container && matches!(c.state, ContainerState::Exited { .. }))
            });
            std::fs::read_to_string(place.runtime.log_path("server", container)).unwrap()
        };
        assert!(said("alone").starts_with("refused"), "{isolation:?}");
        assert_eq!(said("self").trim(), format!("connected hello {private}"), "{isolation:?}");

        let address = SocketAddr::from((private, 8080));
        let listener: TcpListener = broker(&hub.broker, &BrokerRequest::Listen { address }).unwrap().unwrap().into();
        listener.set_nonblocking(false).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(b"the relay");
            }
        });
        let (_, log) = place.run(&place.task("client", &["connect", &address.to_string()]));
        assert_eq!(log.trim(), "connected the relay", "{isolation:?}");
        let (_, log) = place.run(&place.task("other", &["connect", &format!("{private}:3000")]));
        assert!(log.starts_with("refused"), "{isolation:?}: {log}");
    }
}

/// A memory bomb ends with its reason and harms nobody else; so does a fork bomb.
#[test]
fn bombs() {
    let Some(place) = Place::open(Isolation::UserNamespaces) else { return };
    if !place.runtime.isolation().limits {
        println!("skipped: no control groups here");
        return;
    }
    let bystander = place.task("bystander", &["serve", "3000"]);
    place.launch(&bystander);
    let mut hog = place.task("hog", &["hog"]);
    hog.containers[0].limits = Limits { memory: Some(32), ..Limits::default() };
    let (state, _) = place.run(&hog);
    assert_eq!(exited(&state), (137, true));

    let mut forks = place.task("forks", &["forks"]);
    forks.containers[0].limits = Limits { pids: Some(20), ..Limits::default() };
    let (state, log) = place.run(&forks);
    assert_eq!(exited(&state), (0, false));
    // The program itself is one of the twenty, and so is, for a moment, what started it.
    assert!(["forks 19", "forks 18"].contains(&log.trim()), "{log}");

    // The whole task's limit holds, too, where its containers name none.
    let mut whole = place.task("whole", &["hog"]);
    whole.limits = Limits { memory: Some(32), cpu_quota: Some(512), cpu_shares: Some(256), ..Limits::default() };
    let (state, _) = place.run(&whole);
    assert_eq!(exited(&state), (137, true));
    assert!(place.ask("bystander", 3000).unwrap().starts_with("hello"));
}

/// A task's files are its own: another range of ids, and a directory nobody else may enter.
#[test]
fn tasks_have_different_ids() {
    use std::os::unix::fs::MetadataExt;
    let Some(place) = Place::open(Isolation::UserNamespaces) else { return };
    let mut owners = Vec::new();
    for id in ["one", "two"] {
        place.launch(&place.task(id, &["serve", "3000"]));
        place.wait(id, "running", |t| t.phase == TaskPhase::Running);
        let upper = std::fs::metadata(place.data().join("tasks").join(id).join("fs-0/u")).unwrap();
        owners.push(upper.uid());
        let log = std::fs::metadata(place.runtime.log_path(id, "app")).unwrap();
        assert_eq!(log.mode() & 0o777, 0o600);
        assert_eq!(log.uid(), upper.uid());
    }
    assert!(owners.iter().all(|o| *o >= 1_000_000_000) && owners[0].abs_diff(owners[1]) >= 65_536, "{owners:?}");
    assert_eq!(std::fs::metadata(place.data()).unwrap().mode() & 0o777, 0o700);
}
