//! The nursery: a small process that was executed once and makes shims by fork, so that a task costs neither
//! this program's loading and linking nor most of a shim's memory: what they share are its pages.
//!
//! It has a socket and nothing else. `serve` sends a task's id with the shim's descriptors (lock, secrets, log); the
//! child reads from them, the nursery never does. It ends when `serve` does, which closes the socket, and its
//! shims, children of its own parent, take no notice. One that died is followed by another: whether it had made the
//! shim that it was asked for is told by the task's lock.

use crate::broker;
use crate::layout::Layout;
use crate::shim::{self, Inherited};
use crate::sys::{self, CommandLine, Forked};
use quarry_domain::link::BrokerReply;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A fork takes well below a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room for a shim's command line, which is longer than the nursery's by a task's id.
const ROOM: usize = 96;

/// `serve`'s side of one data directory's nursery.
pub struct Nursery {
    layout: Layout,
    exe: PathBuf,
    /// To the one that lives, if one was needed yet.
    socket: Mutex<Option<OwnedFd>>,
}

/// Why there is no shim.
#[derive(Debug)]
pub enum Refusal {
    /// There is none.
    Failed(io::Error),
    /// The nursery did not answer: there may be one.
    Silent(io::Error),
}

impl Nursery {
    pub fn new(layout: &Layout, exe: &Path) -> Self {
        Self { layout: layout.clone(), exe: exe.to_owned(), socket: Mutex::default() }
    }

    /// Makes the shim of a task, with its lock, its secrets and its log. After [`Refusal::Silent`] the next call
    /// starts another nursery.
    pub fn shim(&self, id: &str, descriptors: [BorrowedFd; 3]) -> Result<(), Refusal> {
        let asked = serde_json::to_vec(id).map_err(|e| Refusal::Failed(e.into()))?;
        let ask = |socket: &OwnedFd| broker::send(socket, &asked, &descriptors);
        let mut place = self.socket();
        let socket = match place.take().filter(|socket| ask(socket).is_ok()) {
            Some(socket) => socket,
            // None was needed yet, or it died before.
            None => self.start().and_then(|socket| ask(&socket).map(|()| socket)).map_err(Refusal::Failed)?,
        };
        match broker::receive(&socket).map_err(Refusal::Silent)? {
            (BrokerReply::Done, _) => {}
            (BrokerReply::Failed(reason), _) => return Err(Refusal::Failed(io::Error::other(reason))),
            (BrokerReply::Descriptor, _) => return Err(Refusal::Silent(io::Error::other("a strange answer"))),
        }
        *place = Some(socket);
        Ok(())
    }

    /// Ends the nursery, if one lives, and waits until it has let go of its socket. The next shim has another.
    pub fn end(&self) {
        let Some(socket) = self.socket().take() else { return };
        let _ = rustix::net::shutdown(&socket, Shutdown::Write);
        let _ = rustix::net::recv(&socket, &mut [0u8; 1][..], RecvFlags::empty());
    }

    fn socket(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> io::Result<OwnedFd> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE))?;
        set_socket_timeout(&ours, Timeout::Send, Some(PATIENCE))?;
        let log = File::options().append(true).create(true).open(self.layout.log("shim.log"))?;
        let mut command = Command::new(&self.exe);
        command.arg0("quarry").arg("nursery").arg(self.layout.data()).arg(" ".repeat(ROOM)).env_clear();
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(log);
        // The child forks once more and ends at once; what stays is nobody's child, and so are its shims.
        let status = command.spawn()?.wait()?;
        if status.success() { Ok(ours) } else { Err(io::Error::other(format!("the nursery ended with {status}"))) }
    }
}

/// Runs the nursery of `data_dir`. Standard input must be its socket. To be called first thing in `main`, before any
/// thread exists. The caller ends with the code, also in the shims, which return here, too.
pub fn nursery_main(data_dir: &Path) -> i32 {
    let prepared = || -> io::Result<_> {
        let Some(socket) = shim::detach()? else { return Ok(None) };
        Ok(Some((socket, Layout::new(data_dir)?, CommandLine::find()?, Inherited::new()?)))
    };
    let (socket, layout, line, inherited) = match prepared() {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return 0,
        Err(e) => {
            say(&e);
            return 1;
        }
    };
    line.set(&[b"quarry", b"nursery", layout.data().as_os_str().as_encoded_bytes()]);
    loop {
        let (id, descriptors) = match broker::receive::<String>(&socket) {
            Ok(asked) => asked,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            // `serve` is gone, or wants no more. At once, or the socket would close before this process is gone.
            Err(_) => sys::exit_now(0),
        };
        let reply = match sys::fork(libc::CLONE_PARENT) {
            Ok(Forked::Child) => {
                drop(socket);
                let directory = layout.task(&id);
                line.set(&[b"quarry", b"shim", directory.as_os_str().as_encoded_bytes()]);
                return shim::shim_main(&directory, descriptors, inherited);
            }
            Ok(Forked::Parent(_)) => BrokerReply::Done,
            Err(e) => BrokerReply::Failed(format!("fork: {e}")),
        };
        drop(descriptors);
        let sent = serde_json::to_vec(&reply).map_err(io::Error::from).and_then(|r| broker::send(&socket, &r, &[]));
        if let Err(e) = sent {
            say(&e);
            return 1;
        }
    }
}

/// In the log. That this cannot be done, on a full disk, is no reason to panic.
fn say(error: &io::Error) {
    let _ = writeln!(io::stderr(), "nursery: {error}");
}
