//! Access and connection logs, as the proxy writes them.

mod common;

use common::*;
use quarry_domain::snapshot::*;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ARN: &str = "arn:aws:elasticloadbalancing:us-east-2:123456789012:loadbalancer/app/my-lb/50dc6c495c0c9188";

/// With both logs.
fn logging(port: u16, rules: Vec<Rule>, default_action: Action) -> LoadBalancer {
    let mut lb = balancer("lb", port, rules, default_action);
    lb.arn = ARN.into();
    let to = |prefix: &str| Some(LogDestination { bucket: "my-bucket".into(), prefix: prefix.into() });
    lb.attributes.access_logs = to("requests");
    lb.attributes.connection_logs = to("");
    lb.attributes.idle_timeout = 4;
    lb
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

/// The fields of a line: what is in quotes is one.
fn fields(line: &str) -> Vec<String> {
    let (mut all, mut rest) = (Vec::new(), line);
    while !rest.is_empty() {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap(),
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        all.push(field.to_owned());
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    all
}

/// Waits for so many lines below a folder.
fn lines(proxy: &Proxy, folder: &str, count: usize) -> Vec<Vec<String>> {
    let folder = proxy.dir.0.join("s3/my-bucket").join(folder);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text: String = files(&folder).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let whole: Vec<Vec<String>> = text.lines().map(fields).collect();
        if whole.len() >= count {
            assert!(text.ends_with('\n') && whole.len() == count, "{text}");
            return whole;
        }
        assert!(Instant::now() < deadline, "{} of {count} lines: {text}", whole.len());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn line<'a>(all: &'a [Vec<String>], with: &str) -> &'a [String] {
    all.iter().find(|fields| fields[12].contains(with)).unwrap_or_else(|| panic!("{with} in {all:?}"))
}

const ELB_STATUS: usize = 8;
const TARGET_STATUS: usize = 9;

#[test]
fn a_line_has_awss_fields_in_awss_order() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rules = vec![
        path_rule(7, "/fixed", fixed(204, "")),
        path_rule(8, "/dead", forward("dead")),
        path_rule(9, "/none", forward("none")),
        path_rule(
            10,
            "/moved",
            Action::Redirect(Redirect {
                protocol: "https".into(),
                host: "#{host}".into(),
                port: "443".into(),
                path: "/#{path}".into(),
                query: "#{query}".into(),
                status: 301,
            }),
        ),
    ];
    let lb = logging(port, rules, forward("g"));
    let mut dead = group("dead", &[Endpoint::Tcp(refusing)]);
    dead.health_check.enabled = false;
    let groups = vec![group("g", &[target.endpoint()]), dead, group("none", &[])];
    let proxy = Proxy::serving(&snapshot(1, vec![lb], groups));
    let mut client = Peer::local(port);
    let body = "x".repeat(100);
    let request = format!(
        "POST /a/b?c=\"d\" HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: curl \"7\"\r\nX-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678\r\nContent-Length: 100\r\n\r\n{body}"
    );
    client.send(&request);
    let answer = client.response();
    assert_eq!(answer.status(), 200);
    let sent = answer.head.len() + answer.body.len();
    for (path, status) in [("/fixed", 204), ("/dead", 502), ("/none", 503), ("/moved?a=1", 301)] {
        assert_eq!(client.get(path).status(), status);
    }
    client.send("GET /odd HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.response().status(), 400);

    let all = lines(&proxy, "requests", 6);
    assert!(all.iter().all(|fields| fields.len() == 33), "{all:?}");
    let client_address = client.stream.local_addr().unwrap().to_string();
    let found = line(&all, "/a/b");
    let group_target = "127.0.0.1:80";
    let expected = [
        (0, "http"),
        (2, "app/my-lb/50dc6c495c0c9188"),
        (3, client_address.as_str()),
        (4, group_target),
        (ELB_STATUS, "200"),
        (TARGET_STATUS, "200"),
        (13, "curl \\x227\\x22"),
        (14, "-"),
        (15, "-"),
        (16, "g"),
        (18, "-"),
        (19, "-"),
        (20, "0"),
        (22, "forward"),
        (23, "-"),
        (24, "-"),
        (25, group_target),
        (26, "200"),
        (27, "-"),
        (28, "-"),
        (30, "-"),
    ];
    for (at, value) in expected {
        assert_eq!(found[at], value, "field {at} of {found:?}");
    }
    assert_eq!(found[12], format!("POST http://www.example.com:{port}/a/b?c=\\x22d\\x22 HTTP/1.1"));
    assert_eq!((found[10].clone(), found[11].clone()), (request.len().to_string(), sent.to_string()));
    assert!(found[17].starts_with("Self=1-") && found[17].ends_with(";Root=1-67891233-abcdef012345678912345678"));
    assert!(answer.text().contains(&format!("X-Amzn-Trace-Id: {}", found[17])), "{found:?}");
    for time in [&found[1], &found[21]] {
        assert!(time.len() == 27 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    }
    assert!(found[21] <= found[1]);
    for time in &found[5..8] {
        assert!(time.parse::<f64>().unwrap() >= 0.0 && time.split_once('.').unwrap().1.len() == 3, "{time}");
    }
    assert!(found[29].len() == 36 && found[29].starts_with("TID_"));

    let undispatched = ["-", "-1", "-1", "-1"];
    for (path, status, action, rule) in [
        ("/fixed", "204", "fixed-response", "7"),
        ("/dead", "502", "forward", "8"),
        ("/none", "503", "forward", "9"),
        ("/moved", "301", "redirect", "10"),
    ] {
        let found = line(&all, path);
        assert_eq!(found[4..8], undispatched, "{path}");
        assert_eq!((found[ELB_STATUS].as_str(), found[TARGET_STATUS].as_str()), (status, "-"), "{path}");
        assert_eq!((found[22].as_str(), found[20].as_str(), found[25].as_str()), (action, rule, "-"), "{path}");
        assert!(found[17].starts_with("Root=1-"), "{path}");
    }
    assert_eq!(line(&all, "/moved")[23], "https://test:443/moved?a=1");
    let odd = line(&all, "- http://lb-1.us-east-1.elb.localhost");
    assert_eq!(odd[12], format!("- http://lb-1.us-east-1.elb.localhost:{port}- -"));
    assert_eq!((odd[ELB_STATUS].as_str(), odd[20].as_str(), odd[22].as_str()), ("400", "-", "-"));
    assert_eq!((odd[27].as_str(), odd[28].as_str()), ("Severe", "MultipleContentLength"));

    // One connection carried them all.
    let connections = lines(&proxy, "AWSLogs", 1);
    let client_port = client.stream.local_addr().unwrap().port().to_string();
    assert_eq!(connections[0][1..4], ["127.0.0.1".to_owned(), client_port, port.to_string()]);
    assert_eq!(connections[0][4..11], ["-"; 7]);
    assert!(all.iter().all(|fields| fields[29] == connections[0][11]), "{connections:?}");
}

#[test]
fn requests_that_end_otherwise_have_their_lines() {
    let port = free_port();
    let slow = Upstream::start(|mut peer| {
        while let Some(request) = peer.request() {
            if request.head.starts_with("GET /ws") {
                peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
                let Some(bytes) = peer.take(5) else { return };
                let _ = peer.stream.write_all(&bytes);
                return;
            }
            if request.head.starts_with("GET /cut") {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                return;
            }
            // Says nothing.
        }
    });
    let lb = logging(port, vec![], forward("g"));
    let proxy = Proxy::serving(&snapshot(1, vec![lb], vec![group("g", &[slow.endpoint()])]));

    let mut waits = Peer::local(port);
    waits.send("GET /waits HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut dawdles = Peer::local(port);
    dawdles.send("GET /never-whole HTTP/1.1\r\nHost: te");
    let mut leaves = Peer::local(port);
    leaves.send("GET /leaves HTTP/1.1\r\nHost: test\r\n\r\n");
    while slow.connections.load(std::sync::atomic::Ordering::SeqCst) < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(leaves);
    let mut cut = Peer::local(port);
    cut.send("GET /cut HTTP/1.1\r\nHost: test\r\n\r\n");
    while cut.more() {}
    let mut socket = Peer::local(port);
    socket.send("GET /ws HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let switched = socket.head().unwrap();
    socket.send("hello");
    assert_eq!(socket.take(5).unwrap(), b"hello");
    drop(socket);
    assert_eq!((waits.response().status(), dawdles.response().status()), (504, 408));

    let all = lines(&proxy, "requests", 5);
    let left = line(&all, "/leaves");
    assert_eq!(
        (left[ELB_STATUS].as_str(), left[TARGET_STATUS].as_str(), left[4].as_str()),
        ("460", "-", "127.0.0.1:80")
    );
    assert_eq!((left[5].as_str(), left[11].as_str()), ("-1", "0"));
    assert_eq!(line(&all, "/waits")[ELB_STATUS], "504");
    assert_eq!(line(&all, "- http://")[ELB_STATUS], "408");
    let half = line(&all, "/cut");
    assert_eq!((half[ELB_STATUS].as_str(), half[TARGET_STATUS].as_str()), ("200", "200"));
    assert!(half[11].parse::<usize>().unwrap() > 4);
    let socket = line(&all, "/ws");
    assert_eq!((socket[0].as_str(), socket[ELB_STATUS].as_str()), ("ws", "101"));
    assert_eq!(socket[11], (switched.len() + 5).to_string());
    // CloudWatch has no metric of its own for 460: it is among the 4XX.
    proxy.serve.wait(|up| match up {
        quarry_domain::link::Up::Report { counters, .. } => {
            counters.load_balancers.get(ARN).filter(|lb| lb.elb_4xx == 2 && lb.elb_504 == 1).map(|_| ())
        }
        _ => None,
    });
}

#[test]
fn over_tls_the_lines_name_cipher_protocol_certificate_and_server_name() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let (one, der) = common::tls::certificate("arn:cert/1", &["one.example"]);
    let mut lb = logging(port, vec![], forward("g"));
    common::tls::secure(&mut lb.listeners[0], vec![one]);
    let proxy = Proxy::start();
    common::tls::put_key(&proxy.dir);
    proxy.serve.apply_healthy(&snapshot(1, vec![lb], vec![group("g", &[target.endpoint()])]));
    let trust = common::tls::trusting(&der, &[]);
    let request = "GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";
    common::tls::ask(&mut common::tls::connect(port, "one.example", &trust), request).unwrap();
    // Not TLS at all.
    let mut plain = Peer::local(port);
    plain.send(request);
    while plain.more() {}
    let all = lines(&proxy, "requests", 1);
    let found = &all[0];
    assert_eq!(found[0], "https");
    assert_eq!(found[14..16], ["TLS_AES_128_GCM_SHA256", "TLSv1.3"]);
    assert_eq!(found[18..20], ["one.example", "arn:cert/1"]);
    assert_eq!(found[12], format!("GET https://one.example:{port}/ HTTP/1.1"));
    let connections = lines(&proxy, "AWSLogs", 2);
    let made = connections.iter().find(|fields| fields[10] == "Success").unwrap();
    assert_eq!(made[4..6], ["TLSv1.3", "TLS_AES_128_GCM_SHA256"]);
    assert!(made[6].parse::<f64>().is_ok() && made[11] == found[29] && !made[12].is_empty(), "{made:?}");
    let failed = connections.iter().find(|fields| fields[10].starts_with("Failed:")).unwrap();
    assert_eq!(failed[4..7], ["-"; 3]);
    proxy.serve.wait(|up| match up {
        quarry_domain::link::Up::Report { counters, .. } => {
            counters.load_balancers.get(ARN).filter(|lb| lb.client_tls_errors == 1).map(|_| ())
        }
        _ => None,
    });
}

#[test]
fn a_log_that_is_off_writes_nothing_and_can_be_switched_under_way() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let group = group("g", &[target.endpoint()]);
    let on = logging(port, vec![], forward("g"));
    let mut off = on.clone();
    (off.attributes.access_logs, off.attributes.connection_logs) = (None, None);
    let proxy = Proxy::serving(&snapshot(1, vec![off.clone()], vec![group.clone()]));
    let mut client = Peer::local(port);
    client.get("/before");
    proxy.serve.apply(&snapshot(2, vec![on], vec![group.clone()]));
    client.get("/during");
    proxy.serve.apply(&snapshot(3, vec![off], vec![group]));
    client.get("/after");
    let all = lines(&proxy, "requests", 1);
    assert!(all[0][12].contains("/during"), "{all:?}");
    let dir = proxy.dir.0.clone();
    let kept = files(&dir.join("s3"));
    proxy.stop();
    assert_eq!(kept.len(), 1);
}
