//! A target's answer: its head checked, its framing decided, its head rewritten for the client.

use super::body::Body;
use super::{elements, parse_length, push_number};
use crate::front::Edits;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Heads beyond this are answered with 502.
pub const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 256;

/// What the exchange needs to know of the request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub head: bool,
    pub http10: bool,
    pub upgrade: bool,
    /// The client's connection may stay open after this answer.
    pub keep_alive: bool,
    /// The client said that this is its last request.
    pub last: bool,
}

/// Whole header lines to be added to a final answer.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    pub lines: String,
    /// Added only where the target sets the cookie of this name.
    pub beside_cookie: Option<(Arc<str>, String)>,
}

/// An understood answer head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Bytes of the head in the buffer.
    pub head_len: usize,
    pub body: Body,
    /// The body goes out in chunks of our own.
    pub rechunk: bool,
    /// The client's connection stays open afterwards.
    pub client_keep_alive: bool,
    /// The target's connection stays open afterwards.
    pub target_keep_alive: bool,
    /// A cut's fence refused the request: it was not executed (421 with `X-Cut-Fenced`).
    pub fenced: bool,
    /// `Keep-Alive: timeout=…` in seconds, if the target said so.
    pub target_patience: Option<u64>,
}

/// What parsing came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    Partial,
    /// Not to be forwarded: 502.
    Malformed,
    /// 1xx other than 101: the rewritten head is in `out`, the real answer follows.
    Interim {
        status: u16,
        head_len: usize,
    },
    /// The rewritten head is in `out`.
    Final(Answer),
}

/// Parses an answer's head at the start of `bytes` and, if it is whole, writes the head for the client
/// to `out`.
pub fn parse(bytes: &[u8], asked: Asked, extra: &Extra, edits: &Edits, out: &mut Vec<u8>) -> Parsed {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
    let head_len = match parsed {
        Ok(httparse::Status::Complete(n)) if n <= MAX_HEAD => n,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return Parsed::Partial,
        _ => return Parsed::Malformed,
    };
    let (status, minor) = (response.code.unwrap_or(0), response.version.unwrap_or(0));
    if !(100..=599).contains(&status) {
        return Parsed::Malformed;
    }
    let switching = status == 101;
    if switching && !asked.upgrade {
        return Parsed::Malformed;
    }
    let (mut length, mut length_written) = (None, false);
    let (mut chunked, mut close, mut keep, mut patience) = (false, false, false, None);
    let (mut named, mut fenced): (Vec<&[u8]>, bool) = (Vec::new(), false);
    for field in response.headers.iter() {
        let name = field.name;
        if name.eq_ignore_ascii_case("content-length") {
            let Some(n) = parse_length(field.value) else { return Parsed::Malformed };
            if length.is_some_and(|before: u64| before != n) {
                return Parsed::Malformed;
            }
            length = Some(n);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Parsed::Malformed;
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for token in elements(field.value) {
                if token.eq_ignore_ascii_case(b"close") {
                    close = true;
                } else if token.eq_ignore_ascii_case(b"keep-alive") {
                    keep = true;
                } else if !token.eq_ignore_ascii_case(b"upgrade") {
                    named.push(token);
                }
            }
        } else if name.eq_ignore_ascii_case("keep-alive") {
            patience = elements(field.value).find_map(|e| parse_length(e.strip_prefix(b"timeout=")?));
        } else if status == 421 && name.eq_ignore_ascii_case("x-cut-fenced") {
            fenced = true;
        }
    }
    let interim = status < 200 && !switching;
    let bodiless = asked.head || status < 200 || matches!(status, 204 | 304);
    let body = match (bodiless, chunked, length) {
        (true, ..) => Body::None,
        (false, true, _) => Body::chunked(),
        (false, false, Some(n)) => Body::Length(n),
        (false, false, None) => Body::UntilClose,
    };
    let unsized_body = matches!(body, Body::Chunked(_) | Body::UntilClose);
    let rechunk = unsized_body && !asked.http10;
    let client_keep_alive = asked.keep_alive && (!unsized_body || rechunk) && !switching;
    let wants_to_stay = if minor == 0 { keep } else { !close };
    let ends_with_connection = matches!(body, Body::UntilClose) || switching;
    let two_framings = chunked && length.is_some();
    let target_keep_alive = wants_to_stay && !ends_with_connection && !two_framings;

    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(response.reason.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for field in response.headers.iter() {
        if dropped(field.name, switching) || named.iter().any(|n| n.eq_ignore_ascii_case(field.name.as_bytes())) {
            continue;
        }
        if !interim && edits.replaces(field.name) {
            continue;
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            // One length, only where it is true, and never beside chunks.
            if chunked || status < 200 || status == 204 || length_written {
                continue;
            }
            length_written = true;
        }
        out.extend_from_slice(field.name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value);
        out.extend_from_slice(b"\r\n");
    }
    if rechunk {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if !interim {
        out.extend_from_slice(extra.lines.as_bytes());
        out.extend_from_slice(edits.lines.as_bytes());
        if let Some((cookie, lines)) = &extra.beside_cookie
            && response.headers.iter().any(|field| sets(field, cookie))
        {
            out.extend_from_slice(lines.as_bytes());
        }
    }
    if switching {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    } else if !interim {
        out.extend_from_slice(match client_keep_alive {
            true => b"Connection: keep-alive\r\n".as_slice(),
            false => b"Connection: close\r\n",
        });
    }
    out.extend_from_slice(b"\r\n");
    if interim {
        return Parsed::Interim { status, head_len };
    }
    Parsed::Final(Answer {
        status,
        head_len,
        body,
        rechunk,
        client_keep_alive,
        target_keep_alive,
        fenced,
        target_patience: patience,
    })
}

fn sets(field: &httparse::Header<'_>, cookie: &str) -> bool {
    let value = field.value.strip_prefix(cookie.as_bytes());
    field.name.eq_ignore_ascii_case("set-cookie") && value.is_some_and(|rest| rest.first() == Some(&b'='))
}

/// Fields that belong to one connection only, or are between an application and the balancer.
fn dropped(name: &str, switching: bool) -> bool {
    match name.len() {
        2 => name.eq_ignore_ascii_case("te"),
        7 => (name.eq_ignore_ascii_case("upgrade") && !switching) || name.eq_ignore_ascii_case("trailer"),
        10 => name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("keep-alive"),
        12 => name.eq_ignore_ascii_case("x-cut-fenced"),
        16 => name.eq_ignore_ascii_case("proxy-connection"),
        17 => name.eq_ignore_ascii_case("transfer-encoding"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::UNEDITED;

    const ASKED: Asked = Asked { head: false, http10: false, upgrade: false, keep_alive: true, last: false };

    fn answer(text: &str, asked: Asked) -> (Answer, String) {
        let mut out = Vec::new();
        match parse(text.as_bytes(), asked, &Extra::default(), &UNEDITED, &mut out) {
            Parsed::Final(answer) => (answer, String::from_utf8(out).unwrap()),
            other => panic!("{other:?} for {text:?}"),
        }
    }

    #[test]
    fn framing_follows_the_rules() {
        let (a, _) = answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ASKED);
        assert_eq!((a.body, a.rechunk, a.target_keep_alive), (Body::Length(5), false, true));
        let (a, head) = answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ASKED);
        assert!(matches!(a.body, Body::Chunked(_)) && a.rechunk && head.contains("Transfer-Encoding: chunked\r\n"));
        let (a, head) =
            answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Asked { http10: true, ..ASKED });
        assert!(!a.rechunk && !a.client_keep_alive && !head.contains("chunked"));
        let (a, _) = answer("HTTP/1.0 200 OK\r\n\r\n", ASKED);
        assert_eq!((a.body, a.rechunk, a.target_keep_alive), (Body::UntilClose, true, false));
        let (a, head) = answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked { head: true, ..ASKED });
        assert!(a.body == Body::None && head.contains("Content-Length: 5\r\n"));
        let (a, _) = answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ASKED);
        assert_eq!(a.body, Body::None);
        let (a, head) = answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ASKED);
        assert!(!a.target_keep_alive && !head.contains("Content-Length"));
    }

    #[test]
    fn what_belongs_to_one_connection_is_dropped() {
        let (a, head) = answer(
            "HTTP/1.1 200 Fine\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Keep: 2\r\nContent-Length: 0\r\n\r\n",
            ASKED,
        );
        assert_eq!(head, "HTTP/1.1 200 Fine\r\nX-Keep: 2\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
        assert!(!a.target_keep_alive && a.client_keep_alive);
        assert_eq!(a.target_patience, Some(5));
    }

    #[test]
    fn malformed_answers_are_refused() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
            "HTTP/1.1 999 Odd\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/3.0 200 OK\r\n\r\n",
            "hello\r\n\r\n",
        ] {
            assert_eq!(
                parse(bad.as_bytes(), ASKED, &Extra::default(), &UNEDITED, &mut Vec::new()),
                Parsed::Malformed,
                "{bad:?}"
            );
        }
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(MAX_HEAD));
        assert_eq!(parse(long.as_bytes(), ASKED, &Extra::default(), &UNEDITED, &mut Vec::new()), Parsed::Malformed);
    }
}
