//! HTTPS listeners and targets that speak TLS.

mod common;

use common::tls::{ask, certificate, connect, put_key, secure, server, trusting};
use common::*;
use quarry_domain::snapshot::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const CLOSE: &str = "GET /a?b HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";

/// A proxy that has the key of its installation.
fn proxy_with_key() -> Proxy {
    let proxy = Proxy::start();
    put_key(&proxy.dir);
    proxy
}

#[test]
fn a_listener_shows_the_certificate_that_the_server_name_asks_for() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let ((one, one_der), (two, two_der)) =
        (certificate("cert/1", &["one.example"]), certificate("cert/2", &["*.two.example"]));
    let mut lb = balancer("sni", port, vec![], forward("g"));
    secure(&mut lb.listeners[0], vec![one, two]);
    lb.attributes.tls_headers = true;
    let proxy = proxy_with_key();
    proxy.serve.apply_healthy(&snapshot(1, vec![lb], vec![group("g", &[target.endpoint()])]));
    let seen = ask(&mut connect(port, "one.example", &trusting(&one_der, &[])), CLOSE).unwrap();
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
    for line in [
        "X-Forwarded-Proto: https\r\n",
        &format!("X-Forwarded-Port: {port}\r\n"),
        "X-Amzn-Tls-Version: TLSv1.3\r\n",
        "X-Amzn-Tls-Cipher-Suite: TLS_AES_128_GCM_SHA256\r\n",
    ] {
        assert!(seen.contains(line), "{line} in {seen}");
    }
    assert!(ask(&mut connect(port, "www.two.example", &trusting(&two_der, &[])), CLOSE).is_ok());
    // Another name gets the default certificate, which is not for it.
    assert!(ask(&mut connect(port, "three.example", &trusting(&one_der, &[])), CLOSE).is_err());
    // Plain HTTP is not answered.
    let mut plain = Peer::local(port);
    plain.send(CLOSE);
    while plain.more() {}
    assert!(!String::from_utf8_lossy(&plain.buffer).starts_with("HTTP/"));
}

#[test]
fn kept_connections_large_bodies_and_redirects() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let (cert, der) = certificate("cert/1", &["one.example"]);
    let redirect = Action::Redirect(Redirect {
        protocol: "#{protocol}".into(),
        host: "#{host}".into(),
        port: "#{port}".into(),
        path: "/moved".into(),
        query: String::new(),
        status: 301,
    });
    let mut lb = balancer("big", port, vec![path_rule(1, "/old", redirect)], forward("g"));
    secure(&mut lb.listeners[0], vec![cert]);
    let proxy = proxy_with_key();
    proxy.serve.apply_healthy(&snapshot(1, vec![lb], vec![group("g", &[target.endpoint()])]));
    let mut client = connect(port, "one.example", &trusting(&der, &["http/1.1"]));
    let body = "x".repeat(3_000_000);
    for _ in 0..2 {
        let head = format!("POST / HTTP/1.1\r\nHost: one.example\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(body.as_bytes()).unwrap();
        let mut seen = Vec::new();
        let mut chunk = vec![0; 65536];
        while seen.len() < body.len() || !seen.ends_with(b"xxx") {
            let n = client.read(&mut chunk).unwrap();
            assert!(n > 0);
            seen.extend_from_slice(&chunk[..n]);
        }
        assert!(seen.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    let old = "GET /old HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";
    let answer = ask(&mut client, old).unwrap();
    assert!(answer.contains(&format!("Location: https://one.example:{port}/moved\r\n")), "{answer}");
}

#[test]
fn after_a_restart_without_serve_keys_open_again_and_none_is_on_disk_in_clear() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let (cert, der) = certificate("cert/1", &["one.example"]);
    let mut lb = balancer("again", port, vec![], forward("g"));
    secure(&mut lb.listeners[0], vec![cert]);
    let snapshot = snapshot(1, vec![lb], vec![group("g", &[target.endpoint()])]);
    let mut proxy = proxy_with_key();
    proxy.serve.apply_healthy(&snapshot);
    let on_disk = std::fs::read_to_string(proxy.dir.0.join("proxy/snapshot.json")).unwrap();
    assert!(on_disk.contains("BEGIN CERTIFICATE") && !on_disk.contains("PRIVATE KEY"));
    proxy.restart();
    // Its sockets are bound once the targets have been probed.
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    let answer = ask(&mut connect(port, "one.example", &trusting(&der, &[])), CLOSE).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn settings_that_cannot_be_used_are_reported_and_others_go_on() {
    let (port, plain) = (free_port(), free_port());
    let (mut cert, _) = certificate("cert/1", &["one.example"]);
    cert.arn = "cert/moved".into();
    let mut broken = balancer("broken", port, vec![], fixed(200, "never"));
    secure(&mut broken.listeners[0], vec![cert]);
    let proxy = proxy_with_key();
    let whole = balancer("whole", plain, vec![], fixed(200, "here"));
    let statuses = proxy.serve.apply(&snapshot(1, vec![broken, whole], vec![]));
    let error = |arn: &str| statuses.iter().find(|s| s.listener_arn == arn).unwrap().error.clone();
    assert_eq!(
        error("listener/broken").as_deref(),
        Some("the private key of certificate cert/moved cannot be opened.")
    );
    assert_eq!(error("listener/whole"), None);
    assert_eq!(get(plain, "/").text(), "here");
}

#[test]
fn http_and_https_listeners_of_two_balancers_share_a_port_of_the_host() {
    let port = free_port();
    let (cert, der) = certificate("cert/1", &["one.example"]);
    let mut encrypted = balancer("tls", port, vec![], fixed(200, "encrypted"));
    secure(&mut encrypted.listeners[0], vec![cert]);
    let proxy = proxy_with_key();
    proxy.serve.apply(&snapshot(1, vec![encrypted, balancer("plain", port, vec![], fixed(200, "plain"))], vec![]));
    assert_eq!(get(port, "/").text(), "plain");
    let answer = ask(&mut connect(port, "one.example", &trusting(&der, &[])), CLOSE).unwrap();
    assert!(answer.ends_with("encrypted"), "{answer}");
}

/// Answers requests over TLS with what it saw; health checks too.
fn tls_target() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = server(&["whatever.example"], &[]);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let config = config.clone();
            std::thread::spawn(move || {
                let session = rustls::ServerConnection::new(config).unwrap();
                let mut client = rustls::StreamOwned::new(session, stream);
                let mut seen = Vec::new();
                let mut chunk = [0; 4096];
                while let Ok(n @ 1..) = client.read(&mut chunk) {
                    seen.extend_from_slice(&chunk[..n]);
                    if seen.ends_with(b"\r\n\r\n") {
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.len());
                        let _ = client.write_all(&[head.as_bytes(), &seen].concat());
                        seen.clear();
                    }
                }
            });
        }
    });
    Endpoint::Tcp(address)
}

#[test]
fn targets_may_speak_tls_with_any_certificate() {
    let port = free_port();
    let mut g = group("g", &[tls_target()]);
    g.protocol = ListenerProtocol::Https;
    g.health_check.protocol = ListenerProtocol::Https;
    let _proxy = Proxy::serving(&snapshot(1, vec![balancer("lb", port, vec![], forward("g"))], vec![g]));
    let mut client = Peer::local(port);
    for _ in 0..3 {
        assert!(client.get("/over/tls").text().starts_with("GET /over/tls HTTP/1.1\r\n"));
    }
}

#[test]
fn a_websocket_over_tls_is_pinned() {
    let port = free_port();
    let target = Upstream::start(|mut peer| {
        peer.request().unwrap();
        peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
        while let Some(bytes) = peer.take(4) {
            let turned: String = String::from_utf8(bytes).unwrap().chars().rev().collect();
            peer.send(&turned);
        }
    });
    let (cert, der) = certificate("cert/1", &["one.example"]);
    let mut lb = balancer("ws", port, vec![], forward("g"));
    secure(&mut lb.listeners[0], vec![cert]);
    let proxy = proxy_with_key();
    proxy.serve.apply_healthy(&snapshot(1, vec![lb], vec![group("g", &[target.endpoint()])]));
    let mut client = connect(port, "one.example", &trusting(&der, &[]));
    client.write_all(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let mut chunk = [0; 1024];
    while !seen.ends_with(b"\r\n\r\n") {
        let n = client.read(&mut chunk).unwrap();
        assert!(n > 0);
        seen.extend_from_slice(&chunk[..n]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101 "));
    for word in ["abcd", "1234"] {
        client.write_all(word.as_bytes()).unwrap();
        let mut back = [0; 4];
        client.read_exact(&mut back).unwrap();
        assert_eq!(String::from_utf8_lossy(&back), word.chars().rev().collect::<String>());
    }
}
