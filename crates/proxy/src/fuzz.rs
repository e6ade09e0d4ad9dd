//! Entrances for the fuzz targets (`quarry-fuzz`): each takes any bytes and panics where a promise is broken.

use crate::cut::scope::Scope;
use crate::front::UNEDITED;
use crate::http::body::Body;
use crate::http::desync::classify;
use crate::http::forward::Forwarding;
use crate::http::growth::Growth;
use crate::http::mend::{Mended, mend};
use crate::http::request::{self, Head, MAX_COUNT, View};
use crate::http::response::{self, Asked, Extra};
use crate::http2;
use crate::table::Config;
use crate::target::{Balancer, Group, Target};
use quarry_domain::snapshot::{ListenerAttributes, LoadBalancerAttributes, Snapshot};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Notify;

/// A head that is taken is forwarded in one plain form, which reads as the same request.
pub fn request_head(bytes: &[u8]) {
    let verdict = classify(bytes);
    let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
    match request::parse(bytes, &mut fields) {
        request::Parsed::Whole(head) => {
            assert_eq!(head.desync, verdict);
            forwarded(&head);
            let mut growth = Growth::default();
            assert_eq!(growth.advance(&bytes[..head.len]), Ok(true), "whole to one, not to the other");
        }
        request::Parsed::Partial => {}
        request::Parsed::Refused(status) => assert!((400..600).contains(&status)),
    }
    if let Mended::Whole(mended, len) = mend(bytes) {
        assert!(len <= bytes.len());
        assert_eq!(mend(&mended), Mended::No, "nothing is left to mend");
        let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
        if let request::Parsed::Whole(head) = request::parse(&mended, &mut fields) {
            assert_eq!(head.len, mended.len());
            forwarded(&head);
        }
    }
    let mut growth = Growth::default();
    let _ = (1..=bytes.len()).step_by(7).try_for_each(|n| growth.advance(&bytes[..n]).map(|_| ()));
}

fn forwarded(head: &Head<'_, '_>) {
    let attributes = LoadBalancerAttributes { tls_headers: true, ..LoadBalancerAttributes::default() };
    let with = Forwarding {
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        port: 80,
        scheme: "http",
        tls: None,
        attributes: &attributes,
        listener: &ListenerAttributes::default(),
        dns_name: "lb.test",
        unix_seconds: 0,
        random: (0, 0),
        close: false,
        cut_epoch: None,
        sampling: crate::http::trace::Sampling::Off,
    };
    let mut out = Vec::new();
    head.forward(&mut out, &with);
    let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
    match request::parse(&out, &mut fields) {
        request::Parsed::Whole(again) => {
            assert_eq!(again.len, out.len(), "bytes behind the head");
            assert_eq!((again.method, again.path, again.query), (head.method, head.path, head.query));
            assert_eq!(again.body, head.body);
            assert_eq!(again.upgrade, head.upgrade);
            // Nothing is worse than before, but for what only HTTP/1.1 gives a meaning.
            assert!(head.http10 || again.desync.class <= head.desync.class, "{:?}", again.desync);
        }
        // What the balancer adds may be what is too much.
        request::Parsed::Refused(400) if out.len() > 60 * 1024 || head.headers.len() > MAX_COUNT - 20 => {}
        request::Parsed::Refused(status) => panic!("{status}: {:?}", String::from_utf8_lossy(&out)),
        request::Parsed::Partial => panic!("a part: {:?}", String::from_utf8_lossy(&out)),
    }
}

/// An answer that is taken goes on in a form that reads as the same answer. The first byte says what was asked.
pub fn response_head(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let flag = |n: u8| flags >> n & 1 != 0;
    let asked = Asked { head: flag(0), http10: flag(1), upgrade: flag(2), keep_alive: flag(3), last: flag(4) };
    let mut out = Vec::new();
    let parsed = response::parse(bytes, asked, &Extra::default(), &UNEDITED, &mut out);
    let again = |out: &[u8]| response::parse(out, asked, &Extra::default(), &UNEDITED, &mut Vec::new());
    match parsed {
        response::Parsed::Final(answer) => match again(&out) {
            response::Parsed::Final(second) => {
                assert_eq!(second.head_len, out.len(), "bytes behind the head");
                assert_eq!(second.status, answer.status);
                // Chunks go out anew, or to HTTP/1.0 as they are.
                if !answer.rechunk && !asked.http10 {
                    assert_eq!(second.body, answer.body);
                }
            }
            other => assert!(out.len() > response::MAX_HEAD, "{other:?}: {:?}", String::from_utf8_lossy(&out)),
        },
        response::Parsed::Interim { status, .. } => assert!((100..200).contains(&status)),
        response::Parsed::Partial | response::Parsed::Malformed => {}
    }
}

/// Chunks mean the same however they are cut. The first byte says how.
pub fn chunked_body(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let decode = |piece: usize| {
        let (mut body, mut out, mut buffer) = (Body::chunked(), Vec::new(), Vec::new());
        for part in bytes.chunks(piece) {
            buffer.extend_from_slice(part);
            if !body.is_done() {
                let step = body.step(&mut buffer).ok()?;
                assert!(step.data <= step.consumed && step.consumed <= buffer.len());
                assert_eq!(step.done, body.is_done());
                out.extend_from_slice(&buffer[..step.data]);
                buffer.drain(..step.consumed);
            }
        }
        Some((out, buffer, body.is_done()))
    };
    assert_eq!(decode(usize::from(*piece) + 1), decode(bytes.len().max(1)));
}

/// What is made of an HTTP/2 request is one whole head of HTTP/1.1, or none. Lines: method, URI, fields.
pub fn http2_request(bytes: &[u8]) {
    let mut lines = bytes.split(|b| *b == b'\n');
    let (Some(method), Some(uri)) = (lines.next(), lines.next()) else { return };
    let mut builder = ::http::Request::builder().method(method).uri(uri);
    for line in lines {
        let colon = line.iter().skip(1).position(|b| *b == b':').map_or(line.len(), |at| at + 1);
        let value = line.get(colon + 1..).unwrap_or_default();
        builder = builder.header(&line[..colon], value);
    }
    let Ok(request) = builder.body(()) else { return };
    let (parts, ()) = request.into_parts();
    for ends in [false, true] {
        let Some((head, chunk)) = http2::from_client::head_of(&parts, ends) else { continue };
        let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
        match request::parse(&head, &mut fields) {
            request::Parsed::Whole(parsed) => {
                assert_eq!(parsed.len, head.len(), "bytes behind the head");
                assert!(!ends || parsed.body.is_done(), "a body that does not come");
                assert_eq!(chunk, matches!(parsed.body, Body::Chunked(_)));
            }
            request::Parsed::Refused(_) => {}
            request::Parsed::Partial => panic!("a part: {:?}", String::from_utf8_lossy(&head)),
        }
    }
}

/// HTTP/2 frames are counted the same however they are cut. The first byte says how.
pub fn http2_frames(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    assert_eq!(http2::credit_after(bytes, usize::from(*piece) + 1), http2::credit_after(bytes, bytes.len().max(1)));
}

/// A snapshot that can be read can be served.
pub fn snapshot(bytes: &[u8]) {
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(bytes) else { return };
    let again = serde_json::to_vec(&snapshot).expect("it was read");
    assert_eq!(serde_json::from_slice::<Snapshot>(&again).expect("what was written is read"), snapshot);
    let mut uid = 0;
    let config = Config::compile(
        Arc::new(snapshot),
        &mut |_| Balancer::new(1),
        &mut |arn| Group::new(arn.to_owned(), 1),
        &mut |arn, target| {
            uid += 1;
            let wake = Arc::new(Notify::new());
            Target::new(uid, arn.to_owned(), target.registration, target.endpoint.clone(), wake)
        },
        &mut |_, _, _| None,
        &mut |_| Scope::new(1, Arc::new(Notify::new())),
    );
    let text = b"GET /a/b?c=d HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\r\n";
    let mut fields = [const { MaybeUninit::uninit() }; MAX_COUNT];
    let request::Parsed::Whole(head) = request::parse(text, &mut fields) else { panic!("a plain request") };
    let view = View(head.headers);
    for listener in &config.listeners {
        let _ = head.check(&listener.attributes);
        let asked = head.view(&view, IpAddr::from(Ipv4Addr::LOCALHOST));
        let _ = listener.rules.first(&asked);
    }
}
