//! HTTP/2 from clients and to targets.

mod common;

use bytes::Bytes;
use common::tls::{certificate, put_key, secure, trusting};
use common::*;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use quarry_domain::snapshot::*;
use rustls::pki_types::{CertificateDer, ServerName};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async { tokio::time::timeout(PATIENCE * 3, work).await.expect("in time") })
}

/// A proxy with one HTTPS listener that forwards to `g`.
fn serving(name: &str, port: u16, g: TargetGroup) -> (Proxy, CertificateDer<'static>) {
    let (cert, der) = certificate("cert/1", &["one.example"]);
    let mut lb = balancer(name, port, vec![path_rule(1, "/fixed", fixed(418, "teapot"))], forward("g"));
    secure(&mut lb.listeners[0], vec![cert]);
    let proxy = Proxy::start();
    put_key(&proxy.dir);
    proxy.serve.apply_healthy(&snapshot(1, vec![lb], vec![g]));
    (proxy, der)
}

async fn connect(
    port: u16,
    der: &CertificateDer<'static>,
) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let connector = tokio_rustls::TlsConnector::from(trusting(der, &["h2", "http/1.1"]));
    let tls = connector.connect(ServerName::try_from("one.example").unwrap(), tcp).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) =
        h2::client::Builder::new().max_concurrent_reset_streams(100_000).handshake(tls).await.unwrap();
    (send, tokio::task::spawn_local(connection))
}

async fn read(answer: Response<h2::RecvStream>) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let (parts, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    (parts.status, parts.headers, bytes)
}

async fn get(send: &SendRequest<Bytes>, path: &str) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let mut send = send.clone().ready().await.unwrap();
    let request = Request::get(format!("https://one.example{path}")).header("cookie", "a=1").body(()).unwrap();
    let (answer, _) = send.send_request(request, true).unwrap();
    read(answer.await.unwrap()).await
}

#[test]
fn requests_of_one_connection_are_routed_each_by_itself() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let (_proxy, der) = serving("routes", port, group("g", &[target.endpoint()]));
    block_on(async {
        let (send, _connection) = connect(port, &der).await;
        let (status, headers, body) = get(&send, "/a?b=c").await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 200);
        assert!(body.starts_with("t\nGET /a?b=c HTTP/1.1\r\n"), "{body}");
        for line in ["X-Forwarded-Proto: https\r\n", "cookie: a=1\r\n", "X-Amzn-Trace-Id: Root=1-"] {
            assert!(body.contains(line), "{line} in {body}");
        }
        assert!(!body.to_ascii_lowercase().contains("connection:"), "{body}");
        assert!(headers.contains_key("content-length") && !headers.contains_key("connection"));
        assert_eq!(get(&send, "/fixed").await.0, 418);
        let all = (0..100).map(|n| {
            let send = send.clone();
            tokio::task::spawn_local(async move { get(&send, &format!("/{n}")).await })
        });
        for (n, one) in all.collect::<Vec<_>>().into_iter().enumerate() {
            let (status, _, body) = one.await.unwrap();
            assert_eq!(status, 200);
            assert!(String::from_utf8(body).unwrap().contains(&format!("GET /{n} HTTP")));
        }
        // HEAD has no body but its length.
        let mut send = send.ready().await.unwrap();
        let head = Request::builder().method(Method::HEAD).uri("https://one.example/fixed").body(()).unwrap();
        let (status, headers, body) = read(send.send_request(head, true).unwrap().0.await.unwrap()).await;
        assert_eq!(
            (status, headers["content-length"].to_str().unwrap(), body.len()),
            (StatusCode::IM_A_TEAPOT, "6", 0)
        );
    });
}

#[test]
fn large_bodies_flow_both_ways_with_and_without_a_length() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let (_proxy, der) = serving("large", port, group("g", &[target.endpoint()]));
    block_on(async {
        let (send, _connection) = connect(port, &der).await;
        for length in [Some(2_000_000usize), None] {
            let mut send = send.clone().ready().await.unwrap();
            let mut request = Request::post("https://one.example/");
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
            let upload = async {
                let mut left = Bytes::from(vec![b'x'; 2_000_000]);
                while !left.is_empty() {
                    body.reserve_capacity(left.len().min(60_000));
                    let room = poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                    let part = left.split_to(room.min(left.len()));
                    body.send_data(part, left.is_empty()).unwrap();
                }
            };
            let (answer, ()) = tokio::join!(answer, upload);
            let (status, _, body) = read(answer.unwrap()).await;
            assert_eq!(status, 200);
            assert_eq!(body.iter().filter(|b| **b == b'x').count() / 1000, 2000);
        }
    });
}

#[test]
fn a_broken_answer_resets_its_stream_and_no_other() {
    let port = free_port();
    let target = Upstream::start(|mut peer| {
        while let Some(request) = peer.request() {
            if request.head.starts_with("GET /cut") {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let (_proxy, der) = serving("cut", port, group("g", &[target.endpoint()]));
    block_on(async {
        let (send, _connection) = connect(port, &der).await;
        let mut ready = send.clone().ready().await.unwrap();
        let request = Request::get("https://one.example/cut").body(()).unwrap();
        // The reset may overtake what was sent before it.
        let error = match ready.send_request(request, true).unwrap().0.await {
            Err(error) => error,
            Ok(answer) => {
                let mut body = answer.into_body();
                loop {
                    match body.data().await.expect("an error, not an end") {
                        Ok(data) => body.flow_control().release_capacity(data.len()).unwrap(),
                        Err(error) => break error,
                    }
                }
            }
        };
        assert!(error.is_reset(), "{error}");
        assert_eq!(get(&send, "/well").await.2, b"ok");
    });
}

/// A target that speaks HTTP/2 without TLS, and how many connections it has seen.
fn http2_target(delay: Duration) -> (Endpoint, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        tokio::spawn(async move {
                            let (parts, mut body) = request.into_parts();
                            let mut length = 0;
                            while let Some(Ok(data)) = body.data().await {
                                length += data.len();
                                let _ = body.flow_control().release_capacity(data.len());
                            }
                            tokio::time::sleep(delay).await;
                            let text = format!("{} {} {length}", parts.method, parts.uri);
                            let Ok(mut send) = respond.send_response(Response::new(()), false) else { return };
                            let _ = send.send_data(text.into(), true);
                        });
                    }
                });
            }
        });
    });
    (Endpoint::Tcp(address), count)
}

#[test]
fn a_target_group_of_http2_shares_a_connection_and_refuses_http1() {
    let port = free_port();
    let (target, connections) = http2_target(Duration::from_millis(20));
    let mut g = group("g", &[target]);
    g.protocol_version = ProtocolVersion::Http2;
    let (_proxy, der) = serving("h2target", port, g);
    let probes = connections.load(Ordering::SeqCst);
    block_on(async {
        let (send, _connection) = connect(port, &der).await;
        let all = (0..50).map(|n| {
            let send = send.clone();
            tokio::task::spawn_local(async move { get(&send, &format!("/{n}?q")).await })
        });
        for (n, one) in all.collect::<Vec<_>>().into_iter().enumerate() {
            let (status, _, body) = one.await.unwrap();
            let body = String::from_utf8(body).unwrap();
            assert_eq!(
                (status, body.as_str()),
                (StatusCode::OK, format!("GET http://one.example:{port}/{n}?q 0").as_str())
            );
        }
        let mut send = send.ready().await.unwrap();
        let request = Request::post("https://one.example/up").body(()).unwrap();
        let (answer, mut body) = send.send_request(request, false).unwrap();
        body.send_data(Bytes::from(vec![b'x'; 50_000]), true).unwrap();
        let (_, _, body) = read(answer.await.unwrap()).await;
        assert!(String::from_utf8(body).unwrap().ends_with("/up 50000"));
    });
    // One per worker that had a request, beside those of health checks, of which each has its own.
    let used = connections.load(Ordering::SeqCst) - probes;
    assert!(used <= 12, "{used} connections for 51 requests");
    let mut old = common::tls::connect(port, "one.example", &trusting(&der, &["http/1.1"]));
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = common::tls::ask(&mut old, request).unwrap();
    assert!(answer.starts_with("HTTP/1.1 464 "), "{answer}");
}

#[test]
fn on_hold_a_stream_waits_by_itself_and_one_that_is_reset_is_not_served() {
    use common::cut::{Play, Side, report};
    let (a, b) = (Side::start("a", true, 1), Side::start("b", false, 1));
    let (cert, der) = certificate("cert/1", &["one.example"]);
    let port = free_port();
    let mut play = Play::new("held", port, &a.target.endpoint(), &b.target.endpoint());
    secure(&mut play.balancer.listeners[0], vec![cert]);
    play.scope.canary = Some(Canary { target_group_arn: "destination".into(), percent: 100 });
    let proxy = Proxy::start();
    put_key(&proxy.dir);
    proxy.serve.apply_healthy(&play.snapshot());
    proxy.serve.apply(&play.hold());
    block_on(async {
        let (send, _connection) = connect(port, &der).await;
        let post = async |body: &'static [u8], ends| {
            let mut send = send.clone().ready().await.unwrap();
            let request = Request::post("https://one.example/posts").body(()).unwrap();
            let (answer, mut stream) = send.send_request(request, false).unwrap();
            stream.send_data(Bytes::from_static(body), ends).unwrap();
            (answer, stream)
        };
        let (kept, _) = post(b"kept", true).await;
        let (_, mut reset) = post(b"reset", true).await;
        let (answer, mut slow) = post(b"sl", false).await;
        let (status, fields, _) = get(&send, "/posts?x").await;
        assert_eq!((status, &fields["x-side"]), (StatusCode::OK, &HeaderValue::from_static("b")), "a read beside them");
        report(&proxy.serve, play.scope.version, |r| r.parked == 3);
        reset.send_reset(h2::Reason::CANCEL);
        assert_eq!(get(&send, "/posts?x").await.0, 200);
        slow.send_data(Bytes::from_static(b"ow"), true).unwrap();
        proxy.serve.apply(&play.next(|play| play.scope.hold = false));
        for (answer, body) in [(kept, "kept"), (answer, "slow")] {
            let (status, _, text) = read(answer.await.unwrap()).await;
            assert_eq!((status, text), (StatusCode::CREATED, body.as_bytes().to_vec()));
        }
        assert_eq!(get(&send, "/posts?kept").await.1["x-side"], "a", "who has written reads where it wrote");
    });
    let last = report(&proxy.serve, play.scope.version, |r| r.in_flight_writes == 0 && r.left_while_parked == 1);
    assert_eq!((last.writes, last.unknown_outcomes), (3, 0));
    let mut rows = a.rows();
    rows.sort();
    assert_eq!(rows, ["kept", "slow"]);
}

#[test]
fn a_stream_that_a_target_does_not_answer_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
    let (told, resets) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        if request.uri().path() == "/health" {
                            respond.send_response(Response::new(()), true).unwrap();
                            continue;
                        }
                        let told = told.clone();
                        tokio::spawn(async move {
                            // The request's body is never read: its window is used up.
                            let reset = poll_fn(|cx| respond.poll_reset(cx)).await;
                            drop(request);
                            let _ = told.send(reset.is_ok());
                        });
                    }
                });
            }
        });
    });
    let port = free_port();
    let mut g = group("g", &[endpoint]);
    g.protocol_version = ProtocolVersion::Http2;
    let (cert, der) = certificate("cert/1", &["one.example"]);
    let mut lb = balancer("silent", port, vec![], forward("g"));
    lb.attributes.idle_timeout = 1;
    secure(&mut lb.listeners[0], vec![cert]);
    let proxy = Proxy::start();
    put_key(&proxy.dir);
    proxy.serve.apply_healthy(&snapshot(1, vec![lb], vec![g]));
    block_on(async {
        let (send, _connection) = connect(port, &der).await;
        let (status, ..) = get(&send, "/").await;
        assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
        let mut send = send.ready().await.unwrap();
        let request = Request::post("https://one.example/up").body(()).unwrap();
        let (answer, mut body) = send.send_request(request, false).unwrap();
        // More than the target's window and everything in between takes.
        body.send_data(Bytes::from(vec![b'x'; 4_000_000]), true).unwrap();
        let status = answer.await.map(|answer| answer.status());
        assert!(matches!(status, Ok(StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT) | Err(_)), "{status:?}");
    });
    for _ in 0..2 {
        assert!(resets.recv_timeout(PATIENCE).unwrap(), "the target hears of it");
    }
}
