//! Request smuggling from HTTP/2 to a target that speaks HTTP/1.1: what HTTP/2 lets a client put into fields
//! must never become lines, lengths or requests of HTTP/1.1.

mod common;

use common::frames::{self, *};
use common::recorder::recorder;
use quarry_domain::snapshot::DesyncMode;

/// Fields and body of one request.
type Case = (Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    let mut add = |fields: Vec<(&str, &str)>, body: &str| {
        let owned = fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        all.push((owned, body.as_bytes().to_vec()));
    };
    let with = |more: &[(&'static str, &'static str)]| [request("POST", "/attack"), more.to_vec()].concat();
    let early_end = format!("0\r\n\r\n{HIDDEN}");
    let breaks = [
        "y\r\nTransfer-Encoding: chunked",
        "y\nTransfer-Encoding: chunked",
        "y\rTransfer-Encoding: chunked",
        "\r\ny",
        "y\r\n",
        "y\0",
        "y\x01",
        "y\x7f",
        "y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        " y",
        "y ",
        "y\t",
        "\u{e9}",
        "",
    ];
    for value in breaks {
        for name in
            ["x", "cookie", "content-type", "content-length", "x-forwarded-for", "x-amzn-trace-id", "host", "expect"]
        {
            add(with(&[(name, value)]), &early_end);
        }
        // In the request's own parts.
        for part in 0..4 {
            let mut fields = request("POST", "/attack");
            let whole = format!("{}{value}", fields[part].1);
            fields[part].1 = whole.as_str();
            add(fields, &early_end);
        }
    }
    for name in [
        "x: y\r\ntransfer-encoding",
        "x\r\ntransfer-encoding",
        "transfer-encoding ",
        " transfer-encoding",
        "transfer-encoding:",
        "x y",
        "x:",
        "",
        "x\0",
        "X",
        "Transfer-Encoding",
        "transfer-encoding\t",
        "transfer_encoding",
        "transferencoding",
        "\u{e9}",
        "x\x7f",
        "x\n",
        "x\r",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "trailer",
        "http2-settings",
        ":x",
        ":protocol",
        ":status",
        ":path",
        ":method",
    ] {
        for value in ["chunked", "trailers", "identity", "close", "websocket", "/smuggled"] {
            add(with(&[(name, value)]), &early_end);
        }
    }
    for length in
        ["5", "4", "6", "0", "+5", "5,5", " 5", "5 ", "05", "", "x", "-1", "99999999999999999999", "4294967301"]
    {
        add(with(&[("content-length", length)]), "hello");
        add(with(&[("content-length", length)]), "");
        add(with(&[("content-length", length), ("content-length", "5")]), "hello");
        add(with(&[("content-length", "5"), ("content-length", length)]), &format!("hello{HIDDEN}"));
        let mut get = request("GET", "/attack");
        get.push(("content-length", length));
        add(get, "hello");
    }
    for method in ["CONNECT", "TRACE", "get", "GET /smuggled HTTP/1.1\r\nX:", "GET /", "", " GET", "GET ", "G(T", "PRI"]
    {
        add(request(method, "/attack"), "");
        add(request(method, "/attack"), "hello");
    }
    for path in [
        "",
        "*",
        "attack",
        "/attack HTTP/1.1\r\nX: y",
        "/attack HTTP/1.1",
        "/ attack",
        "/attack\t",
        "/attack#x",
        "//attack",
        "http://b/attack",
        "/attack?x y",
        "/attack\r\n",
        "/attack%0d%0a",
        "/\u{e9}",
        "/attack?\0",
        "?x",
    ] {
        add(request("POST", path), "hello");
        add(request("OPTIONS", path), "");
    }
    for authority in ["", "b@one.example", "a b", "a/b", "a\r\nX: y", "a:80", "a:b", "a, b", "[::1]", "one.example\0"] {
        let mut fields = request("POST", "/attack");
        fields[2].1 = authority;
        add(fields.clone(), "hello");
        fields.push(("host", "one.example"));
        add(fields.clone(), "hello");
        fields.remove(2);
        add(fields, "hello");
    }
    // Parts that are missing, there twice, or behind a field.
    for part in 0..4 {
        let plain = request("POST", "/attack");
        let mut without = plain.clone();
        let one = without.remove(part);
        add(without.clone(), "hello");
        add([plain, vec![one]].concat(), "hello");
        add([without, vec![("x", "y"), one]].concat(), "hello");
    }
    all
}

fn run(mode: DesyncMode) {
    let (target, record) = recorder();
    let served = serve("smuggle", mode, target.endpoint(), |_| {});
    let (mut answered, mut refused) = (0, 0);
    let cases = cases();
    assert!(cases.len() > 400, "{}", cases.len());
    let mut client = served.open();
    let mut id = 1;
    for (n, (list, body)) in cases.iter().enumerate() {
        let shown = || {
            let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
            let fields: Vec<_> = list.iter().map(|(n, v)| (text(n), text(v))).collect();
            format!("{mode:?}, case {n}: {fields:?} {:?}", text(body))
        };
        let before = record.lock().unwrap().requests.len();
        let block = fields(list);
        let mut bytes = match body.is_empty() {
            true => frame(HEADERS, END_STREAM | END_HEADERS, id, &block),
            false => frame(HEADERS, END_HEADERS, id, &block),
        };
        if !body.is_empty() {
            bytes.extend(frame(DATA, END_STREAM, id, body));
        }
        bytes.extend(frames::get(id + 2, "/marker"));
        client.send(&bytes);
        let ends = client.ends(&[id, id + 2]);
        id += 4;
        if ends.iter().any(|e| matches!(e, Ended::Gone(_) | Ended::Closed)) {
            client = served.open();
            id = 1;
        }
        let after = common::get(served.plain_port, "/after");
        assert_eq!(after.header("x-seen"), Some("GET /after 0"), "{}", shown());
        let seen = record.lock().unwrap();
        assert!(seen.violations.is_empty(), "{}: {:?}", shown(), seen.violations);
        let mut requests = seen.requests[before..].to_vec();
        assert_eq!(requests.pop().as_deref(), Some("GET /after 0"), "{}", shown());
        let mut told: Vec<String> = ends
            .iter()
            .filter_map(|end| match end {
                Ended::Answered(200, body) if list[0].1 == b"HEAD" || !body.is_empty() => Some(body.clone()),
                _ => None,
            })
            .collect();
        requests.sort();
        told.sort();
        // What went with the connection may have been carried out unheard.
        let lost = ends.iter().filter(|e| matches!(e, Ended::Gone(_) | Ended::Closed)).count();
        match lost {
            0 => assert_eq!(requests, told, "{}: {ends:?}", shown()),
            _ => {
                assert!(told.iter().all(|t| requests.contains(t)) && requests.len() <= told.len() + lost, "{}", shown())
            }
        }
        assert!(requests.iter().filter(|r| r.contains("/marker")).count() <= 1, "{}", shown());
        assert!(!requests.iter().any(|r| r.contains("/smuggled ")), "{}: {requests:?}", shown());
        match &ends[0] {
            Ended::Answered(200, _) => answered += 1,
            _ => refused += 1,
        }
    }
    println!("{mode:?}: {answered} answered, {refused} refused");
    assert!(answered > 40 && refused > 200, "{answered} answered, {refused} refused");
}

#[test]
fn monitor_lets_nothing_become_http_1() {
    run(DesyncMode::Monitor);
}

#[test]
fn defensive_lets_nothing_become_http_1() {
    run(DesyncMode::Defensive);
}

#[test]
fn strictest_lets_nothing_become_http_1() {
    run(DesyncMode::Strictest);
}
