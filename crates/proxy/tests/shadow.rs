//! Copies of reads for the other side of a cut, and what is told of its answers.

mod common;

use common::cut::*;
use common::*;
use quarry_domain::link::{ShadowReport, Up};
use quarry_domain::snapshot::Shadow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A side that answers GETs with what `body` makes of the path, as JSON; the heads it saw.
fn side(body: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> (Upstream, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let seen = heads.clone();
    let target = Upstream::start(move |mut peer| {
        while let Some(request) = peer.request() {
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            seen.lock().unwrap().push(request.head);
            let (status, body) = body(&path);
            let length = body.len();
            let fields = format!("Content-Type: application/json\r\nContent-Length: {length}");
            peer.send(&format!("HTTP/1.1 {status} Said\r\n{fields}\r\nDate: {status}\r\n\r\n{body}"));
        }
    });
    (target, heads)
}

fn shadowing(name: &str, source: &Upstream, destination: &Upstream, ignore: &[&str]) -> (Proxy, Play, u16) {
    let port = free_port();
    let mut play = Play::new(name, port, &source.endpoint(), &destination.endpoint());
    play.scope.shadow = Some(Shadow {
        target_group_arn: "destination".into(),
        share_percent: 100,
        baseline_percent: 10,
        ignore: ignore.iter().map(|r| r.to_string()).collect(),
    });
    (Proxy::serving(&play.snapshot()), play, port)
}

fn shadow(proxy: &Proxy, holds: impl Fn(&ShadowReport) -> bool) -> ShadowReport {
    proxy.serve.wait(|up| match up {
        Up::Report { cuts, .. } => cuts.get("cut-1").map(|r| &r.shadow).filter(|s| holds(s)).cloned(),
        _ => None,
    })
}

#[test]
fn what_differs_is_found_and_noise_is_not() {
    let served = AtomicU64::new(0);
    let at = move || served.fetch_add(1, Ordering::SeqCst);
    let post = |path: &str, at: u64, views: u64| {
        let title = path.trim_start_matches("/posts/");
        (200, format!(r#"{{"posts":[{{"title":"{title}","views":{views}}}],"at":{at}}}"#))
    };
    let (source, _) = side(move |path| post(path, at(), 1));
    let late = Arc::new(AtomicU64::new(0));
    let (destination, heads) = side(move |path| match path {
        "/posts/gone" => (404, "{}".into()),
        "/posts/wrong" => post("/posts/other", 0, 2),
        // Not yet there when it is first asked for.
        "/posts/late" if late.fetch_add(1, Ordering::SeqCst) == 0 => (404, "{}".into()),
        _ => post(path, 0, 2),
    });
    let (proxy, _, port) = shadowing("differs", &source, &destination, &["/posts/*/views"]);
    let mut peer = Peer::local(port);
    for path in ["/posts/a", "/posts/gone", "/posts/wrong", "/posts/late", "/posts/b", "/posts/c"] {
        assert_eq!(peer.get(path).status(), 200, "{path}");
    }
    // Not copied: other rules, conditions, ranges, writes.
    assert_eq!(peer.get("/users").status(), 200);
    for field in ["If-None-Match: x", "Range: bytes=0-1"] {
        peer.send(&format!("GET /posts/x HTTP/1.1\r\nHost: t\r\n{field}\r\n\r\n"));
        assert_eq!(peer.response().status(), 200);
    }
    peer.send(&common::cut::post("/posts", "", "write"));
    assert_eq!(peer.response().status(), 200);
    let seen = shadow(&proxy, |s| s.compared == 6);
    assert_eq!((seen.copied, seen.different, seen.noisy + seen.equal), (6, 2, 4), "{seen:?}");
    assert_eq!((seen.dropped, seen.failed), (0, 0));
    let told: Vec<_> = seen.examples.iter().map(|e| (e.path.as_str(), e.difference.as_str())).collect();
    assert!(told.contains(&("/posts/gone", "status 200 and 404")), "{told:?}");
    assert!(told.contains(&("/posts/wrong", "/posts/0/title: \"wrong\" and \"other\"")), "{told:?}");
    let example = &seen.examples[0];
    assert_eq!((example.method.as_str(), example.source.status), ("GET", 200));
    assert!(example.source.body.contains("\"views\":1"), "{}", example.source.body);
    let heads = heads.lock().unwrap();
    assert!(heads.iter().all(|h| h.starts_with("GET /posts/") && h.contains("X-Cut-Shadow: 1\r\n")), "{heads:?}");
}

#[test]
fn a_side_that_never_answers_costs_clients_nothing() {
    let (source, _) = side(|path| (200, format!("[\"{path}\"]")));
    let silent = Upstream::start(|mut peer| while peer.more() {});
    let (proxy, _, port) = shadowing("silent", &source, &silent, &[]);
    let mut peer = Peer::local(port);
    let mut times: Vec<Duration> = (0..400)
        .map(|n| {
            let began = Instant::now();
            assert_eq!(peer.get(&format!("/posts/{n}")).status(), 200);
            began.elapsed()
        })
        .collect();
    times.sort();
    println!("p50 {:?}, p99 {:?}", times[200], times[396]);
    let seen = shadow(&proxy, |s| s.dropped >= 300);
    assert_eq!((seen.compared, seen.different), (0, 0), "{seen:?}");
    assert!(seen.copied <= 8, "{seen:?}");
    // What waits is given up with the proxy.
    proxy.stop();
}

#[test]
fn a_side_that_has_ended_is_let_go() {
    let (source, _) = side(|path| (200, format!("[\"{path}\"]")));
    let (let_go, lets_go) = std::sync::mpsc::channel();
    let ending = Upstream::start(move |mut peer| {
        if peer.request().is_some_and(|request| request.head.contains("X-Cut-Shadow")) {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]");
            peer.finish_writing();
            let _ = let_go.send(peer.is_closed());
        }
    });
    let (proxy, _, port) = shadowing("ending", &source, &ending, &[]);
    assert_eq!(get(port, "/posts/1").status(), 200);
    shadow(&proxy, |s| s.copied == 1);
    assert_eq!(lets_go.recv_timeout(Duration::from_secs(60)), Ok(true), "its connection is kept");
}

#[test]
fn answers_of_every_framing_are_compared_and_long_ones_are_not() {
    let answers = |long: usize| {
        Upstream::start(move |mut peer| {
            while let Some(request) = peer.request() {
                let end = match request.head.split(' ').nth(1).unwrap() {
                    "/posts/chunked" => "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".into(),
                    "/posts/closed" => "Connection: close\r\n\r\nabcde".into(),
                    "/posts/empty" => "Content-Length: 0\r\n\r\n".into(),
                    _ => format!("Content-Length: {long}\r\n\r\n{}", "x".repeat(long)),
                };
                let closed = request.head.contains("closed");
                if !peer.send(&format!("HTTP/1.1 200 OK\r\n{end}")) || closed {
                    return;
                }
            }
        })
    };
    let (source, destination) = (answers(2_000_000), answers(1_999_999));
    let (proxy, _, port) = shadowing("framing", &source, &destination, &[]);
    for path in ["/posts/chunked", "/posts/closed", "/posts/empty", "/posts/long", "/posts/chunked"] {
        assert_eq!(get(port, path).status(), 200);
    }
    let seen = shadow(&proxy, |s| s.compared + s.failed == 5);
    assert_eq!((seen.equal, seen.failed, seen.different), (4, 1, 0), "{seen:?}");
}

/// Times of reads of a rule without a cut, with one, and with copies of every tenth read.
#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn what_a_cut_costs_reads() {
    let answer = |path: &str| (200, format!(r#"{{"path":"{path}","text":"{}"}}"#, "x".repeat(1000)));
    let ((source, _), (destination, _)) = (side(answer), side(answer));
    let (proxy, mut play, port) = shadowing("cost", &source, &destination, &[]);
    let shadow = Shadow { share_percent: 10, ..play.scope.shadow.take().unwrap() };
    for round in 0..3 {
        let mut plain = play.next(|play| play.scope.shadow = None);
        plain.load_balancers[0].listeners[0].rules[0].cut = None;
        let with = play.next(|_| {});
        let copied = play.next(|play| play.scope.shadow = Some(shadow.clone()));
        for (name, snapshot) in [("no cut", plain), ("a cut", with), ("a shadow of 10 %", copied)] {
            proxy.serve.apply(&snapshot);
            let mut peer = Peer::local(port);
            let mut times: Vec<Duration> = (0..3000)
                .map(|_| {
                    let began = Instant::now();
                    assert_eq!(peer.get("/posts/1").status(), 200);
                    began.elapsed()
                })
                .collect();
            times.sort();
            println!("round {round}, {name}: p50 {:?}, p99 {:?}", times[1500], times[2970]);
        }
    }
}
