//! A small request on kept connections costs no allocation: everything it needs was there before.
//!
//! Counted for the whole process; client and target here allocate nothing, the control thread's reports and health
//! checks a little every second.

mod common;

use common::*;
use quarry_domain::snapshot::{Endpoint, Snapshot};
use quarry_domain::trace::sampling::SamplingRule;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 10_000;

/// Reads up to the end of a head and of the body that follows it.
fn read(stream: &mut TcpStream, buffer: &mut [u8], body: usize) -> bool {
    let mut len = 0;
    loop {
        match stream.read(&mut buffer[len..]) {
            Ok(0) | Err(_) => return false,
            Ok(n) => len += n,
        }
        if buffer[..len].windows(4).position(|w| w == b"\r\n\r\n").is_some_and(|end| len >= end + 4 + body) {
            return true;
        }
    }
}

/// A target that answers everything with 100 bytes; requests have a body of this length.
fn target(body: usize) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let (mut stream, mut buffer) = (stream.unwrap(), [0; 4096]);
                stream.set_nodelay(true).unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "x".repeat(100));
                // Health checks have no body.
                loop {
                    let begun = stream.peek(&mut buffer).unwrap_or(0);
                    let body = if buffer[..begun].starts_with(b"GET /health") { 0 } else { body };
                    if !read(&mut stream, &mut buffer, body) || stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Endpoint::Tcp(address)
}

/// Processor time of this process so far, in microseconds, to a hundredth of a second.
fn used() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().unwrap() * 10_000.0).sum()
}

/// Allocations and microseconds of processor time per request, of client and target, too.
fn cost(request: &str, body: usize, traces: Vec<SamplingRule>) -> (f64, f64) {
    // Both are counted for the whole process.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let port = free_port();
    let proxy = Proxy::serving(&Snapshot { traces, ..simple(port, &[target(body)]) });
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    let mut ask = |times: usize| {
        for _ in 0..times {
            stream.write_all(request.as_bytes()).unwrap();
            assert!(read(&mut stream, &mut buffer, 100));
        }
    };
    ask(1000);
    let (region, before) = (Region::new(COUNTED), used());
    ask(REQUESTS);
    let (counted, time) = (region.change(), used() - before);
    proxy.stop();
    ((counted.allocations + counted.reallocations) as f64 / REQUESTS as f64, time / REQUESTS as f64)
}

#[test]
fn a_small_request_on_kept_connections_allocates_nothing() {
    let plain =
        "GET /api/one?x=1 HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: wrk\r\nAccept: */*\r\nCookie: a=b\r\n\r\n";
    let with_body = "POST /api/one HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 11\r\n\r\nhello world";
    for (request, body) in [(plain, 0), (with_body, 11)] {
        let (each, _) = cost(request, body, Vec::new());
        println!("{each:.3} allocations per request");
        assert!(each < 0.2, "{each} allocations per request of {request:?}");
    }
}

#[test]
fn a_request_that_is_not_recorded_allocates_nothing_more() {
    let head = "GET /api/one?x=1 HTTP/1.1\r\nHost: bench.test\r\n";
    let rule = |fixed_rate| vec![SamplingRule { reservoir: 0, fixed_rate, ..SamplingRule::default() }];
    let root = "1-5759e988-bd862e3fe1be46a994272793";
    let (_, plain) = cost(&format!("{head}\r\n"), 0, Vec::new());
    for said in [
        String::new(),
        format!("X-Amzn-Trace-Id: Root={root};Parent=53995c3f42cd8ad8;Sampled=0\r\n"),
        "traceparent: 00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00\r\n".to_owned(),
    ] {
        let (each, time) = cost(&format!("{head}{said}\r\n"), 0, rule(0.0));
        println!("not recorded: {each:.3} allocations per request, {time:.1} µs ({plain:.1} µs without rules)");
        assert!(each < 0.2, "{each} allocations per request that says {said:?}");
    }
    let (each, time) = cost(&format!("{head}\r\n"), 0, rule(1.0));
    println!("recorded: {each:.1} allocations per request, {time:.1} µs");
    assert!((1.0..16.0).contains(&each), "a segment is made, of a few pieces of memory: {each}");
}
