//! The link with fake proxies on its real socket: snapshots, versions, reports, draining.

use super::builder::build;
use super::publish::{Publisher, current_version};
use super::server::{Link, start};
use crate::ecs::records::HostPort;
use crate::elbv2::records::{Target, TargetGroup};
use crate::elbv2::targets;
use crate::elbv2::tests as elb;
use crate::testing::World;
use quarry_aws::elbv2::{self as aws, op};
use quarry_domain::link::{Counters, Down, ListenerStatus, TargetReport, TargetState, Up};
use quarry_domain::snapshot::{Action, Condition, Endpoint, RelayListen, Snapshot};
use quarry_domain::task::TaskEntry;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

/// Instance `i-0a` has a task behind port 32768, and nothing else anywhere.
fn host_port() -> HostPort {
    HostPort {
        ec2_instance_id: "i-0a".into(),
        port: 32_768,
        task: "t".repeat(32),
        container_port: 3000,
        entry: Some(TaskEntry::Host(vec![(3000, 40_000)])),
    }
}

fn link(world: &World) -> Link {
    start(world.platform.clone(), world.operations.clone()).unwrap()
}

fn stop(world: &World, link: Link) {
    world.platform.store.stop();
    world.platform.seen.stop();
    link.join();
    assert!(!world.dir().join("control.sock").exists());
}

/// A proxy that says what a test makes it say.
struct FakeProxy {
    name: String,
    reader: BufReader<UnixStream>,
}

impl FakeProxy {
    fn connect(world: &World, name: &str, version: u64) -> Self {
        let stream = UnixStream::connect(world.dir().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut proxy = Self { name: name.into(), reader: BufReader::new(stream) };
        proxy.say(&Up::Hello { proxy: name.into(), pid: 1, version });
        proxy
    }

    fn say(&mut self, message: &Up) {
        let line = serde_json::to_string(message).unwrap() + "\n";
        self.reader.get_mut().write_all(line.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Down {
        let mut line = String::new();
        assert!(self.reader.read_line(&mut line).unwrap() > 0, "the link hung up");
        serde_json::from_str(&line).unwrap()
    }

    fn snapshot(&mut self) -> Snapshot {
        match self.hear() {
            Down::Snapshot(snapshot) => *snapshot,
            Down::Stop => panic!("told to stop"),
        }
    }

    /// Hears snapshots until one is as wanted, and acknowledges it.
    fn apply_until(&mut self, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        loop {
            let snapshot = self.snapshot();
            if wanted(&snapshot) {
                self.say(&Up::Applied { proxy: self.name.clone(), version: snapshot.version, listeners: vec![] });
                return snapshot;
            }
        }
    }

    fn report(&mut self, version: u64, targets: Vec<TargetReport>) {
        self.say(&Up::Report {
            proxy: self.name.clone(),
            version,
            targets,
            counters: Counters::default(),
            cuts: BTreeMap::new(),
        });
    }
}

fn report(group: &str, registration: u64, state: TargetState, in_flight: u32) -> TargetReport {
    TargetReport { target_group_arn: group.into(), registration, state, reason: None, description: None, in_flight }
}

/// Waits, by looking again and again, until it holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A load balancer `demo` with a listener to group `api` with one registered target: the group's
/// ARN and the registration.
fn demo(world: &World) -> (String, u64) {
    let balancer = elb::balancer(world, "demo");
    let api = elb::group(world, "api");
    let http = elb::listener(world, &balancer, &api);
    world.call::<op::CreateRule>(elb::rule_input(&http, 9, "/api/users*", &api)).unwrap();
    world.call::<op::CreateRule>(elb::rule_input(&http, 3, "/api*", &api)).unwrap();
    world.transact(|ctx| Ok(ctx.tx.put(&host_port())?)).unwrap();
    world.transact(|ctx| targets::register(ctx, &api, &[("i-0a".into(), 32_768)])).unwrap();
    let registration = world.transact(|ctx| targets::active(ctx.tx, &api)).unwrap()[0].registration;
    (api, registration)
}

fn state(world: &World, group: &str) -> Option<(TargetState, u32)> {
    world.transact(|ctx| Ok(targets::state(ctx.platform, ctx.tx, group, "i-0a", 32_768)?)).unwrap()
}

fn deregister(world: &World, group: &str) {
    world.transact(|ctx| targets::deregister(ctx, group, &[("i-0a".into(), 32_768)])).unwrap();
}

fn drains(snapshot: &Snapshot) -> bool {
    snapshot.target_groups.values().flat_map(|group| &group.targets).any(|target| target.draining)
}

#[test]
fn a_snapshot_is_what_is_stored() {
    let world = elb::world();
    let (api, registration) = demo(&world);
    let idle = elb::group(&world, "idle");
    world.transact(|ctx| targets::register(ctx, &idle, &[("i-0b".into(), 80)])).unwrap();
    let legacy = world
        .call::<op::CreateTargetGroup>(aws::CreateTargetGroupInput {
            target_type: Some("ip".into()),
            ..elb::group_input("legacy")
        })
        .unwrap();
    let legacy = legacy.target_groups.unwrap().remove(0).target_group_arn.unwrap();
    world.transact(|ctx| targets::register(ctx, &legacy, &[("127.0.0.1".into(), 3000)])).unwrap();

    let make = || world.platform.store.read(|tx| build(tx, &world.platform.config)).unwrap();
    let snapshot = make();
    assert_eq!(snapshot, make(), "the same records give the same snapshot");
    assert_eq!(snapshot.version, 0);
    let balancer = &snapshot.load_balancers[0];
    assert_eq!(balancer.name, "demo");
    assert_eq!(snapshot.names[0].name, balancer.dns_name);
    assert_eq!(Some(snapshot.names[0].addresses[0]), balancer.hub_address);
    let listener = &balancer.listeners[0];
    assert_eq!(listener.port, 80);
    assert_eq!(listener.rules.iter().map(|rule| rule.priority).collect::<Vec<_>>(), [3, 9]);
    assert_eq!(listener.rules[1].conditions, [Condition::PathPattern(vec!["/api/users*".into()])]);
    let Action::Forward(forward) = &listener.default_action else { panic!("{:?}", listener.default_action) };
    assert_eq!((forward.groups[0].target_group_arn.as_str(), forward.groups[0].weight), (api.as_str(), 1));

    let group = &snapshot.target_groups[&api];
    assert_eq!((group.health_check.interval, group.health_check.healthy_threshold), (6, 2));
    let target = &group.targets[0];
    assert_eq!((target.registration, target.probe, target.draining), (registration, true, false));
    assert!(matches!(&target.endpoint, Endpoint::Task { container_port: 3000, .. }));
    let idle = &snapshot.target_groups[&idle].targets[0];
    assert!(!idle.probe, "nothing uses it");
    assert!(matches!(&idle.endpoint, Endpoint::Nowhere { reason } if reason.contains("i-0b")));
    assert_eq!(snapshot.target_groups[&legacy].targets[0].endpoint, Endpoint::Tcp("127.0.0.1:3000".parse().unwrap()));

    let relay = &snapshot.relays[0];
    assert_eq!(relay.listen, RelayListen::Hub("198.19.0.1:4566".parse().unwrap()));
    assert_eq!(relay.to, Endpoint::Tcp("127.0.0.1:4566".parse().unwrap()));
    let elsewhere = crate::platform::PlatformConfig { port: 5000, ..world.platform.config.clone() };
    let moved = world.platform.store.read(|tx| build(tx, &elsewhere)).unwrap();
    assert_eq!(moved.relays[0].listen, relay.listen, "tasks keep the endpoint that is in their environment");
    assert_eq!(moved.relays[0].to, Endpoint::Tcp("127.0.0.1:5000".parse().unwrap()));
    assert_eq!(snapshot.hub, world.platform.config.hub);
}

#[test]
fn the_version_rises_with_the_content_alone_and_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let register = |operations: &mut crate::api::Operations| {
        crate::elbv2::register(operations);
        elb::fake_ec2(operations);
    };
    let last = {
        let world = World::open(dir.path(), register);
        let link = link(&world);
        let mut proxy = FakeProxy::connect(&world, "p", 0);
        let first = proxy.snapshot();
        assert!(first.version > 0 && first.load_balancers.is_empty());
        elb::balancer(&world, "demo");
        let second = proxy.snapshot();
        assert!(second.version > first.version && second.load_balancers.len() == 1);
        // Tags change the store and not the content.
        world
            .call::<op::AddTags>(aws::AddTagsInput {
                resource_arns: Some(vec![second.load_balancers[0].arn.clone()]),
                tags: Some(vec![aws::Tag { key: Some("a".into()), value: None }]),
            })
            .unwrap();
        elb::group(&world, "api");
        let third = proxy.apply_until(|s| s.target_groups.len() == 1);
        assert_eq!(third.version, second.version + 1);
        stop(&world, link);
        third
    };
    let world = World::open(dir.path(), register);
    let link = link(&world);
    let mut proxy = FakeProxy::connect(&world, "p", last.version);
    assert_eq!(proxy.snapshot(), last, "after a restart the same content has the same version");
    elb::group(&world, "users");
    assert_eq!(proxy.snapshot().version, last.version + 1);
    // A proxy that is ahead of a store that was put back gets a version above its own.
    let mut ahead = FakeProxy::connect(&world, "q", last.version + 100);
    let newer = ahead.apply_until(|s| s.version > last.version + 100);
    assert_eq!(newer.target_groups.len(), 2);
    stop(&world, link);
}

#[test]
fn a_proxys_own_version_raises_the_next_one_only_from_above() {
    let world = elb::world();
    let numbered = |publisher: &mut Publisher| publisher.publish(&world.platform, 5).unwrap();
    let mut first = Publisher::open(&world.platform).unwrap();
    let version = numbered(&mut first).unwrap();
    assert_eq!(numbered(&mut first), None);
    // After a restart, a proxy that has this very version may come before anything is published.
    let mut second = Publisher::open(&world.platform).unwrap();
    second.rise_above(&world.platform, version).unwrap();
    assert_eq!(numbered(&mut second), Some(version));
    second.rise_above(&world.platform, version + 5).unwrap();
    assert_eq!(numbered(&mut second), Some(version + 6));
    assert_eq!(world.platform.store.read(current_version).unwrap(), version + 6);
}

#[test]
fn reports_of_two_proxies_and_a_reconnect() {
    let world = elb::world();
    let (api, registration) = demo(&world);
    let link = link(&world);
    assert_eq!(state(&world, &api), Some((TargetState::Initial, 0)));
    let mut one = FakeProxy::connect(&world, "one", 0);
    let snapshot = one.apply_until(|s| !s.load_balancers.is_empty());
    assert!(super::wait_applied(&world.platform, snapshot.version, SOON));
    let seen = |n: u32, wanted: TargetState| {
        eventually("the state", || state(&world, &api) == Some((wanted, n)));
    };
    one.report(snapshot.version, vec![report(&api, registration, TargetState::Healthy, 2)]);
    seen(2, TargetState::Healthy);
    let mut two = FakeProxy::connect(&world, "two", 0);
    two.snapshot();
    eventually("the second proxy", || !super::is_applied(&world.platform, snapshot.version));
    two.say(&Up::Applied { proxy: "two".into(), version: snapshot.version, listeners: vec![] });
    assert!(super::wait_applied(&world.platform, snapshot.version, SOON));
    // A proxy that has not found out yet changes nothing; in flight is the sum.
    two.report(snapshot.version, vec![report(&api, registration, TargetState::Initial, 1)]);
    seen(3, TargetState::Healthy);
    two.report(snapshot.version, vec![report(&api, registration, TargetState::Unhealthy, 1)]);
    seen(3, TargetState::Unhealthy);
    drop(two);
    eventually("the end", || link.proxies() == 1);
    one.report(snapshot.version, vec![report(&api, registration, TargetState::Healthy, 0)]);
    seen(0, TargetState::Healthy);
    drop(one);
    eventually("the end", || link.proxies() == 0);
    assert!(!super::is_applied(&world.platform, snapshot.version), "nobody has it in force");
    assert_eq!(state(&world, &api), Some((TargetState::Healthy, 0)), "unknown is not absent");
    let mut again = FakeProxy::connect(&world, "one", snapshot.version);
    assert_eq!(again.snapshot(), snapshot);
    // What cannot be bound shows at the API.
    let listener = snapshot.load_balancers[0].listeners[0].arn.clone();
    again.say(&Up::Applied {
        proxy: "one".into(),
        version: snapshot.version,
        listeners: vec![ListenerStatus {
            listener_arn: listener,
            bound: vec![],
            error: Some("port 80 is taken".into()),
        }],
    });
    eventually("the reason", || {
        let shown = world.call::<op::DescribeLoadBalancers>(Default::default()).unwrap();
        let shown = shown.load_balancers.unwrap().remove(0).state.unwrap();
        shown.code.as_deref() == Some("active_impaired") && shown.reason.as_deref() == Some("port 80 is taken")
    });
    link.stop_proxies();
    assert_eq!(again.hear(), Down::Stop);
    stop(&world, link);
}

#[test]
fn a_draining_target_goes_when_every_proxy_is_done_with_it() {
    let world = elb::world();
    let (api, registration) = demo(&world);
    let link = link(&world);
    let mut proxies = ["one", "two"].map(|name| FakeProxy::connect(&world, name, 0));
    for proxy in &mut proxies {
        let snapshot = proxy.apply_until(|s| !s.load_balancers.is_empty());
        proxy.report(snapshot.version, vec![report(&api, registration, TargetState::Healthy, 1)]);
    }
    eventually("health", || state(&world, &api) == Some((TargetState::Healthy, 2)));
    deregister(&world, &api);
    let [one, two] = &mut proxies;
    let version = one.apply_until(drains).version;
    one.report(version, vec![report(&api, registration, TargetState::Draining, 0)]);
    // An old report that says nothing is in flight does not count: it may not know yet.
    two.report(version - 1, vec![report(&api, registration, TargetState::Healthy, 0)]);
    eventually("both reports", || state(&world, &api) == Some((TargetState::Draining, 0)));
    two.apply_until(drains);
    two.report(version, vec![report(&api, registration, TargetState::Draining, 1)]);
    eventually("both reports", || state(&world, &api) == Some((TargetState::Draining, 1)));
    two.report(version, vec![report(&api, registration, TargetState::Draining, 0)]);
    eventually("the end of draining", || state(&world, &api).is_none());
    let gone = one.apply_until(|s| !drains(s));
    assert!(gone.target_groups[&api].targets.is_empty());
    stop(&world, link);
}

#[test]
fn the_delay_ends_draining_by_the_held_clock_with_and_without_a_proxy() {
    for connected in [false, true] {
        let world = elb::world();
        let (api, registration) = demo(&world);
        let link = link(&world);
        let mut proxy = connected.then(|| FakeProxy::connect(&world, "one", 0));
        if let Some(proxy) = &mut proxy {
            let version = proxy.apply_until(|s| !s.load_balancers.is_empty()).version;
            proxy.report(version, vec![report(&api, registration, TargetState::Healthy, 1)]);
            eventually("health", || state(&world, &api) == Some((TargetState::Healthy, 1)));
        }
        deregister(&world, &api);
        let mut drainer = super::drain::Drainer::default();
        assert_eq!(drainer.once(link.shared()).unwrap(), Some(Duration::from_secs(300)));
        world.door.advance(Duration::from_secs(299));
        assert_eq!(drainer.once(link.shared()).unwrap(), Some(Duration::from_secs(1)));
        assert_eq!(state(&world, &api).unwrap().0, TargetState::Draining);
        world.door.advance(Duration::from_secs(1));
        assert_eq!(drainer.once(link.shared()).unwrap(), None);
        assert_eq!(state(&world, &api), None);
        stop(&world, link);
    }
}

#[test]
fn a_peer_that_talks_nonsense_is_dropped_and_harms_nobody() {
    let world = elb::world();
    let link = link(&world);
    for words in ["hello\n", "{\"Applied\":{\"proxy\":\"x\",\"version\":1,\"listeners\":[]}}\n", "\n"] {
        let mut stream = UnixStream::connect(world.dir().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(words.as_bytes()).unwrap();
        // It hears at most the snapshot, then the end.
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 0 {}
    }
    let mut proxy = FakeProxy::connect(&world, "one", 0);
    assert!(proxy.snapshot().version > 0);
    assert_eq!(world.platform.live().applied.keys().filter(|name| *name == "x").count(), 0);
    stop(&world, link);
}

#[test]
fn records_of_targets_have_keys_of_their_own() {
    let world = elb::world();
    let (api, _) = demo(&world);
    deregister(&world, &api);
    world.transact(|ctx| targets::register(ctx, &api, &[("i-0a".into(), 32_768)])).unwrap();
    let stored: Vec<Target> = world.transact(|ctx| Ok(ctx.tx.children(&api)?)).unwrap();
    assert_eq!(stored.iter().map(|target| target.draining).collect::<Vec<_>>(), [true, false]);
    let group: Option<TargetGroup> = world.transact(|ctx| Ok(ctx.tx.get(&api)?)).unwrap();
    assert_eq!(group.unwrap().port, 80);
}

#[test]
fn it_starts_with_ecss_endpoints_and_says_why_it_cannot() {
    let world = elb::world();
    let running = super::start(world.platform.clone(), world.operations.clone()).unwrap();
    assert!(FakeProxy::connect(&world, "one", 0).snapshot().version > 0);
    world.platform.store.stop();
    world.platform.seen.stop();
    running.join().unwrap();
    // A directory where the socket should be.
    let world = elb::world();
    std::fs::create_dir_all(world.dir().join("control.sock/x")).unwrap();
    let error = super::start(world.platform.clone(), world.operations.clone()).unwrap_err();
    assert!(error.to_string().contains("control.sock"), "{error}");
}

#[test]
fn what_rules_took_is_told_by_their_arns_and_outlives_proxies() {
    let world = elb::world();
    demo(&world);
    let link = link(&world);
    let mut first = FakeProxy::connect(&world, "p1", 0);
    let snapshot = first.apply_until(|snapshot| !snapshot.load_balancers.is_empty());
    let listener = &snapshot.load_balancers[0].listeners[0];
    let told = |proxy: &mut FakeProxy, counts: &[(&str, u64)]| {
        let rules = counts.iter().map(|(arn, count)| ((*arn).to_owned(), *count)).collect();
        proxy.say(&Up::Hits { proxy: proxy.name.clone(), rules });
    };
    let shown = || -> BTreeMap<String, crate::status::RuleView> {
        serde_json::from_slice(crate::status::rules(&world.platform).body()).unwrap()
    };
    let input = aws::DescribeRulesInput { listener_arn: Some(listener.arn.clone()), ..Default::default() };
    let rules = world.call::<op::DescribeRules>(input).unwrap().rules.unwrap();
    let default = rules.iter().find(|rule| rule.is_default == Some(true)).unwrap().rule_arn.clone().unwrap();
    let rule = listener.rules[0].arn.as_str();
    told(&mut first, &[]);
    told(&mut first, &[(rule, 4), (&listener.arn, 2), ("gone", 1)]);
    eventually("the counts", || shown().len() == 2);
    assert_eq!((shown()[rule].requests, shown()[rule].last_minute), (4, 4));
    assert_eq!(shown()[&default].requests, 2);
    drop(first);
    let mut second = FakeProxy::connect(&world, "p2", snapshot.version);
    told(&mut second, &[(rule, 1)]);
    eventually("the sum", || shown()[rule].requests == 5);
    assert_eq!(shown()[rule].last_minute, 4, "what a proxy tells first is not of now");
    stop(&world, link);
}
