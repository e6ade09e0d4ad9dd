//! The first bytes of a client's connection: TLS where the listener is an HTTPS one.

use crate::client::Origin;
use crate::stream::{Stream, Tls};
use crate::table::Place;
use crate::worker::Worker;
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;

/// A handshake must be done within this time.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// The connection as its listener wants it. Where several listeners share the address, the one that the
/// client's server name asks for is settled on here.
pub async fn enter(worker: &Worker, tcp: TcpStream, origin: Origin) -> io::Result<(Stream, Origin)> {
    let table = worker.shared.table.load_full();
    let (mut plain, mut secure) = (false, false);
    for listener in table.config.at(&origin.place) {
        match listener.tls {
            None => plain = true,
            Some(_) => secure = true,
        }
    }
    if !secure {
        return Ok((tcp.into(), origin));
    }
    let entered = async {
        if plain {
            let mut first = [0u8];
            tcp.peek(&mut first).await?;
            if first[0] != TLS_HANDSHAKE {
                return Ok((tcp.into(), origin));
            }
        }
        let chosen = RefCell::new(None);
        let tls = Tls::accept(tcp, |name| {
            let (arn, config) = table.config.choose_tls(&origin.place, name)?;
            chosen.replace(Some(arn.to_owned()));
            Some(config)
        })
        .await?;
        let info = tls.info();
        let place = chosen.take().map_or(origin.place, |arn| Rc::new(Place::Own(arn)));
        // Which of several load balancers is meant is known only now.
        if !table.config.admits(&place, origin.peer.ip()) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let origin = Origin { http2: info.http2, tls: Some(Rc::new(info)), place, ..origin };
        Ok((Stream::Tls(Box::new(tls)), origin))
    };
    tokio::time::timeout(HANDSHAKE, entered).await.unwrap_or(Err(ErrorKind::TimedOut.into()))
}
