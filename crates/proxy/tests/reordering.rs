//! Rules that change places under load: each request is answered by a whole order, the one before or the one after.

mod common;

use common::*;
use quarry_domain::snapshot::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Rules of one path each, in an order that is turned by `turn`, and two that overlap and change places.
fn rules(turn: u32) -> Vec<Rule> {
    const PATHS: u32 = 20;
    let mut rules: Vec<Rule> = (0..PATHS)
        .map(|n| path_rule(3 + (n + turn) % PATHS, &format!("/own/{n}"), fixed(200, &format!("own {n}"))))
        .collect();
    let (wide, narrow) = if turn.is_multiple_of(2) { (1, 2) } else { (2, 1) };
    rules.push(path_rule(wide, "/both/*", fixed(200, "wide")));
    rules.push(path_rule(narrow, "/both/narrow", fixed(200, "narrow")));
    rules.sort_by_key(|rule| rule.priority);
    rules
}

#[test]
fn no_request_is_misrouted_while_rules_change_places() {
    let port = free_port();
    let at = |version: u64| {
        let lb = balancer("turning", port, rules(version as u32), fixed(404, "default"));
        snapshot(version, vec![lb], vec![])
    };
    let proxy = Proxy::start();
    proxy.serve.apply(&at(1));
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4u32)
        .map(|client| {
            let (stop, asked) = (stop.clone(), asked.clone());
            std::thread::spawn(move || {
                let mut peer = Peer::local(port);
                let mut both = [0, 0];
                for n in client.. {
                    if stop.load(Ordering::Relaxed) {
                        return both;
                    }
                    let own = n % 20;
                    assert_eq!(peer.get(&format!("/own/{own}")).text(), format!("own {own}"));
                    match peer.get("/both/narrow").text().as_str() {
                        "wide" => both[0] += 1,
                        "narrow" => both[1] += 1,
                        other => panic!("{other}"),
                    }
                    assert_eq!(peer.get("/both/other").text(), "wide");
                    asked.fetch_add(3, Ordering::Relaxed);
                }
                both
            })
        })
        .collect();
    let (ends, mut version) = (Instant::now() + Duration::from_secs(2), 1);
    while Instant::now() < ends {
        version += 1;
        proxy.serve.apply(&at(version));
        proxy.serve.forget();
    }
    stop.store(true, Ordering::Relaxed);
    let both = clients.into_iter().map(|client| client.join().unwrap()).fold([0, 0], |a, b| [a[0] + b[0], a[1] + b[1]]);
    let asked = asked.load(Ordering::Relaxed);
    assert!(version > 20 && asked > 100, "{version} orders, {asked} requests");
    // Both orders were in force.
    assert!(both[0] > 0 && both[1] > 0, "{both:?}");
    // After an acknowledgement only the new order holds.
    for _ in 0..20 {
        version += 1;
        proxy.serve.apply(&at(version));
        let expected = if version.is_multiple_of(2) { "wide" } else { "narrow" };
        assert_eq!(get(port, "/both/narrow").text(), expected);
    }
}
