//! The balancer's part of a cut: hold, release, fence, epoch, reads of one's own writes.

mod common;

use common::cut::*;
use common::*;
use quarry_domain::link::Down;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn no_names() -> quarry_proxy::NameService {
    Arc::new(|_| Arc::new(|_, _, _| None))
}

/// Says once that so many writes are parked.
fn parked(proxy: &Proxy, play: &Play, n: u64) {
    report(&proxy.serve, play.scope.version, |r| r.parked == n);
}

#[test]
fn under_load_a_cut_and_its_rollback_lose_double_and_fail_nothing() {
    const CLIENTS: usize = 12;
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("load", &a, &b);
    let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Duration::ZERO)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (stop, longest) = (stop.clone(), longest.clone());
            std::thread::spawn(move || {
                let (mut peer, mut n) = (Peer::local(port), 0);
                while !stop.load(Ordering::SeqCst) {
                    let row = format!("c{client}-{n}");
                    let began = Instant::now();
                    assert!(peer.send(&post("/posts", "", &row)));
                    assert_eq!(peer.response().status(), 201, "{row}");
                    let took = began.elapsed();
                    let mut longest = longest.lock().unwrap();
                    *longest = took.max(*longest);
                    drop(longest);
                    // What was acknowledged is there, also across the switch.
                    assert_eq!(peer.get(&format!("/posts?{row}")).text(), "there", "{row}");
                    n += 1;
                }
                n
            })
        })
        .collect();
    let progress = |side: &Side| {
        let (before, deadline) = (side.rows().len(), Instant::now() + PATIENCE);
        while side.rows().len() < before + 200 {
            assert!(Instant::now() < deadline, "no progress at {}", side.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for round in 0..6 {
        let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        progress(from);
        let began = Instant::now();
        play.cut(&proxy.serve, from, to, round % 2 == 1);
        let last = report(&proxy.serve, play.scope.version, |r| !r.holding && r.parked == 0);
        let (took, held) = (began.elapsed(), Duration::from_micros(last.hold_micros_last));
        println!("round {round}: {took:?} in all, hold {held:?}, parked {}", last.parked_most);
        assert_eq!((last.unknown_outcomes, last.left_while_parked, last.overflow), (0, 0, false));
        proxy.serve.forget();
    }
    progress(&a);
    stop.store(true, Ordering::SeqCst);
    let written: Vec<usize> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    println!("{} writes, the longest took {:?}", written.iter().sum::<usize>(), longest.lock().unwrap());
    let rows = a.rows();
    assert_eq!(rows.len(), written.iter().sum::<usize>());
    for (client, n) in written.into_iter().enumerate() {
        let own: Vec<_> = rows.iter().filter(|row| row.starts_with(&format!("c{client}-"))).cloned().collect();
        let expected: Vec<_> = (0..n).map(|n| format!("c{client}-{n}")).collect();
        assert_eq!(own, expected, "each once, and in the order in which its client sent them");
    }
}

#[test]
fn on_hold_writes_wait_unread_while_everything_else_goes_on() {
    let upgraded = Upstream::start(|mut peer| {
        let head = peer.head().unwrap();
        if head.contains("Upgrade: websocket") {
            peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
            while let Some(byte) = peer.take(1) {
                peer.send(&String::from_utf8(byte).unwrap().to_uppercase());
            }
        } else {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let (port, b) = (free_port(), Side::start("b", true, 2));
    let mut play = Play::new("hold", port, &upgraded.endpoint(), &b.target.endpoint());
    let proxy = Proxy::serving(&play.snapshot());
    let websocket = || {
        let mut peer = Peer::local(port);
        peer.send("GET /posts/live HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert!(peer.head().unwrap().starts_with("HTTP/1.1 101"));
        peer
    };
    let mut before = websocket();
    proxy.serve.apply(&play.hold());
    let mut during = websocket();
    // One that expects to be told to go on is not told; the read behind the other waits for it.
    let mut expecting = Peer::local(port);
    expecting.send("POST /posts HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let mut pipelined = Peer::local(port);
    pipelined.send(
        &(post("/posts", "X-Cut-Epoch: 9\r\nx_cut_shadow: 1\r\n", "two")
            + "GET /posts?two HTTP/1.1\r\nHost: t\r\n\r\n"),
    );
    parked(&proxy, &play, 2);
    for (n, peer) in [&mut before, &mut during].into_iter().enumerate() {
        peer.send("x");
        assert_eq!(peer.take(1).unwrap(), b"X", "{n}");
    }
    assert_eq!(get(port, "/posts").status(), 200);
    let mut elsewhere = Peer::local(port);
    elsewhere.send(&post("/users", "", "u"));
    assert_eq!(elsewhere.response().status(), 200, "a write of another rule");
    for waiting in [&mut expecting, &mut pipelined] {
        waiting.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(waiting.is_closed() && waiting.buffer.is_empty(), "nothing has come");
        waiting.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    proxy.serve.apply(&play.next(|play| {
        play.route(false);
        (play.scope.hold, play.scope.epoch) = (false, 2);
    }));
    let (write, read) = (pipelined.response(), pipelined.response());
    assert_eq!((write.status(), write.header("x-side")), (201, Some("b")));
    assert_eq!(read.text(), "there");
    // This target reads the body without having said 100.
    expecting.send("first");
    assert_eq!(expecting.response().text(), "first");
    let heads = b.data.lock().unwrap().heads.clone();
    let head = heads.iter().find(|head| head.contains("Content-Length: 3\r\n")).unwrap();
    assert!(head.contains("X-Cut-Epoch: 2\r\n") && !head.contains("Epoch: 9") && !head.contains("shadow"), "{head}");
    assert!(heads.iter().all(|head| head.starts_with("POST") || !head.to_ascii_lowercase().contains("x-cut")));
}

#[test]
fn a_write_that_the_fence_refuses_is_sent_again_by_the_newest_version() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("fence", &a, &b);
    // Uploads that last from before the hold until after the release.
    let slow = |framing: &str, first: &str| {
        let mut peer = Peer::local(port);
        peer.send(&format!("POST /posts HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\n{first}"));
        peer
    };
    let mut sized = slow("Content-Length: 10", "sized");
    let mut chunked = slow("Transfer-Encoding: chunked", "3\r\nchu\r\n2\r\nn");
    let large = "x".repeat(300_000);
    let mut kept = slow("Content-Length: 200000", &large[..150_000]);
    let mut too_large = slow("Content-Length: 300000", &large[..290_000]);
    // A body of unknown length may turn out too long to be kept.
    let seen = report(&proxy.serve, 1, |r| r.in_flight_writes == 4 && r.unrepeatable == 2);
    assert_eq!(seen.writes, 4);
    play.scope.hold_deadline_ms = 60_000;
    proxy.serve.apply(&play.hold());
    let mut waiting = Peer::local(port);
    waiting.send(&post("/posts", "", "waited"));
    parked(&proxy, &play, 1);
    a.set(false, 2);
    b.set(true, 3);
    proxy.serve.apply(&play.next(|play| play.route(false)));
    assert_eq!(get(port, "/posts").header("x-side"), Some("b"), "reads go first");
    sized.send("-sent");
    // It was refused, and waits again: its client hears nothing of that.
    report(&proxy.serve, play.scope.version, |r| r.fenced_again == 1 && r.parked == 2);
    proxy.serve.apply(&play.next(|play| (play.scope.hold, play.scope.epoch) = (false, 3)));
    chunked.send("k\r\n0\r\n\r\n");
    kept.send(&large[150_000..200_000]);
    too_large.send(&large[290_000..]);
    for (peer, expected) in
        [(&mut waiting, "waited"), (&mut sized, "sized-sent"), (&mut chunked, "chunk"), (&mut kept, &large[..200_000])]
    {
        let answer = peer.response();
        assert_eq!((answer.status(), answer.header("x-side"), &*answer.text()), (201, Some("b"), expected));
    }
    let answer = too_large.response();
    assert_eq!((answer.status(), answer.header("x-cut-fenced")), (421, None), "not executed, and not ours to repeat");
    assert_eq!(b.rows().len(), 4);
    assert_eq!(a.rows().len(), 0);
    let last = report(&proxy.serve, play.scope.version, |r| r.in_flight_writes == 0 && r.unrepeatable == 0);
    assert_eq!((last.fenced_again, last.unknown_outcomes), (3, 0));
    // The connection goes on.
    kept.send(&post("/posts", "", "more"));
    assert_eq!(kept.response().status(), 201);
}

#[test]
fn without_a_release_writes_go_on_at_the_deadline_and_the_fence_decides() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("deadline", &a, &b);
    play.scope.hold_deadline_ms = 200;
    proxy.serve.apply(&play.hold());
    let mut peer = Peer::local(port);
    let began = Instant::now();
    peer.send(&post("/posts", "", "one"));
    assert_eq!(peer.response().header("x-side"), Some("a"));
    assert!(began.elapsed() > Duration::from_millis(100));
    let expired = report(&proxy.serve, play.scope.version, |r| r.expired);
    assert!(!expired.holding && expired.parked == 0);
    // The source gave the scope up, and nobody has released the hold: the write waits for whoever gets it.
    a.set(false, 2);
    peer.send(&post("/posts", "", "two"));
    report(&proxy.serve, play.scope.version, |r| r.fenced_again >= 2);
    b.set(true, 3);
    proxy.serve.apply(&play.next(|play| {
        play.route(false);
        (play.scope.hold, play.scope.epoch) = (false, 3);
    }));
    assert_eq!(peer.response().header("x-side"), Some("b"));
    assert_eq!((a.rows(), b.rows()), (vec!["one".to_owned()], vec!["two".to_owned()]));
}

#[test]
fn a_proxy_that_died_in_a_hold_starts_in_it_and_keeps_the_newest_scope() {
    let (a, b) = (Side::start("a", false, 2), Side::start("b", true, 3));
    let port = free_port();
    let mut play = Play::new("crash", port, &a.target.endpoint(), &b.target.endpoint());
    play.scope.hold_deadline_ms = 60_000;
    let held = play.hold();
    let dir = Dir::new();
    std::fs::create_dir(dir.0.join("proxy")).unwrap();
    std::fs::write(dir.0.join("proxy/snapshot.json"), serde_json::to_vec(&held).unwrap()).unwrap();
    let proxy = Proxy::on(dir, no_names());
    proxy.serve.wait_targets(held.version, |targets| targets.len() == 2);
    let mut peer = Peer::local(port);
    peer.send(&post("/posts", "", "one"));
    parked(&proxy, &play, 1);
    // A controller that was put back to an older state, with a newer number: the hold stays.
    let mut restored = Play::new("crash", port, &a.target.endpoint(), &b.target.endpoint());
    restored.version = 10;
    (restored.groups, restored.scope.version) = (play.groups.clone(), 1);
    proxy.serve.apply(&restored.snapshot());
    let seen = report(&proxy.serve, play.scope.version, |r| r.parked == 1);
    assert!(seen.holding);
    play.version = 10;
    proxy.serve.apply(&play.next(|play| {
        play.route(false);
        (play.scope.hold, play.scope.epoch) = (false, 3);
    }));
    assert_eq!(peer.response().header("x-side"), Some("b"));
}

/// Not a test of its own: see [`common::process`].
#[test]
fn proxy_process() {
    common::process::be_proxy();
}

#[test]
fn a_proxy_killed_in_a_hold_executes_nothing_of_what_it_had_parked_and_goes_on_holding() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let port = free_port();
    let mut play = Play::new("killed", port, &a.target.endpoint(), &b.target.endpoint());
    play.scope.hold_deadline_ms = 60_000;
    let mut proxy = common::process::Process::serving(1024, &play.snapshot());
    proxy.serve.apply(&play.hold());
    let mut first = Peer::local(port);
    first.send(&post("/posts", "", "first"));
    report(&proxy.serve, play.scope.version, |r| r.parked == 1);
    proxy.crash();
    assert!(first.is_closed());
    report(&proxy.serve, play.scope.version, |r| r.holding);
    let deadline = Instant::now() + PATIENCE;
    let listening = loop {
        match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    listening.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut again = Peer::new(listening);
    again.send(&post("/posts", "", "again"));
    report(&proxy.serve, play.scope.version, |r| r.parked == 1);
    b.take_over(&a);
    a.set(false, 2);
    b.set(true, 3);
    proxy.serve.apply_healthy(&play.next(|play| play.route(false)));
    proxy.serve.apply(&play.next(|play| (play.scope.hold, play.scope.epoch) = (false, 3)));
    assert_eq!(again.response().header("x-side"), Some("b"));
    assert_eq!((a.rows().len(), b.rows()), (0, vec!["again".to_owned()]));
}

#[test]
fn a_proxy_told_to_stop_waits_for_the_end_of_the_hold() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("stop", &a, &b);
    proxy.serve.apply(&play.hold());
    let mut peer = Peer::local(port);
    peer.send(&post("/posts", "", "one"));
    parked(&proxy, &play, 1);
    proxy.serve.send(&Down::Stop);
    proxy.serve.send(&Down::Snapshot(Box::new(play.next(|play| play.scope.hold = false))));
    assert_eq!(peer.response().status(), 201);
    proxy.ended();
}

#[test]
fn who_leaves_while_parked_is_not_served() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("left", &a, &b);
    proxy.serve.apply(&play.hold());
    for row in ["left", "stayed"] {
        let mut peer = Peer::local(port);
        // More than fits into buffers on the way, so that the end of it stays behind unread bytes.
        let body = row.repeat(40_000);
        let upload = post("/posts", "", &body);
        let whole = row == "stayed";
        let writer = std::thread::spawn({
            let mut stream = peer.stream.try_clone().unwrap();
            move || {
                if whole { stream.write_all(upload.as_bytes()) } else { stream.write_all(&upload.as_bytes()[..60_000]) }
            }
        });
        report(&proxy.serve, play.scope.version, |r| r.parked == 1 && r.left_while_parked == u64::from(whole));
        if !whole {
            writer.join().unwrap().unwrap();
            drop(peer);
            report(&proxy.serve, play.scope.version, |r| r.parked == 0);
            continue;
        }
        proxy.serve.apply(&play.next(|play| play.scope.hold = false));
        assert_eq!(peer.response().status(), 201);
    }
    let last = report(&proxy.serve, play.scope.version, |r| r.left_while_parked == 1);
    assert_eq!((last.writes, last.unknown_outcomes), (2, 0));
    assert_eq!(a.rows().len(), 1);
}

#[test]
fn a_lost_answer_is_asked_for_again_with_a_key_and_told_without_one() {
    let losses = Arc::new(AtomicUsize::new(0));
    let lost = losses.clone();
    let a = Side::with("a", true, 1, move |request| {
        if request.text().starts_with("lose") && lost.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            panic!("the connection ends here, on purpose");
        }
    });
    let b = Side::start("b", false, 1);
    let (proxy, _, port) = serving("lost", &a, &b);
    let mut peer = Peer::local(port);
    peer.send(&post("/posts", "Idempotency-Key: k1\r\n", "lose-1"));
    let answer = peer.response();
    assert_eq!((answer.status(), &*answer.text()), (201, "lose-1"));
    peer.send(&post("/posts", "", "lose-2"));
    assert_eq!(peer.response().status(), 502);
    assert_eq!(a.rows(), ["lose-1", "lose-2"], "each was executed once");
    assert_eq!(report(&proxy.serve, 1, |r| r.in_flight_writes == 0 && r.writes == 2).unknown_outcomes, 1);
}

#[test]
fn writes_from_before_the_cut_was_known_count_as_in_flight() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let port = free_port();
    let mut play = Play::new("era", port, &a.target.endpoint(), &b.target.endpoint());
    let mut plain = play.snapshot();
    plain.load_balancers[0].listeners[0].rules.clear();
    let proxy = Proxy::serving(&plain);
    let mut old = Peer::local(port);
    old.send("POST /posts HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\no");
    while a.target.connections.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    proxy.serve.apply(&play.next(|play| play.scope.contract = false));
    proxy.serve.apply(&play.hold());
    let seen = report(&proxy.serve, play.scope.version, |r| r.holding);
    assert_eq!(seen.in_flight_writes, 1);
    let began = Instant::now();
    old.send("ld");
    // Without an epoch: this side refuses it, and without the contract that is an answer like any other.
    assert_eq!(old.response().status(), 421);
    report(&proxy.serve, play.scope.version, |r| r.in_flight_writes == 0);
    assert!(began.elapsed() < Duration::from_millis(900), "told at once, not with the next report");
    proxy.serve.apply(&play.next(|play| play.scope.hold = false));
}

#[test]
fn without_the_contract_a_slow_upload_does_not_keep_a_hold_waiting() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("slow", &a, &b);
    proxy.serve.apply(&play.next(|play| play.scope.contract = false));
    let large = "x".repeat(200_000);
    let (mut slow, mut broken) = (Peer::local(port), Peer::local(port));
    for peer in [&mut slow, &mut broken] {
        peer.send(&post("/posts", "", &large)[..150_000]);
    }
    report(&proxy.serve, play.scope.version, |r| r.writes == 2);
    broken.finish_writing();
    assert_eq!(broken.response().status(), 400);
    proxy.serve.apply(&play.hold());
    report(&proxy.serve, play.scope.version, |r| r.holding && r.in_flight_writes == 0);
    slow.send(&post("/posts", "", &large)[150_000..]);
    parked(&proxy, &play, 1);
    proxy.serve.apply(&play.next(|play| play.scope.hold = false));
    assert_eq!((slow.response().text(), a.rows().len()), (large, 1));
    // The connection goes on.
    slow.send(&post("/posts", "", "more"));
    assert_eq!(slow.response().status(), 201);
}

#[test]
fn a_canary_takes_its_share_of_reads_but_not_of_who_has_just_written() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("canary", &a, &b);
    let canary = quarry_domain::snapshot::Canary { target_group_arn: "destination".into(), percent: 30 };
    proxy.serve.apply(&play.next(|play| play.scope.canary = Some(canary)));
    let mut reader = Peer::local(port);
    let share = (0..400).filter(|_| reader.get("/posts").header("x-side") == Some("b")).count();
    assert!((60..190).contains(&share), "{share} of 400");
    let mut writer = Peer::local(port);
    writer.send(&post("/posts", "", "mine"));
    let cookie = writer.response().header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..40 {
        assert_eq!(writer.get("/posts?mine").text(), "there", "on the connection of the write");
        reader.send(&format!("GET /posts?mine HTTP/1.1\r\nHost: t\r\nCookie: a=b; {cookie}\r\n\r\n"));
        assert_eq!(reader.response().text(), "there", "and with its cookie on another");
    }
    let last = report(&proxy.serve, play.scope.version, |r| r.reads == 480);
    assert_eq!((last.canary_reads, last.writes), (share as u64, 1));
}

#[test]
fn a_cut_that_is_gone_lets_its_writes_go_by_the_rules_that_are_left() {
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("gone", &a, &b);
    proxy.serve.apply(&play.hold());
    let (mut parked_one, mut refused) = (Peer::local(port), Peer::local(port));
    parked_one.send(&post("/posts", "", "parked"));
    parked(&proxy, &play, 1);
    proxy.serve.apply(&play.next(|play| play.scope.hold = false));
    assert_eq!(parked_one.response().status(), 201);
    a.set(false, 2);
    refused.send(&post("/posts", "", "refused"));
    report(&proxy.serve, play.scope.version, |r| r.fenced_again > 0);
    proxy.serve.apply(&play.hold());
    parked_one.send(&post("/posts", "", "again"));
    parked(&proxy, &play, 2);
    let mut ended = play.next(|_| {});
    ended.load_balancers[0].listeners[0].rules.clear();
    proxy.serve.apply(&ended);
    // Without its cut, what the side says is passed on; what it means stays between the two.
    for mut peer in [parked_one, refused] {
        let answer = peer.response();
        assert_eq!((answer.status(), answer.header("x-cut-fenced")), (421, None));
    }
}

/// Memory and time of many parked writes.
#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn what_many_parked_writes_cost() {
    const WRITES: usize = 4000;
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (proxy, mut play, port) = serving("many", &a, &b);
    let resident = || {
        let pages: u64 =
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4
    };
    let mut clients: Vec<_> = (0..WRITES).map(|_| Peer::local(port)).collect();
    let before = resident();
    play.scope.hold_deadline_ms = 60_000;
    proxy.serve.apply(&play.hold());
    for (n, peer) in clients.iter_mut().enumerate() {
        peer.send(&post("/posts", "", &format!("row {n}")));
    }
    report(&proxy.serve, play.scope.version, |r| r.parked == WRITES as u64);
    println!("{} bytes for each parked write", (resident() - before) * 1024 / WRITES as u64);
    let began = Instant::now();
    proxy.serve.apply(&play.next(|play| play.scope.hold = false));
    for peer in &mut clients {
        assert_eq!(peer.response().status(), 201);
    }
    println!("{WRITES} let out and answered in {:?}", began.elapsed());
    assert_eq!(a.rows().len(), WRITES);
}
