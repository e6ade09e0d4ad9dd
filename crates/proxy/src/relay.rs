//! Relays: TCP accepted at one place and forwarded to another, byte for byte.

use crate::connect::connect;
use crate::io::tunnel;
use crate::stream::Stream;
use crate::watch::Watch;
use crate::worker::Worker;
use quarry_domain::snapshot::RelayListen;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

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
    let Some(to) = worker.shared.table.load().config.relays.get(&listen).cloned() else { return };
    let _ = client.set_nodelay(true);
    let client = Stream::from(client);
    match connect(&to, None, &worker.brokers).await {
        Ok(server) => {
            let (mut there, mut back) = (worker.lease(), worker.lease());
            tunnel(&client, &mut there, &server.into(), &mut back, &Watch::new(Duration::ZERO)).await;
        }
        Err(error) => {
            tracing::debug!(?listen, ?to, %error, "a relay's connection failed");
            // The client gets a reset, not an orderly end.
            client.abort();
        }
    }
}
