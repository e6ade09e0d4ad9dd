//! Request smuggling: some thousand ways to make two readers see different requests in the same bytes. The
//! target records what it reads, strictly; it must read exactly the requests that the client gets answers of.

mod common;

use common::recorder::recorder;
use common::*;
use quarry_domain::snapshot::*;
use std::collections::BTreeMap;

/// Requests that differ from a plain one in one or two places. `@` stands for the case's number.
fn mutations() -> Vec<Vec<u8>> {
    let mut all: Vec<String> = Vec::new();
    let hidden = "GET /smuggled-@ HTTP/1.1\r\nHost: a\r\n\r\n";
    let early_end = format!("0\r\n\r\n{hidden}");
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let request = |line: &str, fields: &str, body: &str| format!("{line}\r\nHost: a\r\n{fields}\r\n{body}");

    // Lengths.
    let lengths = [
        "5",
        "05",
        "+5",
        "-5",
        "5 ",
        " 5",
        "\t5",
        "5\t",
        "5,5",
        "5, 5",
        "5,6",
        "0x5",
        "5\x0b",
        "\x0b5",
        "5;",
        "5\0",
        "",
        " ",
        "4294967301",
        "18446744073709551621",
        "99999999999999999999",
        "5e0",
        "\u{ff15}",
        "5\r",
        "\r5",
        "'5'",
        "\"5\"",
        "5 6",
        "5.0",
        "0b101",
        "0",
        "00",
        "-0",
        "5\r\n ",
        "\r\n 5",
        "5\r\n\t6",
        "5\n",
        "\u{a0}5",
    ];
    for length in lengths {
        for line in ["POST /attack-@ HTTP/1.1", "GET /attack-@ HTTP/1.1", "POST /attack-@ HTTP/1.0"] {
            all.push(request(line, &format!("Content-Length:{length}\r\n"), "hello"));
        }
        for fields in [
            format!("Content-Length: 5\r\nContent-Length: {length}\r\n"),
            format!("Content-Length: {length}\r\nContent-Length: 5\r\n"),
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        ] {
            all.push(request("POST /attack-@ HTTP/1.1", &fields, &early_end));
        }
    }

    // Names that somebody may take for the two that matter.
    let spellings = |name: &str| {
        let (first, second) = name.split_once('-').unwrap();
        let dotless = name.replace('i', "\u{131}");
        let long = name.replace('s', "\u{17f}");
        [
            name.to_owned(),
            name.to_lowercase(),
            name.to_uppercase(),
            format!("{name} "),
            format!("{name}\t"),
            format!(" {name}"),
            format!("\t{name}"),
            format!("{first}_{second}"),
            format!("{first}.{second}"),
            format!("{first}{second}"),
            format!("{first}--{second}"),
            format!("{first} {second}"),
            format!("{name}\0"),
            format!("\0{name}"),
            format!("{name}\x0b"),
            format!("\x0b{name}"),
            format!("{name}\r"),
            format!("\r{name}"),
            format!("{first}\r-{second}"),
            format!("{first}-\r\n{second}"),
            format!("X: y\n{name}"),
            format!("X: y\r{name}"),
            format!("X:\r\n {name}"),
            format!("X: y\r\n {name}"),
            format!("X: y\0\r\n{name}"),
            format!("X: y\r\r\n{name}"),
            format!("X: y\n\r{name}"),
            format!("X\r\n{name}"),
            format!(":{name}"),
            format!("\"{name}\""),
            format!("{name}:"),
            format!("X-{name}"),
            format!("{name}-X"),
            dotless,
            long,
            format!("{first}\u{2010}{second}"),
            format!("\u{feff}{name}"),
            format!("{name}\u{a0}"),
            format!("{name}\x7f"),
        ]
    };
    for name in spellings("Transfer-Encoding") {
        for (before, after) in [("", ""), ("Content-Length: 6\r\n", ""), ("", "Content-Length: 6\r\n")] {
            for body in [&early_end, &chunk] {
                all.push(request("POST /attack-@ HTTP/1.1", &format!("{before}{name}: chunked\r\n{after}"), body));
            }
        }
    }
    for name in spellings("Content-Length") {
        let fields = format!("{name}: {}\r\n", hidden.len());
        all.push(request("POST /attack-@ HTTP/1.1", &fields, hidden));
        all.push(request(
            "POST /attack-@ HTTP/1.1",
            &format!("Content-Length: 5\r\n{fields}"),
            &format!("hello{hidden}"),
        ));
        all.push(request("POST /attack-@ HTTP/1.1", &format!("Transfer-Encoding: chunked\r\n{fields}"), &early_end));
    }

    // Codings.
    let codings = [
        "chunked",
        "Chunked",
        "CHUNKED",
        "\tchunked",
        "chunked ",
        "chunked\t",
        "chunked,",
        ",chunked",
        "chunked, identity",
        "identity, chunked",
        "identity",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "x",
        "chunked;q=1",
        "chunked;",
        "chunked ;x",
        "\"chunked\"",
        "'chunked'",
        "chun ked",
        "xchunked",
        "chunkedx",
        "\x0bchunked",
        "chunked\x0b",
        "\x0cchunked",
        "chunked\0",
        "\0chunked",
        "chunked\r",
        "\rchunked",
        "",
        " ",
        "chunked\r\n ",
        "\r\n chunked",
        "\r\n\tchunked",
        "identity\r\n , chunked",
        "chunked\r\n , identity",
        "chunked\n",
        "\nchunked",
        "c\u{212a}unked",
        "chunked\u{a0}",
        "\u{a0}chunked",
        "cow",
        "deflate",
        "trailers",
        "chunked\r\nTransfer-Encoding: identity",
        "identity\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: x",
        "x\r\nTransfer-Encoding: chunked",
        "\r\nTransfer-Encoding: chunked",
    ];
    for coding in codings {
        for line in ["POST /attack-@ HTTP/1.1", "GET /attack-@ HTTP/1.1", "POST /attack-@ HTTP/1.0"] {
            all.push(request(line, &format!("Transfer-Encoding: {coding}\r\n"), &early_end));
            all.push(request(line, &format!("Content-Length: 4\r\nTransfer-Encoding: {coding}\r\n"), &chunk));
        }
    }

    // Chunks.
    let bodies = [
        "5\r\nhello\r\n0\r\n\r\n",
        "0_2e\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "005\r\nhello\r\n0\r\n\r\n",
        "5;x\r\nhello\r\n0\r\n\r\n",
        "5;x=\"a\r\nb\"\r\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "5;\nx\r\nhello\r\n0\r\n\r\n",
        "5 ;x\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5;x\rhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n00\r\n\r\n",
        "5\r\nhello\r\n0;\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\rZ: a\r\n\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\n\r",
        "5\r\nhello\r\n0 \r\n\r\n",
        "5\r\nhello\r\n-0\r\n\r\n",
        "5\r\nhello\r\n0x0\r\n\r\n",
        "5\r\nhello\r\n",
        "5\r\nhel",
        "5",
        "",
        "\r\n",
        "0\r\n\r\n",
        "\0\r\n\r\n",
        "5\r\n\r\n\r\n\r\n\0\r\n0\r\n\r\n",
        "\u{ff15}\r\nhello\r\n0\r\n\r\n",
        "5\u{a0}\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "5.\r\nhello\r\n0\r\n\r\n",
        "5#\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        for (line, more) in [
            ("POST /attack-@ HTTP/1.1", ""),
            ("PUT /attack-@ HTTP/1.1", "Expect: 100-continue\r\n"),
            ("POST /attack-@ HTTP/1.1", "Content-Length: 15\r\n"),
        ] {
            all.push(request(line, &format!("{more}Transfer-Encoding: chunked\r\n"), &format!("{body}{hidden}")));
        }
    }

    // Request lines.
    for line in [
        "POST  /attack-@ HTTP/1.1",
        "POST /attack-@  HTTP/1.1",
        "POST\t/attack-@ HTTP/1.1",
        "POST /attack-@\tHTTP/1.1",
        "POST /attack-@ HTTP/1.1 ",
        "POST /attack-@ HTTP/1.1\t",
        "POST /attack-@ HTTP/1.1\x0b",
        "post /attack-@ HTTP/1.1",
        " POST /attack-@ HTTP/1.1",
        "\r\nPOST /attack-@ HTTP/1.1",
        "\nPOST /attack-@ HTTP/1.1",
        "\rPOST /attack-@ HTTP/1.1",
        "\r\n\r\n\r\nPOST /attack-@ HTTP/1.1",
        "POST /attack-@ HTTP/1.1\rX: y",
        "POST /attack-@ HTTP/1.1\nX: y",
        "POST http://b/attack-@ HTTP/1.1",
        "POST //b/attack-@ HTTP/1.1",
        "POST https://b:1/attack-@ HTTP/1.1",
        "POST http://b@c/attack-@ HTTP/1.1",
        "POST http:///attack-@ HTTP/1.1",
        "POST ftp://b/attack-@ HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "CONNECT /attack-@ HTTP/1.1",
        "TRACE /attack-@ HTTP/1.1",
        "POST * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "POST attack-@ HTTP/1.1",
        "POST ?attack-@ HTTP/1.1",
        "POST /attack-@",
        "POST /attack-@ HTTP/0.9",
        "POST /attack-@ HTTP/1.01",
        "POST /attack-@ HTTP/1.10",
        "POST /attack-@ HTTP/01.1",
        "POST /attack-@ http/1.1",
        "POST /attack-@ HTTP/1.2",
        "POST /attack-@ HTTP/1.9",
        "POST /attack-@ HTTP/2.0",
        "POST /attack-@ HTTP/1",
        "POST /attack-@ HTTP/1.1 HTTP/1.1",
        "POST /attack-@ x HTTP/1.1",
        "POST /attack-@\rx HTTP/1.1",
        "POST /attack-@\0 HTTP/1.1",
        "POST /attack-@\x0b HTTP/1.1",
        "POST /attack-@%0d%0aX:%20y HTTP/1.1",
        "POST /attack-@%00 HTTP/1.1",
        "POST /attack-@#x HTTP/1.1",
        "POST /attack-@\u{e9} HTTP/1.1",
        "P\0ST /attack-@ HTTP/1.1",
        "P(ST /attack-@ HTTP/1.1",
        "P\u{d6}ST /attack-@ HTTP/1.1",
        "GET /attack-@ HTTP/1.1\r\n\r\nPOST /attack-@ HTTP/1.1",
        "PRI * HTTP/2.0\r\n\r\nSM",
        "HEAD /attack-@ HTTP/1.1",
        "DELETE /attack-@ HTTP/1.1",
        "GET /attack-@ HTTP/1.1\r\n",
        "POST",
        "",
        "HTTP/1.1 200 OK",
    ] {
        for (fields, body) in [
            ("Content-Length: 5\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ("", ""),
        ] {
            all.push(request(line, fields, body));
        }
    }

    // Fields that say how a connection goes, and whose it is.
    for field in [
        "Connection: Content-Length",
        "Connection: Transfer-Encoding",
        "Connection: Host",
        "Connection: close",
        "Connection: close, Content-Length",
        "Connection: keep-alive, X-Forwarded-For",
        "Connection: ,",
        "Connection: \0",
        "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Connection: upgrade\r\nUpgrade: websocket",
        "Upgrade: websocket",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "TE: chunked",
        "Trailer: Content-Length",
        "Expect: 100-continue",
        "Expect: 200-maybe",
        "Expect:",
        "Host: b",
        "Host:",
        "Host: a b",
        "Host : a",
        "host: a",
        "X-Forwarded-For: \r\n 1.1.1.1",
        "X-HTTP-Method-Override: GET",
        "X: y\r\n\r",
        "X: y\n\n",
        "X: y\r\n \r\n",
        ":",
        ": x",
        " : x",
        "X",
        "X\0: y",
        "X: \0",
        "X: y\x01",
        "X: \u{e9}",
        "X: y\r\n\t\r\n\t",
        "X(: y",
        "X y: z",
        "X: y\r\n z\r\n\t: a",
        "Content-Type: a;\r\n b=c",
        "Content-Range: bytes 0-1/5",
        "Content-Encoding: chunked",
        "Content-Length-X: 6",
    ] {
        for (fields, body) in [
            ("Content-Length: 5\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ("", ""),
        ] {
            all.push(request("POST /attack-@ HTTP/1.1", &format!("{fields}{field}\r\n"), body));
            all.push(request("GET /attack-@ HTTP/1.1", &format!("{field}\r\n{fields}"), body));
        }
    }
    all.sort();
    all.dedup();
    let numbered = |(n, text): (usize, String)| text.replace('@', &n.to_string()).into_bytes();
    all.into_iter().enumerate().map(numbered).collect()
}

/// The bodies of the answers that the target gave, from all that came back; and the balancer's own errors.
fn answers(mut bytes: &[u8]) -> Result<(Vec<String>, usize), String> {
    let (mut seen, mut own) = (Vec::new(), 0);
    while !bytes.is_empty() {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(text)? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let message = Message { head, body: Vec::new() };
        bytes = &bytes[end..];
        if message.status() == 100 {
            continue;
        }
        let length: usize = message.header("content-length").and_then(|v| v.parse().ok()).ok_or("no length")?;
        match message.header("x-seen") {
            Some(request) => {
                let bodiless = request.starts_with("HEAD ");
                seen.push(request.to_owned());
                bytes = bytes.get(if bodiless { 0 } else { length }..).ok_or("cut off")?;
            }
            None => {
                own += 1;
                // Of a refused head nobody knows whether it was a HEAD.
                bytes = bytes.get(length..).unwrap_or_default();
            }
        }
    }
    Ok((seen, own))
}

/// Runs every mutation in a mode; how many requests got through, by what the target said of them.
fn run(mode: DesyncMode) -> BTreeMap<&'static str, usize> {
    let (port, (target, record)) = (free_port(), recorder());
    let mut snapshot = simple(port, &[target.endpoint()]);
    snapshot.load_balancers[0].attributes.desync_mode = mode;
    let _proxy = Proxy::serving(&snapshot);
    let mutations = mutations();
    assert!(mutations.len() > 500, "{}", mutations.len());
    let mut tally = BTreeMap::new();
    for (n, bytes) in mutations.iter().enumerate() {
        let shown = || format!("{mode:?}, case {n}: {:?}", String::from_utf8_lossy(bytes));
        let before = record.lock().unwrap().requests.len();
        let mut client = Peer::local(port);
        let marker = format!("GET /marker-{n} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send_bytes(&[bytes, marker.as_bytes()].concat());
        client.finish_writing();
        while client.more() {}
        let (answered, own) = answers(&client.buffer).unwrap_or_else(|e| panic!("{}: answers: {e}", shown()));
        // The next client's connection to the target is clean.
        let after = format!("/after-{n}");
        assert_eq!(get(port, &after).header("x-seen"), Some(format!("GET {after} 0").as_str()), "{}", shown());
        let seen = record.lock().unwrap();
        assert!(seen.violations.is_empty(), "{}: {:?}", shown(), seen.violations);
        if mode != DesyncMode::Monitor {
            assert!(seen.after_ambiguous.is_empty(), "{}: {:?}", shown(), seen.after_ambiguous);
        }
        let mut requests = seen.requests[before..].to_vec();
        assert_eq!(requests.pop(), Some(format!("GET {after} 0")), "{}", shown());
        assert_eq!(requests, answered, "{}: read by the target, answered to the client", shown());
        let markers = requests.iter().filter(|r| r.contains("/marker-")).count();
        assert!(markers <= 1, "{}", shown());
        let hidden = requests.iter().any(|r| r.contains("/smuggled-"));
        let what = match (requests.is_empty(), own, markers) {
            // What one reader calls hidden is a second request to all of them.
            _ if hidden => "followed by a request in its body's place",
            (false, _, 1) => "served, then the marker",
            (false, ..) => "served, then closed",
            (true, 1.., _) => "refused",
            (true, 0, _) => "closed",
        };
        *tally.entry(what).or_default() += 1;
    }
    println!("{mode:?}: {tally:?} of {}", mutations.len());
    tally
}

#[test]
fn monitor_lets_no_request_be_read_as_two() {
    let tally = run(DesyncMode::Monitor);
    assert!(tally["served, then the marker"] > 50 && tally["refused"] > 300, "{tally:?}");
}

#[test]
fn defensive_lets_no_request_be_read_as_two() {
    let tally = run(DesyncMode::Defensive);
    assert!(tally["served, then closed"] > 50 && tally["refused"] > 300, "{tally:?}");
}

#[test]
fn strictest_lets_no_request_be_read_as_two() {
    let tally = run(DesyncMode::Strictest);
    assert!(tally["served, then the marker"] > 20 && tally["refused"] > 500, "{tally:?}");
}
