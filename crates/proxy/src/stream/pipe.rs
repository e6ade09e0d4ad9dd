//! A pipe between two tasks of one thread, with bounded room: how an HTTP/2 stream reaches the parts that
//! speak HTTP/1.1.

use bytes::{Buf, Bytes, BytesMut};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One of two ends; what one writes the other reads.
pub struct Pipe {
    incoming: Rc<RefCell<Channel>>,
    outgoing: Rc<RefCell<Channel>>,
}

#[derive(Default)]
struct Channel {
    data: BytesMut,
    /// The most that was unread at once, since the room was new.
    most: usize,
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

/// Bytes on their way in one direction at most: more than any head.
const CAPACITY: usize = 96 * 1024;

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
        let n = into.len().min(channel.data.len());
        into[..n].copy_from_slice(&channel.data[..n]);
        channel.data.advance(n);
        channel.was_read();
        Ok(n)
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut channel = self.outgoing.borrow_mut();
        if channel.unread || channel.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = wanted.min(CAPACITY - channel.data.len());
        if room == 0 && wanted > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        channel.data.reserve(room);
        let mut left = room;
        for slice in slices {
            let n = slice.len().min(left);
            channel.data.extend_from_slice(&slice[..n]);
            left -= n;
        }
        channel.most = channel.most.max(channel.data.len());
        wake(&mut channel.reader);
        Ok(room)
    }

    /// Writes all, waiting as the other side reads.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => poll_fn(|cx| self.poll_writable(cx)).await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// What has come and is not read yet.
    pub fn look<R>(&self, f: impl FnOnce(&mut [u8]) -> R) -> R {
        f(&mut self.incoming.borrow_mut().data)
    }

    /// Reads past so many bytes that have come.
    pub fn skip(&self, n: usize) {
        if n > 0 {
            let mut channel = self.incoming.borrow_mut();
            channel.data.advance(n);
            channel.was_read();
        }
    }

    /// Takes so many bytes that have come, without copying them.
    pub fn take(&self, n: usize) -> Bytes {
        let mut channel = self.incoming.borrow_mut();
        let taken = channel.data.split_to(n).freeze();
        channel.was_read();
        taken
    }

    /// Waits until more than `seen` bytes have come. `false`: no more will.
    pub async fn more(&self, seen: usize) -> io::Result<bool> {
        poll_fn(|cx| {
            let mut channel = self.incoming.borrow_mut();
            Poll::Ready(match (channel.data.len() > seen, channel.aborted, channel.ended) {
                (true, ..) => Ok(true),
                (false, true, _) => Err(ErrorKind::ConnectionReset.into()),
                (false, false, true) => Ok(false),
                (false, false, false) if seen >= CAPACITY => Err(ErrorKind::OutOfMemory.into()),
                (false, false, false) => {
                    channel.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            })
        })
        .await
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
        channel.data = BytesMut::new();
        wake(&mut channel.writer);
    }
}

impl Channel {
    /// There is room again.
    fn was_read(&mut self) {
        if self.data.is_empty() && self.most > KEPT {
            (self.data, self.most) = (BytesMut::new(), 0);
        }
        wake(&mut self.writer);
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
    fn what_came_is_looked_at_and_taken_without_reading() {
        let (a, b) = pipe();
        let slices = [IoSlice::new(b"head "), IoSlice::new(b""), IoSlice::new(b"body"), IoSlice::new(b" more")];
        assert_eq!(a.try_write_vectored(&slices).unwrap(), 14);
        assert_eq!(b.look(|bytes| bytes.to_vec()), b"head body more");
        b.skip(5);
        let body = b.take(4);
        assert_eq!(a.try_write(b"!").unwrap(), 1);
        assert_eq!((&body[..], b.take(6)), (&b"body"[..], Bytes::from_static(b" more!")));
        let mut into = [0u8; 8];
        assert_eq!(b.try_read(&mut into).unwrap_err().kind(), ErrorKind::WouldBlock);
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
