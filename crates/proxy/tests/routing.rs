//! Rules, actions and rewriting, through a real proxy.

mod common;

use common::*;
use quarry_domain::link::{TargetReason, TargetState, Up};
use quarry_domain::snapshot::*;
use std::net::SocketAddr;

#[test]
fn paths_choose_groups_and_the_rest_is_the_default() {
    let (port, users, threads, rest) =
        (free_port(), Upstream::echo("users"), Upstream::echo("threads"), Upstream::echo("rest"));
    let rules = vec![
        path_rule(20, "/api/*", forward("threads")),
        path_rule(10, "/api/users*", forward("users")),
        path_rule(30, "/fixed", fixed(418, "short and stout")),
    ];
    let groups = vec![
        group("users", &[users.endpoint()]),
        group("threads", &[threads.endpoint()]),
        group("rest", &[rest.endpoint()]),
    ];
    let lb = balancer("paths", port, rules, forward("rest"));
    let own = SocketAddr::from((lb.address, port));
    let proxy = Proxy::start();
    let statuses = {
        let snapshot = snapshot(1, vec![lb], groups);
        let statuses = proxy.serve.apply(&snapshot);
        proxy.serve.apply_healthy(&snapshot);
        statuses
    };
    assert_eq!(statuses[0].bound, [own, SocketAddr::from(([127, 0, 0, 1], port))]);
    assert_eq!(statuses[0].error, None);
    for mut client in [Peer::local(port), Peer::connect(own)] {
        for (path, name) in [
            ("/api/users", "users"),
            ("/api/users/1?x=/api/threads", "users"),
            ("/api/threads", "threads"),
            ("/API/users", "rest"),
            ("/", "rest"),
        ] {
            assert_eq!(client.get(path).text().lines().next(), Some(name), "{path}");
        }
        let answer = client.get("/fixed");
        assert_eq!((answer.status(), answer.text().as_str()), (418, "short and stout"));
        assert_eq!(answer.header("server"), Some("awselb/2.0"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    proxy.stop();
}

#[test]
fn targets_learn_who_asked() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let _proxy = Proxy::serving(&simple(port, &[target.endpoint()]));
    let mut client = Peer::local(port);
    client.send("GET /a HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 10.1.1.1\r\nX-Amzn-Trace-Id: Root=1-2-3;a=b\r\nConnection: keep-alive\r\n\r\n");
    let seen = Message { head: client.response().text(), body: vec![] };
    assert_eq!(seen.header("x-forwarded-for"), Some("10.1.1.1, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-port"), Some(port.to_string().as_str()));
    assert_eq!(seen.header("host"), Some(format!("test:{port}").as_str()));
    assert_eq!(seen.header("connection"), None);
    let trace = seen.header("x-amzn-trace-id").unwrap();
    assert!(trace.starts_with("Self=1-") && trace.ends_with(";Root=1-2-3;a=b"), "{trace}");
    let fresh = Message { head: client.get("/").text(), body: vec![] };
    let trace = fresh.header("x-amzn-trace-id").unwrap();
    assert!(trace.starts_with("Root=1-") && trace.len() == "Root=1-".len() + 8 + 1 + 24, "{trace}");
}

#[test]
fn redirects_keep_what_they_are_told_to() {
    let port = free_port();
    let redirect = Redirect {
        protocol: "HTTPS".into(),
        host: "#{host}".into(),
        port: "443".into(),
        path: "/#{path}".into(),
        query: "#{query}".into(),
        status: 301,
    };
    let _proxy = Proxy::serving(&snapshot(1, vec![balancer("r", port, vec![], Action::Redirect(redirect))], vec![]));
    let answer = get(port, "/a/b?c=d");
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.header("location"), Some("https://test:443/a/b?c=d"));
}

#[test]
fn load_balancers_share_a_port_by_host() {
    let port = free_port();
    let one = balancer("one", port, vec![], fixed(200, "one"));
    let two = balancer("two", port, vec![], fixed(200, "two"));
    let (own, dns) = (SocketAddr::from((two.address, port)), two.dns_name.clone());
    let proxy = Proxy::serving(&snapshot(1, vec![one.clone(), two], vec![]));
    let ask = |host: &str| {
        let mut client = Peer::local(port);
        client.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.response()
    };
    assert_eq!(ask(&dns.to_uppercase()).text(), "two");
    assert_eq!(ask(&format!("{}:{port}", one.dns_name)).text(), "one");
    let refused = ask("localhost");
    assert_eq!(refused.status(), 400);
    assert!(refused.text().contains("Host header"), "{}", refused.text());
    assert_eq!(Peer::connect(own).get("/").text(), "two");
    // With one of them left, any Host reaches it.
    proxy.serve.apply(&snapshot(2, vec![one], vec![]));
    assert_eq!(ask("localhost").text(), "one");
}

#[test]
fn a_taken_port_is_moved_and_reported() {
    // Away from the ports of the other tests, since the next free one is taken instead.
    let port = free_port() + 12_000;
    let _holder = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let proxy = Proxy::start();
    let statuses = proxy.serve.apply(&snapshot(1, vec![balancer("moved", port, vec![], fixed(200, "here"))], vec![]));
    let [status] = &statuses[..] else { panic!("{statuses:?}") };
    let taken = status.bound[1].port();
    assert!(taken != port && status.bound[0].port() == taken, "{status:?}");
    assert!(status.error.as_ref().unwrap().contains(&format!("port {taken} serves this listener instead")));
    assert_eq!(get(taken, "/").text(), "here");
}

#[test]
fn targets_take_turns_and_weights_hold() {
    let port = free_port();
    let targets = [Upstream::echo("a"), Upstream::echo("b"), Upstream::echo("c")];
    let all: Vec<_> = targets.iter().map(Upstream::endpoint).collect();
    let weighted = Action::Forward(Forward {
        groups: vec![
            WeightedGroup { target_group_arn: "heavy".into(), weight: 9 },
            WeightedGroup { target_group_arn: "light".into(), weight: 1 },
        ],
        stickiness_seconds: None,
    });
    let rules = vec![path_rule(1, "/weighted", weighted)];
    let groups = vec![group("g", &all), group("heavy", &all[..1]), group("light", &all[1..2])];
    let _proxy = Proxy::serving(&snapshot(1, vec![balancer("turns", port, rules, forward("g"))], groups));
    let count = |path: &str, requests: usize| {
        let mut counts = std::collections::BTreeMap::new();
        // Several connections, so that both workers take part.
        let mut clients: Vec<_> = (0..6).map(|_| Peer::local(port)).collect();
        for n in 0..requests {
            let name = clients[n % 6].get(path).text().lines().next().unwrap().to_owned();
            *counts.entry(name).or_insert(0) += 1;
        }
        counts.into_values().collect::<Vec<usize>>()
    };
    assert_eq!(count("/", 30), [10, 10, 10]);
    assert_eq!(count("/weighted", 100), [90, 10]);
}

#[test]
fn groups_without_a_usable_target_answer_503_and_unhealthy_ones_fail_open() {
    let port = free_port();
    let sick = Upstream::echo("sick");
    let nowhere = Endpoint::Nowhere { reason: "no task holds this port".into() };
    let mut checked = group("sick", &[sick.endpoint()]);
    checked.health_check.matcher = "404".into();
    let rules = vec![path_rule(1, "/empty", forward("empty")), path_rule(2, "/sick", forward("sick"))];
    let lb = balancer("health", port, rules, forward("nowhere"));
    let proxy = Proxy::start();
    proxy.serve.apply(&snapshot(1, vec![lb], vec![group("empty", &[]), checked, group("nowhere", &[nowhere])]));
    let answer = get(port, "/empty");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("<title>503 Service Temporarily Unavailable</title>"), "{}", answer.text());
    // Still initial: nothing is known of it.
    assert_eq!(get(port, "/sick").status(), 503);
    let reports = proxy.serve.wait_targets(1, |t| t.iter().all(|t| t.state == TargetState::Unhealthy));
    let of = |arn: &str| reports.iter().find(|r| r.target_group_arn == arn).unwrap();
    assert_eq!(of("sick").reason, Some(TargetReason::ResponseCodeMismatch));
    assert_eq!(of("sick").description.as_deref(), Some("Health checks failed with these codes: [200]"));
    assert_eq!(of("nowhere").description.as_deref(), Some("Health checks failed: no task holds this port"));
    assert_eq!(get(port, "/sick").text().lines().next(), Some("sick"));
    assert_eq!(get(port, "/nowhere").status(), 502);
    proxy.serve.wait(|up| match up {
        Up::Report { counters, .. } => {
            let lb = counters.load_balancers.get("lb/health")?;
            (lb.request_count == 4
                && lb.elb_503 == 2
                && lb.elb_502 == 1
                && lb.elb_5xx == 3
                && counters.target_groups["sick"].target_2xx == 1
                && counters.target_groups["sick"].response_times.iter().map(|(_, n)| n).sum::<u64>() == 1)
                .then_some(())
        }
        _ => None,
    });
}

#[test]
fn a_target_that_refuses_is_passed_over() {
    let port = free_port();
    let good = Upstream::echo("good");
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Declared able without a probe, as a target that has only just died still is.
    let mut g = group("g", &[Endpoint::Tcp(dead), good.endpoint()]);
    g.health_check.enabled = false;
    let _proxy = Proxy::serving(&snapshot(1, vec![balancer("skip", port, vec![], forward("g"))], vec![g]));
    let mut client = Peer::local(port);
    for _ in 0..10 {
        assert_eq!(client.get("/").text().lines().next(), Some("good"));
    }
    let mut alone = group("g", &[Endpoint::Tcp(dead)]);
    alone.health_check.enabled = false;
    _proxy.serve.apply(&snapshot(2, vec![balancer("skip", port, vec![], forward("g"))], vec![alone]));
    assert_eq!(client.get("/").status(), 502);
}
