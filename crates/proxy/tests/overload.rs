//! Overload: what one part has too much of takes nothing from the others, and passes by itself.

mod common;

use common::process::{self, Process};
use common::*;
use quarry_domain::link::{LoadBalancerCounters, Up};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Descriptors of the proxy: 128 clients at once, and 32 requests for each target group.
const DESCRIPTORS: u64 = 256;
const CLIENTS: usize = 128;
const GROUP: usize = 32;

/// Not a test of its own: the proxy of the others.
#[test]
fn proxy_process() {
    process::be_proxy();
}

fn wait(process: &Process, holds: impl Fn(&LoadBalancerCounters) -> bool) {
    process.serve.wait(|up| match up {
        Up::Report { counters, .. } => counters.load_balancers.values().any(&holds).then_some(()),
        _ => None,
    });
}

/// Whether bytes have come, or the end.
fn has_news(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_group_that_hangs_takes_nothing_from_its_neighbour() {
    let (port, good) = (free_port(), Upstream::echo("good"));
    let hanging = Upstream::start(|mut peer| while peer.more() {});
    let lb = balancer("over", port, vec![path_rule(1, "/hang", forward("hanging"))], forward("good"));
    let groups = vec![group("hanging", &[hanging.endpoint()]), group("good", &[good.endpoint()])];
    let process = Process::serving(DESCRIPTORS, &snapshot(1, vec![lb], groups));
    let mut before = Peer::local(port);
    assert_eq!(before.get("/").status(), 200);
    let mut many: Vec<Peer> = (0..GROUP * 2).map(|_| Peer::local(port)).collect();
    for client in &mut many {
        client.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    // What is beyond the group's share is told so at once; the rest waits.
    until("shed", || many.iter().filter(|client| has_news(&client.stream)).count() >= GROUP);
    let (mut told, waiting): (Vec<Peer>, Vec<Peer>) = many.into_iter().partition(|client| has_news(&client.stream));
    for client in &mut told {
        assert_eq!(client.response().status(), 503);
        assert_eq!(client.get("/").status(), 200, "and may ask for something else");
    }
    assert!((1..=GROUP).contains(&waiting.len()), "{} wait", waiting.len());
    assert!(hanging.connections.load(Ordering::SeqCst) <= GROUP);
    // The neighbour answers old and new clients as fast as ever, and `serve` hears of it.
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!((before.get("/").status(), get(port, "/").status()), (200, 200));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    wait(&process, |lb| lb.elb_503 as usize == told.len());
    // When its clients have given up, the group takes requests again.
    let at_work = hanging.connections.load(Ordering::SeqCst);
    drop((waiting, told));
    until("taken again", || {
        let mut client = Peer::local(port);
        client.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
        std::thread::sleep(Duration::from_millis(50));
        !has_news(&client.stream) && hanging.connections.load(Ordering::SeqCst) > at_work
    });
}

#[test]
fn clients_beyond_the_limit_are_turned_away_and_counted() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let process = Process::serving(DESCRIPTORS, &simple(port, &[target.endpoint()]));
    let mut first = Peer::local(port);
    assert_eq!(first.get("/").status(), 200);
    let many: Vec<Peer> = (0..CLIENTS * 2).map(|_| Peer::local(port)).collect();
    until("turned away", || many.iter().filter(|client| has_news(&client.stream)).count() >= CLIENTS);
    for client in many.iter().filter(|client| has_news(&client.stream)) {
        assert!(!matches!((&client.stream).read(&mut [0]), Ok(1..)), "closed without a word");
    }
    wait(&process, |lb| lb.rejected_connections as usize >= CLIENTS);
    assert_eq!(first.get("/").status(), 200, "who is in stays in");
    drop(many);
    until("let in again", || {
        let mut client = Peer::local(port);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response().is_some_and(|answer| answer.status() == 200)
    });
}

#[test]
fn writes_that_a_cut_had_parked_are_not_turned_away() {
    use common::cut::{Play, Side, post, report};
    let port = free_port();
    let a = Side::with("a", true, 1, |_| std::thread::sleep(Duration::from_millis(20)));
    let b = Side::start("b", false, 1);
    let mut play = Play::new("parked", port, &a.target.endpoint(), &b.target.endpoint());
    let process = Process::serving(DESCRIPTORS, &play.snapshot());
    process.serve.apply(&play.hold());
    // More than the target group may have at once.
    let mut clients: Vec<_> = (0..GROUP * 2).map(|_| Peer::local(port)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&post("/posts", "", &format!("row {n}")));
    }
    report(&process.serve, play.scope.version, |r| r.parked == clients.len() as u64);
    process.serve.apply(&play.next(|play| play.scope.hold = false));
    for client in &mut clients {
        assert_eq!(client.response().status(), 201);
    }
    assert_eq!(a.rows().len(), clients.len());
}
