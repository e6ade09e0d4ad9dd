//! Full load while snapshots are replaced every 100 ms and target processes are killed: nothing goes astray, nothing
//! fails but what was with a target when it was killed, and memory stays flat. Some seconds by default;
//! `SOAK_SECONDS=600` soaks, `QUARRY=<program>` has that program's proxy in it; `bench/soak` does both.
//!
//! No group is ever without a target that lives, is healthy and takes requests: a target is killed, or deregistered and
//! registered anew, only when all the others of its group are fit. A request that finds nobody is not the proxy's fault.

mod common;

use common::*;
use quarry_domain::link::{Down, TargetReport, TargetState};
use quarry_domain::snapshot::*;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::{Duration, Instant};

const GROUPS: usize = 2;
const TARGETS: usize = 3;
const CLIENTS: usize = 12;
const CHANGE: Duration = Duration::from_millis(100);
/// Versions from one deregistration to the next.
const TURN: u64 = 20;
/// A request may notice a kill so long before or after this test's clock says.
const SLACK: Duration = Duration::from_millis(100);
const BODY: usize = 600;

/// Not tests of their own: the processes that are killed, and the proxy.
#[test]
fn target_process() {
    let Some(told) = std::env::var_os("QUARRY_SOAK_TARGET") else { return };
    let told = told.into_string().unwrap();
    let (name, port) = told.split_once(' ').unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
    for stream in listener.incoming() {
        let (name, stream) = (name.to_owned(), stream.unwrap());
        spawn(move || {
            stream.set_nodelay(true).unwrap();
            let mut peer = Peer::new(stream);
            while let Some(request) = peer.request() {
                let path = request.head.split(' ').nth(1).unwrap_or_default();
                let body = format!("{name} {path} {} {}", request.body.len(), "x".repeat(BODY));
                if !peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())) {
                    return;
                }
            }
        });
    }
}

#[test]
fn proxy_process() {
    let Some(dir) = std::env::var_os("QUARRY_SOAK_PROXY") else { return };
    let names: quarry_proxy::NameService = Arc::new(|_| Arc::new(|_, _, _| None));
    let config = quarry_proxy::ProxyConfig { data_dir: dir.into(), workers: 2, replace: false, names };
    quarry_proxy::run(config).unwrap();
}

/// A process that does not outlive the test.
struct Process(Child);

impl Process {
    fn start(test: &str, variable: &str, value: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test]).env(variable, value).stdout(Stdio::null()).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the clients and the one who changes things know of each other.
#[derive(Default)]
struct World {
    stop: AtomicBool,
    /// The newest version that was sent, and the newest that is in force.
    sent: AtomicU64,
    applied: AtomicU64,
    /// Group, when the signal was sent, and when the process and its sockets were gone.
    kills: Mutex<Vec<(usize, Instant, Instant)>>,
    answered: AtomicU64,
    failed: Mutex<Vec<Failed>>,
    /// What was done to targets, to be told with a failure.
    deeds: Mutex<Vec<(Instant, String)>>,
}

struct Failed {
    groups: Vec<usize>,
    begun: Instant,
    ended: Instant,
    how: String,
}

/// The group to which `/swap/` goes.
fn swapped(version: u64) -> usize {
    (version % GROUPS as u64) as usize
}

/// `phase` says which targets are deregistered and registered anew: each multiple of [`TURN`] takes one from a group.
fn make(version: u64, phase: u64, port: u16, groups: &[TargetGroup]) -> Snapshot {
    let mut rules = vec![
        path_rule(1, "/g0/*", forward("g0")),
        path_rule(2, "/g1/*", forward("g1")),
        path_rule(3, "/swap/*", forward(&format!("g{}", swapped(version)))),
    ];
    // Rules that nobody asks for come and go around them.
    for n in 0..(version % 50) as u32 {
        rules.push(path_rule(10 + n, &format!("/other/{version}/{n}*"), fixed(200, "other")));
    }
    let mut balancers = vec![balancer("soak", port, rules, fixed(404, "no rule"))];
    if version.is_multiple_of(7) {
        balancers.push(balancer("beside", port + 9_000, vec![], forward("g0")));
    }
    let mut groups = groups.to_vec();
    // One target after another is deregistered for some versions and then registered anew.
    let (group, target) = ((phase / TURN) as usize % GROUPS, (phase / (2 * TURN)) as usize % TARGETS);
    groups[group].targets[target].draining = phase % TURN < 5;
    for group in &mut groups {
        for (n, target) in group.targets.iter_mut().enumerate() {
            target.registration += 100 * ((phase + 2 * TURN * (TARGETS - n) as u64) / (2 * TURN * TARGETS as u64));
        }
    }
    snapshot(version, balancers, groups)
}

/// Every target is healthy, or on its way out.
fn all_fit(targets: &[TargetReport]) -> bool {
    targets.len() == GROUPS * TARGETS
        && targets.iter().all(|t| matches!(t.state, TargetState::Healthy | TargetState::Draining))
}

fn client(n: usize, port: u16, world: &World) {
    let mut peer: Option<Peer> = None;
    let mut turn = n;
    while !world.stop.load(Ordering::SeqCst) {
        turn += 1;
        let path = ["/g0/a", "/g1/b", "/swap/c"][turn % 3];
        let (before, begun) = (world.applied.load(Ordering::SeqCst), Instant::now());
        let mut asked = peer.take().unwrap_or_else(|| Peer::local(port));
        let close = if n.is_multiple_of(4) { "Connection: close\r\n" } else { "" };
        let sent = match n % 3 {
            0 => asked.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{close}\r\n")),
            1 => asked.send(&format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{close}\r\nhello")),
            _ => asked.send(&format!(
                "PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{close}\r\n5\r\nhello\r\n0\r\n\r\n"
            )),
        };
        let answer = if sent { asked.try_response() } else { None };
        let (after, ended) = (world.sent.load(Ordering::SeqCst), Instant::now());
        let groups: Vec<usize> = match turn % 3 {
            2 if after - before >= GROUPS as u64 => (0..GROUPS).collect(),
            2 => (before..=after).map(swapped).collect(),
            own => vec![own],
        };
        match answer {
            Some(answer) if answer.status() == 200 => {
                let text = answer.text();
                let length = if n.is_multiple_of(3) { 0 } else { 5 };
                let right = |g: &usize| text.starts_with(&format!("g{g}/")) && text.ends_with(&"x".repeat(BODY));
                assert!(groups.iter().any(right), "misrouted: {path} by {before} to {after}: {text}");
                assert!(text.contains(&format!(" {path} {length} x")), "{text}");
                world.answered.fetch_add(1, Ordering::SeqCst);
                let closes = answer.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
                peer = (!closes).then_some(asked);
            }
            other => {
                let how = other.map_or("cut off".into(), |answer| answer.head.lines().next().unwrap().to_owned());
                world.failed.lock().unwrap().push(Failed { groups, begun, ended, how: format!("{path}: {how}") });
            }
        }
    }
}

#[test]
fn nothing_goes_astray_while_everything_changes() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let (port, dir) = (free_port(), Dir::new());
    let serve = Serve::start(&dir.0);
    let ports: Vec<Vec<u16>> = (0..GROUPS).map(|_| (0..TARGETS).map(|_| free_port()).collect()).collect();
    let start = |g: usize, t: usize| {
        Process::start("target_process", "QUARRY_SOAK_TARGET", &format!("g{g}/{t} {}", ports[g][t]))
    };
    let mut targets: Vec<Vec<Process>> = (0..GROUPS).map(|g| (0..TARGETS).map(|t| start(g, t)).collect()).collect();
    let endpoint = |port: &u16| Endpoint::Tcp(([127, 0, 0, 1], *port).into());
    let groups: Vec<TargetGroup> =
        (0..GROUPS).map(|g| group(&format!("g{g}"), &ports[g].iter().map(endpoint).collect::<Vec<_>>())).collect();
    let proxy = match std::env::var_os("QUARRY") {
        None => Process::start("proxy_process", "QUARRY_SOAK_PROXY", dir.0.to_str().unwrap()),
        Some(program) => {
            let mut command = Command::new(program);
            command.args(["proxy", "--workers", "2", "--data-dir"]).arg(&dir.0).stdin(Stdio::null());
            Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        }
    };
    let (mut version, mut phase) = (6, 6);
    serve.apply_healthy(&make(version, phase, port, &groups));
    let world = Arc::new(World { sent: version.into(), applied: version.into(), ..World::default() });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let world = world.clone();
            spawn(move || client(n, port, &world))
        })
        .collect();

    let (begun, mut dice) = (Instant::now(), 88_172_645_463_325_252u64);
    let mut random = |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % below as u64) as usize
    };
    let did = |deed: String| world.deeds.lock().unwrap().push((Instant::now(), deed));
    let (mut down, mut next_kill): (Option<(usize, usize, Instant)>, _) = (None, begun + Duration::from_millis(500));
    // From which version on a report tells of the targets as they are now.
    let (mut fit, mut current) = (true, version);
    // A process that was started and does not listen yet.
    let mut rising: Option<u16> = None;
    let mut resident = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) && clients.iter().all(|c| !c.is_finished()) {
        version += 1;
        // The next target goes only when nobody is missed.
        if (phase + 1) % TURN != 0 || fit {
            phase += 1;
            if phase % TURN <= 5 {
                (fit, current) = (false, version);
                did(format!("phase {phase} with version {version}"));
            }
        }
        world.sent.store(version, Ordering::SeqCst);
        serve.apply(&make(version, phase, port, &groups));
        world.applied.store(version, Ordering::SeqCst);
        rising = rising.filter(|port| TcpStream::connect(("127.0.0.1", *port)).is_err());
        if let Some(targets) = serve.last_targets(current) {
            fit = down.is_none() && rising.is_none() && all_fit(&targets);
        }
        serve.forget();
        let now = Instant::now();
        match down {
            Some((g, t, until)) if now >= until => {
                did(format!("starts g{g}/{t}"));
                targets[g][t] = start(g, t);
                (down, rising, current) = (None, Some(ports[g][t]), version + 1);
                next_kill = now + Duration::from_millis(500 + random(1000) as u64);
            }
            None if fit && now >= next_kill => {
                let (g, t) = (random(GROUPS), random(TARGETS));
                let sent = Instant::now();
                targets[g][t].0.kill().unwrap();
                targets[g][t].0.wait().unwrap();
                world.kills.lock().unwrap().push((g, sent, Instant::now()));
                did(format!("killed g{g}/{t}"));
                down = Some((g, t, Instant::now() + Duration::from_millis(200 + random(800) as u64)));
                fit = false;
            }
            Some(_) | None => {}
        }
        if version.is_multiple_of(10) {
            resident.push(proxy.resident_kib());
        }
        std::thread::sleep(CHANGE);
    }
    world.stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|c| c.join().expect("no answer is wrong"));
    let (answered, kills) = (world.answered.load(Ordering::SeqCst), world.kills.lock().unwrap());
    let failed = world.failed.lock().unwrap();
    println!(
        "{} s: {answered} requests, 0 misrouted, {} failed with their target at {} kills, {} snapshots, resident MiB {:?}",
        begun.elapsed().as_secs(),
        failed.len(),
        kills.len(),
        version - 6,
        resident.iter().step_by((resident.len() / 12).max(1)).map(|kib| kib / 1024).collect::<Vec<_>>()
    );
    for one in failed.iter() {
        let excused = kills
            .iter()
            .any(|(g, sent, gone)| one.groups.contains(g) && one.begun <= *gone + SLACK && *sent <= one.ended + SLACK);
        let deeds = world.deeds.lock().unwrap();
        let before = deeds.iter().filter(|(at, _)| *at < one.ended && one.begun < *at + Duration::from_secs(5));
        let before: Vec<_> =
            before.map(|(at, deed)| format!("{deed} {} ms before its end", (one.ended - *at).as_millis())).collect();
        let took = (one.ended - one.begun).as_millis();
        assert!(excused, "{} after {took} ms, and no target was killed then: {before:?}", one.how);
    }
    assert!(answered > 100 && !kills.is_empty());
    // What is there at the half is what is there at the end.
    let half = resident[resident.len() / 2..][..1][0];
    let last = *resident.last().unwrap();
    assert!(last < half + half / 5 + 8 * 1024, "memory grows: {resident:?} KiB");
    serve.send(&Down::Stop);
}
