//! A client's head rewritten for the target.

use super::request::{Head, without_port};
use super::trace::{self, Sampling};
use super::{elements, push_number};
use crate::http::body::Body;
use crate::stream::TlsInfo;
use quarry_domain::snapshot::{ListenerAttributes, LoadBalancerAttributes, XffMode};
use std::io::Write;
use std::net::SocketAddr;

/// What is written into a forwarded head beyond what the client sent.
pub struct Forwarding<'a> {
    pub peer: SocketAddr,
    /// The listener's port, as the API knows it.
    pub port: u16,
    /// `http` or `https`.
    pub scheme: &'static str,
    pub tls: Option<&'a TlsInfo>,
    pub attributes: &'a LoadBalancerAttributes,
    pub listener: &'a ListenerAttributes,
    /// Stands in for a missing Host header.
    pub dns_name: &'a str,
    pub unix_seconds: u32,
    pub random: (u64, u32),
    /// Ask the target to close after this request.
    pub close: bool,
    /// Of a write that belongs to a cut.
    pub cut_epoch: Option<u64>,
    pub sampling: Sampling,
}

impl Head<'_, '_> {
    /// Writes the head for the target. `true`: header fields with invalid names were dropped.
    pub fn forward(&self, out: &mut Vec<u8>, with: &Forwarding<'_>) -> bool {
        let mut dropped = false;
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
            if with.attributes.tls_headers && is_tls_field(field.name, with.listener) {
                continue;
            }
            if own(field.name)
                || (matches!(with.sampling, Sampling::Yes(_)) && field.name.eq_ignore_ascii_case("traceparent"))
                || is_cut_field(field.name)
                || (!self.upgrade && field.name.eq_ignore_ascii_case("upgrade"))
            {
                continue;
            }
            if named.iter().any(|n| n.eq_ignore_ascii_case(field.name.as_bytes())) {
                continue;
            }
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if with.attributes.drop_invalid_header_fields && !field.name.bytes().all(plain) {
                dropped = true;
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
        if let Some(epoch) = with.cut_epoch {
            out.extend_from_slice(b"X-Cut-Epoch: ");
            push_number(out, epoch);
            out.extend_from_slice(b"\r\n");
        }
        if self.upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        } else if with.close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        dropped
    }

    /// Appends the value of X-Amzn-Trace-Id that goes with this request.
    pub fn push_trace_id(&self, out: &mut Vec<u8>, unix_seconds: u32, random: (u64, u32), sampling: Sampling) {
        let traced = self.headers.iter().find(|h| h.name.eq_ignore_ascii_case("x-amzn-trace-id"));
        trace::push_trace_id(out, traced.map(|h| h.value), &trace::id(unix_seconds, random), sampling);
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
        self.push_trace_id(out, with.unix_seconds, with.random, with.sampling);
        out.extend_from_slice(b"\r\n");
        if let Sampling::Yes(marks) = &with.sampling {
            out.extend_from_slice(b"traceparent: ");
            trace::push_traceparent(out, marks);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(tls) = with.tls.filter(|_| with.attributes.tls_headers) {
            let (version, cipher) = (&with.listener.tls_version_header, &with.listener.tls_cipher_header);
            for part in [version, ": ", tls.version, "\r\n", cipher, ": ", &tls.cipher, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

/// `X-Cut-…`, also with underscores, which some applications read as the same: only the balancer says these.
fn is_cut_field(name: &str) -> bool {
    matches!(name.as_bytes(), [b'x' | b'X', b'-' | b'_', b'c' | b'C', b'u' | b'U', b't' | b'T', b'-' | b'_', ..])
}

/// Whether only the balancer itself may say this, by its usual name or by the listener's.
fn is_tls_field(name: &str, listener: &ListenerAttributes) -> bool {
    let all =
        ["x-amzn-tls-version", "x-amzn-tls-cipher-suite", &listener.tls_version_header, &listener.tls_cipher_header];
    all.iter().any(|own| name.eq_ignore_ascii_case(own))
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

fn push_peer(out: &mut Vec<u8>, peer: SocketAddr, with_port: bool) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let written = if with_port { write!(out, "{peer}") } else { write!(out, "{}", peer.ip()) };
    written.expect("writing to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{MAX_COUNT, Parsed, parse};
    use std::mem::MaybeUninit;

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
            listener: &ListenerAttributes::default(),
            dns_name: "lb.test",
            unix_seconds: 1,
            random: (2, 3),
            close: false,
            cut_epoch: None,
            sampling: Sampling::Off,
        };
        let mut out = Vec::new();
        head.forward(&mut out, &with);
        String::from_utf8(out).unwrap()
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
}
