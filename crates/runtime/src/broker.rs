//! Both ends of the broker's socket: packets of JSON, descriptors beside them.
//! See [`quarry_domain::link::BrokerRequest`] for what is asked.

use quarry_domain::link::{BrokerReply, BrokerRequest};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

/// A command with its arguments is the longest.
const PACKET_MAX: usize = 32 << 10;
/// With one packet.
const DESCRIPTORS_MAX: usize = 3;
/// Connections served at a time; a proxy needs one per thread.
const CLIENTS_MAX: usize = 256;

/// What a broker answers.
pub enum Answer {
    Descriptor(OwnedFd),
    Done,
    Failed(String),
}

/// The listening end. It has no thread: its owner polls it together with what else it waits for.
pub struct Broker {
    listener: OwnedFd,
    clients: Vec<OwnedFd>,
}

/// The asking end.
pub struct Client {
    socket: OwnedFd,
}

impl Broker {
    /// Listens at `path`, replacing a socket left there.
    pub fn listen(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&listener, 64)?;
        Ok(Self { listener, clients: Vec::new() })
    }

    /// Descriptors to wait on, in the order [`serve`](Self::serve) expects.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.clients.iter().map(AsFd::as_fd))
    }

    pub fn len(&self) -> usize {
        1 + self.clients.len()
    }

    /// Handles what became ready: `ready[i]` belongs to the i-th descriptor.
    pub fn serve(&mut self, ready: &[bool], mut answer: impl FnMut(BrokerRequest) -> Answer) {
        let mut gone = Vec::new();
        for (index, client) in self.clients.iter().enumerate() {
            if ready.get(index + 1).copied().unwrap_or(false) && serve_one(client, &mut answer).is_err() {
                gone.push(index);
            }
        }
        for index in gone.into_iter().rev() {
            self.clients.swap_remove(index);
        }
        if ready.first().copied().unwrap_or(false) {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            while let Ok(client) = rustix::net::accept_with(&self.listener, flags) {
                let peer = rustix::net::sockopt::socket_peercred(&client);
                let known = peer.is_ok_and(|p| p.uid == rustix::process::geteuid());
                if known && self.clients.len() < CLIENTS_MAX {
                    self.clients.push(client);
                }
            }
        }
    }
}

/// Waits until one of `descriptors` is ready; which ones are.
pub fn wait<'a>(descriptors: impl Iterator<Item = BorrowedFd<'a>>, timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut set: Vec<PollFd> = descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let timeout = timeout.and_then(|t| rustix::event::Timespec::try_from(t).ok());
    match rustix::event::poll(&mut set, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(set.iter().map(|p| !p.revents().is_empty()).collect())
}

/// Serves one packet; an error means the connection is to be closed.
fn serve_one(client: &OwnedFd, answer: &mut impl FnMut(BrokerRequest) -> Answer) -> io::Result<()> {
    let mut buffer = [0u8; PACKET_MAX];
    let length = match rustix::net::recv(client, &mut buffer[..], RecvFlags::TRUNC) {
        Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok((_, length)) => length,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let answer = match buffer.get(..length).map(serde_json::from_slice::<BrokerRequest>) {
        Some(Ok(request)) => answer(request),
        Some(Err(e)) => Answer::Failed(format!("not a request: {e}")),
        None => Answer::Failed(format!("a request has at most {PACKET_MAX} bytes")),
    };
    let (reply, descriptor) = match answer {
        Answer::Descriptor(fd) => (BrokerReply::Descriptor, Some(fd)),
        Answer::Done => (BrokerReply::Done, None),
        Answer::Failed(reason) => (BrokerReply::Failed(reason), None),
    };
    let descriptors: Vec<BorrowedFd> = descriptor.iter().map(AsFd::as_fd).collect();
    send(client, &serde_json::to_vec(&reply)?, &descriptors)
}

/// One packet, with up to three descriptors.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Client {
    /// Connects with a timeout of two seconds on every later call.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let limit = Some(Duration::from_secs(2));
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, limit)?;
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, limit)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self { socket })
    }

    /// One request, one answer. `Failed` comes back as an error.
    pub fn ask(&self, request: &BrokerRequest) -> io::Result<Option<OwnedFd>> {
        let packet = serde_json::to_vec(request)?;
        if packet.len() > PACKET_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too long"));
        }
        send(&self.socket, &packet, &[])?;
        let (reply, descriptors) = receive(&self.socket)?;
        let descriptor = descriptors.into_iter().next();
        match reply {
            BrokerReply::Descriptor if descriptor.is_none() => Err(io::Error::other("the descriptor is missing")),
            BrokerReply::Descriptor | BrokerReply::Done => Ok(descriptor),
            BrokerReply::Failed(reason) => Err(io::Error::other(reason)),
        }
    }

    /// A request whose answer carries a descriptor.
    pub fn descriptor(&self, request: &BrokerRequest) -> io::Result<OwnedFd> {
        self.ask(request)?.ok_or_else(|| io::Error::other("the broker sent no descriptor"))
    }
}

/// One packet and what came with it. The end of the connection is an error.
pub fn receive<T: serde::de::DeserializeOwned>(socket: impl AsFd) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut buffer = [0u8; PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let received = rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&buffer[..received.bytes])?, descriptors))
}

/// A new unconnected TCP socket in the caller's network namespace, as `Stream` asks for.
pub fn stream_socket() -> Answer {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None) {
        Ok(socket) => Answer::Descriptor(socket),
        Err(e) => Answer::Failed(format!("socket: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_clients_are_served_and_a_bad_request_closes_nothing() {
        let dir = std::env::temp_dir().join(format!("quarry-broker-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s");
        let mut broker = Broker::listen(&path).unwrap();
        let server = std::thread::spawn(move || {
            let mut served = 0;
            while served < 3 {
                let ready = wait(broker.descriptors(), None).unwrap();
                broker.serve(&ready, |request| {
                    served += 1;
                    match request {
                        BrokerRequest::Stream => stream_socket(),
                        _ => Answer::Failed("no".to_owned()),
                    }
                });
            }
        });
        let (one, two) = (Client::connect(&path).unwrap(), Client::connect(&path).unwrap());
        one.descriptor(&BrokerRequest::Stream).unwrap();
        send(&two.socket, b"{}", &[]).unwrap();
        let mut answer = [0u8; PACKET_MAX];
        let (_, length) = rustix::net::recv(&two.socket, &mut answer[..], RecvFlags::empty()).unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).contains("not a request"));
        two.descriptor(&BrokerRequest::Stream).unwrap();
        assert_eq!(two.ask(&BrokerRequest::Stop).unwrap_err().to_string(), "no");
        server.join().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
