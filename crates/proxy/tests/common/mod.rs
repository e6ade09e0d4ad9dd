//! A real proxy on free loopback ports, with a `serve` and targets that tests play themselves.
#![allow(dead_code)]

pub mod cut;
pub mod frames;
pub mod process;
pub mod recorder;
pub mod tls;

use quarry_domain::link::{Down, TargetReport, TargetState, Up};
use quarry_domain::snapshot::*;
use quarry_proxy::{NameService, ProxyConfig};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than a busy disk takes to sync.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A data directory that goes away with the test: in memory where that is possible, as a disk that others keep busy
/// may take half a minute to sync.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let made = ["/dev/shm".into(), std::env::temp_dir()].into_iter().find_map(|place| {
            let path = place.join(format!("qp-{}-{n}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).is_ok().then_some(path)
        });
        Self(made.expect("a directory can be made"))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The control process as the proxy sees it.
pub struct Serve {
    state: Arc<ServeState>,
}

#[derive(Default)]
struct ServeState {
    inner: Mutex<ServeInner>,
    news: Condvar,
}

#[derive(Default)]
struct ServeInner {
    proxy: Option<UnixStream>,
    received: Vec<Up>,
}

impl Serve {
    pub fn start(dir: &Path) -> Self {
        let path = dir.join("control.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        let state = Arc::new(ServeState::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                shared.inner.lock().unwrap().proxy = Some(stream.try_clone().unwrap());
                shared.news.notify_all();
                let shared = shared.clone();
                std::thread::spawn(move || {
                    for line in BufReader::new(stream).lines() {
                        let Ok(line) = line else { return };
                        let up = serde_json::from_str(&line).expect("a message of the link");
                        shared.inner.lock().unwrap().received.push(up);
                        shared.news.notify_all();
                    }
                });
            }
        });
        Self { state }
    }

    pub fn send(&self, down: &Down) {
        let line = serde_json::to_string(down).unwrap() + "\n";
        let mut inner = self.state.inner.lock().unwrap();
        while inner.proxy.is_none() {
            let (guard, timeout) = self.state.news.wait_timeout(inner, PATIENCE).unwrap();
            assert!(!timeout.timed_out(), "no proxy connected");
            inner = guard;
        }
        inner.proxy.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// Sends a snapshot and waits until it is in force.
    pub fn apply(&self, snapshot: &Snapshot) -> Vec<quarry_domain::link::ListenerStatus> {
        self.send(&Down::Snapshot(Box::new(snapshot.clone())));
        self.wait(|up| match up {
            Up::Applied { version, listeners, .. } if *version == snapshot.version => Some(listeners.clone()),
            _ => None,
        })
    }

    /// Sends a snapshot and waits until all its probed targets are healthy.
    pub fn apply_healthy(&self, snapshot: &Snapshot) {
        self.apply(snapshot);
        self.wait_targets(snapshot.version, |targets| {
            targets.iter().all(|t| !matches!(t.state, TargetState::Initial | TargetState::Unhealthy))
        });
    }

    pub fn wait_targets(&self, at_least: u64, holds: impl Fn(&[TargetReport]) -> bool) -> Vec<TargetReport> {
        self.wait(|up| match up {
            Up::Report { version, targets, .. } if *version >= at_least && holds(targets) => Some(targets.clone()),
            _ => None,
        })
    }

    /// What was told last of the targets of this version or a later one, if it has come.
    pub fn last_targets(&self, at_least: u64) -> Option<Vec<TargetReport>> {
        let inner = self.state.inner.lock().unwrap();
        inner.received.iter().rev().find_map(|up| match up {
            Up::Report { version, targets, .. } if *version >= at_least => Some(targets.clone()),
            _ => None,
        })
    }

    /// The first message, also of those that have come already, for which `find` has an answer.
    pub fn wait<T>(&self, find: impl Fn(&Up) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut inner = self.state.inner.lock().unwrap();
        loop {
            if let Some(found) = inner.received.iter().find_map(&find) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not in time; last heard: {:?}", inner.received.last());
            inner = self.state.news.wait_timeout(inner, left).unwrap().0;
        }
    }

    /// Ends the connection, as a `serve` that dies does.
    pub fn disconnect(&self) {
        let proxy = self.state.inner.lock().unwrap().proxy.take();
        proxy.unwrap().shutdown(Shutdown::Both).unwrap();
    }

    /// Forgets what was received.
    pub fn forget(&self) {
        self.state.inner.lock().unwrap().received.clear();
    }
}

/// A running proxy with its `serve`.
pub struct Proxy {
    pub dir: Dir,
    pub serve: Serve,
    thread: Option<JoinHandle<Result<(), quarry_proxy::Error>>>,
}

impl Proxy {
    pub fn start() -> Self {
        Self::with_names(Arc::new(|_| Arc::new(|_, _, _| None)))
    }

    pub fn with_names(names: NameService) -> Self {
        Self::on(Dir::new(), names)
    }

    /// On files that are there.
    pub fn on(dir: Dir, names: NameService) -> Self {
        let serve = Serve::start(&dir.0);
        let config = ProxyConfig { data_dir: dir.0.clone(), workers: 2, replace: false, names };
        let thread = Some(std::thread::spawn(move || quarry_proxy::run(config)));
        Self { dir, serve, thread }
    }

    /// A proxy that already serves `snapshot`, all its targets healthy.
    pub fn serving(snapshot: &Snapshot) -> Self {
        let proxy = Self::start();
        proxy.serve.apply_healthy(snapshot);
        proxy
    }

    /// Ends the proxy and starts another on its files; `serve` sends it nothing.
    pub fn restart(&mut self) {
        self.serve.send(&Down::Stop);
        self.thread.take().unwrap().join().unwrap().unwrap();
        self.serve.state.inner.lock().unwrap().proxy = None;
        let config = ProxyConfig {
            data_dir: self.dir.0.clone(),
            workers: 2,
            replace: false,
            names: Arc::new(|_| Arc::new(|_, _, _| None)),
        };
        self.thread = Some(std::thread::spawn(move || quarry_proxy::run(config)));
    }

    pub fn stop(self) {
        self.serve.send(&Down::Stop);
        self.ended();
    }

    /// Waits for the end of a proxy that has been told to stop.
    pub fn ended(mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.serve.send(&Down::Stop);
            if !std::thread::panicking() {
                thread.join().unwrap().unwrap();
            }
        }
    }
}

/// A port of 127.0.0.1 that nobody uses at the moment.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let port = 10000 + ((std::process::id() as u16).wrapping_mul(37) % 200) * 50 + n % 50 + n / 50 * 9;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

pub fn health_check() -> HealthCheck {
    HealthCheck {
        enabled: true,
        protocol: ListenerProtocol::Http,
        path: "/health".into(),
        port: None,
        interval: 1,
        timeout: 1,
        healthy_threshold: 2,
        unhealthy_threshold: 2,
        matcher: "200-299".into(),
    }
}

pub fn group(name: &str, endpoints: &[Endpoint]) -> TargetGroup {
    static REGISTRATION: AtomicU64 = AtomicU64::new(1);
    let targets = endpoints.iter().map(|endpoint| Target {
        registration: REGISTRATION.fetch_add(1, Ordering::SeqCst),
        id: "127.0.0.1".into(),
        address: None,
        port: 80,
        endpoint: endpoint.clone(),
        draining: false,
        probe: true,
    });
    TargetGroup {
        arn: name.into(),
        name: name.into(),
        protocol: ListenerProtocol::Http,
        protocol_version: ProtocolVersion::Http1,
        health_check: health_check(),
        attributes: TargetGroupAttributes::default(),
        targets: targets.collect(),
    }
}

pub fn forward(name: &str) -> Action {
    let groups = vec![WeightedGroup { target_group_arn: name.into(), weight: 1 }];
    Action::Forward(Forward { groups, stickiness_seconds: None })
}

pub fn fixed(status: u16, body: &str) -> Action {
    Action::FixedResponse(FixedResponse { status, content_type: None, body: Some(body.into()) })
}

pub fn path_rule(priority: u32, pattern: &str, action: Action) -> Rule {
    let conditions = vec![Condition::PathPattern(vec![pattern.into()])];
    Rule { arn: format!("rule/{priority}"), priority, conditions, action, cut: None }
}

/// A load balancer with one listener at `port`.
pub fn balancer(name: &str, port: u16, rules: Vec<Rule>, default_action: Action) -> LoadBalancer {
    let last = name.bytes().fold(7u8, |n, b| n.wrapping_mul(31).wrapping_add(b)).clamp(2, 250);
    LoadBalancer {
        arn: format!("lb/{name}"),
        name: name.into(),
        dns_name: format!("{name}-1.us-east-1.elb.localhost"),
        address: Ipv4Addr::new(127, 83, 1, last),
        hub_address: None,
        attributes: LoadBalancerAttributes::default(),
        listeners: vec![Listener {
            arn: format!("listener/{name}"),
            port,
            protocol: ListenerProtocol::Http,
            tls: None,
            rules,
            default_action,
            attributes: ListenerAttributes::default(),
        }],
    }
}

pub fn snapshot(version: u64, balancers: Vec<LoadBalancer>, groups: Vec<TargetGroup>) -> Snapshot {
    let target_groups: BTreeMap<_, _> = groups.into_iter().map(|g| (g.arn.clone(), g)).collect();
    Snapshot { version, load_balancers: balancers, target_groups, ..Snapshot::default() }
}

/// One load balancer that forwards everything to one group.
pub fn simple(port: u16, endpoints: &[Endpoint]) -> Snapshot {
    snapshot(1, vec![balancer("lb", port, vec![], forward("g"))], vec![group("g", endpoints)])
}

/// A target that tests play. Health checks are answered apart from what `serve` does with
/// each connection that asks for something else.
pub struct Upstream {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// `serve` gets each connection with the request heads read so far: it reads on by itself.
    pub fn start(serve: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (serve, count) = (Arc::new(serve), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (serve, count) = (serve.clone(), count.clone());
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
                    let mut peer = Peer::new(stream);
                    let Some(head) = peer.peek_head() else { return };
                    if head.contains("ELB-HealthChecker/2.0") {
                        peer.head();
                        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                        return;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    serve(peer);
                });
            }
        });
        Self { address, connections }
    }

    /// Answers every request with `name`, a line break and what the request looked like, body included.
    pub fn echo(name: &'static str) -> Self {
        Self::start(move |mut peer| {
            while let Some(request) = peer.request() {
                let body = format!("{name}\n{}{}", request.head, String::from_utf8_lossy(&request.body));
                if !peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())) {
                    return;
                }
            }
        })
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.address)
    }
}

/// One side of a connection, with what has been read of the other.
pub struct Peer {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(": ")?;
            n.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    pub fn local(port: u16) -> Self {
        Self::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    pub fn send(&mut self, text: &str) -> bool {
        self.send_bytes(text.as_bytes())
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads once more; `false` at the end, or if the connection broke.
    pub fn more(&mut self) -> bool {
        let mut bytes = [0u8; 65536];
        match self.stream.read(&mut bytes) {
            Ok(n) if n > 0 => {
                self.buffer.extend_from_slice(&bytes[..n]);
                true
            }
            _ => false,
        }
    }

    fn head_end(&mut self) -> Option<usize> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                return Some(at + 4);
            }
            if !self.more() {
                return None;
            }
        }
    }

    pub fn peek_head(&mut self) -> Option<String> {
        let end = self.head_end()?;
        Some(String::from_utf8_lossy(&self.buffer[..end]).into_owned())
    }

    pub fn head(&mut self) -> Option<String> {
        let end = self.head_end()?;
        Some(String::from_utf8_lossy(&self.buffer.drain(..end).collect::<Vec<_>>()).into_owned())
    }

    pub fn take(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < n {
            if !self.more() {
                return None;
            }
        }
        Some(self.buffer.drain(..n).collect())
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer.drain(..at + 2).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// Reads a request with its body.
    pub fn request(&mut self) -> Option<Message> {
        let head = self.head()?;
        self.body(head, false)
    }

    /// Reads an answer with its body; panics if there is none.
    pub fn response(&mut self) -> Message {
        self.try_response().expect("a whole answer")
    }

    pub fn try_response(&mut self) -> Option<Message> {
        let head = self.head()?;
        self.body(head, true)
    }

    fn body(&mut self, head: String, response: bool) -> Option<Message> {
        let mut message = Message { head, body: Vec::new() };
        let status = message.status();
        if message.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            loop {
                let size = usize::from_str_radix(self.line()?.split(';').next()?, 16).ok()?;
                message.body.extend(self.take(size)?);
                if !self.line()?.is_empty() {
                    return None;
                }
                if size == 0 {
                    return Some(message);
                }
            }
        }
        let length = message.header("content-length").and_then(|v| v.parse().ok());
        let bodiless = response && (status < 200 || status == 204 || status == 304);
        match length {
            _ if bodiless => {}
            Some(length) => message.body = self.take(length)?,
            None if response => {
                while self.more() {}
                message.body = std::mem::take(&mut self.buffer);
            }
            None => {}
        }
        Some(message)
    }

    /// Sends a GET for `path` and reads the answer.
    pub fn get(&mut self, path: &str) -> Message {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response()
    }

    /// Whether the other side has closed; waits for it.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more()
    }

    /// Says that nothing more comes; the other side may be gone already.
    pub fn finish_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// Asks for `path` on a connection of its own.
pub fn get(port: u16, path: &str) -> Message {
    Peer::local(port).get(path)
}
