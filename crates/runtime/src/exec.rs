//! The asking end of a command in a container: what its shim tells of it, and its streams.

use crate::broker;
use quarry_domain::link::ExecReply;
use quarry_domain::task::{Exec, ExecEnd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::time::Duration;

/// How long a command may take to begin, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Code of a command whose container ended under it, as if killed with it.
const KILLED: i32 = 137;

struct End(OwnedFd);

/// Waits until the command behind the socket runs.
pub fn begun(socket: OwnedFd) -> io::Result<Exec> {
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let (reply, descriptors) = broker::receive(&socket)?;
    match reply {
        ExecReply::Started => {}
        ExecReply::Failed(reason) => return Err(io::Error::other(reason)),
        ExecReply::Ended(code) => return Err(io::Error::other(format!("the command ended at once with {code}"))),
    }
    for descriptor in descriptors.iter().chain([&socket]) {
        rustix::io::ioctl_fionbio(descriptor, true)?;
    }
    let mut descriptors = descriptors.into_iter();
    let missing = || io::Error::other("the command's streams are missing");
    let input = descriptors.next().ok_or_else(missing)?;
    let (output, errors) = match (descriptors.next(), descriptors.next()) {
        (Some(output), errors) => (output, errors),
        (None, _) => (input.try_clone()?, None),
    };
    Ok(Exec { input, output, errors, end: Box::new(End(socket)) })
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ExecEnd for End {
    fn resize(&self, terminal: BorrowedFd<'_>, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // One that is gone has no size.
        let _ = tcsetwinsize(terminal, size);
    }

    fn ended(&self) -> io::Result<Option<i32>> {
        match broker::receive(&self.0) {
            Ok((ExecReply::Ended(code), _)) => Ok(Some(code)),
            Ok((ExecReply::Failed(reason), _)) => Err(io::Error::other(reason)),
            Ok((ExecReply::Started, _)) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The shim ends with the last container.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(KILLED)),
            Err(e) => Err(e),
        }
    }
}
