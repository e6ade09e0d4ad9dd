//! A client's request: its head checked against the limits and the desync rules, its framing decided,
//! its head rewritten for the target.

use super::body::Body;
use super::{elements, has_token, parse_length, push_number, trace};
use crate::stream::TlsInfo;
use quarry_domain::rule;
use quarry_domain::snapshot::{DesyncMode, LoadBalancerAttributes, XffMode};
use std::io::Write;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

/// A request line beyond this is answered with 414.
pub const MAX_LINE: usize = 16 * 1024;
/// A header field beyond this is answered with 400.
pub const MAX_FIELD: usize = 16 * 1024;
/// Header fields that together exceed this are answered with 400.
pub const MAX_FIELDS: usize = 64 * 1024;
/// More fields than this are answered with 400.
pub const MAX_COUNT: usize = 512;
/// More addresses than this in X-Forwarded-For are answered with 463.
const MAX_FORWARDED: usize = 30;

/// Space for the fields of one request.
pub type Fields<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_COUNT];

/// A whole request head, checked, referring to the bytes it was read from.
pub struct Head<'h, 'b> {
    pub method: &'b str,
    /// Without the query; begins with `/`, or is `*`.
    pub path: &'b str,
    /// Without the `?`.
    pub query: &'b str,
    has_query: bool,
    pub http10: bool,
    /// As sent, with its port; empty if there was none (HTTP/1.0 only).
    pub authority: &'b str,
    pub headers: &'h [httparse::Header<'b>],
    /// Bytes of the head in the buffer.
    pub len: usize,
    pub body: Body,
    /// Its framing could be understood in more than one way.
    pub ambiguous: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    pub expects_continue: bool,
}

/// What parsing came to. Everything but `Whole` and `Partial` is answered with that status and closed.
pub enum Parsed<'h, 'b> {
    Partial,
    Refused(u16),
    Whole(Head<'h, 'b>),
}

/// What is written into a forwarded head beyond what the client sent.
pub struct Forwarding<'a> {
    pub peer: SocketAddr,
    /// The listener's port, as the API knows it.
    pub port: u16,
    /// `http` or `https`.
    pub scheme: &'static str,
    pub tls: Option<&'a TlsInfo>,
    pub attributes: &'a LoadBalancerAttributes,
    /// Stands in for a missing Host header.
    pub dns_name: &'a str,
    pub unix_seconds: u32,
    pub random: (u64, u32),
    /// Ask the target to close after this request.
    pub close: bool,
}

/// Header fields as rule conditions see them.
pub struct View<'h, 'b>(pub &'h [httparse::Header<'b>]);

/// Follows the growth of an incomplete head, so that limits hold before it is whole and nothing is
/// parsed again until it is.
#[derive(Clone, Copy, Default)]
pub struct Growth {
    scanned: usize,
    line_start: usize,
    lines: usize,
    /// Where the first line that is not empty begins.
    fields_start: usize,
}

impl Growth {
    /// Nothing has been looked at yet.
    pub fn is_new(&self) -> bool {
        self.scanned == 0
    }

    /// `Ok(true)`: an empty line has come, parse. `Ok(false)`: read on.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<bool, u16> {
        let mut whole = false;
        while self.scanned < bytes.len() {
            let rest = &bytes[self.scanned..];
            let Some(n) = rest.iter().position(|b| *b == b'\n') else {
                self.scanned = bytes.len();
                break;
            };
            let end = self.scanned + n;
            let line = bytes[self.line_start..end].trim_ascii_end();
            whole |= line.is_empty() && self.lines > 0;
            if !line.is_empty() || self.lines > 0 {
                self.lines += 1;
                if self.lines == 1 {
                    self.fields_start = end + 1;
                }
            }
            self.limit(end - self.line_start)?;
            self.scanned = end + 1;
            self.line_start = self.scanned;
        }
        if whole {
            return Ok(true);
        }
        self.limit(bytes.len() - self.line_start)?;
        // Before the request line nothing but a few empty lines may come.
        if self.lines == 0 && self.line_start > 64 {
            return Err(400);
        }
        if self.lines > 0 && bytes.len() - self.fields_start > MAX_FIELDS { Err(400) } else { Ok(false) }
    }

    fn limit(&self, line: usize) -> Result<(), u16> {
        match self.lines {
            0 | 1 if line > MAX_LINE && self.fields_start == 0 => Err(414),
            1 if line > MAX_LINE && self.line_start == 0 => Err(414),
            _ if line > MAX_FIELD + 2 => Err(400),
            _ => Ok(()),
        }
    }
}

/// Parses a head at the start of `bytes`.
pub fn parse<'h, 'b>(bytes: &'b [u8], fields: &'h mut Fields<'b>) -> Parsed<'h, 'b> {
    let mut request = httparse::Request::new(&mut []);
    let len = match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, fields) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(httparse::Error::Version) => return Parsed::Refused(bad_version(bytes)),
        Err(_) => return Parsed::Refused(400),
    };
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let http10 = request.version == Some(0);
    let headers: &'h [httparse::Header<'b>] = request.headers;
    let line = method.len() + target.len() + " HTTP/1.1".len() + 1;
    if line > MAX_LINE {
        return Parsed::Refused(414);
    }
    if len - line.min(len) > MAX_FIELDS + 4 || headers.iter().any(|h| h.name.len() + h.value.len() + 2 > MAX_FIELD) {
        return Parsed::Refused(400);
    }
    match method {
        "TRACE" | "CONNECT" => return Parsed::Refused(405),
        _ => {}
    }
    let Some((authority, path)) = split_target(method, target) else { return Parsed::Refused(400) };
    let (path, query, has_query) = match path.split_once('?') {
        Some((path, query)) => (path, query, true),
        None => (path, "", false),
    };
    let mut head = Head {
        method,
        path,
        query,
        has_query,
        http10,
        authority: "",
        headers,
        len,
        body: Body::None,
        ambiguous: false,
        keep_alive: !http10,
        upgrade: false,
        expects_continue: false,
    };
    match head.read_fields(authority) {
        Ok(()) => Parsed::Whole(head),
        Err(status) => Parsed::Refused(status),
    }
}

impl Head<'_, '_> {
    /// The Host without its port.
    pub fn host(&self) -> &str {
        without_port(self.authority)
    }

    /// What rules look at.
    pub fn view<'a>(&'a self, fields: &'a View<'_, '_>, source: IpAddr) -> rule::Request<'a> {
        rule::Request {
            method: self.method,
            host: self.host(),
            path: self.path,
            query: self.query,
            headers: fields,
            source,
        }
    }

    /// 400 or 463 if the listener's settings forbid this request, though it could be understood.
    pub fn check(&self, attributes: &LoadBalancerAttributes) -> Result<(), u16> {
        if self.ambiguous && attributes.desync_mode == DesyncMode::Strictest {
            return Err(400);
        }
        if attributes.xff_mode == XffMode::Append {
            let sent = self.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("x-forwarded-for"));
            if sent.map(|h| elements(h.value).count()).sum::<usize>() > MAX_FORWARDED {
                return Err(463);
            }
        }
        Ok(())
    }

    /// Writes the head for the target.
    pub fn forward(&self, out: &mut Vec<u8>, with: &Forwarding<'_>) {
        for part in [self.method, " ", self.path] {
            out.extend_from_slice(part.as_bytes());
        }
        if self.has_query {
            out.push(b'?');
            out.extend_from_slice(self.query.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        self.push_host(out, with);
        self.push_forwarded(out, with);
        let mut named: Vec<&[u8]> = Vec::new();
        for field in self.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("connection")) {
            let known: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
            named.extend(elements(field.value).filter(|e| !known.iter().any(|k| k.eq_ignore_ascii_case(e))));
        }
        for field in self.headers {
            if with.attributes.tls_headers && is_tls_field(field.name) {
                continue;
            }
            if own(field.name) || (!self.upgrade && field.name.eq_ignore_ascii_case("upgrade")) {
                continue;
            }
            if named.iter().any(|n| n.eq_ignore_ascii_case(field.name.as_bytes())) {
                continue;
            }
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if with.attributes.drop_invalid_header_fields && !field.name.bytes().all(plain) {
                continue;
            }
            out.extend_from_slice(field.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value);
            out.extend_from_slice(b"\r\n");
        }
        match &self.body {
            Body::Length(n) => {
                out.extend_from_slice(b"Content-Length: ");
                push_number(out, *n);
                out.extend_from_slice(b"\r\n");
            }
            Body::Chunked(_) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Body::None | Body::UntilClose => {}
        }
        if self.upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        } else if with.close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn push_host(&self, out: &mut Vec<u8>, with: &Forwarding<'_>) {
        let host = if self.authority.is_empty() { with.dns_name } else { self.authority };
        out.extend_from_slice(host.as_bytes());
        // Unless told to keep the Host as it is, the balancer adds a port that is not the usual one.
        let has_port = without_port(host).len() != host.len();
        if !with.attributes.preserve_host_header && !matches!(with.port, 80 | 443) && !has_port {
            out.push(b':');
            push_number(out, u64::from(with.port));
        }
        out.extend_from_slice(b"\r\n");
    }

    fn push_forwarded(&self, out: &mut Vec<u8>, with: &Forwarding<'_>) {
        let received = || self.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("x-forwarded-for"));
        match with.attributes.xff_mode {
            XffMode::Remove => {}
            XffMode::Preserve => {
                for field in received() {
                    out.extend_from_slice(b"X-Forwarded-For: ");
                    out.extend_from_slice(field.value);
                    out.extend_from_slice(b"\r\n");
                }
            }
            XffMode::Append => {
                out.extend_from_slice(b"X-Forwarded-For: ");
                for field in received().filter(|f| !f.value.is_empty()) {
                    out.extend_from_slice(field.value);
                    out.extend_from_slice(b", ");
                }
                push_peer(out, with.peer, with.attributes.xff_client_port);
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"X-Forwarded-Proto: ");
        out.extend_from_slice(with.scheme.as_bytes());
        out.extend_from_slice(b"\r\nX-Forwarded-Port: ");
        push_number(out, u64::from(with.port));
        out.extend_from_slice(b"\r\nX-Amzn-Trace-Id: ");
        let traced = self.headers.iter().find(|h| h.name.eq_ignore_ascii_case("x-amzn-trace-id"));
        let mut id = Vec::with_capacity(35);
        trace::push_id(&mut id, with.unix_seconds, with.random);
        trace::push_trace_id(out, traced.map(|h| h.value), &id);
        out.extend_from_slice(b"\r\n");
        if let Some(tls) = with.tls.filter(|_| with.attributes.tls_headers) {
            for part in ["X-Amzn-Tls-Version: ", tls.version, "\r\nX-Amzn-Tls-Cipher-Suite: ", &tls.cipher, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

impl<'b> Head<'_, 'b> {
    fn read_fields(&mut self, authority: Option<&'b str>) -> Result<(), u16> {
        let mut host: Option<&'b str> = None;
        let (mut length, mut coded, mut chunked) = (None, false, false);
        let (mut wants_upgrade, mut names_protocol) = (false, false);
        for field in self.headers {
            let (name, value) = (field.name, field.value);
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    let value = std::str::from_utf8(value).ok().filter(|v| plausible_host(v)).ok_or(400u16)?;
                    if host.replace(value).is_some() {
                        return Err(400);
                    }
                }
                6 if name.eq_ignore_ascii_case("expect") => {
                    self.expects_continue = !self.http10 && value.eq_ignore_ascii_case(b"100-continue");
                }
                // WebSocket alone: after a switch to HTTP/2 requests would pass by the rules unseen.
                7 if name.eq_ignore_ascii_case("upgrade") => {
                    names_protocol = value.eq_ignore_ascii_case(b"websocket");
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    if has_token(value, b"close") {
                        self.keep_alive = false;
                    } else if self.http10 && has_token(value, b"keep-alive") {
                        self.keep_alive = true;
                    }
                    wants_upgrade |= has_token(value, b"upgrade");
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let n = parse_length(value).ok_or(400u16)?;
                    match length.replace(n) {
                        Some(before) if before != n => return Err(400),
                        Some(_) => self.ambiguous = true,
                        None => {}
                    }
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    if coded {
                        return Err(400);
                    }
                    coded = true;
                    if value.eq_ignore_ascii_case(b"chunked") {
                        chunked = true;
                    } else if !value.eq_ignore_ascii_case(b"identity") {
                        return Err(501);
                    }
                }
                _ => {}
            }
        }
        self.authority = match (authority, host) {
            (Some(authority), _) => authority,
            (None, Some(host)) => host,
            (None, None) if self.http10 => "",
            (None, None) => return Err(400),
        };
        self.ambiguous |= coded && (length.is_some() || self.http10 || matches!(self.method, "GET" | "HEAD"));
        self.body = match (chunked, length) {
            (true, _) => Body::chunked(),
            (false, Some(n)) => Body::Length(n),
            (false, None) => Body::None,
        };
        self.upgrade = wants_upgrade && names_protocol && !self.http10 && self.body.is_done();
        Ok(())
    }
}

impl rule::Headers for View<'_, '_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|h| h.name.eq_ignore_ascii_case(name) && test(h.value))
    }
}

fn is_tls_field(name: &str) -> bool {
    name.eq_ignore_ascii_case("x-amzn-tls-version") || name.eq_ignore_ascii_case("x-amzn-tls-cipher-suite")
}

/// Fields that are written anew or belong to the client's connection only.
fn own(name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 => is("te"),
        4 => is("host"),
        7 => is("trailer"),
        10 => is("connection") || is("keep-alive"),
        14 => is("content-length"),
        15 => is("x-forwarded-for") || is("x-amzn-trace-id"),
        16 => is("proxy-connection") || is("x-forwarded-port"),
        17 => is("transfer-encoding") || is("x-forwarded-proto"),
        _ => false,
    }
}

/// Splits a request target into an authority, if it names one, and a path with its query.
fn split_target<'b>(method: &str, target: &'b str) -> Option<(Option<&'b str>, &'b str)> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Some((None, target));
    }
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://")).map(|_| 7);
    let scheme = scheme.or_else(|| target.get(..8).filter(|s| s.eq_ignore_ascii_case("https://")).map(|_| 8))?;
    let rest = &target[scheme..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !plausible_host(authority) {
        return None;
    }
    match path {
        "" => Some((Some(authority), "/")),
        _ if path.starts_with('/') => Some((Some(authority), path)),
        _ => None,
    }
}

fn plausible_host(host: &str) -> bool {
    host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]~%!$&'()*+,;=".contains(&b))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
}

fn push_peer(out: &mut Vec<u8>, peer: SocketAddr, with_port: bool) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let written = if with_port { write!(out, "{peer}") } else { write!(out, "{}", peer.ip()) };
    written.expect("writing to memory");
}

/// 505 for a request line that is sound but for its version, 400 for one that is not.
fn bad_version(bytes: &[u8]) -> u16 {
    let line = bytes.split(|b| *b == b'\n').find(|l| !l.trim_ascii().is_empty()).unwrap_or_default();
    let version = line.trim_ascii_end().rsplit(|b| *b == b' ').next().unwrap_or_default();
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => 505,
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Option<u16> {
        match parse(text.as_bytes(), &mut [const { MaybeUninit::uninit() }; MAX_COUNT]) {
            Parsed::Refused(status) => Some(status),
            Parsed::Partial => Some(0),
            Parsed::Whole(_) => None,
        }
    }

    fn forwarded(text: &str, change: impl Fn(&mut LoadBalancerAttributes)) -> String {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
        let Parsed::Whole(head) = parse(text.as_bytes(), &mut fields) else { panic!("refused: {text:?}") };
        let mut attributes = LoadBalancerAttributes::default();
        change(&mut attributes);
        let with = Forwarding {
            peer: "[::ffff:192.0.2.7]:999".parse().unwrap(),
            scheme: "http",
            tls: None,
            port: 80,
            attributes: &attributes,
            dns_name: "lb.test",
            unix_seconds: 1,
            random: (2, 3),
            close: false,
        };
        let mut out = Vec::new();
        head.forward(&mut out, &with);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn refusals() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("GET / HTTP/1.0\r\n\r\n", None),
            ("GET / HTTP/1.1\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Some(400)),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Some(505)),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Some(505)),
            ("GET / FTP/1.1\r\nHost: a\r\n\r\n", Some(400)),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Some(405)),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Some(400)),
            ("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Some(400)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Some(400)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", Some(400)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Some(400)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Some(501)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Some(501)),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some(400),
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a\r\n", Some(0)),
        ] {
            assert_eq!(status(text), expected, "{text:?}");
        }
    }

    #[test]
    fn limits_hold_for_whole_and_for_growing_heads() {
        let line = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(n - 14));
        assert_eq!(status(&line(MAX_LINE)), None);
        assert_eq!(status(&line(MAX_LINE + 1)), Some(414));
        let field = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(n - 3));
        assert_eq!(status(&field(MAX_FIELD)), None);
        assert_eq!(status(&field(MAX_FIELD + 1)), Some(400));
        let many = "X: 12345678\r\n".repeat(MAX_FIELDS / 13 + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Some(400));
        let grown = |text: &str| {
            let mut growth = Growth::default();
            (1..=text.len()).step_by(997).map(|n| growth.advance(&text.as_bytes()[..n])).find(|r| *r != Ok(false))
        };
        assert_eq!(grown(&format!("GET /{}", "a".repeat(MAX_LINE + 2000))), Some(Err(414)));
        assert_eq!(grown(&format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX_FIELD + 2000))), Some(Err(400)));
        assert_eq!(grown(&format!("GET / HTTP/1.1\r\n{}", "X: 12345678\r\n".repeat(6000))), Some(Err(400)));
        assert_eq!(grown(&"\r\n".repeat(2000)), Some(Err(400)));
        let mut growth = Growth::default();
        assert_eq!(growth.advance(b"GET / HTTP/1.1\r\nA"), Ok(false));
        assert_eq!(growth.advance(b"GET / HTTP/1.1\r\nA: b\r\n\r"), Ok(false));
        assert_eq!(growth.advance(b"GET / HTTP/1.1\r\nA: b\r\n\r\n"), Ok(true));
    }

    #[test]
    fn forwarded_heads_say_who_asked() {
        let text = forwarded(
            "GET /a?b=c HTTP/1.1\r\nHost: h\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-Keep: 2\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX_Odd: 3\r\nUpgrade: h2c\r\n\r\n",
            |a| a.drop_invalid_header_fields = true,
        );
        assert_eq!(
            text,
            "GET /a?b=c HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1, 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nX-Amzn-Trace-Id: Root=1-00000001-000000000000000200000003\r\nX-Keep: 2\r\n\r\n"
        );
        let kept = forwarded("GET / HTTP/1.0\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n", |a| a.xff_mode = XffMode::Preserve);
        assert!(kept.contains("Host: lb.test\r\n") && kept.contains("X-Forwarded-For: 10.0.0.1\r\n"));
        let removed = forwarded("GET / HTTP/1.0\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n", |a| a.xff_mode = XffMode::Remove);
        assert!(!removed.contains("X-Forwarded-For"));
        let port = forwarded("GET / HTTP/1.0\r\n\r\n", |a| a.xff_client_port = true);
        assert!(port.contains("X-Forwarded-For: 192.0.2.7:999\r\n"));
    }

    #[test]
    fn only_websockets_are_upgraded() {
        let text = |protocol| {
            forwarded(
                &format!(
                    "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: x\r\n\r\n"
                ),
                |_| {},
            )
        };
        assert!(text("WebSocket").contains("Upgrade: WebSocket\r\nConnection: upgrade\r\n"));
        for hidden in ["Upgrade", "HTTP2-Settings"] {
            assert!(!text("h2c").contains(hidden), "{}", text("h2c"));
        }
    }

    #[test]
    fn two_framings_become_one() {
        let text =
            forwarded("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", |_| {});
        assert!(text.contains("Transfer-Encoding: chunked\r\n") && !text.contains("Content-Length"));
    }

    #[test]
    fn ports_are_cut_off_hosts() {
        for (authority, host) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("::1", "::1")]
        {
            assert_eq!(without_port(authority), host);
        }
    }
}
