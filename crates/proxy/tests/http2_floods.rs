//! HTTP/2 clients that keep a server busy with next to nothing: cut off with ENHANCE_YOUR_CALM or held within
//! bounds, in bounded memory, while other clients are served.

mod common;

use common::frames::{self, *};
use common::*;
use quarry_domain::snapshot::DesyncMode;
use std::time::{Duration, Instant};

/// Memory of this process, which has the proxy in it, in MiB.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096 / (1024 * 1024)
}

/// More memory than this in all tests of this file together is a fault.
const BOUND: usize = 256;

fn served(name: &str) -> (Served, Upstream) {
    let target = Upstream::echo("t");
    (serve(name, DesyncMode::Defensive, target.endpoint(), |lb| lb.attributes.idle_timeout = 2), target)
}

/// Makes the frame of a number.
type Next = fn(u32) -> Vec<u8>;

/// Sends a flood of 20,000, with `read` answers are read meanwhile; how the connection ended.
fn flood(client: &mut Client, read: bool, mut next: impl FnMut(u32) -> Vec<u8>) -> Ended {
    for n in 0..40 {
        let bytes: Vec<u8> = (0..500).flat_map(|m| next(n * 500 + m)).collect();
        if !client.send(&bytes) {
            break;
        }
        if read && client.drain(Duration::from_millis(1)) {
            break;
        }
    }
    client.end()
}

/// Nothing that this client does for nothing goes on: it is told so, unless it was gone before it could hear it.
#[track_caller]
fn calmed(served: &Served, ended: Ended) {
    assert!(matches!(ended, Ended::Gone(ENHANCE_YOUR_CALM) | Ended::Closed), "{ended:?}");
    assert!(served.serves());
    assert!(memory() < BOUND, "{} MiB", memory());
}

#[test]
fn frames_for_nothing_are_calmed() {
    let (served, _target) = served("nothing");
    let floods: [(&str, Next); 7] = [
        ("settings", |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("empty settings", |_| frame(SETTINGS, 0, 0, &[])),
        ("ping", |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
        ("pong", |n| frame(PING, ACK, 0, &u64::from(n).to_be_bytes())),
        ("window", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("priority", |n| frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 1])),
        ("unknown", |n| frame(0x77, 0, n, b"?")),
    ];
    for (name, next) in floods {
        for read in [false, true] {
            let mut client = served.open();
            let ended = flood(&mut client, read, next);
            println!("{name}, read {read}: {ended:?}");
            calmed(&served, ended);
        }
    }
}

#[test]
fn the_calmed_are_told() {
    let (served, _target) = served("told");
    let mut client = served.open();
    // Just beyond what is allowed, so that nothing is left unread.
    let flood: Vec<u8> = (0..1100).flat_map(|n: u64| frame(PING, 0, 0, &n.to_be_bytes())).collect();
    client.send(&flood);
    assert_eq!(client.end(), Ended::Gone(ENHANCE_YOUR_CALM));
}

#[test]
fn pings_between_requests_are_answered() {
    let (served, _target) = served("pings");
    let mut client = served.open();
    for n in 0..400 {
        let id = 2 * n + 1;
        let ping = [1, 2, 3, 4, 5, 6, 7, n as u8];
        let mut bytes = [0, 1, 2, 3].map(|_| frame(PING, 0, 0, &ping)).concat();
        bytes.extend(frames::get(id, "/"));
        client.send(&bytes);
        assert_eq!(client.next(PING).unwrap().payload, ping);
        let ended = client.ends(&[id]).remove(0);
        assert!(matches!(ended, Ended::Answered(200, _)), "{n}: {ended:?}");
    }
}

#[test]
fn empty_data_is_calmed() {
    let (served, _target) = served("empty");
    let mut client = served.open();
    let post = fields(&request("POST", "/"));
    client.send(&frame(HEADERS, END_HEADERS, 1, &post));
    calmed(&served, flood(&mut client, true, |_| frame(DATA, 0, 1, &[])));
    // Nothing but padding is nothing too.
    let mut client = served.open();
    client.send(&frame(HEADERS, END_HEADERS, 1, &post));
    calmed(&served, flood(&mut client, true, |_| frame(DATA, PADDED, 1, &[1, 0])));
}

#[test]
fn rapid_reset_is_calmed() {
    let (served, target) = served("reset");
    let block = fields(&request("GET", "/"));
    let next = |n: u32| {
        let id = 2 * n + 1;
        [frame(HEADERS, END_STREAM | END_HEADERS, id, &block), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
    };
    let mut client = served.open();
    calmed(&served, flood(&mut client, false, next));
    // With a moment in between, so that each request is looked at before it is given up.
    let mut client = served.open();
    let mut n = 0;
    while client.send(&next(n)) && !client.drain(Duration::from_millis(1)) {
        n += 1;
        assert!(n < 2000, "{n} were taken");
    }
    calmed(&served, client.end());
    let reached = target.connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!(reached < 2000, "the target saw {reached}");
}

#[test]
fn resets_that_the_client_provokes_are_calmed() {
    let (served, _target) = served("provoke");
    // More than was announced is an error of its stream: the server resets it.
    let mut list = request("POST", "/");
    list.push(("content-length", "1"));
    let block = fields(&list);
    let next = |n: u32| {
        let id = 2 * n + 1;
        [frame(HEADERS, END_HEADERS, id, &block), frame(DATA, 0, id, b"two")].concat()
    };
    let mut client = served.open();
    calmed(&served, flood(&mut client, true, next));
}

#[test]
fn continuation_without_end_is_calmed() {
    let (served, _target) = served("continue");
    for payload in [vec![], b"\0\x01x\x01y".to_vec(), b"\0\x01x\x01y".repeat(3200)] {
        let mut client = served.open();
        client.send(&frame(HEADERS, 0, 1, &[0x82]));
        calmed(&served, flood(&mut client, false, |_| frame(CONTINUATION, 0, 1, &payload)));
    }
}

#[test]
fn fields_that_grow_when_unpacked_are_bounded() {
    let (served, _target) = served("bomb");
    let mut client = served.open();
    // An entry of 4,000 bytes for the table, then references to it, one byte each: 64 MiB a request.
    let mut block = fields(&request("GET", "/"));
    block.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
    block.extend([b'a'; 4000]);
    block.extend([0xbe; 16_000]);
    let before = memory();
    for n in 0..50 {
        let id = 2 * n + 1;
        let (first, rest) = block.split_at(16_000);
        let bytes = [frame(HEADERS, END_STREAM, id, first), frame(CONTINUATION, END_HEADERS, id, rest)].concat();
        if !client.send(&bytes) {
            break;
        }
        match client.ends(&[id]).remove(0) {
            Ended::Answered(431 | 400, _) | Ended::Reset(_) => {}
            Ended::Gone(_) | Ended::Closed => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(memory() < before + 64, "{} MiB, before {before}", memory());
    assert!(served.serves());
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let (served, target) = served("streams");
    let mut client = served.open();
    let block = fields(&request("POST", "/"));
    let ids: Vec<u32> = (0..400).map(|n| 2 * n + 1).collect();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| frame(HEADERS, END_HEADERS, *id, &block)).collect();
    client.send(&bytes);
    // The others are given up at the idle timeout, for their bodies never come.
    let ends = client.ends(&ids);
    let refused = ends.iter().filter(|end| **end == Ended::Reset(REFUSED_STREAM)).count();
    assert!(refused >= 400 - 128 || matches!(ends[399], Ended::Gone(ENHANCE_YOUR_CALM)), "{refused}: {:?}", ends[399]);
    assert!(target.connections.load(std::sync::atomic::Ordering::SeqCst) <= 130);
    assert!(served.serves());
}

#[test]
fn a_client_that_never_reads_is_closed_and_holds_little() {
    let target = Upstream::start(|mut peer| {
        while peer.request().is_some() {
            let body = vec![b'x'; 4 * 1024 * 1024];
            if !peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())) {
                return;
            }
            if !peer.send_bytes(&body) {
                return;
            }
        }
    });
    let served = serve("unread", DesyncMode::Defensive, target.endpoint(), |lb| lb.attributes.idle_timeout = 1);
    // Once with windows that never open, once with open windows and a socket that is not read.
    for window in [[0, 4, 0, 0, 0, 0], [0, 4, 0x7f, 0xff, 0xff, 0xff]] {
        let before = memory();
        let mut client = served.connect();
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &window)].concat();
        bytes.extend(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]));
        bytes.extend((0..40).flat_map(|n| frames::get(2 * n + 1, "/")));
        client.send(&bytes);
        std::thread::sleep(Duration::from_millis(1500));
        // 40 answers of 4 MiB: what waits is bounded (in the test's own target they take memory too).
        assert!(memory() < before + 240, "{} MiB, before {before}", memory());
        let begun = Instant::now();
        // The proxy closes by itself; what it had sent before is still there to be read.
        while client.frame().is_some() {}
        assert!(begun.elapsed() < PATIENCE, "it was still open");
        assert_eq!(common::get(served.plain_port, "/").status(), 200);
    }
}

#[test]
fn a_client_that_says_nothing_or_half_is_closed() {
    let (served, _target) = served("half");
    let mut halves: Vec<Client> = Vec::new();
    for half in [&PREFACE[..10], PREFACE, &[PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames::get(1, "/")[..12]].concat()]
    {
        let mut client = served.connect();
        client.send(half);
        halves.push(client);
    }
    let begun = Instant::now();
    // The idle timeout is 2 s; before the first settings it is the handshake's 10 s.
    let mut last = halves.pop().unwrap();
    assert!(matches!(last.end(), Ended::Gone(0) | Ended::Closed));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(served.serves());
}
