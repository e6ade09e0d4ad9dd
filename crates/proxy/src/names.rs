//! The tasks' name server: UDP and TCP on port 53 of the hub. What is answered is not decided here.

use crate::NameService;
use crate::worker::Shared;
use quarry_domain::snapshot::Snapshot;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Connections over TCP at once; further ones wait.
const MAX_TCP: usize = 64;
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Answers datagrams until aborted.
pub async fn serve_udp(socket: UdpSocket, names: NameService, shared: Arc<Shared>) {
    let mut packet = vec![0u8; 4096];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((n, from)) => {
                if let Some(answer) = names(&packet[..n], &snapshot(&shared), false) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
            // An unreachable asker of before; the socket itself is well.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Answers over TCP until aborted.
pub async fn serve_tcp(listener: TcpListener, names: NameService, shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(MAX_TCP));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (names, shared) = (names.clone(), shared.clone());
                tokio::task::spawn_local(async move {
                    let _slot = slot;
                    let _ = converse(stream, &names, &shared).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, names: &NameService, shared: &Shared) -> io::Result<()> {
    loop {
        let read = async {
            let mut packet = vec![0u8; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut packet).await?;
            io::Result::Ok(packet)
        };
        let packet = tokio::time::timeout(TCP_IDLE, read).await??;
        let Some(answer) = names(&packet, &snapshot(shared), true) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut whole = length.to_be_bytes().to_vec();
        whole.extend_from_slice(&answer);
        tokio::time::timeout(TCP_IDLE, stream.write_all(&whole)).await??;
    }
}

fn snapshot(shared: &Shared) -> Arc<Snapshot> {
    shared.table.load().config.snapshot.clone()
}
