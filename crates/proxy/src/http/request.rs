//! A client's request: its head checked against the limits and the desync rules, its framing decided.

use super::body::Body;
use super::desync::{self, Class, Verdict};
use super::{elements, has_token, parse_length};
use quarry_domain::rule;
use quarry_domain::snapshot::{DesyncMode, LoadBalancerAttributes, XffMode};
use std::mem::MaybeUninit;
use std::net::IpAddr;

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
    pub has_query: bool,
    pub http10: bool,
    /// As sent, with its port; empty if there was none (HTTP/1.0 only).
    pub authority: &'b str,
    pub headers: &'h [httparse::Header<'b>],
    /// Bytes of the head in the buffer.
    pub len: usize,
    pub body: Body,
    /// Whether it could be understood in more than one way.
    pub desync: Verdict,
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

/// Header fields as rule conditions see them.
pub struct View<'h, 'b>(pub &'h [httparse::Header<'b>]);

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
        desync: Verdict::default(),
        keep_alive: !http10,
        upgrade: false,
        expects_continue: false,
    };
    let plain = head.read_fields(authority).map(|plain| plain && ends_in_cr_lf(bytes, target, headers, len));
    match plain {
        Ok(true) => {}
        Ok(false) => head.desync = desync::classify(&bytes[..len]),
        Err(status) => return Parsed::Refused(status),
    }
    Parsed::Whole(head)
}

impl Head<'_, '_> {
    /// The Host without its port.
    pub fn host(&self) -> &str {
        without_port(self.authority)
    }

    /// A GET that asks for the whole answer, whatever the client has: two sides can be asked the same.
    pub fn may_be_copied(&self) -> bool {
        let conditional = |name: &str| name.len() > 3 && name.as_bytes()[..3].eq_ignore_ascii_case(b"if-");
        self.method == "GET"
            && !self.upgrade
            && self.body.is_done()
            && !self.headers.iter().any(|h| conditional(h.name) || h.name.eq_ignore_ascii_case("range"))
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
        let allowed = match attributes.desync_mode {
            DesyncMode::Monitor => Class::Severe,
            DesyncMode::Defensive => Class::Ambiguous,
            DesyncMode::Strictest => Class::Compliant,
        };
        if self.desync.class > allowed {
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
}

impl<'b> Head<'_, 'b> {
    /// `Ok(true)`: nothing in its method and its fields departs from the standard.
    fn read_fields(&mut self, authority: Option<&'b str>) -> Result<bool, u16> {
        let mut plain = true;
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
                        Some(_) => plain = false,
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
                13.. => plain &= desync::likeness(name.as_bytes()).is_none(),
                _ => {}
            }
        }
        self.authority = match (authority, host) {
            (Some(authority), _) => authority,
            (None, Some(host)) => host,
            (None, None) if self.http10 => "",
            (None, None) => return Err(400),
        };
        plain &= !(coded && (length.is_some() || self.http10));
        plain &= !((coded || length.is_some()) && matches!(self.method, "GET" | "HEAD"));
        self.body = match (chunked, length) {
            (true, _) => Body::chunked(),
            (false, Some(n)) => Body::Length(n),
            (false, None) => Body::None,
        };
        self.upgrade = wants_upgrade && names_protocol && !self.http10 && self.body.is_done();
        Ok(plain)
    }
}

impl rule::Headers for View<'_, '_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|h| h.name.eq_ignore_ascii_case(name) && test(h.value))
    }
}

/// Whether every line of a parsed head ends in CR LF. The parser takes LF alone as well; what it took is in the
/// byte behind each line's last part.
fn ends_in_cr_lf(bytes: &[u8], target: &str, headers: &[httparse::Header<'_>], len: usize) -> bool {
    let behind = |part: &[u8], skip: usize| {
        let end = (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize).wrapping_add(part.len() + skip);
        let rest = bytes.get(end..len).unwrap_or_default();
        rest.iter().find(|b| !matches!(b, b' ' | b'\t')) == Some(&b'\r')
    };
    bytes[..len].ends_with(b"\r\n")
        && behind(target.as_bytes(), " HTTP/1.1".len())
        && headers.iter().all(|h| match h.value.is_empty() {
            true => behind(h.name.as_bytes(), ":".len()),
            false => behind(h.value, 0),
        })
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

pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
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
    fn limits_hold() {
        let line = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(n - 14));
        assert_eq!(status(&line(MAX_LINE)), None);
        assert_eq!(status(&line(MAX_LINE + 1)), Some(414));
        let field = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(n - 3));
        assert_eq!(status(&field(MAX_FIELD)), None);
        assert_eq!(status(&field(MAX_FIELD + 1)), Some(400));
        let many = "X: 12345678\r\n".repeat(MAX_FIELDS / 13 + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Some(400));
    }

    #[test]
    fn ports_are_cut_off_hosts() {
        for (authority, host) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("::1", "::1")]
        {
            assert_eq!(without_port(authority), host);
        }
    }
}
