//! What an Application Load Balancer does, as far as no other file of these tests shows it.

mod common;

use common::*;
use quarry_domain::link::Up;
use quarry_domain::snapshot::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A target that takes requests and says what it is told to.
fn saying(text: &'static str) -> Upstream {
    Upstream::start(move |mut peer| {
        while peer.request().is_some() {
            peer.send(text);
        }
    })
}

/// A load balancer whose group is not probed.
fn unprobed(port: u16, endpoint: Endpoint) -> Snapshot {
    let mut g = group("g", &[endpoint]);
    g.health_check.enabled = false;
    snapshot(1, vec![balancer("lb", port, vec![], forward("g"))], vec![g])
}

#[test]
fn rules_go_by_ascending_priority_and_the_default_is_last() {
    let port = free_port();
    // Given in any order.
    let rules = vec![
        path_rule(50_000, "/*", fixed(200, "last")),
        path_rule(1, "/a", fixed(200, "first")),
        path_rule(2, "/a*", fixed(200, "second")),
    ];
    let _proxy = Proxy::serving(&snapshot(1, vec![balancer("lb", port, rules, fixed(404, "default"))], vec![]));
    for (path, text) in [("/a", "first"), ("/ab", "second"), ("/b", "last")] {
        assert_eq!(get(port, path).text(), text);
    }
    let mut client = Peer::local(port);
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "default");
}

#[test]
fn a_target_that_cannot_be_reached_within_ten_seconds_is_a_504() {
    // Its queue is full: what knocks further gets no answer.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 100);
    }
    let port = free_port();
    let _proxy = Proxy::serving(&unprobed(port, Endpoint::Tcp(address)));
    let mut client = Peer::local(port);
    client.stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
    let started = Instant::now();
    assert_eq!(client.get("/").status(), 504);
    assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
}

#[test]
fn a_body_shorter_than_its_length_has_no_clean_end() {
    let (port, target) = (free_port(), saying("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"));
    let mut snapshot = unprobed(port, target.endpoint());
    snapshot.load_balancers[0].attributes.idle_timeout = 1;
    let _proxy = Proxy::serving(&snapshot);
    let mut client = Peer::local(port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_response().is_none());
}

#[test]
fn what_is_in_flight_when_the_deregistration_delay_runs_out_is_a_502() {
    let port = free_port();
    let target = Upstream::start(|mut peer| {
        let Some(request) = peer.request() else { return };
        if request.head.starts_with("GET /half") {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        }
        peer.more();
    });
    let healthy = group("g", &[target.endpoint()]);
    let lb = || vec![balancer("lb", port, vec![], forward("g"))];
    let proxy = Proxy::serving(&snapshot(1, lb(), vec![healthy.clone()]));
    let (mut waits, mut half) = (Peer::local(port), Peer::local(port));
    waits.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    half.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(half.head().unwrap().starts_with("HTTP/1.1 200"));
    while target.connections.load(Ordering::SeqCst) < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut draining = healthy.clone();
    draining.targets[0].draining = true;
    proxy.serve.apply(&snapshot(2, lb(), vec![draining]));
    proxy.serve.wait_targets(2, |targets| targets.iter().all(|t| t.in_flight == 2));
    assert_eq!(get(port, "/").status(), 503, "nothing new goes there");
    let mut gone = healthy;
    gone.targets.clear();
    proxy.serve.apply(&snapshot(3, lb(), vec![gone]));
    assert_eq!(waits.response().status(), 502);
    while half.more() {}
    assert_eq!(half.buffer, b"half", "cut off");
}

#[test]
fn a_connection_ends_after_its_keep_alive_time() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let mut snapshot = unprobed(port, target.endpoint());
    snapshot.load_balancers[0].attributes.client_keep_alive = 1;
    let _proxy = Proxy::serving(&snapshot);
    let mut client = Peer::local(port);
    assert_eq!(client.get("/").header("connection"), Some("keep-alive"));
    std::thread::sleep(Duration::from_millis(1100));
    // It gets its answer first.
    let last = client.get("/");
    assert_eq!((last.status(), last.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn a_redirect_to_more_than_eight_kilobytes_is_not_made() {
    let port = free_port();
    let redirect = Action::Redirect(Redirect {
        protocol: "#{protocol}".into(),
        host: "#{host}".into(),
        port: "#{port}".into(),
        path: "/to/#{path}".into(),
        query: "#{query}".into(),
        status: 301,
    });
    let lb = balancer("lb", port, vec![], redirect);
    let proxy = Proxy::serving(&snapshot(1, vec![lb], vec![]));
    assert_eq!(get(port, "/short").status(), 301);
    assert_eq!(get(port, &format!("/{}", "a".repeat(9000))).status(), 500);
    proxy.serve.wait(|up| match up {
        Up::Report { counters, .. } => {
            let lb = counters.load_balancers.get("lb/lb")?;
            (lb.redirects == 1 && lb.redirect_url_limit_exceeded == 1 && lb.elb_500 == 1 && lb.elb_5xx == 1)
                .then_some(())
        }
        _ => None,
    });
}

#[test]
fn what_cloudwatch_counts_is_counted() {
    let port = free_port();
    let echo = Upstream::echo("t");
    // It speaks no TLS.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain_address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let rules = vec![
        path_rule(1, "/fixed", fixed(200, "")),
        path_rule(2, "/sticky", forward("sticky")),
        path_rule(3, "/tls", forward("tls")),
        path_rule(4, "/open", forward("open")),
    ];
    let mut lb = balancer("lb", port, rules, forward("g"));
    lb.attributes.drop_invalid_header_fields = true;
    let mut sticky = group("sticky", &[echo.endpoint()]);
    sticky.attributes.stickiness = Some(Stickiness::LoadBalancerCookie { seconds: 60 });
    let mut tls = group("tls", &[Endpoint::Tcp(plain_address)]);
    tls.protocol = ListenerProtocol::Https;
    tls.health_check.enabled = false;
    let mut open = group("open", &[echo.endpoint()]);
    open.health_check.matcher = "404".into();
    let groups = vec![group("g", &[echo.endpoint()]), sticky, tls, open];
    let mut proxy = Proxy::start();
    proxy.serve.apply(&snapshot(1, vec![lb], groups));
    use quarry_domain::link::TargetState::{Healthy, Unavailable, Unhealthy};
    proxy.serve.wait_targets(1, |targets| {
        targets.iter().all(|t| match t.target_group_arn.as_str() {
            "open" => t.state == Unhealthy,
            "tls" => t.state == Unavailable,
            _ => t.state == Healthy,
        })
    });
    let mut client = Peer::local(port);
    // One rule looked at, two, three, four, and all four before the default.
    assert_eq!(client.get("/fixed").status(), 200);
    let cookies = client.get("/sticky");
    let cookie = cookies.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    client.send(&format!("GET /sticky HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"));
    assert_eq!(client.response().status(), 200);
    assert_eq!(client.get("/tls").status(), 502);
    assert_eq!(client.get("/open").status(), 200);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX_Odd: 1\r\n\r\n");
    let answer = client.response();
    assert!(answer.status() == 200 && !answer.text().contains("X_Odd"));
    proxy.serve.wait(|up| match up {
        Up::Report { counters, .. } => {
            let lb = counters.load_balancers.get("lb/lb")?;
            let of = |arn: &str| &counters.target_groups[arn];
            (lb.request_count == 6
                && lb.rule_evaluations == 1 + 2 + 2 + 3 + 4 + 4
                && (lb.fixed_responses, lb.dropped_invalid_headers) == (1, 1)
                && (of("sticky").request_count, of("sticky").non_sticky) == (2, 1)
                && (of("tls").tls_errors, of("tls").connection_errors) == (1, 1)
                && (of("open").unhealthy_routing, of("g").unhealthy_routing) == (1, 0))
                .then_some(())
        }
        _ => None,
    });
    // Each rule's own, the default one's by its listener; totals, told when they change, and whole on a new connection.
    let took = [("rule/1", 1), ("rule/2", 2), ("rule/3", 1), ("rule/4", 1), ("listener/lb", 1)];
    for (rule, requests) in took {
        proxy.serve.wait(|up| match up {
            Up::Hits { rules, .. } => (rules.get(rule) == Some(&requests)).then_some(()),
            _ => None,
        });
    }
    let again = Serve::start(&proxy.dir.0);
    proxy.serve.disconnect();
    proxy.serve = again;
    let told = proxy.serve.wait(|up| match up {
        Up::Hits { rules, .. } => Some(rules.clone()),
        _ => None,
    });
    assert_eq!(told, took.map(|(rule, requests)| (rule.to_owned(), requests)).into());
}
