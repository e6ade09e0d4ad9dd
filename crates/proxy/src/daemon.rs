//! X-Ray's daemon for tasks: segment documents in datagrams on the hub, handed on as those of load balancers are.

use crate::broker::Brokers;
use crate::worker::Shared;
use quarry_domain::link::BrokerRequest;
use quarry_domain::snapshot::Hub;
use quarry_domain::trace::daemon::{PORT, document};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// The daemon on a hub, where there is one.
#[derive(Default)]
pub struct Daemon(Option<(Hub, AbortHandle)>);

/// The largest datagram.
const DATAGRAM: usize = 64 << 10;

impl Daemon {
    /// Listens on this hub, if it does not yet.
    pub async fn follow(&mut self, hub: Option<&Hub>, brokers: &Brokers, shared: &Arc<Shared>) {
        if !self.is_elsewhere(hub) {
            return;
        }
        self.stop();
        let Some(hub) = hub else { return };
        let address = SocketAddr::from((hub.address, PORT));
        match open(address, hub, brokers).await {
            Ok(socket) => {
                let task = tokio::task::spawn_local(serve(socket, shared.clone()));
                self.0 = Some((hub.clone(), task.abort_handle()));
            }
            Err(error) => tracing::warn!(%address, %error, "X-Ray's daemon cannot listen; tried again every second"),
        }
    }

    /// Whether it does not listen where it should.
    pub fn is_elsewhere(&self, hub: Option<&Hub>) -> bool {
        self.0.as_ref().map(|(of, _)| of) != hub
    }

    pub fn stop(&mut self) {
        if let Some((_, task)) = self.0.take() {
            task.abort();
        }
    }
}

async fn open(address: SocketAddr, hub: &Hub, brokers: &Brokers) -> io::Result<UdpSocket> {
    let socket = brokers.descriptor(&hub.broker, &BrokerRequest::Datagram { address }).await?;
    let socket = std::net::UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Takes datagrams until aborted. What is no document is left out, as the sender hears nothing anyway.
async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let mut datagram = vec![0u8; DATAGRAM];
    loop {
        match socket.recv(&mut datagram).await {
            Ok(length) => {
                if let Some(document) = document(&datagram[..length]) {
                    shared.traces.offer(document.to_owned());
                }
            }
            // The socket itself is well.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}
