//! HTTP/2, on both sides. The rest of the proxy speaks HTTP/1.1: each stream of a client becomes a pipe on
//! which its request is written as HTTP/1.1 and its answer read, and each request to a target that speaks
//! HTTP/2 likewise. So every rule, limit and check is there once.
//!
//! What is written on a pipe is made from what the HTTP/2 library understood, never copied: a field that
//! HTTP/1.1 would read as framing cannot come through.

pub mod from_client;
mod guard;
pub mod to_target;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use std::future::poll_fn;
use std::io::IoSlice;
use std::time::Duration;

use crate::http::body::Body;
use crate::io::{Buf, RelayError, write_all};
use crate::io::{Meter, chunk_size};
use crate::stream::Stream;

/// For fuzzing: a client's credit after these bytes, that come in pieces.
pub fn credit_after(bytes: &[u8], piece: usize) -> i64 {
    guard::credit_after(bytes, piece)
}

/// Fields that mean something to one HTTP/1.1 connection only.
fn is_connection_field(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "te" | "trailer"
    )
}

/// Moves the body of an HTTP/2 message onto a pipe, in chunks where it has no length. Trailers are dropped.
async fn from_frames(body: &mut RecvStream, to: &Stream, chunk: bool, meter: &Meter<'_>) -> Result<(), RelayError> {
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| RelayError::SourceEnded)?;
        if !data.is_empty() {
            let mut size = [0u8; 18];
            let (size, end): (&[u8], &[u8]) =
                if chunk { (chunk_size(&mut size, data.len()), b"\r\n") } else { (&[], &[]) };
            let mut slices = [IoSlice::new(size), IoSlice::new(&data), IoSlice::new(end)];
            write_all(to, &mut slices, meter).await.map_err(|_| RelayError::Sink)?;
        }
        let _ = body.flow_control().release_capacity(data.len());
    }
    if chunk {
        write_all(to, &mut [IoSlice::new(b"0\r\n\r\n")], meter).await.map_err(|_| RelayError::Sink)?;
    }
    Ok(())
}

/// Moves the body of an HTTP/1.1 message from a pipe into frames, and ends the stream. For room the other side
/// gets `patience` each time.
async fn to_frames(
    from: &Stream,
    buffer: &mut Buf,
    body: &mut Body,
    to: &mut SendStream<Bytes>,
    patience: Duration,
) -> Result<(), RelayError> {
    loop {
        let step = body.step(buffer.bytes_mut()).map_err(|_| RelayError::Malformed)?;
        let mut data = Bytes::copy_from_slice(&buffer.bytes()[..step.data]);
        buffer.consume(step.consumed);
        while !data.is_empty() {
            to.reserve_capacity(data.len());
            let room = tokio::select! {
                biased;
                room = poll_fn(|cx| to.poll_capacity(cx)) => room,
                _ = from.broken() => return Err(RelayError::SourceEnded),
                _ = tokio::time::sleep(patience) => None,
            };
            let room = room.and_then(Result::ok).ok_or(RelayError::Sink)?;
            let part = data.split_to(room.min(data.len()));
            let last = step.done && data.is_empty();
            to.send_data(part, last).map_err(|_| RelayError::Sink)?;
            if last {
                return Ok(());
            }
        }
        if step.done {
            return to.send_data(Bytes::new(), true).map_err(|_| RelayError::Sink);
        }
        if step.consumed > 0 && !buffer.is_empty() {
            continue;
        }
        match buffer.fill(from).await {
            Ok(0) if *body == Body::UntilClose => {
                return to.send_data(Bytes::new(), true).map_err(|_| RelayError::Sink);
            }
            Ok(0) | Err(_) => return Err(RelayError::SourceEnded),
            Ok(_) => {}
        }
    }
}
