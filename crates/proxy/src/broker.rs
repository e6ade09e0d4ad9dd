//! Client of the brokers that make sockets inside network namespaces: a task's shim, or the hub's
//! holder. One `SOCK_SEQPACKET` connection carries one request at a time; idle ones are kept.

use quarry_domain::link::{BrokerReply, BrokerRequest};
use quarry_domain::snapshot::{Endpoint, Snapshot};
use quarry_domain::task::TaskEntry;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Idle connections by socket path, of one thread. tokio has no type for packet sockets; its stream
/// socket only waits for readiness here, and every packet is sent and received whole.
#[derive(Default)]
pub struct Brokers(RefCell<HashMap<PathBuf, Vec<UnixStream>>>);

const MAX_IDLE: usize = 4;

impl Brokers {
    /// Asks for a descriptor. A dead broker is an error like any other.
    pub async fn descriptor(&self, broker: &Path, request: &BrokerRequest) -> io::Result<OwnedFd> {
        match self.ask(broker, request).await? {
            (BrokerReply::Descriptor, Some(descriptor)) => Ok(descriptor),
            (BrokerReply::Failed(reason), _) => Err(io::Error::other(reason)),
            (BrokerReply::Descriptor | BrokerReply::Done, _) => {
                Err(io::Error::other("the broker answered without a descriptor"))
            }
        }
    }

    /// Asks for something to be done.
    pub async fn done(&self, broker: &Path, request: &BrokerRequest) -> io::Result<()> {
        match self.ask(broker, request).await?.0 {
            BrokerReply::Done => Ok(()),
            BrokerReply::Failed(reason) => Err(io::Error::other(reason)),
            BrokerReply::Descriptor => Err(io::Error::other("the broker answered with a descriptor")),
        }
    }

    /// Whether a broker that was there has ended since: an idle connection to it has broken.
    pub fn has_ended(&self, broker: &Path) -> bool {
        let mut idle = self.0.borrow_mut();
        let Some(connections) = idle.get_mut(broker) else { return false };
        let before = connections.len();
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        connections.retain(|c| net::recv(c, &mut [0u8; 1], flags) == Err(rustix::io::Errno::AGAIN));
        connections.len() < before
    }

    /// Forgets idle connections to brokers that a snapshot no longer names.
    pub fn retain(&self, snapshot: &Snapshot) {
        let mut idle = self.0.borrow_mut();
        if idle.is_empty() {
            return;
        }
        let endpoints = snapshot.target_groups.values().flat_map(|g| g.targets.iter().map(|t| &t.endpoint));
        let endpoints = endpoints.chain(snapshot.relays.iter().map(|r| &r.to));
        let tasks = endpoints.filter_map(|endpoint| match endpoint {
            Endpoint::Task { entry: TaskEntry::Broker(path), .. } => Some(path),
            Endpoint::Task { entry: TaskEntry::Host(_), .. }
            | Endpoint::Tcp(_)
            | Endpoint::Host { .. }
            | Endpoint::Barred
            | Endpoint::Nowhere { .. } => None,
        });
        let needed: HashSet<&PathBuf> = tasks.chain(snapshot.hub.iter().map(|hub| &hub.broker)).collect();
        idle.retain(|path, _| needed.contains(path));
    }

    async fn ask(&self, broker: &Path, request: &BrokerRequest) -> io::Result<(BrokerReply, Option<OwnedFd>)> {
        let packet = serde_json::to_vec(request)?;
        let idle = self.0.borrow_mut().get_mut(broker).and_then(Vec::pop);
        if let Some(connection) = idle
            && let Ok(reply) = exchange(&connection, &packet).await
        {
            self.keep(broker, connection);
            return Ok(reply);
        }
        // The idle connection may be of a broker that has since been replaced: once more, afresh.
        let connection = connect(broker).await?;
        let reply = exchange(&connection, &packet).await?;
        self.keep(broker, connection);
        Ok(reply)
    }

    fn keep(&self, broker: &Path, connection: UnixStream) {
        let mut idle = self.0.borrow_mut();
        match idle.get_mut(broker) {
            Some(idle) if idle.len() < MAX_IDLE => idle.push(connection),
            Some(_) => {}
            None => {
                idle.insert(broker.to_owned(), vec![connection]);
            }
        }
    }
}

async fn connect(broker: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let address = net::SocketAddrUnix::new(broker)?;
    let mut wait = Duration::from_millis(1);
    loop {
        match net::connect(&socket, &address) {
            Ok(()) => {
                return UnixStream::from_std(socket.into());
            }
            // The broker's backlog is full: it is busy, not gone.
            Err(rustix::io::Errno::AGAIN) if wait < Duration::from_millis(500) => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(e) => return Err(e.into()),
        }
    }
}

async fn exchange(connection: &UnixStream, packet: &[u8]) -> io::Result<(BrokerReply, Option<OwnedFd>)> {
    let sent =
        connection.async_io(Interest::WRITABLE, || Ok(net::send(connection, packet, SendFlags::NOSIGNAL)?)).await?;
    if sent != packet.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    connection.async_io(Interest::READABLE, || receive(connection)).await
}

fn receive(fd: &UnixStream) -> io::Result<(BrokerReply, Option<OwnedFd>)> {
    let mut bytes = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = net::recvmsg(fd.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let reply = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok((reply, descriptors.into_iter().next()))
}
