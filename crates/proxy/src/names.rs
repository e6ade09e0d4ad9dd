//! The tasks' name server: UDP and TCP on port 53 of the hub. What is answered is not decided here.

use crate::worker::Shared;
use crate::{NameService, Resolver};
use quarry_domain::snapshot::Snapshot;
use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// What answers: the resolver of the snapshot in force, made when it is first asked.
pub struct Answers {
    service: NameService,
    shared: Arc<Shared>,
    made: RefCell<Option<(Arc<Snapshot>, Resolver)>>,
}

/// Connections over TCP at once; further ones wait.
const MAX_TCP: usize = 64;
const TCP_IDLE: Duration = Duration::from_secs(10);

impl Answers {
    pub fn new(service: NameService, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self { service, shared, made: RefCell::default() })
    }

    fn answer(&self, packet: &[u8], from: IpAddr, over_tcp: bool) -> Option<Vec<u8>> {
        let snapshot = self.shared.table.load().config.snapshot.clone();
        let mut made = self.made.borrow_mut();
        let current = made.take().filter(|(of, _)| Arc::ptr_eq(of, &snapshot));
        let (_, resolver) = made.insert(current.unwrap_or_else(|| {
            let resolver = (self.service)(&snapshot);
            (snapshot, resolver)
        }));
        resolver(packet, from, over_tcp)
    }
}

/// Answers datagrams until aborted.
pub async fn serve_udp(socket: UdpSocket, answers: Rc<Answers>) {
    let mut packet = vec![0u8; 4096];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((n, from)) => {
                if let Some(answer) = answers.answer(&packet[..n], from.ip(), false) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
            // An unreachable asker of before; the socket itself is well.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Answers over TCP until aborted.
pub async fn serve_tcp(listener: TcpListener, answers: Rc<Answers>) {
    let slots = Arc::new(Semaphore::new(MAX_TCP));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let answers = answers.clone();
                tokio::task::spawn_local(async move {
                    let _slot = slot;
                    let _ = converse(stream, from.ip(), &answers).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, from: IpAddr, answers: &Answers) -> io::Result<()> {
    loop {
        let read = async {
            let mut packet = vec![0u8; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut packet).await?;
            io::Result::Ok(packet)
        };
        let packet = tokio::time::timeout(TCP_IDLE, read).await??;
        let Some(answer) = answers.answer(&packet, from, true) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut whole = length.to_be_bytes().to_vec();
        whole.extend_from_slice(&answer);
        tokio::time::timeout(TCP_IDLE, stream.write_all(&whole)).await??;
    }
}
