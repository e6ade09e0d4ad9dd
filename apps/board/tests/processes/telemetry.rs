//! Spans: sent where the environment says, at what cost.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use http::Method;
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::json;

use crate::API;
use crate::common::*;

/// A collector: its address, and the bodies that it gets.
fn collector() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if let Some(body) = receive(stream)
                && sender.send(body).is_err()
            {
                return;
            }
        }
    });
    (address, bodies)
}

fn receive(stream: TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    reader.into_inner().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some(body)
}

/// Processor time that the threads of a process have had, in ns.
fn used(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let time = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or_default()
    };
    threads.map(time).sum()
}

/// From here on this thread, and what it starts; where the machine has such a core.
fn on_core(which: usize) {
    let mut cores = CpuSet::new();
    cores.set(which);
    let _ = sched_setaffinity(None, &cores);
}

fn has(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn requests_that_are_recorded_are_sent_as_spans() {
    let dir = tempfile::tempdir().unwrap();
    let (endpoint, bodies) = collector();
    let path = dir.path().join("a.db");
    let sample = sample();
    let settings = [
        ("DATABASE_PATH", path.to_str().unwrap()),
        ("IMPORT", sample.to_str().unwrap()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint),
    ];
    let mut process = Process::start(API, &settings);
    let ids = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8";
    let w3c = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
    let told = [
        ("x-amzn-trace-id", format!("{ids};Sampled=1")),
        ("x-amzn-trace-id", format!("{ids};Sampled=0")),
        ("traceparent", format!("{w3c}-01")),
        ("traceparent", format!("{w3c}-00")),
    ];
    for (name, value) in &told {
        let headers = [(*name, value.as_str()), ("content-type", "application/json")];
        let body = json!({"thread": 1, "user": 1, "text": value}).to_string();
        let reply = send(process.address, Method::POST, "/api/posts", &headers, body).await;
        assert_eq!(reply.status, 201);
    }
    // The end sends what waits.
    process.signal(Signal::TERM);
    assert_eq!(process.ended().code(), Some(0));
    let body = bodies.recv_timeout(Duration::from_secs(20)).expect("spans are sent");
    for parent in [[0x53, 0x99, 0x5c, 0x3f, 0x42, 0xcd, 0x8a, 0xd8], [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]] {
        assert!(body.windows(8).any(|window| window == parent), "who asked is the parent");
    }
    let inserted = body.windows(17).filter(|window| *window == b"INSERT INTO posts").count();
    assert_eq!(inserted, 2, "the other requests are not recorded");
    for text in ["POST /api/posts", "api.db", "INSERT INTO posts", "COMMIT", "service.name"] {
        assert!(has(&body, text), "{text}");
    }
}

/// Three processes get the same requests in turn, one of which records. Each of `BLOCKS` has processes of its own, as where
/// in memory one comes to lie makes as much of a difference, and more than one batch of spans. All three have one core and
/// this process has another: on which of two the kernel wakes a thread makes more of one. The median counts: the machine
/// may be busy. Meant for a release build.
#[tokio::test]
async fn recording_costs_little() {
    let blocks: usize = std::env::var("BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    // A few requests show that it works at all.
    let rounds = if blocks == 0 { 10 } else { 100 };
    on_core(0);
    let (endpoint, bodies) = collector();
    let (mut costs, mut differences, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for block in 0..blocks.max(1) {
        let [one, other, traced] = used_by_three(&endpoint, &bodies, rounds, block).await.map(|used| used as f64);
        let plain = (one + other) / 2.0;
        costs.push((traced / plain - 1.0) * 100.0);
        differences.push((other / one - 1.0) * 100.0);
        each.push(plain / (rounds * 50) as f64 / 1000.0);
    }
    let quartiles = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
    };
    let [low, cost, high] = quartiles(&mut costs);
    if blocks > 0 {
        let [least, difference, most] = quartiles(&mut differences);
        let each = quartiles(&mut each)[1];
        println!(
            "traces cost {cost:+.1} % of CPU (quartiles {low:+.1} and {high:+.1}), {each:.1} µs a request without them"
        );
        println!("two without them differ by {difference:+.1} % (quartiles {least:+.1} and {most:+.1})");
    }
}

/// What two processes that do not record and a third that does used for `rounds` of 50 requests each, in nanoseconds.
async fn used_by_three(endpoint: &str, bodies: &Receiver<Vec<u8>>, rounds: usize, block: usize) -> [u64; 3] {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample();
    let start = |which: usize| {
        let path = dir.path().join(format!("{which}.db"));
        let settings = [
            ("DATABASE_PATH", path.to_str().unwrap()),
            ("IMPORT", sample.to_str().unwrap()),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", if which == 2 { endpoint } else { "" }),
        ];
        on_core(1);
        let process = Process::start(API, &settings);
        on_core(0);
        process
    };
    // None of them always comes first.
    let processes = [0, 1, 2].map(|n| (n + block) % 3).map(|which| (which, start(which)));
    let mut connections = Vec::new();
    for (_, process) in &processes {
        connections.push(Connection::open(process.address).await.unwrap());
    }
    bodies.try_iter().for_each(drop);
    // What is done once in a process does not count: the first spans and the first time that they are sent.
    for connection in &mut connections {
        for _ in 0..600 {
            let headers =
                [("x-amzn-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")];
            assert!(connection.send(Method::GET, "/api/posts/1", &headers, "").await.unwrap().status.is_success());
        }
    }
    bodies.recv_timeout(Duration::from_secs(20)).expect("spans are sent");
    let (mut number, mut total) = (block as u64 * 1_000_000, [0; 3]);
    for round in 0..rounds {
        for which in [0, 1, 2].map(|n| (n + round) % 3) {
            let (role, process) = &processes[which];
            let id = process.child.id();
            let before = used(id);
            for n in 0..50 {
                number += 1;
                // Spread over all ids, so that the share that is recorded comes out.
                let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let told = format!("Root=1-5759e988-00000000{random:016x}");
                let headers = [("x-amzn-trace-id", told.as_str()), ("content-type", "application/json")];
                let reply = if n == 0 {
                    let body = json!({"thread": 1, "user": 1, "text": format!("post {number}")}).to_string();
                    connections[which].send(Method::POST, "/api/posts", &headers, body).await
                } else {
                    connections[which].send(Method::GET, "/api/posts/1", &headers, "").await
                };
                assert!(reply.unwrap().status.is_success());
            }
            total[*role] += used(id) - before;
        }
    }
    for (_, mut process) in processes {
        process.signal(Signal::TERM);
        assert_eq!(process.ended().code(), Some(0));
    }
    total
}
