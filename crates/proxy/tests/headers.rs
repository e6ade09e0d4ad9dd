//! Headers that a listener's attributes change, in answers and in requests.

mod common;

use common::*;
use quarry_domain::snapshot::*;

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
