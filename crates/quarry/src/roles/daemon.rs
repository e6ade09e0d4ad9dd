//! X-Ray's daemon for programs of this machine, and for tasks that are plain processes: segment documents in datagrams, at
//! the endpoint's own address and port. Tasks with a network of their own have it on the hub, see the proxy.

use quarry_control::{Platform, xray};
use quarry_domain::trace::daemon::document;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// The largest datagram.
const DATAGRAM: usize = 64 << 10;
/// Documents that are kept together.
const BATCH: usize = 256;

/// Listens for as long as the runtime lasts.
pub async fn start(address: SocketAddr, platform: Arc<Platform>) -> std::io::Result<()> {
    let socket = UdpSocket::bind(address).await?;
    tokio::spawn(async move {
        let mut datagram = vec![0u8; DATAGRAM];
        loop {
            let mut documents = Vec::new();
            match socket.recv(&mut datagram).await {
                Ok(length) => documents.extend(document(&datagram[..length]).map(str::to_owned)),
                // The socket itself is well.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            for _ in 1..BATCH {
                let Ok(length) = socket.try_recv(&mut datagram) else { break };
                documents.extend(document(&datagram[..length]).map(str::to_owned));
            }
            if documents.is_empty() {
                continue;
            }
            let platform = platform.clone();
            // The store blocks; what comes meanwhile waits in the socket.
            let _ = tokio::task::spawn_blocking(move || xray::receive(&platform, documents)).await;
        }
    });
    Ok(())
}
