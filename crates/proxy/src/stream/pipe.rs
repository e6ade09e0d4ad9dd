//! A pipe between two tasks of one thread, with bounded room: how an HTTP/2 stream reaches the parts that
//! speak HTTP/1.1.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One of two ends; what one writes the other reads.
pub struct Pipe {
    incoming: Rc<RefCell<Channel>>,
    outgoing: Rc<RefCell<Channel>>,
}

#[derive(Default)]
struct Channel {
    data: VecDeque<u8>,
    /// Nothing more will be written.
    ended: bool,
    /// The writer broke off: the reader gets an error where the end would be.
    aborted: bool,
    /// Nobody will read.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Waits for [`unread`](Self::unread).
    leaver: Option<Waker>,
}

/// Bytes on their way in one direction at most.
const CAPACITY: usize = 64 * 1024;

/// Of an empty pipe's room so much is kept at most.
const KEPT: usize = 16 * 1024;

/// Both ends of a new pipe.
pub fn pipe() -> (Pipe, Pipe) {
    let (there, back) = (Rc::<RefCell<Channel>>::default(), Rc::<RefCell<Channel>>::default());
    (Pipe { incoming: back.clone(), outgoing: there.clone() }, Pipe { incoming: there, outgoing: back })
}

impl Pipe {
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut channel = self.incoming.borrow_mut();
        if channel.data.is_empty() {
            return match (channel.aborted, channel.ended) {
                (true, _) => Err(ErrorKind::ConnectionReset.into()),
                (false, true) => Ok(0),
                (false, false) => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let n = io::Read::read(&mut channel.data, into)?;
        if channel.data.is_empty() && channel.data.capacity() > KEPT {
            channel.data = VecDeque::new();
        }
        wake(&mut channel.writer);
        Ok(n)
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut channel = self.outgoing.borrow_mut();
        if channel.unread || channel.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let n = bytes.len().min(CAPACITY - channel.data.len());
        if n == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        channel.data.extend(&bytes[..n]);
        wake(&mut channel.reader);
        Ok(n)
    }

    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut channel = self.incoming.borrow_mut();
        if channel.data.is_empty() && !channel.ended && !channel.aborted {
            channel.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut channel = self.outgoing.borrow_mut();
        if channel.data.len() == CAPACITY && !channel.unread && !channel.ended {
            channel.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// The other end broke off or is gone.
    pub fn is_left(&self) -> bool {
        self.incoming.borrow().aborted || self.outgoing.borrow().unread
    }

    /// The other side has broken off, though what it wrote before may still be read.
    pub fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut channel = self.incoming.borrow_mut();
        if !channel.aborted {
            channel.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The other side will not read what is written, or no more of it.
    pub fn poll_unread(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut channel = self.outgoing.borrow_mut();
        if !channel.unread {
            channel.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Ready when the other end broke off or is gone.
    pub fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut channel = self.outgoing.borrow_mut();
        if channel.unread {
            return Poll::Ready(());
        }
        channel.leaver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The other side reads the end after what was written.
    pub fn end(&self) {
        let mut channel = self.outgoing.borrow_mut();
        channel.ended = true;
        wake(&mut channel.reader);
    }

    /// The other side reads an error after what was written, and can write no more.
    pub fn abort(&self) {
        self.outgoing.borrow_mut().aborted = true;
        self.end();
        let mut channel = self.incoming.borrow_mut();
        channel.unread = true;
        wake(&mut channel.leaver);
        wake(&mut channel.writer);
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.end();
        let mut channel = self.incoming.borrow_mut();
        channel.unread = true;
        wake(&mut channel.leaver);
        channel.data = VecDeque::new();
        wake(&mut channel.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_order_and_room_is_bounded() {
        let (a, b) = pipe();
        let mut into = [0u8; 8];
        assert_eq!(b.try_read(&mut into).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(a.try_write(b"hello").unwrap(), 5);
        assert_eq!(a.try_write(&vec![b'x'; CAPACITY]).unwrap(), CAPACITY - 5);
        assert_eq!(a.try_write(b"more").unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(b.try_read(&mut into).unwrap(), 8);
        assert_eq!(&into, b"helloxxx");
        assert_eq!(a.try_write(b"0123456789").unwrap(), 8);
    }

    #[test]
    fn an_end_an_abort_and_a_reader_that_left_are_told_apart() {
        let (a, b) = pipe();
        a.try_write(b"last").unwrap();
        drop(a);
        let mut into = [0u8; 8];
        assert_eq!(b.try_read(&mut into).unwrap(), 4);
        assert_eq!(b.try_read(&mut into).unwrap(), 0);
        assert_eq!(b.try_write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (a, b) = pipe();
        a.try_write(b"part").unwrap();
        a.abort();
        assert_eq!(b.try_read(&mut into).unwrap(), 4);
        assert_eq!(b.try_read(&mut into).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
