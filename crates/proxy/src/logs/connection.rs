//! A connection's line in the connection log (AWS's documentation, "Connection log entries").

use super::access::push_connection;
use super::text::{push_seconds, push_time};
use crate::stream::TlsInfo;
use std::io::Write;
use std::net::SocketAddr;

/// A connection that was made, or whose handshake failed.
pub struct Connection<'a> {
    pub unix_millis: i64,
    pub peer: SocketAddr,
    /// The listener's port.
    pub port: u16,
    pub tls: Tls<'a>,
    pub id: (u64, u64),
}

/// What there is to say about TLS.
pub enum Tls<'a> {
    None,
    Made(&'a TlsInfo),
    Failed,
}

impl Connection<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        push_time(out, self.unix_millis);
        let _ = write!(out, " {} {} {}", self.peer.ip().to_canonical(), self.peer.port(), self.port);
        let (protocol, cipher, exchange, status) = match &self.tls {
            Tls::None => ("-", "-", "-", "-"),
            Tls::Made(info) => (info.version, info.cipher.as_str(), info.key_exchange.as_str(), "Success"),
            Tls::Failed => ("-", "-", "-", "Failed:UnmappedConnectionError"),
        };
        let _ = write!(out, " {protocol} {cipher} ");
        match &self.tls {
            Tls::Made(info) => push_seconds(out, Some(info.took)),
            Tls::None | Tls::Failed => out.push(b'-'),
        }
        // Client certificates are not asked for.
        let _ = write!(out, " \"-\" - - {status} ");
        push_connection(out, self.id);
        let _ = writeln!(out, " {exchange}");
    }
}
