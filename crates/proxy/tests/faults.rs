//! What clients and targets do wrong, and the right answer.

mod common;

use common::*;
use quarry_domain::snapshot::*;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A proxy in front of a target that echoes, and the port to ask.
fn echoing() -> (Proxy, Upstream, u16) {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    (proxy, target, port)
}

/// Sends bytes on a new connection; the status of the answer, which must be the last.
fn refused(port: u16, bytes: &str) -> u16 {
    let mut client = Peer::local(port);
    client.send(bytes);
    let answer = client.response();
    assert_eq!(answer.header("connection"), Some("close"), "{bytes:.60?}");
    assert_eq!(answer.header("server"), Some("awselb/2.0"));
    assert!(answer.text().contains(&format!("<title>{} ", answer.status())), "{}", answer.text());
    assert!(client.is_closed(), "{bytes:.60?}");
    answer.status()
}

#[test]
fn faulty_requests_are_refused_and_never_forwarded() {
    let (_proxy, target, port) = echoing();
    let long = "a".repeat(16 * 1024);
    for (bytes, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("nonsense\r\n\r\n".into(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Y: 123456789012\r\n".repeat(3600)), 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".into(), 501),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(), 505),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {}\r\n\r\n", "1.1.1.1,".repeat(31)), 463),
    ] {
        assert_eq!(refused(port, &bytes), status, "{bytes:.80?}");
    }
    assert_eq!(target.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn faulty_chunks_end_both_connections() {
    let port = free_port();
    let (heard, hear) = std::sync::mpsc::channel();
    let heard = Mutex::new(heard);
    let target = Upstream::start(move |mut peer| {
        let heard = heard.lock().unwrap().clone();
        while !peer.buffer.ends_with(b"2\r\nok\r\n") && peer.more() {}
        heard.send(None).unwrap();
        while peer.more() {}
        heard.send(Some(peer.buffer)).unwrap();
    });
    let _proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    for chunks in ["0_2e\r\n", "0x1\r\na\r\n0\r\n\r\n", "1\na\r\n0\r\n\r\n", "1\r\na\n0\r\n\r\n", "zz\r\n"] {
        let begun = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
        let mut client = Peer::local(port);
        client.send(begun);
        assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), None);
        client.send(chunks);
        assert_eq!(client.response().status(), 400, "{chunks:?}");
        assert!(client.is_closed());
        let seen = hear.recv_timeout(PATIENCE).unwrap().expect("the target's connection ends");
        assert!(seen.ends_with(b"2\r\nok\r\n") || chunks.starts_with("1\r"), "{chunks:?} was forwarded");
        assert!(!seen.ends_with(b"0\r\n\r\n"), "{chunks:?} looked whole");
        // All of it at once is refused as well.
        assert_eq!(refused(port, &format!("{begun}{chunks}")), 400);
    }
}

#[test]
fn two_framings_are_forwarded_as_one_and_closed() {
    let (_proxy, target, port) = echoing();
    let mut client = Peer::local(port);
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let answer = client.response();
    let seen = answer.text();
    assert!(
        seen.contains("Transfer-Encoding: chunked\r\n") && !seen.contains("Content-Length") && seen.ends_with("hello")
    );
    assert!(seen.contains("Connection: close\r\n"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
    get(port, "/");
    assert_eq!(target.connections.load(Ordering::SeqCst), 2);
}

/// A proxy in this mode, and how often it said so far that a request departs from the standard.
fn in_mode(mode: DesyncMode) -> (Proxy, Upstream, u16) {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let mut snapshot = simple(port, &[target.endpoint()]);
    snapshot.load_balancers[0].attributes.desync_mode = mode;
    (Proxy::serving(&snapshot), target, port)
}

#[test]
fn modes_let_classes_through() {
    let requests = [
        // Compliant, acceptable (bare LF, a control character, GET of length 0, HTTP/1.2) and ambiguous.
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n", 0),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\x01c\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 2),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", 2),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 2),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", 2),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n", 2),
        // Severe, though it can be read: what is no length looks like one.
        ("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: x\r\n\r\n", 3),
    ];
    for mode in [DesyncMode::Monitor, DesyncMode::Defensive, DesyncMode::Strictest] {
        let (proxy, target, port) = in_mode(mode);
        for (bytes, class) in requests {
            let refuses = match mode {
                DesyncMode::Monitor => false,
                DesyncMode::Defensive => class == 3,
                DesyncMode::Strictest => class > 0,
            };
            if refuses {
                assert_eq!(refused(port, bytes), 400, "{mode:?} {bytes:?}");
                continue;
            }
            let mut client = Peer::local(port);
            client.send(bytes);
            let answer = client.response();
            assert_eq!(answer.status(), 200, "{mode:?} {bytes:?}");
            let closes = mode == DesyncMode::Defensive && class == 2;
            assert_eq!(answer.header("connection"), Some(if closes { "close" } else { "keep-alive" }), "{bytes:?}");
            assert_eq!(answer.text().contains("Connection: close\r\n"), closes, "{bytes:?}");
            let before = target.connections.load(Ordering::SeqCst);
            match closes {
                true => assert!(client.is_closed(), "{bytes:?}"),
                false => assert_eq!(client.get("/again").status(), 200, "{mode:?} {bytes:?}"),
            }
            if !closes {
                assert_eq!(target.connections.load(Ordering::SeqCst), before, "{mode:?} {bytes:?}");
            }
        }
        let counted = proxy.serve.wait(|up| match up {
            quarry_domain::link::Up::Report { counters, .. } => {
                counters.load_balancers.get("lb/lb").map(|c| c.desync_non_compliant).filter(|n| *n >= 10)
            }
            _ => None,
        });
        assert_eq!(counted, 10, "{mode:?}");
    }
}

#[test]
fn what_is_put_right_is_forwarded_so() {
    let (_proxy, _target, port) = in_mode(DesyncMode::Defensive);
    let mut client = Peer::local(port);
    // In two parts: how a head is cut makes no difference.
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c: d\r\n");
    std::thread::sleep(Duration::from_millis(20));
    client.send("\tTransfer-Encoding: chunked\r\nY: e\x7ff\r\n\r\n");
    let seen = client.response().text();
    assert!(seen.contains("X: b c: d Transfer-Encoding: chunked\r\nY: e f\r\n"), "{seen}");
    assert!(!seen.to_ascii_lowercase().contains("\r\ntransfer-encoding"), "{seen}");
    assert!(client.is_closed());
}

#[test]
fn a_body_cut_short_is_a_400() {
    let (_proxy, _target, port) = echoing();
    let mut client = Peer::local(port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    client.finish_writing();
    assert_eq!(client.response().status(), 400);
}

#[test]
fn faulty_answers_are_502() {
    let port = free_port();
    let said = Arc::new(Mutex::new(String::new()));
    let script = said.clone();
    let target = Upstream::start(move |mut peer| {
        peer.request();
        let text = script.lock().unwrap().clone();
        peer.send(&text);
    });
    let _proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    for text in [
        "".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Le".into(),
        "garbage\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".into(),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(33 * 1024)),
    ] {
        *said.lock().unwrap() = text.clone();
        let answer = get(port, "/");
        // An answer whose head was sound had begun before its body proved broken.
        assert!(answer.status() == 502, "{text:.60?}: {answer:?}");
    }
}

#[test]
fn a_target_that_dies_in_its_answer_leaves_no_clean_end() {
    for (head, ended) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\nhalf", true),
    ] {
        let port = free_port();
        let target = Upstream::start(move |mut peer| {
            peer.request();
            peer.send(head);
            std::thread::sleep(Duration::from_millis(50));
            if ended {
                // A reset, as a killed process with unread bytes gives it.
                socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let _proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
        let mut client = Peer::local(port);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.head().unwrap().starts_with("HTTP/1.1 200"), "{head}");
        while client.more() {}
        let body = String::from_utf8_lossy(&client.buffer).into_owned();
        assert!(body.contains("half") && !body.ends_with("0\r\n\r\n"), "{head}: {body:?}");
    }
}

/// A target that answers one request per connection, says it keeps the connection, and closes it as
/// soon as a second request comes.
fn closes_on_second() -> Upstream {
    Upstream::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        peer.more();
    })
}

#[test]
fn a_kept_connection_that_closes_is_tried_again_only_where_that_is_safe() {
    let (port, target) = (free_port(), closes_on_second());
    let _proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    let mut client = Peer::local(port);
    for _ in 0..5 {
        assert_eq!(client.get("/").status(), 200);
    }
    // Its request was sent on a kept connection and may have been carried out: never again.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().status(), 502);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().status(), 200);
}

#[test]
fn a_kept_connection_that_was_closed_in_peace_costs_nothing() {
    let port = free_port();
    let target = Upstream::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let _proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    let mut client = Peer::local(port);
    for _ in 0..5 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status(), 200);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn impatient(port: u16, endpoint: Endpoint) -> Proxy {
    let mut snapshot = simple(port, &[endpoint]);
    snapshot.load_balancers[0].attributes.idle_timeout = 1;
    Proxy::serving(&snapshot)
}

#[test]
fn clients_that_dawdle_are_closed_at_the_idle_timeout() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let _proxy = impatient(port, target.endpoint());
    // Both ends of a thousand connections are in this process.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let started = Instant::now();
    let slow: Vec<_> = (0..1000)
        .map(|_| {
            let mut client = Peer::local(port);
            client.send("GET / HTTP/1.1\r\nX-Slow: ");
            client
        })
        .collect();
    let mut uploading = Peer::local(port);
    uploading.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let mut idle = Peer::local(port);
    assert_eq!(get(port, "/").status(), 200, "new clients are served meanwhile");
    for mut client in slow {
        let _ = client.stream.write_all(b"a");
        assert_eq!(client.response().status(), 408);
    }
    assert_eq!(uploading.response().status(), 408);
    assert!(idle.is_closed());
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn a_target_that_says_nothing_is_a_504() {
    let port = free_port();
    let target = Upstream::start(|mut peer| {
        peer.request();
        std::thread::sleep(Duration::from_secs(3));
    });
    let _proxy = impatient(port, target.endpoint());
    let started = Instant::now();
    assert_eq!(get(port, "/").status(), 504);
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
}

#[test]
fn a_slow_answer_that_keeps_moving_is_not_cut() {
    let port = free_port();
    let target = Upstream::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(400));
            peer.send("x");
        }
    });
    let _proxy = impatient(port, target.endpoint());
    assert_eq!(get(port, "/").text(), "xxxxxx");
}

#[test]
fn a_target_that_refuses_every_connection_is_a_502() {
    let port = free_port();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut snapshot = simple(port, &[Endpoint::Tcp(listener.local_addr().unwrap())]);
    drop(listener);
    snapshot.target_groups.get_mut("g").unwrap().health_check.enabled = false;
    let _proxy = Proxy::serving(&snapshot);
    assert_eq!(get(port, "/").status(), 502);
}
