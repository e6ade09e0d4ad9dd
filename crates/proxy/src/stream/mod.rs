//! A connection as the rest of the proxy sees it: TCP, TLS over TCP, or a pipe within this process.
//!
//! Reading and writing are tried, and what would block is waited for, so that a connection without TLS
//! costs what a socket costs.

mod pipe;
mod tls;

pub use pipe::{Pipe, pipe};
pub use tls::{Tls, TlsInfo};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Both directions of a connection. No method may be called by two tasks at once.
pub enum Stream {
    Tcp(TcpStream),
    Tls(Box<Tls>),
    Pipe(Pipe),
}

impl Stream {
    /// 0 is the end.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => try_read(stream, into),
            Self::Tls(stream) => stream.try_read(into),
            Self::Pipe(stream) => stream.try_read(into),
        }
    }

    /// What is taken may still lie in this process: see [`try_flush`](Self::try_flush).
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Tls(stream) => stream.try_write(&[IoSlice::new(bytes)]),
            Self::Pipe(stream) => stream.try_write(bytes),
        }
    }

    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Tls(stream) => stream.try_write(slices),
            Self::Pipe(stream) => stream.try_write_vectored(slices),
        }
    }

    /// The same, where much is to go out together: what is taken may lie in this process until it is flushed.
    fn try_gather(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.try_gather(slices),
            Self::Tcp(_) | Self::Pipe(_) => self.try_write_vectored(slices),
        }
    }

    /// Hands what was written to the system.
    pub fn try_flush(&self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Pipe(_) => Ok(()),
            Self::Tls(stream) => stream.try_flush(),
        }
    }

    /// Something may be read, or the end has come.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Tls(stream) => poll_fn(|cx| stream.poll_readable(cx)).await,
            Self::Pipe(stream) => poll_fn(|cx| stream.poll_readable(cx)).await,
        }
    }

    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Tls(stream) => poll_fn(|cx| stream.poll_writable(cx)).await,
            Self::Pipe(stream) => poll_fn(|cx| stream.poll_writable(cx)).await,
        }
    }

    /// Waits until the other side has ended or broken its direction, even if what it sent before is unread. Costs no
    /// system call.
    pub async fn left(&self) {
        let tcp = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.tcp(),
            Self::Pipe(stream) => return poll_fn(|cx| stream.poll_left(cx)).await,
        };
        // Of the interests this one alone is not met by bytes that wait to be read.
        match tcp.ready(Interest::PRIORITY).await {
            Ok(ready) if !ready.is_read_closed() => std::future::pending().await,
            Ok(_) | Err(_) => {}
        }
    }

    /// The other side has ended or broken its direction, even if what it sent before is unread. Costs a system call.
    pub fn is_left(&self) -> bool {
        let tcp = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.tcp(),
            Self::Pipe(stream) => return stream.is_left(),
        };
        let mut looked = [PollFd::new(tcp, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut looked, Some(&now)), Ok(1..))
    }

    /// Says that nothing more will be written; reading goes on.
    pub fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.shutdown(),
            Self::Pipe(stream) => {
                stream.end();
                Ok(())
            }
        }
    }

    /// Before it is dropped: what the other side needs to tell an end from a connection that broke off. Dropping a
    /// socket or a pipe says it by itself.
    pub fn goodbye(&self) {
        if let Self::Tls(stream) = self {
            stream.goodbye();
        }
    }

    /// When it is dropped after this, the other side sees an error instead of an end.
    pub fn abort(&self) {
        match self {
            Self::Tcp(stream) => {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
            Self::Tls(stream) => stream.abort(),
            Self::Pipe(stream) => stream.abort(),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
            Self::Pipe(stream) => stream.poll_readable(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Tls(stream) => stream.poll_writable(cx),
            Self::Pipe(stream) => stream.poll_writable(cx),
        }
    }
}

/// Reads what a socket has. Where that is less than there is room for, the socket is empty, and the next attempt waits
/// for an event instead of asking the system in vain. An end that came with the bytes is not forgotten by that.
fn try_read(tcp: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let mut short = None;
    let result = tcp.try_io(Interest::READABLE, || {
        let n = rustix::net::recv(tcp, &mut *into, RecvFlags::empty())?.0;
        if n == 0 || n == into.len() {
            return Ok(n);
        }
        short = Some(n);
        Err(ErrorKind::WouldBlock.into())
    });
    short.map_or(result, Ok)
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl AsyncRead for &Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_read(into.initialize_unfilled()) {
                Ok(n) => {
                    into.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => ready!(self.poll_readable(cx))?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for &Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_gather(&[IoSlice::new(bytes)]) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => ready!(self.poll_writable(cx))?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.try_gather(slices) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => ready!(self.poll_writable(cx))?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => ready!(self.poll_writable(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(self.shutdown())
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_read(cx, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_shutdown(cx)
    }
}
