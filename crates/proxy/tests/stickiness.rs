//! Cookies that keep a client with its target, and with its target group.

mod common;

use common::*;
use quarry_domain::link::TargetState;
use quarry_domain::snapshot::*;
use std::collections::BTreeSet;

/// Who answered, and the `name=value` of every cookie set.
fn ask(client: &mut Peer, cookies: &str) -> (String, Vec<String>) {
    client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\n\r\n"));
    let answer = client.response();
    let set = answer.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: "));
    let set = set.map(|cookie| cookie.split(';').next().unwrap().to_owned()).collect();
    (answer.text().lines().next().unwrap_or_default().to_owned(), set)
}

fn cookie(cookies: &[String], name: &str) -> String {
    cookies
        .iter()
        .find(|c| c.split('=').next() == Some(name))
        .unwrap_or_else(|| panic!("{name} in {cookies:?}"))
        .clone()
}

#[test]
fn a_duration_cookie_keeps_a_client_with_its_target() {
    let port = free_port();
    let targets = [Upstream::echo("a"), Upstream::echo("b"), Upstream::echo("c")];
    let mut g = group("g", &targets.each_ref().map(Upstream::endpoint));
    g.attributes.stickiness = Some(Stickiness::LoadBalancerCookie { seconds: 60 });
    let mut snapshot = snapshot(1, vec![balancer("sticky", port, vec![], forward("g"))], vec![g]);
    let proxy = Proxy::serving(&snapshot);
    let mut client = Peer::local(port);
    let (first, set) = ask(&mut client, "AWSALB=nonsense");
    let given = cookie(&set, "AWSALB");
    cookie(&set, "AWSALBCORS");
    for _ in 0..6 {
        let (again, set) = ask(&mut client, &format!("theme=dark; {given}"));
        assert_eq!(again, first);
        cookie(&set, "AWSALB");
    }
    let others: BTreeSet<_> = (0..6).map(|_| ask(&mut client, "theme=dark").0).collect();
    assert_eq!(others.len(), 3);
    // Its target is deregistered: another one, and a new cookie.
    let gone = ["a", "b", "c"].iter().position(|n| *n == first).unwrap();
    snapshot.version = 2;
    snapshot.target_groups.get_mut("g").unwrap().targets[gone].draining = true;
    proxy.serve.apply(&snapshot);
    let (second, set) = ask(&mut client, &given);
    assert_ne!(second, first);
    assert_eq!(ask(&mut client, &cookie(&set, "AWSALB")).0, second);
}

#[test]
fn an_application_cookie_begins_a_session() {
    let port = free_port();
    // Signs in whoever asks without a session.
    let application = |name: &'static str| {
        Upstream::start(move |mut peer| {
            while let Some(request) = peer.request() {
                let sign_in = if request.head.contains("SESSION=") { "" } else { "Set-Cookie: SESSION=1; Path=/\r\n" };
                let length = name.len();
                if !peer.send(&format!("HTTP/1.1 200 OK\r\n{sign_in}Content-Length: {length}\r\n\r\n{name}")) {
                    return;
                }
            }
        })
    };
    let targets = [application("a"), application("b"), application("c")];
    let mut g = group("g", &targets.each_ref().map(Upstream::endpoint));
    g.attributes.stickiness = Some(Stickiness::AppCookie { name: "SESSION".into(), seconds: 60 });
    let _proxy = Proxy::serving(&snapshot(1, vec![balancer("app", port, vec![], forward("g"))], vec![g]));
    let mut client = Peer::local(port);
    let (first, set) = ask(&mut client, "");
    let (session, ours) = (cookie(&set, "SESSION"), cookie(&set, "AWSALBAPP-0"));
    for _ in 0..6 {
        let (again, set) = ask(&mut client, &format!("{session}; {ours}"));
        assert_eq!(again, first);
        cookie(&set, "AWSALBAPP-0");
    }
    // With one of the two alone there is no session.
    let (_, set) = ask(&mut client, &session);
    assert_eq!(set, [""; 0]);
    let others: BTreeSet<_> = (0..6).map(|_| ask(&mut client, &ours).0).collect();
    assert_eq!(others.len(), 3);
}

#[test]
fn a_client_stays_with_its_target_group_while_it_has_weight() {
    let port = free_port();
    let (blue, green) = (Upstream::echo("blue"), Upstream::echo("green"));
    let action = |weights: [u32; 2]| {
        let groups = ["blue", "green"].iter().zip(weights);
        let groups = groups.map(|(name, weight)| WeightedGroup { target_group_arn: (*name).into(), weight }).collect();
        Action::Forward(Forward { groups, stickiness_seconds: Some(60) })
    };
    let groups = || vec![group("blue", &[blue.endpoint()]), group("green", &[green.endpoint()])];
    let mut snapshot = snapshot(1, vec![balancer("tg", port, vec![], action([1, 1]))], groups());
    let proxy = Proxy::serving(&snapshot);
    let mut client = Peer::local(port);
    let (first, set) = ask(&mut client, "");
    let given = cookie(&set, "AWSALBTG");
    cookie(&set, "AWSALBTGCORS");
    for _ in 0..6 {
        assert_eq!(ask(&mut client, &given).0, first);
    }
    let others: BTreeSet<_> = (0..4).map(|_| ask(&mut client, "").0).collect();
    assert_eq!(others.len(), 2);
    // Weights change: who has a group stays; a group without weight keeps nobody.
    let other = if first == "blue" { "green" } else { "blue" };
    let weights = |of_first, of_other| if first == "blue" { [of_first, of_other] } else { [of_other, of_first] };
    for (version, of_first, expected) in [(2, 1, first.as_str()), (3, 0, other)] {
        snapshot.version = version;
        snapshot.load_balancers[0].listeners[0].default_action = action(weights(of_first, 999));
        proxy.serve.apply(&snapshot);
        for _ in 0..6 {
            assert_eq!(ask(&mut client, &given).0, expected);
        }
    }
}

#[test]
fn a_new_target_in_slow_start_gets_few_requests_at_first() {
    let port = free_port();
    let (old, new) = (Upstream::echo("old"), Upstream::echo("new"));
    let mut g = group("g", &[old.endpoint()]);
    g.attributes.slow_start = 900;
    let mut snapshot = snapshot(1, vec![balancer("slow", port, vec![], forward("g"))], vec![g]);
    let proxy = Proxy::serving(&snapshot);
    let mut client = Peer::local(port);
    // The first of a group takes everything at once.
    assert!((0..20).all(|_| ask(&mut client, "").0 == "old"));
    snapshot.version = 2;
    let added = group("g", &[new.endpoint()]).targets.remove(0);
    snapshot.target_groups.get_mut("g").unwrap().targets.push(added);
    proxy.serve.apply_healthy(&snapshot);
    let few = (0..400).filter(|_| ask(&mut client, "").0 == "new").count();
    assert!(few < 80, "{few} of 400");
}

#[test]
fn fewer_healthy_targets_than_the_minimum_open_the_group_to_all() {
    let port = free_port();
    let (well, ill) = (Upstream::echo("well"), Upstream::echo("ill"));
    let mut g = group("g", &[well.endpoint(), ill.endpoint()]);
    // Nobody answers the health check of the second: its port for checks is closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    g.targets[1].endpoint = Endpoint::Tcp(closed);
    let mut snapshot = snapshot(1, vec![balancer("min", port, vec![], forward("g"))], vec![g]);
    let proxy = Proxy::start();
    proxy.serve.apply(&snapshot);
    let settled = |states: &[TargetState]| {
        let mut states: Vec<_> = states.iter().map(|s| format!("{s:?}")).collect();
        states.sort();
        states == ["Healthy", "Unhealthy"]
    };
    proxy.serve.wait_targets(1, |targets| settled(&targets.iter().map(|t| t.state).collect::<Vec<_>>()));
    let mut client = Peer::local(port);
    assert!((0..8).all(|_| ask(&mut client, "").0 == "well"));
    // At least two are wanted: now the unhealthy one is tried as well, and whoever meets it goes on to the other.
    snapshot.version = 2;
    snapshot.target_groups.get_mut("g").unwrap().attributes.minimum_healthy_targets.count = 2;
    proxy.serve.apply(&snapshot);
    assert!((0..8).all(|_| ask(&mut client, "").0 == "well"));
    proxy.serve.wait(|up| match up {
        quarry_domain::link::Up::Report { counters, .. } => {
            counters.target_groups.get("g").filter(|c| c.connection_errors > 0).map(|_| ())
        }
        _ => None,
    });
}
