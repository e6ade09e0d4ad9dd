//! HTTP/2, on both sides. The rest of the proxy speaks HTTP/1.1: each stream of a client becomes a pipe on
//! which its request is written as HTTP/1.1 and its answer read, and each request to a target that speaks
//! HTTP/2 likewise. So every rule, limit and check is there once.
//!
//! What is written on a pipe is made from what the HTTP/2 library understood, never copied: a field that
//! HTTP/1.1 would read as framing cannot come through.

pub mod from_client;
mod guard;
pub mod to_target;

use crate::http::body::Body;
use crate::io::{RelayError, chunk_size};
use crate::stream::Pipe;
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use std::future::poll_fn;
use std::time::Duration;

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
async fn from_frames(body: &mut RecvStream, to: &Pipe, chunk: bool) -> Result<(), RelayError> {
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| RelayError::SourceEnded)?;
        if !data.is_empty() {
            let mut size = [0u8; 18];
            let (size, end): (&[u8], &[u8]) =
                if chunk { (chunk_size(&mut size, data.len()), b"\r\n") } else { (&[], &[]) };
            for part in [size, &data, end] {
                to.write_all(part).await.map_err(|_| RelayError::Sink)?;
            }
        }
        let _ = body.flow_control().release_capacity(data.len());
    }
    if chunk {
        to.write_all(b"0\r\n\r\n").await.map_err(|_| RelayError::Sink)?;
    }
    Ok(())
}

/// Moves the body of an HTTP/1.1 message from a pipe into frames, and ends the stream. For room the other side
/// gets `patience` each time.
async fn to_frames(
    from: &Pipe,
    body: &mut Body,
    to: &mut SendStream<Bytes>,
    patience: impl Fn() -> Duration,
) -> Result<(), RelayError> {
    loop {
        let step = from.look(|bytes| body.step(bytes)).map_err(|_| RelayError::Malformed)?;
        let mut data = from.take(step.data);
        from.skip(step.consumed - step.data);
        while !data.is_empty() {
            to.reserve_capacity(data.len());
            let room = match to.capacity() {
                0 => {
                    let room = tokio::select! {
                        biased;
                        room = poll_fn(|cx| to.poll_capacity(cx)) => room,
                        () = poll_fn(|cx| from.poll_broken(cx)) => return Err(RelayError::SourceEnded),
                        () = tokio::time::sleep(patience()) => None,
                    };
                    room.and_then(Result::ok).ok_or(RelayError::Sink)?
                }
                room => room,
            };
            if room == 0 {
                continue;
            }
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
        if step.consumed > 0 && from.look(|bytes| !bytes.is_empty()) {
            continue;
        }
        // What is left there is too little for a step.
        match from.more(from.look(|bytes| bytes.len())).await {
            Ok(true) => {}
            Ok(false) if *body == Body::UntilClose => {
                return to.send_data(Bytes::new(), true).map_err(|_| RelayError::Sink);
            }
            Ok(false) | Err(_) => return Err(RelayError::SourceEnded),
        }
    }
}
