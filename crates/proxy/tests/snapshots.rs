//! Snapshots under load, draining, and going on without `serve` or after a kill.

mod common;

use common::*;
use quarry_domain::link::{Down, TargetReason, TargetState, Up};
use quarry_domain::snapshot::*;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients that ask without pause; every answer must be a 200.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(port: u16, clients: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |n: usize| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut peer = Peer::local(port);
                while !stop.load(Ordering::SeqCst) {
                    let message = if n.is_multiple_of(2) {
                        peer.get("/load")
                    } else {
                        peer.send("POST /load HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
                        peer.response()
                    };
                    assert_eq!(message.status(), 200, "{message:?}");
                    answered.fetch_add(1, Ordering::SeqCst);
                    if answered.load(Ordering::SeqCst) % 50 == n {
                        peer = Peer::local(port);
                    }
                }
            })
        };
        let threads = (0..clients).map(client).collect();
        Self { stop, answered, threads }
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|t| t.join().expect("no request is lost"));
        self.answered.load(Ordering::SeqCst)
    }
}

#[test]
fn hundreds_of_swaps_under_load_lose_nothing() {
    let port = free_port();
    let targets = [Upstream::echo("a"), Upstream::echo("b"), Upstream::echo("c")];
    let groups = [group("g", &[targets[0].endpoint(), targets[1].endpoint()]), group("h", &[targets[2].endpoint()])];
    let make = |version: u64| {
        let rules = if version.is_multiple_of(2) { vec![path_rule(1, "/load", forward("h"))] } else { vec![] };
        let mut groups = groups.to_vec();
        // Each target in turn is deregistered and registered anew.
        let target = &mut groups[0].targets[(version / 2 % 2) as usize];
        target.draining = version % 4 < 2;
        let mut balancers = vec![balancer("swap", port, rules, forward("g"))];
        if version.is_multiple_of(3) {
            balancers.push(balancer("other", port + 11_000, vec![], forward("g")));
        }
        snapshot(version, balancers, groups)
    };
    let proxy = Proxy::serving(&make(3));
    let load = Load::start(port, 6);
    for version in 4..304 {
        proxy.serve.apply(&make(version));
        proxy.serve.forget();
    }
    let answered = load.finish();
    assert!(answered > 300, "only {answered} requests");
}

#[test]
fn older_snapshots_are_refused_and_the_same_one_is_acknowledged_again() {
    let port = free_port();
    let make = |version, body| snapshot(version, vec![balancer("old", port, vec![], fixed(200, body))], vec![]);
    let proxy = Proxy::serving(&make(5, "five"));
    proxy.serve.send(&Down::Snapshot(Box::new(make(4, "four"))));
    proxy.serve.forget();
    proxy.serve.apply(&make(5, "five"));
    assert_eq!(get(port, "/").text(), "five");
    let on_disk = std::fs::read(proxy.dir.0.join("proxy/snapshot.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Snapshot>(&on_disk).unwrap(), make(5, "five"));
}

#[test]
fn draining_finishes_what_is_in_flight_and_takes_nothing_new() {
    let port = free_port();
    let slow = Upstream::start(|mut peer| {
        while let Some(request) = peer.request() {
            if request.head.contains("/slow") {
                std::thread::sleep(Duration::from_millis(700));
            }
            if !peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow") {
                return;
            }
        }
    });
    let fresh = Upstream::echo("fresh");
    let groups = |draining| {
        let mut g = group("g", &[slow.endpoint()]);
        g.targets[0].registration = 900;
        g.targets[0].draining = draining;
        if draining {
            g.targets.extend(group("g", &[fresh.endpoint()]).targets);
        }
        vec![g]
    };
    let lb = balancer("drain", port, vec![], forward("g"));
    let proxy = Proxy::serving(&snapshot(1, vec![lb.clone()], groups(false)));
    assert_eq!(get(port, "/").text(), "slow");
    let in_flight = std::thread::spawn(move || get(port, "/slow"));
    std::thread::sleep(Duration::from_millis(200));
    proxy.serve.forget();
    let started = Instant::now();
    proxy.serve.apply(&snapshot(2, vec![lb], groups(true)));
    let of = |targets: &[quarry_domain::link::TargetReport]| targets.iter().find(|t| t.registration == 900).cloned();
    let reports = proxy.serve.wait_targets(2, |t| of(t).is_some());
    let report = of(&reports).unwrap();
    assert_eq!((report.state, report.in_flight), (TargetState::Draining, 1));
    assert_eq!(report.reason, Some(TargetReason::DeregistrationInProgress));
    assert_eq!(report.description.as_deref(), Some("Target deregistration is in progress"));
    proxy.serve.wait_targets(2, |t| t.iter().any(|t| t.state == TargetState::Healthy));
    for _ in 0..10 {
        assert_eq!(get(port, "/").text().lines().next(), Some("fresh"));
    }
    proxy.serve.wait_targets(2, |t| of(t).is_some_and(|t| t.in_flight == 0));
    // At once, not with the next second's report.
    let waited = started.elapsed();
    assert_eq!(in_flight.join().unwrap().text(), "slow");
    assert!(waited < Duration::from_millis(1400), "{waited:?}");
}

#[test]
fn idle_connections_to_a_draining_target_are_closed() {
    let port = free_port();
    let (closed, wait) = std::sync::mpsc::channel();
    let closed = std::sync::Mutex::new(closed);
    let target = Upstream::start(move |mut peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        closed.lock().unwrap().send(()).unwrap();
    });
    let mut snapshot = simple(port, &[target.endpoint()]);
    let proxy = Proxy::serving(&snapshot);
    get(port, "/");
    assert!(wait.recv_timeout(Duration::from_millis(200)).is_err());
    snapshot.version = 2;
    snapshot.target_groups.get_mut("g").unwrap().targets[0].draining = true;
    proxy.serve.apply(&snapshot);
    wait.recv_timeout(Duration::from_secs(2)).expect("the idle connection is closed");
    assert_eq!(get(port, "/").status(), 503);
}

#[test]
fn a_target_is_found_healthy_soon_after_it_starts() {
    let (port, at) = (free_port(), free_port());
    let mut snapshot = simple(port, &[Endpoint::Tcp(([127, 0, 0, 1], at).into())]);
    snapshot.target_groups.get_mut("g").unwrap().health_check.interval = 30;
    let proxy = Proxy::start();
    proxy.serve.apply(&snapshot);
    assert_eq!(get(port, "/").status(), 503);
    std::thread::sleep(Duration::from_millis(60));
    let listener = std::net::TcpListener::bind(("127.0.0.1", at)).unwrap();
    let started = Instant::now();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut peer = Peer::new(stream.unwrap());
            while peer.request().is_some_and(|_| peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) {}
        }
    });
    proxy.serve.wait_targets(1, |t| t.iter().all(|t| t.state == TargetState::Healthy));
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
    assert_eq!(get(port, "/").status(), 200);
}

#[test]
fn stopping_finishes_what_is_in_flight() {
    let port = free_port();
    let target = Upstream::start(|mut peer| {
        peer.request();
        std::thread::sleep(Duration::from_millis(500));
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    });
    let proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    let mut idle = Peer::local(port);
    let request = std::thread::spawn(move || get(port, "/"));
    std::thread::sleep(Duration::from_millis(150));
    let started = Instant::now();
    proxy.stop();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let answer = request.join().unwrap();
    assert_eq!(answer.text(), "done");
    assert!(idle.is_closed());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// Not a test of its own: the process that the next tests kill and signal.
#[test]
fn proxy_process() {
    let Some(dir) = std::env::var_os("QUARRY_PROXY_TEST_DIR") else { return };
    let config = quarry_proxy::ProxyConfig {
        data_dir: dir.into(),
        workers: 2,
        replace: false,
        names: Arc::new(|_| Arc::new(|_, _, _| None)),
    };
    quarry_proxy::run(config).unwrap();
}

fn command(dir: &Dir) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "proxy_process"]).env("QUARRY_PROXY_TEST_DIR", &dir.0).stdout(Stdio::null());
    command
}

fn spawn(dir: &Dir) -> Process {
    Process(command(dir).spawn().unwrap())
}

/// A proxy process that does not outlive its test, however that ends.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn succeeds(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_proxy_out_of_descriptors_says_so_and_recovers() {
    let (port, target, dir) = (free_port(), Upstream::echo("t"), Dir::new());
    let serve = Serve::start(&dir.0);
    let mut process = spawn(&dir);
    serve.apply_healthy(&simple(port, &[target.endpoint()]));
    // Fewer than it reckoned with when it set its own limits.
    let few = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    let pid = rustix::process::Pid::from_child(&process.0);
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, few).unwrap();
    // One client is accepted before the many come, of which most have to wait.
    let mut clients = vec![Peer::local(port)];
    assert_eq!(clients[0].get("/").status(), 200);
    clients.extend((0..200).map(|_| Peer::local(port)));
    // Idle connections to targets are given up, so its next request needs a new one. A health check that ends frees a descriptor now and then; the other
    // clients take it, and then there is none left for its requests.
    let until = |clients: &mut Vec<Peer>, status| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = clients[0].get("/").status();
            assert!(matches!(seen, 200 | 503), "{seen}");
            if seen == status {
                return;
            }
            assert!(Instant::now() < deadline, "never {status}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until(&mut clients, 503);
    clients.truncate(1);
    until(&mut clients, 200);
    assert_eq!(get(port, "/").status(), 200);
    serve.send(&Down::Stop);
    assert!(process.succeeds());
}

#[test]
fn a_killed_proxy_comes_back_and_routes_without_serve() {
    let (port, target, dir) = (free_port(), Upstream::echo("t"), Dir::new());
    let serve = Serve::start(&dir.0);
    let mut first = spawn(&dir);
    serve.apply_healthy(&simple(port, &[target.endpoint()]));
    assert_eq!(get(port, "/").status(), 200);
    first.kill();
    let killed = Instant::now();
    // Nobody answers at the control socket any more.
    std::fs::remove_file(dir.0.join("control.sock")).unwrap();
    let mut second = spawn(&dir);
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "it does not listen again");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The first connection that is accepted is served: health is known by then.
    assert_eq!(get(port, "/").status(), 200);
    println!("serving again {} ms after the kill", killed.elapsed().as_millis());
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    let again = Serve::start(&dir.0);
    let version = again.wait(|up| match up {
        Up::Hello { version, .. } => Some(*version),
        Up::Applied { .. } | Up::Report { .. } | Up::Retiring { .. } | Up::Hits { .. } | Up::Segments { .. } => None,
    });
    assert_eq!(version, 1);
    rustix::process::kill_process(rustix::process::Pid::from_child(&second.0), rustix::process::Signal::TERM).unwrap();
    assert!(second.succeeds());
}

#[test]
fn serve_may_come_and_go() {
    let (port, target, dir) = (free_port(), Upstream::echo("t"), Dir::new());
    let serve = Serve::start(&dir.0);
    let mut process = spawn(&dir);
    let snapshot = simple(port, &[target.endpoint()]);
    serve.apply_healthy(&snapshot);
    let mut client = Peer::local(port);
    let again = Serve::start(&dir.0);
    serve.disconnect();
    assert_eq!(client.get("/").status(), 200);
    again.wait(|up| matches!(up, Up::Applied { version: 1, .. }).then_some(()));
    again.apply(&Snapshot { version: 2, ..snapshot });
    assert_eq!(client.get("/").status(), 200);
    client.stream.flush().unwrap();
    again.send(&Down::Stop);
    assert!(process.succeeds());
}
