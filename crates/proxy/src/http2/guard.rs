//! Counts the frames that a client sends for nothing: settings, pings, priorities, windows, empty data. Whoever
//! sends ever more of them than its requests and answers give reason for is told to calm down. And the first frame
//! must be settings (RFC 9113, 3.4), which the library does not ask for.

use crate::stream::Stream;
use h2::Reason;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Watches over one connection.
pub struct Guard {
    frames: RefCell<Frames>,
    /// Rung when the connection must end.
    pub alarm: Notify,
    /// Flushing is left to whoever has the stream, so that what many frames are made of goes out together.
    pub gathers: Cell<bool>,
}

/// A stream that is watched over. After the alarm nothing more is read from it.
pub struct Guarded<'a> {
    stream: &'a Stream,
    guard: &'a Guard,
}

/// Where in a frame the client is, and its credit.
struct Frames {
    header: [u8; 9],
    /// Of the header.
    have: usize,
    /// Of the preface or of a frame's payload: bytes to come.
    skip: usize,
    begun: bool,
    credit: i64,
    /// Bytes written that have earned nothing yet.
    written: usize,
}

/// Credit at the start, and what waiting brings it back to.
const START: i64 = 1024;
const MOST: i64 = 8192;
/// Earned in a second.
const REFILL: i64 = 64;
/// Earned by a request, and by a frame of its body.
const REQUEST: i64 = 8;
const BODY: i64 = 2;
/// So many bytes of answers earn one frame: a client may open its window for each.
const ANSWER: usize = 256;
const PREFACE: usize = 24;
const SETTINGS: u8 = 4;

impl Guard {
    pub fn new() -> Self {
        let frames = Frames { header: [0; 9], have: 0, skip: PREFACE, begun: false, credit: START, written: 0 };
        Self { frames: RefCell::new(frames), alarm: Notify::new(), gathers: Cell::new(false) }
    }

    pub fn over<'a>(&'a self, stream: &'a Stream) -> Guarded<'a> {
        Guarded { stream, guard: self }
    }

    /// A second has passed.
    pub fn refill(&self) {
        let mut frames = self.frames.borrow_mut();
        let missing = START - frames.credit;
        frames.earn(REFILL.min(missing).max(0));
    }

    /// Why the connection must end.
    pub fn fault(&self) -> Option<Reason> {
        let frames = self.frames.borrow();
        match frames.begun {
            _ if frames.credit > 0 => None,
            true => Some(Reason::ENHANCE_YOUR_CALM),
            false => Some(Reason::PROTOCOL_ERROR),
        }
    }
}

/// What is left of the credit after these bytes, that come in pieces.
pub fn credit_after(bytes: &[u8], piece: usize) -> i64 {
    let guard = Guard::new();
    bytes.chunks(piece).for_each(|part| guard.frames.borrow_mut().read(part));
    guard.frames.borrow().credit
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.header.len() - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.header.len() {
                self.have = 0;
                if !self.begun && self.header[3] != SETTINGS {
                    self.credit = 0;
                    return;
                }
                self.begun = true;
                self.skip = u32::from_be_bytes([0, self.header[0], self.header[1], self.header[2]]) as usize;
                self.earn(match self.header[3] {
                    0 if self.skip > 0 => BODY,
                    1 => REQUEST,
                    _ => -1,
                });
            }
        }
    }

    fn wrote(&mut self, n: usize) {
        self.written += n;
        self.earn((self.written / ANSWER) as i64);
        self.written %= ANSWER;
    }

    /// Once used up it stays so.
    fn earn(&mut self, credit: i64) {
        if self.credit > 0 {
            self.credit = (self.credit + credit).min(MOST);
        }
    }
}

impl AsyncRead for Guarded<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.guard.fault().is_some() {
            return Poll::Pending;
        }
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        self.guard.frames.borrow_mut().read(&into.filled()[before..]);
        match self.guard.fault() {
            None => polled,
            Some(_) => {
                // Nothing of what came with it is acted on.
                into.set_filled(before);
                self.guard.alarm.notify_one();
                Poll::Pending
            }
        }
    }
}

impl Guarded<'_> {
    fn counted(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = polled {
            self.guard.frames.borrow_mut().wrote(n);
        }
        polled
    }
}

impl AsyncWrite for Guarded<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.counted(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.counted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.guard.gathers.get() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        [&[0, 0, length, kind, 0, 0, 0, 0, 1][..], &vec![kind; usize::from(length)]].concat()
    }

    /// The credit after the preface and these frames, however the bytes are cut.
    fn credit(frames: &[Vec<u8>]) -> i64 {
        let bytes = [vec![b'x'; PREFACE], frame(4, 0), frames.concat()].concat();
        let all: Vec<i64> = [1, 7, bytes.len()].map(|piece| credit_after(&bytes, piece)).to_vec();
        assert!(all.iter().all(|c| *c == all[0]), "{all:?}");
        all[0]
    }

    #[test]
    fn frames_cost_and_requests_earn() {
        assert_eq!(credit(&[]), START - 1);
        assert_eq!(credit(&[frame(4, 6), frame(6, 8), frame(0, 0)]), START - 4);
        assert_eq!(credit(&[frame(1, 20), frame(0, 200)]), START - 1 + REQUEST + BODY);
        assert_eq!(credit(&vec![frame(4, 0); 2000]), 0);
        assert_eq!(credit(&[vec![frame(4, 0); 2000], vec![frame(1, 1); 100]].concat()), 0);
        assert_eq!(credit(&vec![frame(1, 1); 2000]), MOST);
    }

    #[test]
    fn settings_come_first() {
        for (kind, fault) in [(4, None), (6, Some(Reason::PROTOCOL_ERROR)), (1, Some(Reason::PROTOCOL_ERROR))] {
            let guard = Guard::new();
            guard.frames.borrow_mut().read(&[vec![b'x'; PREFACE], frame(kind, 8), frame(1, 1)].concat());
            assert_eq!(guard.fault(), fault);
        }
    }

    #[test]
    fn answers_and_time_earn() {
        let guard = Guard::new();
        guard.frames.borrow_mut().wrote(1000);
        guard.frames.borrow_mut().wrote(30);
        assert_eq!(guard.frames.borrow().credit, START + 4);
        guard.refill();
        assert_eq!(guard.frames.borrow().credit, START + 4, "waiting brings no more than the start");
        guard.frames.borrow_mut().credit = 1;
        guard.refill();
        assert_eq!(guard.frames.borrow().credit, 1 + REFILL);
    }
}
