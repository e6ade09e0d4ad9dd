//! Bodies, kept connections, pipelining, interim answers and upgrades.

mod common;

use common::*;
use std::io::{Read, Write};
use std::time::Duration;

fn proxied(serve: impl Fn(Peer) + Send + Sync + 'static) -> (Proxy, Upstream, u16) {
    let (port, target) = (free_port(), Upstream::start(serve));
    let proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    (proxy, target, port)
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let _proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    let mut client = Peer::local(port);
    let mut all = String::new();
    for n in 0..50 {
        all += &match n % 3 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nb{n:03}"),
            _ => {
                format!("POST /{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nb{n:03}\r\n0\r\n\r\n")
            }
        };
    }
    client.send(&all);
    for n in 0..50 {
        let text = client.response().text();
        assert!(text.contains(&format!(" /{n} HTTP/1.1")), "{n}: {text}");
        assert_eq!(text.ends_with(&format!("b{n:03}")), n % 3 != 0, "{n}: {text}");
    }
    assert_eq!(target.connections.load(std::sync::atomic::Ordering::SeqCst), 1, "the target's connection is kept");
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let (_proxy, _target, port) = proxied(|mut peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
        }
    });
    let mut client = Peer::local(port);
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.text().as_str(), answer.header("transfer-encoding")), ("abcdef", None));
    assert_eq!(get(port, "/").text(), "abcdef");
}

#[test]
fn answers_without_a_body_keep_the_connection_in_step() {
    let (_proxy, _target, port) = proxied(|mut peer| {
        while let Some(request) = peer.request() {
            let text = match request.head.split(' ').nth(1) {
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
                _ if request.head.starts_with("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            };
            peer.send(text);
        }
    });
    let mut client = Peer::local(port);
    for _ in 0..3 {
        assert_eq!(client.get("/204").status(), 204);
        assert_eq!(client.get("/304").header("etag"), Some("x"));
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.head().unwrap().contains("Content-Length: 5\r\n"));
        assert_eq!(client.get("/").text(), "hello");
    }
}

#[test]
fn expectations_are_passed_on() {
    let (_proxy, _target, port) = proxied(|mut peer| {
        while let Some(head) = peer.head() {
            if head.contains("/no") {
                peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = peer.take(5).unwrap();
            let text = String::from_utf8(body).unwrap();
            peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{text}"));
        }
    });
    let mut client = Peer::local(port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.head().unwrap().starts_with("HTTP/1.1 100 "));
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
    client.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status(), answer.header("connection")), (417, Some("close")));
}

const LARGE: u64 = 64 * 1024 * 1024;

/// A byte that tells its place in a body.
fn pattern(at: u64) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 13)) as u8
}

fn check(bytes: &[u8], from: u64) {
    for (n, byte) in bytes.iter().enumerate() {
        assert_eq!(*byte, pattern(from + n as u64), "at {}", from + n as u64);
    }
}

fn block(from: u64) -> Vec<u8> {
    (from..(from + 65536).min(LARGE)).map(pattern).collect()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn large_bodies_go_both_ways_in_constant_memory() {
    // The target takes a while before it reads, then sends back as much as it got.
    let (_proxy, _target, port) = proxied(|mut peer| {
        let head = peer.head().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let (mut got, mut bytes) = (0u64, vec![0u8; 65536]);
        assert!(head.contains(&format!("Content-Length: {LARGE}\r\n")));
        check(&peer.buffer, 0);
        got += peer.buffer.len() as u64;
        while got < LARGE {
            let n = peer.stream.read(&mut bytes).unwrap();
            check(&bytes[..n], got);
            got += n as u64;
        }
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut sent = 0;
        while sent < LARGE {
            let data = block(sent);
            peer.send(&format!("{:x}\r\n", data.len()));
            peer.stream.write_all(&data).unwrap();
            peer.send("\r\n");
            sent += data.len() as u64;
        }
        peer.send("0\r\n\r\n");
    });
    let before = resident_kib();
    let mut client = Peer::local(port);
    client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let mut writer = client.stream.try_clone().unwrap();
    let upload = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < LARGE {
            let data = block(sent);
            writer.write_all(&data).unwrap();
            sent += data.len() as u64;
        }
    });
    upload.join().unwrap();
    assert!(client.head().unwrap().contains("Transfer-Encoding: chunked"));
    let mut got = 0u64;
    loop {
        while !client.buffer.windows(2).any(|w| w == b"\r\n") {
            assert!(client.more());
        }
        let at = client.buffer.windows(2).position(|w| w == b"\r\n").unwrap();
        let line = client.take(at + 2).unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..at]).unwrap(), 16).unwrap();
        let data = client.take(size + 2).unwrap();
        check(&data[..size], got);
        got += size as u64;
        if size == 0 {
            break;
        }
    }
    assert_eq!(got, LARGE);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "memory grew by {grown} KiB");
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let (_proxy, _target, port) = proxied(|mut peer| {
        peer.head();
        peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        peer.finish_writing();
        while peer.more() {
            peer.buffer.clear();
        }
    });
    let mut client = Peer::local(port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    let _ = client.stream.write_all(&vec![b'x'; 200_000]);
    let answer = client.response();
    assert_eq!((answer.status(), answer.header("connection")), (413, Some("close")));
}

#[test]
fn after_an_upgrade_bytes_go_both_ways() {
    let (_proxy, _target, port) = proxied(|mut peer| {
        let head = peer.head().unwrap();
        assert!(head.contains("Upgrade: websocket\r\n") && head.contains("Connection: upgrade\r\n"), "{head}");
        peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi ");
        loop {
            let bytes = std::mem::take(&mut peer.buffer);
            if peer.stream.write_all(&bytes.to_ascii_uppercase()).is_err() || !peer.more() {
                return;
            }
        }
    });
    let mut client = Peer::local(port);
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst ");
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("Upgrade: websocket\r\n"), "{head}");
    assert_eq!(client.take(9).unwrap(), b"hi FIRST ");
    client.send("second");
    assert_eq!(client.take(6).unwrap(), b"SECOND");
    client.finish_writing();
    assert!(client.is_closed());
}
