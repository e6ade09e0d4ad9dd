//! A target that reads strictly and remembers what it has read.

use super::{Peer, Upstream};
use std::sync::{Arc, Mutex};

/// What the target has read, in order, and what it should never have been sent.
#[derive(Default)]
pub struct Seen {
    /// `METHOD path body-length`.
    pub requests: Vec<String>,
    pub violations: Vec<String>,
    /// Requests per connection that came behind one that could be read in two ways.
    pub after_ambiguous: Vec<String>,
}

pub type Record = Arc<Mutex<Seen>>;

/// A target that takes nothing but the plainest HTTP/1.1 and answers with what it has read.
pub fn recorder() -> (Upstream, Record) {
    let record = Record::default();
    let shared = record.clone();
    let target = Upstream::start(move |mut peer| {
        let mut ambiguous: Option<String> = None;
        while let Some(head) = peer.head() {
            let mut seen = shared.lock().unwrap();
            if let Some(before) = &ambiguous {
                seen.after_ambiguous.push(format!("{before:?} then {head:?}"));
            }
            let framing = match plain(&head) {
                Ok(framing) => framing,
                Err(what) => {
                    seen.violations.push(format!("{what}: {head:?}"));
                    return;
                }
            };
            drop(seen);
            if head.to_ascii_lowercase().contains("transfer_encoding") {
                ambiguous = Some(head.clone());
            }
            let body = match framing {
                Some(n) => peer.take(n),
                None => chunks(&mut peer),
            };
            let Some(body) = body else { return };
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
            let request = format!("{line} {}", body.len());
            shared.lock().unwrap().requests.push(request.clone());
            let payload = if line.starts_with("HEAD ") { "" } else { &request };
            let answer = format!("HTTP/1.1 200 OK\r\nX-Seen: {request}\r\nContent-Length: {}\r\n\r\n", request.len());
            if !peer.send(&(answer + payload)) || head.contains("\r\nConnection: close\r\n") {
                return;
            }
        }
    });
    (target, record)
}

/// The length of the body, `None` for chunks. An error says what is not plain.
fn plain(head: &str) -> Result<Option<usize>, &'static str> {
    let mut lines = head.strip_suffix("\r\n\r\n").ok_or("no end")?.split("\r\n");
    let line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = line[..] else { return Err("request line") };
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
        return Err("method");
    }
    if target.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err("request target");
    }
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for line in lines {
        let (name, value) = line.split_once(": ").or(line.split_once(':')).ok_or("no colon")?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
            return Err("field name");
        }
        if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return Err("field value");
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" if length.is_some() => return Err("two lengths"),
            "content-length" if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) => {
                return Err("length");
            }
            "content-length" => length = Some(value.parse().map_err(|_| "length")?),
            "transfer-encoding" if value != "chunked" || chunked => return Err("transfer coding"),
            "transfer-encoding" => chunked = true,
            "host" => hosts += 1,
            "te" | "trailer" | "keep-alive" | "proxy-connection" => return Err("field of one connection"),
            _ => {}
        }
    }
    match (length, chunked, hosts) {
        (_, _, 0 | 2..) => Err("hosts"),
        (Some(_), true, _) => Err("two framings"),
        (length, false, _) => Ok(Some(length.unwrap_or(0))),
        (None, true, _) => Ok(None),
    }
}

fn chunks(peer: &mut Peer) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(peer.take(1)?);
        }
        let size = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size {size:?}"));
        body.extend(peer.take(size)?);
        assert_eq!(peer.take(2)?, b"\r\n", "a chunk's end");
        if size == 0 {
            return Some(body);
        }
    }
}
