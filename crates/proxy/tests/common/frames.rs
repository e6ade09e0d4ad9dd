//! HTTP/2 written by hand: frames as bytes, fields as literals, so that everything wrong can be said too.

use super::tls::{Secure, certificate, connect, put_key, secure, trusting};
use super::{PATIENCE, Proxy, balancer, forward, free_port, group, snapshot};
use quarry_domain::snapshot::{DesyncMode, Endpoint, Listener, LoadBalancer};
use rustls::pki_types::CertificateDer;
use std::io::{Read, Write};
use std::time::Duration;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITIZED: u8 = 0x20;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 0xb;

/// A proxy with an HTTPS listener and, beside it, a plain one, both in front of one target group.
pub struct Served {
    pub proxy: Proxy,
    pub secure_port: u16,
    pub plain_port: u16,
    pub certificate: CertificateDer<'static>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

/// How a stream ended, or the connection with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Status and body.
    Answered(u16, String),
    Reset(u32),
    /// GOAWAY with an error, and the end.
    Gone(u32),
    /// The end without a word.
    Closed,
    /// Nothing came in time.
    Waiting,
}

/// The client's side of a connection.
pub struct Client {
    pub stream: Secure,
    buffer: Vec<u8>,
    /// The last GOAWAY's error.
    gone: Option<u32>,
    closed: bool,
}

pub fn serve(name: &str, mode: DesyncMode, target: Endpoint, change: impl FnOnce(&mut LoadBalancer)) -> Served {
    let (cert, der) = certificate("cert/1", &["one.example"]);
    let (secure_port, plain_port) = (free_port(), free_port());
    let mut lb = balancer(name, secure_port, vec![], forward("g"));
    lb.attributes.desync_mode = mode;
    let plain = Listener { arn: "listener/plain".into(), port: plain_port, ..lb.listeners[0].clone() };
    secure(&mut lb.listeners[0], vec![cert]);
    lb.listeners.push(plain);
    change(&mut lb);
    let proxy = Proxy::start();
    put_key(&proxy.dir);
    proxy.serve.apply_healthy(&snapshot(1, vec![lb], vec![group("g", &[target])]));
    Served { proxy, secure_port, plain_port, certificate: der }
}

impl Served {
    /// A connection on which nothing has been said.
    pub fn connect(&self) -> Client {
        let stream = connect(self.secure_port, "one.example", &trusting(&self.certificate, &["h2"]));
        stream.sock.set_nodelay(true).unwrap();
        Client { stream, buffer: Vec::new(), gone: None, closed: false }
    }

    /// A connection with the preface and settings sent: no compression of what comes back, and room for all of it.
    pub fn open(&self) -> Client {
        let mut client = self.connect();
        let settings = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        let window = frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]);
        assert!(client.send(&[PREFACE, &settings, &window].concat()));
        client
    }

    /// Whether another client is served.
    pub fn serves(&self) -> bool {
        super::get(self.plain_port, "/other").status() == 200
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(id.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Fields as literals that are not indexed.
pub fn fields<N: AsRef<[u8]>, V: AsRef<[u8]>>(list: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in list {
        out.push(0);
        for part in [name.as_ref(), value.as_ref()] {
            push_length(&mut out, part.len());
            out.extend_from_slice(part);
        }
    }
    out
}

fn push_length(out: &mut Vec<u8>, mut n: usize) {
    if n < 127 {
        return out.push(n as u8);
    }
    out.push(127);
    n -= 127;
    while n >= 128 {
        out.push((n % 128 + 128) as u8);
        n /= 128;
    }
    out.push(n as u8);
}

/// The fields of a plain request.
pub fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "one.example"), (":path", path)]
}

/// A GET as one frame.
pub fn get(id: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, id, &fields(&request("GET", path)))
}

impl Client {
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// `None` at the end, or when nothing comes in time.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if self.buffer.len() >= 9 {
                let length = u32::from_be_bytes([0, self.buffer[0], self.buffer[1], self.buffer[2]]) as usize;
                if self.buffer.len() >= 9 + length {
                    let all: Vec<u8> = self.buffer.drain(..9 + length).collect();
                    let id = u32::from_be_bytes([all[5] & 0x7f, all[6], all[7], all[8]]);
                    let frame = Frame { kind: all[3], flags: all[4], id, payload: all[9..].to_vec() };
                    if frame.kind == GOAWAY {
                        self.gone = Some(error(&frame.payload[4..]));
                    }
                    return Some(frame);
                }
            }
            let mut bytes = [0; 16384];
            match self.stream.read(&mut bytes) {
                Ok(n) if n > 0 => self.buffer.extend_from_slice(&bytes[..n]),
                other => {
                    let waits = |e: &std::io::Error| {
                        matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
                    };
                    self.closed = !other.is_err_and(|e| waits(&e));
                    return None;
                }
            }
        }
    }

    /// The next frame of a kind.
    pub fn next(&mut self, kind: u8) -> Option<Frame> {
        loop {
            match self.frame()? {
                frame if frame.kind == kind => return Some(frame),
                _ => {}
            }
        }
    }

    /// How each of these streams ended.
    pub fn ends(&mut self, ids: &[u32]) -> Vec<Ended> {
        let mut open: Vec<(u16, Vec<u8>, Option<Ended>)> = ids.iter().map(|_| (0, Vec::new(), None)).collect();
        while open.iter().any(|o| o.2.is_none()) {
            let Some(frame) = self.frame() else { break };
            let Some(at) = ids.iter().position(|id| *id == frame.id) else { continue };
            let (status, body, ended) = &mut open[at];
            match frame.kind {
                HEADERS => *status = status_of(&frame.payload),
                DATA => body.extend_from_slice(&frame.payload),
                RST_STREAM => _ = ended.get_or_insert(Ended::Reset(error(&frame.payload))),
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                let text = String::from_utf8_lossy(body).into_owned();
                ended.get_or_insert(Ended::Answered(*status, text));
            }
        }
        let last = match (self.closed, self.gone) {
            (false, _) => Ended::Waiting,
            (true, None) => Ended::Closed,
            (true, Some(code)) => Ended::Gone(code),
        };
        open.into_iter().map(|(.., ended)| ended.unwrap_or_else(|| last.clone())).collect()
    }

    /// How the connection ends by itself: `Gone` or `Closed`. What else comes is passed over.
    pub fn end(&mut self) -> Ended {
        self.ends(&[u32::MAX]).remove(0)
    }

    /// Reads what comes within this time; whether the other side has said that it is over.
    pub fn drain(&mut self, wait: Duration) -> bool {
        self.stream.sock.set_read_timeout(Some(wait)).unwrap();
        while self.frame().is_some() {}
        self.stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        self.gone.is_some()
    }
}

fn error(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

/// The status is the first field, and nothing is indexed.
fn status_of(block: &[u8]) -> u16 {
    // Changes of the table's size come first.
    let block = &block[block.iter().take_while(|b| **b & 0xe0 == 0x20).count()..];
    match block[0] {
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        _ if block[1] & 0x80 == 0 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        _ => {
            // Three digits in Huffman's code: 0, 1, 2 take five bits, the others six.
            let bits = block[2..].iter().take(3).fold(0u32, |n, b| n << 8 | u32::from(*b)) << 8;
            let (mut number, mut at) = (0, 0);
            for _ in 0..3 {
                let five = bits << at >> 27;
                let (digit, length) = if five < 3 { (five, 5) } else { ((bits << at >> 26) - 25 + 3, 6) };
                (number, at) = (number * 10 + digit, at + length);
            }
            number as u16
        }
    }
}
