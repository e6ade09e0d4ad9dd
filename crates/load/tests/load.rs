//! Load against a server that fails in known ways: every number must be exact.

use quarry_load::{ConfigError, FailureKind, Load, LoadConfig, Pace, PathSpec};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Answers by path, and counts what it was asked.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
    connections: Arc<Mutex<u64>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::<Mutex<BTreeMap<String, u64>>>::default(), Arc::<Mutex<u64>>::default());
        let (see, connect) = (seen.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connect.lock().unwrap() += 1;
                let see = see.clone();
                tokio::spawn(async move {
                    let _ = serve(stream, &see).await;
                });
            }
        });
        Self { address, seen, connections }
    }

    fn seen(&self, path: &str) -> u64 {
        self.seen.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    fn config(&self, rate: f64, paths: Vec<PathSpec>) -> LoadConfig {
        let mut config = LoadConfig::new(self.address, "demo.elb.localhost", Pace::Rate(rate));
        config.paths = paths;
        config.connections = 4;
        config
    }
}

async fn serve(stream: TcpStream, seen: &Mutex<BTreeMap<String, u64>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        assert!(head.contains("host: demo.elb.localhost\r\n"), "{head}");
        let path = head.split(' ').nth(1).unwrap().to_owned();
        *seen.lock().unwrap().entry(path.clone()).or_default() += 1;
        let answer = match path.as_str() {
            "/ok" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "/chunked" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "/error" => "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "/gone" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "/close" => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
            "/silent-close" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
            "/garbage" => "what is this\r\n\r\n",
            "/drop" => return Ok(()),
            "/hang" => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return Ok(());
            }
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
            }
            other => panic!("{other}"),
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
        if matches!(path.as_str(), "/close" | "/silent-close" | "/cut" | "/garbage") {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_counted_once_with_its_kind() {
    let server = Server::start().await;
    let paths = vec![
        PathSpec::new("good", "/ok").body("hello").weight(3),
        PathSpec::new("good", "/chunked").body("hello"),
        PathSpec::new("close", "/close"),
        PathSpec::new("error", "/error"),
        PathSpec::new("gone", "/gone").status(404),
        PathSpec::new("cut", "/cut"),
        PathSpec::new("drop", "/drop"),
        PathSpec::new("garbage", "/garbage"),
        PathSpec::new("other", "/ok").body("another"),
    ];
    let load = Load::start(server.config(400.0, paths)).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let report = load.stop().await;

    let ok = |label: &str| (report.labels[label].ok, report.labels[label].failed);
    let failed = |label: &str, kind: &str| {
        let counts = &report.labels[label];
        assert_eq!((counts.ok, counts.kinds.len()), (0, 1), "{label} {counts:?}");
        assert_eq!(counts.requests, counts.kinds[kind], "{label} {counts:?}");
        counts.failed
    };
    let other = report.labels["other"].requests;
    assert_eq!(ok("good"), (server.seen("/ok") + server.seen("/chunked") - other, 0));
    assert_eq!(ok("close"), (server.seen("/close"), 0));
    assert_eq!(ok("gone"), (server.seen("/gone"), 0));
    assert_eq!(failed("error", "status 503"), server.seen("/error"));
    assert_eq!(failed("cut", "reset"), server.seen("/cut"));
    assert_eq!(failed("drop", "reset"), server.seen("/drop"));
    assert_eq!(failed("garbage", "malformed"), server.seen("/garbage"));
    assert_eq!(failed("other", "body"), other);

    let seen: u64 = server.seen.lock().unwrap().values().sum();
    assert_eq!((report.total.requests, report.cut_off), (seen, 0));
    assert_eq!(report.total.ok + report.total.failed, seen);
    // The pace was kept: 400 each second for 0.6 s, a little late on a loaded machine.
    assert!((200..=300).contains(&seen), "{seen}");
    assert_eq!(report.failures.len() as u64, report.total.failed);
    assert!(report.failures.iter().all(|f| f.sent_ms <= f.at_ms && f.at_ms <= report.duration_ms));
    assert_eq!(report.failed_outside(&["error", "cut", "drop", "garbage"]), other);
    assert!(report.labels["good"].latency.max_us > 0);
    // Connections are kept: only the answers that end them cost new ones.
    let ended = server.seen("/close") + server.seen("/cut") + server.seen("/drop") + server.seen("/garbage");
    // The load ends a connection after any failed request, too.
    let failed = server.seen("/error") + other;
    assert!(*server.connections.lock().unwrap() <= 4 + ended + failed);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["labels"]["error"]["kinds"]["status 503"], server.seen("/error"));
    assert_eq!(json["failures"][0]["kind"]["kind"].as_str().map(str::is_empty), Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_between_requests_loses_none() {
    let server = Server::start().await;
    let mut config = server.config(40.0, vec![PathSpec::new("a", "/silent-close")]);
    config.connections = 1;
    let load = Load::start(config).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let report = load.stop().await;
    assert_eq!((report.total.ok, report.total.failed), (server.seen("/silent-close"), 0), "{:?}", report.failures);
    assert!(report.total.ok >= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_are_failures_and_what_stop_cuts_off_is_not() {
    let server = Server::start().await;
    let mut config = server.config(100.0, vec![PathSpec::new("hang", "/hang")]);
    config.connections = 3;
    config.timeout = Duration::from_millis(150);
    let load = Load::start(config).unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let report = load.stop().await;
    assert_eq!((report.total.requests, report.cut_off), (server.seen("/hang"), 0));
    assert_eq!(report.total.kinds["timeout"], server.seen("/hang"));
    assert!(report.failures.iter().all(|f| f.kind == FailureKind::Timeout && f.at_ms - f.sent_ms >= 150));

    let server = Server::start().await;
    let mut config = server.config(100.0, vec![PathSpec::new("hang", "/hang")]);
    config.grace = Duration::from_millis(50);
    let load = Load::start(config).unwrap();
    while server.seen("/hang") < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = load.stop().await;
    assert_eq!((report.total.requests, report.cut_off), (0, 4));
    assert_eq!(report.failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_and_phases() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut config = LoadConfig::new(address, "x", Pace::Rate(100.0));
    config.paths = vec![PathSpec::new("a", "/")];
    let load = Load::start(config).unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    load.phase("second");
    let so_far = load.snapshot();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let report = load.stop().await;
    assert!(so_far.total.requests > 0 && so_far.total.requests < report.total.requests);
    assert_eq!(report.total.kinds.keys().collect::<Vec<_>>(), ["connect"]);
    let names: Vec<&str> = report.phases.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["start", "second"]);
    let (first, second) = (&report.phases[0], &report.phases[1]);
    assert_eq!(first.total.failed + second.total.failed, report.total.failed);
    assert!(first.total.failed > 0 && second.total.failed > 0);
    assert_eq!(first.until_ms, second.from_ms);
    assert_eq!(second.until_ms, report.duration_ms);
    for failure in &report.failures {
        let right = match failure.phase.as_str() {
            "start" => failure.sent_ms <= second.from_ms,
            _ => failure.sent_ms >= second.from_ms,
        };
        assert!(right, "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_connection_counts_as_latency() {
    let server = Server::start().await;
    // Twice as much as one connection can carry: the queue grows, and the latencies say so.
    let mut config = server.config(20.0, vec![PathSpec::new("slow", "/slow")]);
    config.connections = 1;
    let load = Load::start(config).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    let report = load.stop().await;
    assert_eq!((report.total.ok, report.total.failed), (server.seen("/slow"), 0));
    assert!(report.total.latency.max_us > 300_000, "{:?}", report.total.latency);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_keeps_every_connection_busy() {
    let server = Server::start().await;
    let mut config = server.config(1.0, vec![PathSpec::new("ok", "/ok")]);
    config.pace = Pace::Closed;
    let load = Load::start(config).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let report = load.stop().await;
    assert_eq!((report.total.ok, report.total.failed), (server.seen("/ok"), 0));
    assert!(report.total.ok > 100, "{}", report.total.ok);
    assert_eq!(*server.connections.lock().unwrap(), 4);
}

#[tokio::test]
async fn senseless_configurations_are_refused() {
    let address = ([127, 0, 0, 1], 1).into();
    let good = || {
        let mut config = LoadConfig::new(address, "x", Pace::Rate(1.0));
        config.paths = vec![PathSpec::new("a", "/a")];
        config
    };
    let refused = |adjust: fn(&mut LoadConfig)| {
        let mut config = good();
        adjust(&mut config);
        Load::start(config).err()
    };
    assert_eq!(refused(|_| ()), None);
    assert_eq!(refused(|c| c.paths.clear()), Some(ConfigError::NoPaths));
    assert_eq!(refused(|c| c.paths[0].path = "a b".into()), Some(ConfigError::Path("a b".into())));
    assert_eq!(refused(|c| c.paths[0].path = "/a b".into()), Some(ConfigError::Path("/a b".into())));
    assert_eq!(refused(|c| c.host = "a\nb".into()), Some(ConfigError::Host("a\nb".into())));
    assert_eq!(refused(|c| c.connections = 0), Some(ConfigError::NoConnections));
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut config = good();
        config.pace = Pace::Rate(rate);
        assert_eq!(Load::start(config).err(), Some(ConfigError::Rate));
    }
}
