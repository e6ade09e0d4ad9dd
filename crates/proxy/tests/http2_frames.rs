//! What RFC 9113 and RFC 7541 say a server must take and must refuse, frame by frame. The sections are those of
//! RFC 9113 unless they say HPACK.

mod common;

use common::Upstream;
use common::frames::{self, *};
use quarry_domain::snapshot::DesyncMode;
use std::time::Duration;

/// What must come of stream 1, or of the connection.
#[derive(Clone, Copy, Debug)]
enum Must {
    /// A connection error with this code.
    Gone(u32),
    /// Likewise, but where the standard names this code the library says PROTOCOL_ERROR.
    Broken(u32),
    /// A stream error with one of these codes, or a connection error with it: a server may choose.
    Fail(&'static [u32]),
    /// An answer of this status.
    Answer(u16),
    /// A malformed request: a stream error, or an answer that says so.
    Malformed,
}

use Must::*;

fn post(fields_more: &[(&str, &str)]) -> Vec<u8> {
    let mut list = request("POST", "/");
    list.extend(fields_more);
    fields(&list)
}

fn block() -> Vec<u8> {
    fields(&request("GET", "/"))
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A whole GET on stream 1, from these fields.
fn with(list: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(list))
}

fn plus(more: (&'static str, &'static str)) -> Vec<u8> {
    let mut list = request("GET", "/");
    list.push(more);
    with(&list)
}

fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

/// Each is sent after preface and settings.
fn cases() -> Vec<(&'static str, Vec<u8>, Must)> {
    let open = || frame(HEADERS, END_HEADERS, 1, &post(&[]));
    let ended = || get(1, "/");
    let get = || get(1, "/");
    let data = |bytes: &[u8]| frame(DATA, END_STREAM, 1, bytes);
    let sized = |n: &'static str| frame(HEADERS, END_HEADERS, 1, &post(&[("content-length", n)]));
    let raw = |block: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 1, block);
    let before = |more: &[u8]| raw(&[more, &block()].concat());
    let behind = |more: &[u8]| raw(&[&block(), more].concat());
    let reset = || frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let without = |part: usize| {
        let mut list = request("GET", "/");
        list.remove(part);
        with(&list)
    };
    let twice = |part: usize| {
        let mut list = request("GET", "/");
        list.push(list[part]);
        with(&list)
    };
    let any: &'static [u32] = &[PROTOCOL_ERROR, STREAM_CLOSED];
    vec![
        ("4.1 a frame of unknown type is ignored", join(&[frame(0x99, 0xff, 0, b"?"), get()]), Answer(200)),
        (
            "4.1 flags without meaning are ignored",
            frame(HEADERS, END_STREAM | END_HEADERS | 0xc2 & !0x20, 1, &block()),
            Answer(200),
        ),
        (
            "4.1 the reserved bit is ignored",
            frame(HEADERS, END_STREAM | END_HEADERS, 0x8000_0001, &block()),
            Answer(200),
        ),
        (
            "4.2 DATA that is too large",
            join(&[open(), frame(DATA, END_STREAM, 1, &[0; 16_385])]),
            Fail(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.2 HEADERS that are too large",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0; 16_385]),
            Gone(FRAME_SIZE_ERROR),
        ),
        ("4.2 DATA as large as may be", join(&[open(), frame(DATA, END_STREAM, 1, &[b'x'; 16_384])]), Answer(200)),
        (
            "4.3 another frame among the fields",
            join(&[frame(HEADERS, END_STREAM, 1, &block()), frame(PING, 0, 0, &[0; 8])]),
            Gone(PROTOCOL_ERROR),
        ),
        (
            "4.3 an unknown frame among the fields",
            join(&[frame(HEADERS, END_STREAM, 1, &block()), frame(0x99, 0, 1, &[])]),
            Gone(PROTOCOL_ERROR),
        ),
        (
            "4.3 fields of another stream among the fields",
            join(&[frame(HEADERS, END_STREAM, 1, &block()), frame(CONTINUATION, END_HEADERS, 3, &[])]),
            Gone(PROTOCOL_ERROR),
        ),
        (
            "4.3 fields in parts",
            join(&[
                frame(HEADERS, END_STREAM, 1, &block()[..9]),
                frame(CONTINUATION, 0, 1, &block()[9..30]),
                frame(CONTINUATION, END_HEADERS, 1, &block()[30..]),
            ]),
            Answer(200),
        ),
        ("HPACK 2.3.3 an index beyond the table", behind(&[0xff, 0x80, 0x01]), Broken(COMPRESSION_ERROR)),
        ("HPACK 6.1 index zero", behind(&[0x80]), Broken(COMPRESSION_ERROR)),
        ("HPACK 4.2 a size update behind a field", behind(&[0x20]), Broken(COMPRESSION_ERROR)),
        ("HPACK 4.2 a size update before the fields", before(&[0x20]), Answer(200)),
        ("HPACK 6.3 a size update beyond the setting", before(&[0x3f, 0xe2, 0x1f]), Broken(COMPRESSION_ERROR)),
        (
            "HPACK 5.1 an integer without end",
            behind(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            Broken(COMPRESSION_ERROR),
        ),
        ("HPACK 5.2 a string that is cut off", behind(&[0, 9, b'x']), Broken(COMPRESSION_ERROR)),
        (
            "HPACK 5.2 padding of more than seven bits",
            behind(&[0, 1, b'x', 0x82, 0x1f, 0xff]),
            Broken(COMPRESSION_ERROR),
        ),
        ("HPACK 5.2 padding of zeros", behind(&[0, 1, b'x', 0x81, 0x18]), Broken(COMPRESSION_ERROR)),
        (
            "HPACK 5.2 the end of string within",
            behind(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
            Broken(COMPRESSION_ERROR),
        ),
        ("5.1 DATA on an idle stream", data(b"x"), Gone(PROTOCOL_ERROR)),
        ("5.1 RST_STREAM on an idle stream", reset(), Gone(PROTOCOL_ERROR)),
        ("5.1 WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]), Gone(PROTOCOL_ERROR)),
        ("5.1 CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, &block()), Gone(PROTOCOL_ERROR)),
        ("5.1 PRIORITY on an idle stream", join(&[frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]), get()]), Answer(200)),
        ("5.1 DATA behind the end", join(&[ended(), data(b"x")]), Fail(any)),
        ("5.1 HEADERS behind the end", join(&[ended(), get()]), Fail(any)),
        (
            "5.1 CONTINUATION behind the end",
            join(&[ended(), frame(CONTINUATION, END_HEADERS, 1, &[])]),
            Gone(PROTOCOL_ERROR),
        ),
        ("5.1 HEADERS on a stream that was reset", join(&[open(), reset(), get()]), Fail(any)),
        ("5.1.1 an even stream", frame(HEADERS, END_STREAM | END_HEADERS, 2, &block()), Gone(PROTOCOL_ERROR)),
        ("5.1.1 a stream below one that was", join(&[frames::get(5, "/"), frames::get(3, "/")]), Gone(PROTOCOL_ERROR)),
        ("6.1 DATA on stream 0", frame(DATA, 0, 0, b"x"), Gone(PROTOCOL_ERROR)),
        (
            "6.1 padding as long as the frame",
            join(&[open(), frame(DATA, END_STREAM | PADDED, 1, &[4, 1, 2, 3])]),
            Gone(PROTOCOL_ERROR),
        ),
        (
            "6.1 padding that fills the frame",
            join(&[sized("0"), frame(DATA, END_STREAM | PADDED, 1, &[3, 0, 0, 0])]),
            Answer(200),
        ),
        (
            "6.1 padding does not count",
            join(&[sized("2"), frame(DATA, END_STREAM | PADDED, 1, &[1, b'h', b'i', 0])]),
            Answer(200),
        ),
        ("6.2 HEADERS on stream 0", frame(HEADERS, END_STREAM | END_HEADERS, 0, &block()), Gone(PROTOCOL_ERROR)),
        (
            "6.2 padding as long as the fields",
            frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[9, 0x82]),
            Gone(PROTOCOL_ERROR),
        ),
        (
            "6.2 padded fields",
            frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[&[2][..], &block(), &[0, 0]].concat()),
            Answer(200),
        ),
        (
            "6.2 fields with a priority",
            frame(HEADERS, END_STREAM | END_HEADERS | PRIORITIZED, 1, &[&[0, 0, 0, 0, 1][..], &block()].concat()),
            Answer(200),
        ),
        ("6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 1]), Gone(PROTOCOL_ERROR)),
        ("6.3 PRIORITY of a wrong size", join(&[open(), frame(PRIORITY, 0, 1, &[0; 4])]), Broken(FRAME_SIZE_ERROR)),
        ("6.4 RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), Gone(PROTOCOL_ERROR)),
        ("6.4 RST_STREAM of a wrong size", join(&[open(), frame(RST_STREAM, 0, 1, &[0; 3])]), Broken(FRAME_SIZE_ERROR)),
        ("6.5 an acknowledgement with settings", frame(SETTINGS, ACK, 0, &setting(4, 1)), Broken(FRAME_SIZE_ERROR)),
        ("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), Gone(PROTOCOL_ERROR)),
        ("6.5 SETTINGS of a wrong size", frame(SETTINGS, 0, 0, &[0; 5]), Broken(FRAME_SIZE_ERROR)),
        ("6.5.2 ENABLE_PUSH neither 0 nor 1", frame(SETTINGS, 0, 0, &setting(2, 2)), Gone(PROTOCOL_ERROR)),
        ("6.5.2 a window that is too large", frame(SETTINGS, 0, 0, &setting(4, 1 << 31)), Broken(FLOW_CONTROL_ERROR)),
        ("6.5.2 a frame size that is too small", frame(SETTINGS, 0, 0, &setting(5, 16_383)), Gone(PROTOCOL_ERROR)),
        ("6.5.2 a frame size that is too large", frame(SETTINGS, 0, 0, &setting(5, 1 << 24)), Gone(PROTOCOL_ERROR)),
        ("6.5.2 an unknown setting is ignored", join(&[frame(SETTINGS, 0, 0, &setting(0x99, 7)), get()]), Answer(200)),
        (
            "6.6 PUSH_PROMISE from a client",
            join(&[open(), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block()].concat())]),
            Gone(PROTOCOL_ERROR),
        ),
        ("6.7 PING on a stream", frame(PING, 0, 1, &[0; 8]), Gone(PROTOCOL_ERROR)),
        ("6.7 PING of a wrong size", frame(PING, 0, 0, &[0; 6]), Broken(FRAME_SIZE_ERROR)),
        ("6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Gone(PROTOCOL_ERROR)),
        ("6.8 what was begun before GOAWAY is answered", join(&[get(), frame(GOAWAY, 0, 0, &[0; 8])]), Answer(200)),
        ("6.9 a window of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Gone(PROTOCOL_ERROR)),
        (
            "6.9 a window of nothing for a stream",
            join(&[open(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])]),
            Fail(&[PROTOCOL_ERROR]),
        ),
        ("6.9 WINDOW_UPDATE of a wrong size", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Broken(FRAME_SIZE_ERROR)),
        (
            "6.9.1 a window beyond 2^31-1",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Gone(FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.1 a stream's window beyond 2^31-1",
            join(&[open(), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])]),
            Fail(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.2 a window that is raised too far",
            join(&[open(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]), frame(SETTINGS, 0, 0, &setting(4, 0x7fff_ffff))]),
            Gone(FLOW_CONTROL_ERROR),
        ),
        (
            "6.10 CONTINUATION behind the last",
            join(&[open(), frame(CONTINUATION, END_HEADERS, 1, &[])]),
            Gone(PROTOCOL_ERROR),
        ),
        (
            "6.10 CONTINUATION on stream 0",
            join(&[frame(HEADERS, 0, 1, &block()), frame(CONTINUATION, END_HEADERS, 0, &[])]),
            Gone(PROTOCOL_ERROR),
        ),
        (
            "6.10 CONTINUATION behind DATA",
            join(&[open(), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, END_HEADERS, 1, &[])]),
            Gone(PROTOCOL_ERROR),
        ),
        (
            "8.1 trailers",
            join(&[
                open(),
                frame(DATA, 0, 1, b"x"),
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&[("x", "y")])),
            ]),
            Answer(200),
        ),
        (
            "8.1 trailers that do not end the stream",
            join(&[open(), frame(DATA, 0, 1, b"x"), frame(HEADERS, END_HEADERS, 1, &fields(&[("x", "y")]))]),
            Malformed,
        ),
        (
            "8.1 pseudo-fields in trailers, which are dropped unread",
            join(&[
                open(),
                frame(DATA, 0, 1, b"x"),
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&[(":path", "/")])),
            ]),
            Answer(200),
        ),
        ("8.1.1 less than was announced", join(&[sized("5"), data(b"four")]), Malformed),
        ("8.1.1 more than was announced", join(&[sized("5"), data(b"sixsix")]), Malformed),
        (
            "8.1.1 announced but ended",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &post(&[("content-length", "5")])),
            Malformed,
        ),
        ("8.1.1 exactly what was announced", join(&[sized("4"), data(b"four")]), Answer(200)),
        ("8.2 a name in upper case", plus(("X-Upper", "y")), Malformed),
        ("8.2 an empty name", plus(("", "y")), Malformed),
        ("8.2.1 a name with a colon", plus(("x:y", "z")), Malformed),
        ("8.2.1 a name with a space", plus(("x y", "z")), Malformed),
        ("8.2.1 a line break in a value", plus(("x", "y\r\nz: 1")), Malformed),
        ("8.2.1 NUL in a value", plus(("x", "y\0")), Malformed),
        ("8.2.2 connection", plus(("connection", "close")), Malformed),
        ("8.2.2 keep-alive", plus(("keep-alive", "5")), Malformed),
        ("8.2.2 proxy-connection", plus(("proxy-connection", "close")), Malformed),
        ("8.2.2 transfer-encoding", plus(("transfer-encoding", "chunked")), Malformed),
        ("8.2.2 upgrade", plus(("upgrade", "websocket")), Malformed),
        ("8.2.2 te: trailers", plus(("te", "trailers")), Answer(200)),
        ("8.2.2 te: anything else", plus(("te", "gzip")), Malformed),
        ("8.3 an unknown pseudo-field", plus((":what", "x")), Malformed),
        ("8.3 a pseudo-field of answers", plus((":status", "200")), Malformed),
        (
            "8.3 a pseudo-field behind a field",
            with(&[(":method", "GET"), (":scheme", "https"), ("x", "y"), (":authority", "a"), (":path", "/")]),
            Malformed,
        ),
        ("8.3.1 no method", without(0), Malformed),
        ("8.3.1 no scheme", without(1), Malformed),
        ("8.3.1 no path", without(3), Malformed),
        ("8.3.1 an empty path", with(&request("GET", "")), Malformed),
        (
            "8.3.1 no authority, but a host",
            with(&[(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "a")]),
            Answer(200),
        ),
        ("8.3.1 another host than authority", plus(("host", "b")), Malformed),
        ("8.3.1 two methods", twice(0), Malformed),
        ("8.3.1 two schemes", twice(1), Malformed),
        ("8.3.1 two authorities", twice(2), Malformed),
        ("8.3.1 two paths", twice(3), Malformed),
        ("8.3.1 OPTIONS *", with(&request("OPTIONS", "*")), Answer(200)),
        ("8.5 CONNECT", with(&[(":method", "CONNECT"), (":authority", "a:443")]), Answer(405)),
        ("8.5 CONNECT with a path", with(&request("CONNECT", "/")), Malformed),
        (
            "8.5 an extended CONNECT that was not offered",
            with(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "https"),
                (":authority", "a"),
                (":path", "/"),
            ]),
            Malformed,
        ),
    ]
}

#[test]
fn frames_are_taken_and_refused_as_the_standard_says() {
    let target = Upstream::echo("t");
    let served = serve("frames", DesyncMode::Defensive, target.endpoint(), |_| {});
    let mut wrong = Vec::new();
    for (name, bytes, must) in cases() {
        let mut client = served.open();
        client.send(&bytes);
        let ended = match must {
            Gone(_) | Broken(_) => client.end(),
            _ => client.ends(&[1]).remove(0),
        };
        let right = match (must, &ended) {
            (Gone(code), Ended::Gone(found)) => code == *found,
            (Broken(code), Ended::Gone(found)) => [code, PROTOCOL_ERROR].contains(found),
            (Fail(codes), Ended::Gone(found) | Ended::Reset(found)) => codes.contains(found),
            (Answer(status), Ended::Answered(found, _)) => status == *found,
            (Malformed, Ended::Reset(PROTOCOL_ERROR) | Ended::Gone(PROTOCOL_ERROR) | Ended::Answered(400, _)) => true,
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: {must:?}, not {ended:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases().len(), wrong.join("\n"));
    assert!(served.serves());
}

#[test]
fn a_connection_begins_with_preface_and_settings() {
    let target = Upstream::echo("t");
    let served = serve("preface", DesyncMode::Defensive, target.endpoint(), |_| {});
    for (bytes, what) in [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "another protocol"),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(), "a wrong preface"),
        ([PREFACE, &frame(PING, 0, 0, &[0; 8]), &get(1, "/")].concat(), "another frame than settings"),
    ] {
        let mut client = served.connect();
        client.send(&bytes);
        let ended = client.end();
        assert!(matches!(ended, Ended::Gone(PROTOCOL_ERROR) | Ended::Closed), "{what}: {ended:?}");
    }
    // The server's own settings come first, and the client's are acknowledged.
    let mut client = served.open();
    let first = client.frame().unwrap();
    assert_eq!((first.kind, first.flags & ACK, first.id), (SETTINGS, 0, 0));
    loop {
        let next = client.next(SETTINGS).expect("an acknowledgement");
        if next.flags & ACK != 0 {
            assert!(next.payload.is_empty());
            break;
        }
    }
}

#[test]
fn pings_come_back_and_acknowledgements_do_not() {
    let target = Upstream::echo("t");
    let served = serve("ping", DesyncMode::Defensive, target.endpoint(), |_| {});
    let mut client = served.open();
    client.send(&[frame(PING, ACK, 0, b"no reply"), frame(PING, 0, 0, b"a reply!")].concat());
    let pong = client.next(PING).unwrap();
    assert_eq!((pong.flags, pong.payload), (ACK, b"a reply!".to_vec()));
}

#[test]
fn windows_hold_answers_back() {
    let target = Upstream::start(|mut peer| {
        while peer.request().is_some() {
            let body = "x".repeat(40_000);
            peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let served = serve("windows", DesyncMode::Defensive, target.endpoint(), |_| {});
    let mut client = served.connect();
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &setting(4, 3)), &get(1, "/")].concat());
    assert_eq!(client.next(DATA).unwrap().payload.len(), 3);
    // Nothing more until there is room again, also when the window was made smaller than what is used.
    client.send(&frame(SETTINGS, 0, 0, &setting(4, 1)));
    client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2]));
    client.send(&frame(PING, 0, 0, b"anything"));
    loop {
        let next = client.frame().unwrap();
        assert_ne!(next.kind, DATA, "{next:?}");
        if next.kind == PING {
            break;
        }
    }
    client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 5]));
    assert_eq!(client.next(DATA).unwrap().payload.len(), 5);
    client.send(&frame(SETTINGS, 0, 0, &setting(4, 60_000)));
    let mut got = 8;
    loop {
        let data = client.next(DATA).unwrap();
        assert!(data.payload.len() <= 16_384, "{}", data.payload.len());
        got += data.payload.len();
        if data.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(got, 40_000);
}

#[test]
fn a_stream_goes_on_while_another_waits() {
    let target = Upstream::echo("t");
    let served = serve("wait", DesyncMode::Defensive, target.endpoint(), |_| {});
    let mut client = served.open();
    client.send(&frame(HEADERS, END_HEADERS, 1, &post(&[])));
    client.send(&get(3, "/three"));
    let ended = client.ends(&[3]).remove(0);
    assert!(matches!(&ended, Ended::Answered(200, text) if text.contains("GET /three ")), "{ended:?}");
    // Frames for a stream that is over are passed over.
    client.send(&join(&[frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 9]), frame(RST_STREAM, 0, 3, &[0; 4])]));
    client.send(&frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 1]));
    client.send(&frame(DATA, END_STREAM, 1, b"done"));
    let ended = client.ends(&[1]).remove(0);
    assert!(matches!(&ended, Ended::Answered(200, text) if text.ends_with("done")), "{ended:?}");
    assert!(!client.drain(Duration::from_millis(20)));
}
