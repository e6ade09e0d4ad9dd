//! Upgrade in place: a new proxy takes over from the one that runs, without a moment in which nobody listens.
//!
//! The running proxy listens at `<data>/proxy/handover`. The new one connects and gets a letter (the snapshot in force,
//! what is known of the targets' health, which sockets follow) in a memory file, and the listening sockets themselves.
//! Both hold the proxy's lock, shared, from then on; the sockets are the same ones, with the same queues of connections
//! that wait. The new proxy routes, begins to accept, and says so; only then the old one stops accepting, lets go of the
//! lock, and ends when its last connection has. If either breaks off before that, the other goes on alone.

use crate::listen::Want;
use crate::slow_start::Begun;
use quarry_domain::health::Known;
use quarry_domain::snapshot::Snapshot;
use rustix::fs::MemfdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

/// What the old proxy tells the new one.
#[derive(Serialize, Deserialize)]
pub struct Letter {
    pub pid: u32,
    pub snapshot: Snapshot,
    /// It is on disk.
    pub saved: bool,
    /// By target group and registration.
    pub health: Vec<(String, u64, Known)>,
    /// Of groups with slow start.
    #[serde(default)]
    pub slow_start: Vec<Begun>,
    pub sockets: Vec<Socket>,
    /// The hub's name server: its UDP and its TCP socket follow last.
    pub names: bool,
}

/// Listening sockets of one address, one per worker of the old proxy.
#[derive(Serialize, Deserialize)]
pub struct Socket {
    pub want: Want,
    pub address: SocketAddr,
    /// Why it is not the port that was asked for.
    pub moved: Option<String>,
    pub count: usize,
}

/// The new proxy's side.
pub struct Taker {
    stream: UnixStream,
    pub letter: Letter,
    /// As the letter lists them.
    pub descriptors: std::vec::IntoIter<OwnedFd>,
}

/// Each step takes this long at most.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors in one packet; the kernel takes 253.
const TOGETHER: usize = 128;
/// The new proxy accepts connections; the old one has stopped to.
const ACCEPTS: u8 = b'A';
const STOPPED: u8 = b'S';
/// In place of a letter: not now.
const HOLDING: u8 = b'H';

/// Where a proxy can be taken over from.
pub fn path(directory: &Path) -> PathBuf {
    directory.join("handover")
}

/// Listens for one that wants to take over.
pub fn listen(directory: &Path) -> io::Result<tokio::net::UnixListener> {
    let path = path(directory);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    tokio::net::UnixListener::bind(path)
}

/// Gives everything away and waits until the other side accepts connections.
pub async fn give(
    stream: &mut tokio::net::UnixStream,
    letter: &Letter,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut file = File::from(rustix::fs::memfd_create("handover", MemfdFlags::CLOEXEC)?);
    serde_json::to_writer(io::BufWriter::new(&file), letter)?;
    file.rewind()?;
    let first = [file.as_fd()];
    let exchange = async {
        for together in std::iter::once(&first[..]).chain(descriptors.chunks(TOGETHER)) {
            stream.async_io(Interest::WRITABLE, || send(stream.as_fd(), together)).await?;
        }
        match stream.read_u8().await? {
            ACCEPTS => Ok(()),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(ErrorKind::TimedOut.into()))
}

/// Gives nothing away: the writes that a cut has parked here would be two proxies' affair.
pub async fn refuse(stream: &mut tokio::net::UnixStream) -> io::Result<()> {
    stream.write_u8(HOLDING).await
}

/// Says that this side has stopped accepting and holds the lock no more.
pub async fn stopped(stream: &mut tokio::net::UnixStream) -> io::Result<()> {
    stream.write_u8(STOPPED).await
}

impl Taker {
    /// Asks the running proxy; `None` if there is none to be asked.
    pub fn ask(directory: &Path) -> io::Result<Option<Self>> {
        let stream = match UnixStream::connect(path(directory)) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        let [letter] = <[_; 1]>::try_from(receive(&stream)?).map_err(|_| ErrorKind::InvalidData)?;
        File::from(letter).read_to_string(&mut text)?;
        let letter: Letter = serde_json::from_str(&text)?;
        let wanted = letter.sockets.iter().map(|s| s.count).sum::<usize>() + if letter.names { 2 } else { 0 };
        let mut descriptors = Vec::with_capacity(wanted);
        while descriptors.len() < wanted {
            descriptors.extend(receive(&stream)?);
        }
        Ok(Some(Self { stream, letter, descriptors: descriptors.into_iter() }))
    }

    /// Says that this side accepts, and waits until the other one has stopped to.
    pub fn accepts(mut self) -> io::Result<()> {
        self.stream.write_all(&[ACCEPTS])?;
        let mut answer = [0];
        self.stream.read_exact(&mut answer)?;
        if answer == [STOPPED] { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }
}

fn send(stream: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(descriptors));
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The descriptors of one packet, which are never none.
fn receive(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 1 && word == [HOLDING] {
        return Err(io::Error::new(ErrorKind::ResourceBusy, "a cut has parked writes there; try again in a moment"));
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    match received.bytes == 0 || descriptors.is_empty() {
        true => Err(ErrorKind::UnexpectedEof.into()),
        false => Ok(descriptors),
    }
}
