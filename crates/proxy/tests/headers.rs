//! Headers that a listener's attributes change, in answers and in requests.

mod common;

use common::*;
use quarry_domain::link::Up;
use quarry_domain::snapshot::*;
use quarry_domain::trace::sampling::SamplingRule;
use quarry_domain::trace::{Annotation, Segment};

fn with(attributes: ListenerAttributes) -> (Proxy, Upstream, u16) {
    let target = Upstream::start(|mut peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nServer: app\r\nX-Frame-Options: ALLOWALL\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let port = free_port();
    let rules = vec![
        path_rule(1, "/fixed", fixed(200, "hi")),
        path_rule(2, "/moved", Action::Redirect(redirect())),
        path_rule(3, "/none", forward("none")),
    ];
    let mut lb = balancer("lb", port, rules, forward("g"));
    lb.listeners[0].attributes = attributes;
    let groups = vec![group("g", &[target.endpoint()]), group("none", &[])];
    (Proxy::serving(&snapshot(1, vec![lb], groups)), target, port)
}

fn redirect() -> Redirect {
    Redirect {
        protocol: "#{protocol}".into(),
        host: "#{host}".into(),
        port: "#{port}".into(),
        path: "/elsewhere".into(),
        query: String::new(),
        status: 302,
    }
}

fn values<'a>(message: &'a Message, name: &str) -> Vec<&'a str> {
    let fields = message.head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn every_answer_gets_the_listeners_headers_in_place_of_the_targets() {
    let response_headers = vec![
        ("Strict-Transport-Security".into(), "max-age=31536000".into()),
        ("X-Frame-Options".into(), "DENY".into()),
    ];
    let (_proxy, _target, port) = with(ListenerAttributes { response_headers, ..Default::default() });
    for (path, status) in [("/", 200), ("/fixed", 200), ("/moved", 302), ("/none", 503)] {
        let answer = get(port, path);
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(values(&answer, "X-Frame-Options"), ["DENY"], "{path}: {}", answer.head);
        assert_eq!(values(&answer, "Strict-Transport-Security"), ["max-age=31536000"], "{path}: {}", answer.head);
    }
    assert_eq!(values(&get(port, "/"), "Server"), ["app"]);
    assert_eq!(values(&get(port, "/fixed"), "Server"), ["awselb/2.0"]);
}

#[test]
fn the_balancers_server_header_can_be_left_out_and_the_targets_stays() {
    let (_proxy, _target, port) = with(ListenerAttributes { server: false, ..Default::default() });
    for path in ["/fixed", "/moved", "/none"] {
        assert_eq!(values(&get(port, path), "Server"), [""; 0], "{path}");
    }
    assert_eq!(values(&get(port, "/"), "Server"), ["app"]);
}

#[test]
fn tls_headers_go_by_the_listeners_names_and_no_client_says_them() {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let (certificate, der) = common::tls::certificate("cert/1", &["one.example"]);
    let mut lb = balancer("renamed", port, vec![], forward("g"));
    common::tls::secure(&mut lb.listeners[0], vec![certificate]);
    lb.attributes.tls_headers = true;
    lb.listeners[0].attributes.tls_version_header = "X-Tls".into();
    lb.listeners[0].attributes.tls_cipher_header = "X-Cipher".into();
    let proxy = Proxy::start();
    common::tls::put_key(&proxy.dir);
    proxy.serve.apply_healthy(&snapshot(1, vec![lb], vec![group("g", &[target.endpoint()])]));
    let request = "GET / HTTP/1.1\r\nHost: one.example\r\nX-Tls: forged\r\nX-Amzn-Tls-Version: forged\r\nConnection: close\r\n\r\n";
    let trust = common::tls::trusting(&der, &[]);
    let seen = common::tls::ask(&mut common::tls::connect(port, "one.example", &trust), request).unwrap();
    assert!(seen.contains("X-Tls: TLSv1.3\r\n") && seen.contains("X-Cipher: TLS_AES_128_GCM_SHA256\r\n"), "{seen}");
    assert!(!seen.contains("forged") && !seen.contains("X-Amzn-Tls"), "{seen}");
}

/// What the target is told of a request that says this, where this share is recorded.
fn told(rate: f64, said: &str) -> Message {
    let (port, target) = (free_port(), Upstream::echo("t"));
    let rule = SamplingRule { reservoir: 0, fixed_rate: rate, ..SamplingRule::default() };
    let routes = Snapshot { traces: vec![rule], ..simple(port, &[target.endpoint()]) };
    let _proxy = Proxy::serving(&routes);
    let mut client = Peer::local(port);
    client.send(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{said}\r\n"));
    Message { head: client.response().text(), body: Vec::new() }
}

#[test]
fn both_trace_headers_are_understood_and_told() {
    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
    const W3C: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8";
    // The client's word counts, whatever the rules say; the balancer's segment is the target's parent.
    for said in [
        format!("X-Amzn-Trace-Id: Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1\r\n"),
        format!("traceparent: {W3C}-01\r\n"),
    ] {
        let seen = told(0.0, &said);
        let trace = seen.header("X-Amzn-Trace-Id").unwrap();
        let parent = trace.split(';').find_map(|field| field.strip_prefix("Parent=")).unwrap();
        assert!(trace.contains(&format!("Root={ROOT}")) && trace.ends_with(";Sampled=1"), "{said}: {trace}");
        assert!(parent.len() == 16 && parent != "53995c3f42cd8ad8", "{trace}");
        assert_eq!(values(&seen, "traceparent"), [format!("00-{}-{parent}-01", &W3C[3..35])], "{said}");
    }
    for said in [format!("X-Amzn-Trace-Id: Root={ROOT};Sampled=0\r\n"), format!("traceparent: {W3C}-00\r\n")] {
        let seen = told(1.0, &said);
        let trace = seen.header("X-Amzn-Trace-Id").unwrap();
        assert!(trace.ends_with(";Sampled=0") && !trace.contains("Parent"), "{said}: {trace}");
        let kept = if said.starts_with("traceparent") { vec![format!("{W3C}-00")] } else { vec![] };
        assert_eq!(values(&seen, "traceparent"), kept, "{said}");
    }
    // Where nobody has decided, the rules do.
    let root = |seen: &Message| seen.header("X-Amzn-Trace-Id").unwrap().to_owned();
    assert!(root(&told(1.0, "")).starts_with("Root=1-") && root(&told(1.0, "")).ends_with(";Sampled=1"));
    let open = root(&told(0.0, &format!("X-Amzn-Trace-Id: Root={ROOT};Sampled=?\r\n")));
    assert!(
        open.starts_with("Self=1-") && open.contains(&format!(";Root={ROOT}")) && open.ends_with(";Sampled=0"),
        "{open}"
    );
}

#[test]
fn a_recorded_request_becomes_a_segment() {
    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
    let (port, target) = (free_port(), Upstream::echo("t"));
    let routes = Snapshot { traces: vec![SamplingRule::default()], ..simple(port, &[target.endpoint()]) };
    let proxy = Proxy::serving(&routes);
    let said = format!("X-Amzn-Trace-Id: Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1\r\nUser-Agent: \"a\"\\é\r\n");
    Peer::local(port).send(&format!("GET /a?b=\"c\" HTTP/1.1\r\nHost: a.example\r\n{said}\r\n"));
    let document = proxy.serve.wait(|up| match up {
        Up::Segments { documents } => documents.first().cloned(),
        Up::Hello { .. } | Up::Applied { .. } | Up::Report { .. } | Up::Retiring { .. } | Up::Hits { .. } => None,
    });
    let segment = Segment::parse(&document).unwrap_or_else(|invalid| panic!("{invalid}: {document}"));
    assert_eq!((segment.trace_id.as_str(), segment.parent_id.as_deref()), (ROOT, Some("53995c3f42cd8ad8")));
    assert_eq!(segment.origin.as_deref(), Some("AWS::ElasticLoadBalancingV2::LoadBalancer"));
    let http = &segment.http;
    assert_eq!((http.method.as_deref(), http.status), (Some("GET"), Some(200)));
    // What is not plain is escaped as in the access log.
    let url = http.url.as_deref().unwrap();
    assert!(url.starts_with("http://a.example:") && url.ends_with("/a?b=\\x22c\\x22"), "{url}");
    assert_eq!(http.user_agent.as_deref(), Some("\\x22a\\x22\\x5C\\xC3\\xA9"));
    assert_eq!(http.client_ip.as_deref(), Some("127.0.0.1"));
    assert!(!segment.error && !segment.fault && segment.duration().is_some());
    let text = |name: &str| match &segment.annotations[name] {
        Annotation::Text(text) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!((text("rule").as_str(), text("action").as_str()), ("default", "forward"));
    assert!(text("target").contains(':') && text("target_group").contains('g'), "{document}");
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let times = &document["metadata"]["default"];
    assert_eq!(times["target_status_code"], 200);
    assert!(times["target_processing_time"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{document}");
}
