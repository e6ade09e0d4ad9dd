//! Upgrade in place: a second proxy takes over from the first under load, and nobody notices.

mod common;

use common::*;
use quarry_domain::link::{TargetState, Up};
use quarry_domain::snapshot::Snapshot;
use quarry_proxy::ProxyConfig;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

type Running = JoinHandle<Result<(), quarry_proxy::Error>>;

fn start(dir: &Path, workers: usize, replace: bool) -> Running {
    let config = ProxyConfig { data_dir: dir.into(), workers, replace, names: Arc::new(|_| Arc::new(|_, _, _| None)) };
    spawn(move || quarry_proxy::run(config))
}

/// `/download` sends a piece each time that the test allows one; a WebSocket is echoed; the rest is answered.
fn target(pieces: Arc<AtomicUsize>) -> Upstream {
    Upstream::start(move |mut peer| {
        while let Some(request) = peer.request() {
            if request.header("upgrade").is_some() {
                peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
                while let Some(bytes) = peer.take(4) {
                    peer.send(&String::from_utf8(bytes).unwrap());
                }
                return;
            }
            if request.head.starts_with("GET /download") {
                peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECES * PIECE));
                for n in 1..=PIECES {
                    while pieces.load(Ordering::SeqCst) < n {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    peer.send(&"d".repeat(PIECE));
                }
                continue;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

const PIECES: usize = 4;
const PIECE: usize = 100_000;

/// Clients that ask without pause. Each request must be answered, and a kept connection may only be closed after an
/// answer that says so.
struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<usize>>,
}

impl Clients {
    fn start(port: u16) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |n: usize| {
            let (stop, answered) = (stop.clone(), answered.clone());
            spawn(move || {
                let (mut peer, mut connections) = (Peer::local(port), 1);
                while !stop.load(Ordering::SeqCst) {
                    let close = if n.is_multiple_of(2) { "Connection: close\r\n" } else { "" };
                    assert!(peer.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{close}\r\nhi")));
                    let answer = peer.response();
                    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
                    answered.fetch_add(1, Ordering::SeqCst);
                    if answer.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")) {
                        peer = Peer::local(port);
                        connections += 1;
                    }
                }
                connections
            })
        };
        Self { threads: (0..6).map(client).collect(), stop, answered }
    }

    fn more(&self) {
        let goal = self.answered.load(Ordering::SeqCst) + 200;
        let deadline = Instant::now() + PATIENCE;
        while self.answered.load(Ordering::SeqCst) < goal {
            assert!(
                Instant::now() < deadline && self.threads.iter().all(|t| !t.is_finished()),
                "the clients stand still"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits for the greeting of the proxy that took over; what was heard before it was started is forgotten.
fn successor(serve: &Serve) -> String {
    serve.wait(|up| match up {
        Up::Hello { proxy, .. } => Some(proxy.clone()),
        _ => None,
    })
}

#[test]
fn nothing_is_refused_or_cut_when_a_proxy_is_replaced() {
    let (port, dir, pieces) = (free_port(), Dir::new(), Arc::new(AtomicUsize::new(1)));
    let target = target(pieces.clone());
    let serve = Serve::start(&dir.0);
    let first = start(&dir.0, 2, false);
    let snapshot = simple(port, &[target.endpoint()]);
    serve.apply_healthy(&snapshot);

    let clients = Clients::start(port);
    let mut download = Peer::local(port);
    download.send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = download.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut socket = Peer::local(port);
    socket.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(socket.head().unwrap().contains("101"));
    let mut idle = Peer::local(port);
    assert_eq!(idle.get("/").status(), 200);
    clients.more();

    // Twice over, the second time with another number of workers.
    let mut ended = vec![first];
    let mut last = None;
    for (turn, workers) in [(1, 2), (2, 3)] {
        serve.forget();
        let begun = Instant::now();
        let next = start(&dir.0, workers, true);
        let successor = successor(&serve);
        // The other one still has connections, so it says what it is.
        serve.wait(|up| matches!(up, Up::Retiring { proxy } if *proxy != successor).then_some(()));
        println!("{turn}: taken over after {} ms", begun.elapsed().as_millis());
        // Health is handed on: no target is new to it, and it listens where the other one did.
        let targets = serve.wait(|up| match up {
            Up::Report { proxy, targets, .. } if *proxy == successor => Some(targets.clone()),
            _ => None,
        });
        assert!(targets.iter().all(|t| t.state == TargetState::Healthy), "{targets:?}");
        let listeners = serve.wait(|up| match up {
            Up::Applied { proxy, listeners, .. } if *proxy == successor => Some(listeners.clone()),
            _ => None,
        });
        assert_eq!(listeners[0].bound.len(), 2, "{listeners:?}");
        clients.more();
        last.replace(next).into_iter().for_each(|one| ended.push(one));
    }
    let last = last.unwrap();

    // What the first one had goes on: a kept connection gets its answer and is told that it is the last.
    assert!(!ended[0].is_finished());
    let answer = idle.get("/");
    assert_eq!((answer.status(), answer.header("connection")), (200, Some("close")));
    pieces.store(PIECES, Ordering::SeqCst);
    assert_eq!(download.take(PIECES * PIECE).unwrap().len(), PIECES * PIECE);
    socket.send("ping");
    assert_eq!(socket.take(4).unwrap(), b"ping");
    drop((socket, download, idle));
    clients.more();
    clients.stop.store(true, Ordering::SeqCst);
    let connections: Vec<usize> = clients.threads.into_iter().map(|t| t.join().expect("no request is lost")).collect();
    println!("connections of each client: {connections:?}");
    assert!(connections[1] >= 3, "a kept connection moved to each new proxy");

    // The old ones end by themselves, and the last one is a proxy like any other.
    for one in ended {
        one.join().unwrap().unwrap();
    }
    serve.apply(&Snapshot { version: 2, ..snapshot });
    assert_eq!(get(port, "/").status(), 200);
    serve.send(&quarry_domain::link::Down::Stop);
    last.join().unwrap().unwrap();
}

#[test]
fn who_breaks_off_takes_nothing_over() {
    let (port, dir) = (free_port(), Dir::new());
    let target = Upstream::echo("t");
    let serve = Serve::start(&dir.0);
    let proxy = start(&dir.0, 2, false);
    serve.apply_healthy(&simple(port, &[target.endpoint()]));
    let mut kept = Peer::local(port);
    serve.wait(|up| matches!(up, Up::Hello { .. }).then_some(()));
    for _ in 0..3 {
        drop(UnixStream::connect(dir.0.join("proxy/handover")).unwrap());
        assert_eq!(kept.get("/").status(), 200);
        assert_eq!(get(port, "/").status(), 200);
    }
    // The lock is its own again, and it can still be replaced.
    let deadline = Instant::now() + PATIENCE;
    let error = start(&dir.0, 1, false).join().unwrap().unwrap_err();
    assert!(matches!(error, quarry_proxy::Error::Locked { .. }), "{error}");
    serve.forget();
    let next = start(&dir.0, 1, true);
    successor(&serve);
    drop(kept);
    proxy.join().unwrap().unwrap();
    assert!(Instant::now() < deadline);
    assert_eq!(get(port, "/").status(), 200);
    serve.send(&quarry_domain::link::Down::Stop);
    next.join().unwrap().unwrap();
}

#[test]
fn without_a_proxy_to_replace_it_just_starts() {
    let (port, dir) = (free_port(), Dir::new());
    let target = Upstream::echo("t");
    let serve = Serve::start(&dir.0);
    let proxy = start(&dir.0, 1, true);
    serve.apply_healthy(&simple(port, &[target.endpoint()]));
    assert_eq!(get(port, "/").status(), 200);
    serve.send(&quarry_domain::link::Down::Stop);
    proxy.join().unwrap().unwrap();
}

#[test]
fn a_target_in_slow_start_goes_on_slowly_with_the_next_proxy() {
    let (port, dir) = (free_port(), Dir::new());
    let (old, new) = (Upstream::echo("old"), Upstream::echo("new"));
    let mut snapshot = simple(port, &[old.endpoint()]);
    snapshot.target_groups.get_mut("g").unwrap().attributes.slow_start = 900;
    let serve = Serve::start(&dir.0);
    let first = start(&dir.0, 1, false);
    serve.apply_healthy(&snapshot);
    snapshot.version = 2;
    let added = group("g", &[new.endpoint()]).targets.remove(0);
    snapshot.target_groups.get_mut("g").unwrap().targets.push(added);
    serve.apply_healthy(&snapshot);
    serve.forget();
    let next = start(&dir.0, 1, true);
    successor(&serve);
    first.join().unwrap().unwrap();
    let mut client = Peer::local(port);
    let few = (0..400).filter(|_| client.get("/").text().starts_with("new")).count();
    assert!(few < 80, "{few} of 400");
    serve.send(&quarry_domain::link::Down::Stop);
    next.join().unwrap().unwrap();
}

#[test]
fn nobody_takes_over_in_a_hold() {
    use common::cut::{Play, Side, post, report};
    let (port, dir) = (free_port(), Dir::new());
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let mut play = Play::new("replaced", port, &a.target.endpoint(), &b.target.endpoint());
    let serve = Serve::start(&dir.0);
    let first = start(&dir.0, 2, false);
    serve.apply_healthy(&play.snapshot());
    serve.apply(&play.hold());
    let mut writer = Peer::local(port);
    writer.send(&post("/posts", "", "one"));
    report(&serve, play.scope.version, |r| r.parked == 1);
    let error = start(&dir.0, 2, true).join().unwrap().unwrap_err();
    assert!(error.to_string().contains("a cut has parked writes"), "{error}");
    serve.apply(&play.next(|play| play.scope.hold = false));
    assert_eq!(writer.response().status(), 201);
    // Afterwards it may.
    drop(writer);
    serve.forget();
    let second = start(&dir.0, 2, true);
    successor(&serve);
    first.join().unwrap().unwrap();
    serve.send(&quarry_domain::link::Down::Stop);
    second.join().unwrap().unwrap();
}
