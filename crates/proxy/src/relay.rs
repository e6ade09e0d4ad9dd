//! Relays: TCP accepted at one place and forwarded to another, byte for byte, where security groups allow it.

use crate::connect::{ConnectError, connect};
use crate::io::{Meter, tunnel};
use crate::screen;
use crate::stream::Stream;
use crate::watch::{Phase, Watch};
use crate::worker::Worker;
use quarry_domain::address;
use quarry_domain::snapshot::{Endpoint, RelayListen};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Accepts until aborted or the worker stops. Where a connection goes is looked up when it comes in.
pub async fn accept(worker: Rc<Worker>, listener: std::net::TcpListener, listen: RelayListen) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a relay's socket could not be used"),
    };
    while !worker.stopping.get() {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(forward(worker.clone(), stream, listen.clone()));
            }
            Err(error) => worker.accept_failed(&error).await,
        }
    }
}

async fn forward(worker: Rc<Worker>, client: TcpStream, listen: RelayListen) {
    let Some(relay) = worker.shared.table.load().config.relays.get(&listen).cloned() else { return };
    let _relaying = worker.relaying();
    if !admits(&worker, &client, &listen) {
        tracing::debug!(?listen, "security groups do not allow a connection");
        return Stream::from(client).abort();
    }
    screen::lift(&client);
    let to = &relay.to;
    let _ = client.set_nodelay(true);
    let opened = match relay.tells_source {
        false => connect(to, None, &worker.brokers).await,
        true => connect_telling(to, &client, &listen).await,
    };
    let client = Stream::from(client);
    match opened {
        Ok(server) => {
            let (mut there, mut back) = (worker.lease(), worker.lease());
            let watch = Watch::new(Duration::ZERO);
            let meter = || Meter::new(&watch, (Phase::Tunnel, Phase::Tunnel));
            tunnel(&client, &mut there, &server.into(), &mut back, &meter(), &meter()).await;
        }
        Err(error) => {
            tracing::debug!(?listen, ?to, %error, "a relay's connection failed");
            // The client gets a reset, not an orderly end.
            client.abort();
        }
    }
}

/// Whether the asker may connect. On the host's loopback a task cannot be told from another program.
fn admits(worker: &Worker, client: &TcpStream, listen: &RelayListen) -> bool {
    let table = worker.shared.table.load();
    match (listen, client.peer_addr()) {
        (RelayListen::Host(_), _) => true,
        (RelayListen::Hub(SocketAddr::V4(at)), Ok(SocketAddr::V4(peer))) => {
            table.config.snapshot.security.admits(*peer.ip(), *at.ip(), at.port())
        }
        (RelayListen::Hub(_), _) => false,
    }
}

/// Connects to a program of this machine from the address that stands for the task that asks.
async fn connect_telling(to: &Endpoint, client: &TcpStream, listen: &RelayListen) -> Result<TcpStream, ConnectError> {
    let is_metadata = matches!(listen, RelayListen::Hub(at) if at.ip() == address::METADATA);
    let told = match client.peer_addr()?.ip() {
        IpAddr::V4(source) if is_metadata => address::told(source),
        IpAddr::V4(source) => address::calling(source),
        IpAddr::V6(_) => None,
    };
    let (Some(told), Endpoint::Tcp(to)) = (told, to) else {
        return Err(ConnectError::Nowhere("only tasks are told something here".to_owned()));
    };
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((told, 0)))?;
    Ok(socket.connect(*to).await?)
}
