//! Buffers, and moving bytes between sockets in constant memory.

use crate::cut::shadow::Capture;
use crate::http::body::Body;
use crate::stream::Stream;
use crate::watch::{Phase, Watch};
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

/// Size of a buffer at rest; only heads may make it grow.
pub const BUFFER: usize = 32 * 1024;

/// Size of a buffer through which a long body goes: fewer and longer reads and writes.
const WIDE: usize = 128 * 1024;

/// Bytes read and not yet used: `data[start..end]`.
pub struct Buf {
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that were taken so far.
    taken: u64,
}

/// One direction of an exchange, as its relay reports it.
pub struct Meter<'a> {
    pub watch: &'a Watch,
    /// What is waited for while reading and while writing.
    pub phases: (Phase, Phase),
    /// Bytes that the receiving socket has taken.
    pub written: Cell<u64>,
    /// Where the payload is to be copied.
    pub copy: Option<&'a Capture>,
}

/// Why a body did not get across.
#[derive(Debug)]
pub enum RelayError {
    /// The sender closed or broke before the body's end.
    SourceEnded,
    /// The sender broke its framing.
    Malformed,
    /// The receiver closed or broke.
    Sink,
}

impl<'a> Meter<'a> {
    pub fn new(watch: &'a Watch, phases: (Phase, Phase)) -> Self {
        Self { watch, phases, written: Cell::new(0), copy: None }
    }
}

impl Buf {
    /// Over storage that is reused; its contents do not matter.
    pub fn new(mut data: Vec<u8>) -> Self {
        if data.len() != BUFFER {
            data.resize(BUFFER, 0);
        }
        Self { data, start: 0, end: 0, taken: 0 }
    }

    /// With these bytes, and no room for more.
    pub fn holding(bytes: &[u8]) -> Self {
        Self { data: bytes.to_vec(), start: 0, end: bytes.len(), taken: 0 }
    }

    /// Without storage, which comes when there is something to read.
    pub fn bare() -> Self {
        Self { data: Vec::new(), start: 0, end: 0, taken: 0 }
    }

    pub fn is_bare(&self) -> bool {
        self.data.is_empty()
    }

    /// Changes the storage of an empty buffer, and gives the old one back.
    pub fn exchange(&mut self, storage: Vec<u8>) -> Vec<u8> {
        debug_assert!(self.is_empty());
        std::mem::replace(&mut self.data, storage)
    }

    /// Counts on from what another has taken.
    pub fn continues(&mut self, taken: u64) {
        self.taken = taken;
    }

    /// Puts bytes behind those that are there.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.end + bytes.len() > self.data.len() {
            self.data.resize(self.end + bytes.len(), 0);
        }
        self.data[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Gives the storage back for reuse.
    pub fn into_storage(self) -> Vec<u8> {
        self.data
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.start..self.end]
    }

    /// Bytes that were taken since it was made.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn consume(&mut self, n: usize) {
        self.start += n;
        self.taken += n as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes room for longer reads.
    pub fn widen(&mut self) {
        if self.data.len() < WIDE {
            self.data.resize(WIDE, 0);
        }
    }

    /// Reads once, waiting if need be; 0 is the end.
    pub async fn fill(&mut self, from: &Stream) -> io::Result<usize> {
        loop {
            match self.try_fill(from) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => from.readable().await?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Reads once; 0 is the end. Makes room first: what is unused moves to the front, and if the buffer is full it
    /// doubles.
    pub fn try_fill(&mut self, from: &Stream) -> io::Result<usize> {
        if self.end == self.data.len() {
            if self.start > 0 {
                self.data.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.data.resize((self.data.len() * 2).max(BUFFER), 0);
            }
        }
        let n = from.try_read(&mut self.data[self.end..])?;
        self.end += n;
        Ok(n)
    }
}

/// Writes all of the slices, waiting as the receiver takes them; then nothing of them lies in this process.
pub async fn write_all(to: &Stream, mut slices: &mut [IoSlice<'_>], meter: &Meter<'_>) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let single = slices[1..].iter().all(|slice| slice.is_empty());
        let result = if single { to.try_write(&slices[0]) } else { to.try_write_vectored(slices) };
        match result {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                meter.written.set(meter.written.get() + n as u64);
                meter.watch.touch();
                IoSlice::advance_slices(&mut slices, n);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                meter.watch.wait_for(meter.phases.1);
                to.writable().await?;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    loop {
        match to.try_flush() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                meter.watch.wait_for(meter.phases.1);
                to.writable().await?;
            }
            result => return result,
        }
    }
}

/// Moves a body from `from` (what is buffered first) to `to`, with `head` in front of it in the same
/// write where that can be. With `chunk`, the payload goes out in chunks of our own.
pub async fn relay(
    head: &[u8],
    from: &Stream,
    buffer: &mut Buf,
    body: &mut Body,
    to: &Stream,
    chunk: bool,
    meter: &Meter<'_>,
) -> Result<(), RelayError> {
    let mut head = head;
    loop {
        let step = body.step(buffer.bytes_mut()).map_err(|_| RelayError::Malformed)?;
        let mut size = [0u8; 18];
        let size = if chunk && step.data > 0 { chunk_size(&mut size, step.data) } else { &[] };
        let tail: &[u8] = match (chunk, step.data > 0, step.done) {
            (true, true, true) => b"\r\n0\r\n\r\n",
            (true, true, false) => b"\r\n",
            (true, false, true) => b"0\r\n\r\n",
            _ => b"",
        };
        let data = &buffer.bytes()[..step.data];
        if let Some(copy) = meter.copy {
            copy.push(data);
        }
        if !(head.is_empty() && data.is_empty() && tail.is_empty()) {
            let mut slices = [IoSlice::new(head), IoSlice::new(size), IoSlice::new(data), IoSlice::new(tail)];
            // Without chunks, an empty slice in the middle would cost a vectored write.
            let mut plain = [IoSlice::new(head), IoSlice::new(data)];
            let slices = if size.is_empty() && tail.is_empty() { &mut plain[..] } else { &mut slices[..] };
            write_all(to, slices, meter).await.map_err(|_| RelayError::Sink)?;
            head = &[];
        }
        buffer.consume(step.consumed);
        if step.done {
            return Ok(());
        }
        if step.consumed > 0 && !buffer.is_empty() {
            continue;
        }
        meter.watch.wait_for(meter.phases.0);
        match buffer.fill(from).await {
            Ok(0) if *body == Body::UntilClose => {
                if chunk {
                    write_all(to, &mut [IoSlice::new(b"0\r\n\r\n")], meter).await.map_err(|_| RelayError::Sink)?;
                }
                return Ok(());
            }
            Ok(0) | Err(_) => return Err(RelayError::SourceEnded),
            Ok(n) => {
                meter.watch.touch();
                if n >= BUFFER {
                    buffer.widen();
                }
            }
        }
    }
}

/// Ends a connection whose last bytes must arrive although the other side may still be sending: closing with
/// unread bytes would reset it and could take them along.
pub async fn linger(stream: &Stream, buffer: &mut Buf) {
    const LONGEST: Duration = Duration::from_secs(1);
    const MOST: usize = 4 * 1024 * 1024;
    if stream.shutdown().is_err() {
        return;
    }
    let _ = tokio::time::timeout(LONGEST, async {
        let mut read = 0;
        while read < MOST {
            match buffer.fill(stream).await {
                Ok(0) | Err(_) => break,
                Ok(n) => read += n,
            }
            let held = buffer.bytes().len();
            buffer.consume(held);
        }
    })
    .await;
}

/// `<hexadecimal size> CR LF`.
pub fn chunk_size(space: &mut [u8; 18], n: usize) -> &[u8] {
    let digits = (usize::BITS - n.leading_zeros()).div_ceil(4).max(1) as usize;
    for (at, byte) in space[..digits].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[n >> (4 * (digits - 1 - at)) & 15];
    }
    space[digits..digits + 2].copy_from_slice(b"\r\n");
    &space[..digits + 2]
}

/// Bytes in both directions until both sides have ended; each end is passed on. The meters count on.
pub async fn tunnel(
    a: &Stream,
    a_buffer: &mut Buf,
    b: &Stream,
    b_buffer: &mut Buf,
    there: &Meter<'_>,
    back: &Meter<'_>,
) {
    let one = |from, buffer, to, meter| async move {
        let mut body = Body::UntilClose;
        let result = relay(&[], from, buffer, &mut body, to, false, meter).await;
        let _ = to.shutdown();
        result
    };
    let _ = tokio::try_join!(one(a, a_buffer, b, there), one(b, b_buffer, a, back));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for n in [1usize, 9, 15, 16, 255, 4096, 0x1_2345] {
            assert_eq!(chunk_size(&mut [0; 18], n), format!("{n:x}\r\n").as_bytes());
        }
    }
}
