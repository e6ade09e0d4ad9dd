//! One copy to one target group, and its answer.

use super::Asker;
use super::answered::{Answered, MAX_BODY};
use crate::balance::{Pick, pick};
use crate::connect::{Speaks, connect_target};
use crate::front::UNEDITED;
use crate::http::body::Body;
use crate::http::response::{self, Asked, Extra, Parsed};
use crate::io::{Buf, Meter, write_all};
use crate::stream::Stream;
use crate::target::Flight;
use crate::watch::{Phase, Watch};
use std::io::IoSlice;
use std::time::Duration;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// The head of a copy. `plain`: without a wish for an encoded answer.
pub fn marked(head: &[u8], plain: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 20);
    for line in head.split_inclusive(|b| *b == b'\n') {
        let encodings = line.len() > 16 && line[..16].eq_ignore_ascii_case(b"accept-encoding:");
        if line == b"\r\n" {
            out.extend_from_slice(b"X-Cut-Shadow: 1\r\n");
        }
        if !(plain && encodings) {
            out.extend_from_slice(line);
        }
    }
    out
}

/// `None`: no whole answer came, or one that is too large.
pub async fn ask(asker: &Asker, group_arn: &str, head: &[u8]) -> Option<Answered> {
    tokio::time::timeout(PATIENCE, exchange(asker, group_arn, head)).await.ok()?
}

async fn exchange(asker: &Asker, group_arn: &str, head: &[u8]) -> Option<Answered> {
    let (flight, speaks) = choose(asker, group_arn)?;
    let target = &flight.target;
    // A kept connection may have been closed just now: these are reads, and may be asked again.
    loop {
        let connect = connect_target(&target.endpoint, None, &asker.brokers, speaks);
        let opened = match asker.pool.take(target.uid, false) {
            Some(stream) => Ok((stream, true)),
            None if speaks.http2 => asker.http2.open(target.uid, connect).await,
            None => connect.await.map(|stream| (stream, false)),
        };
        let (stream, reused) = opened.ok()?;
        match converse(&stream, head).await {
            Some((answered, keep, patience)) => {
                if keep && !target.is_closed() {
                    asker.pool.put(target.uid, stream, patience);
                }
                return Some(answered);
            }
            None if reused => {}
            None => return None,
        }
    }
}

fn choose(asker: &Asker, group_arn: &str) -> Option<(Flight, Speaks)> {
    let table = asker.shared.upgrade()?.table.load_full();
    let index = table.config.groups.iter().position(|group| group.shared.arn == group_arn)?;
    let group = &table.config.groups[index];
    let mut turn = group.shared.turn.load(std::sync::atomic::Ordering::Relaxed) as u64;
    let mut random = || {
        turn = turn.wrapping_add(1);
        turn
    };
    match pick(group.algorithm, &group.shared, &table.usable[index], &[], &mut random) {
        Pick::Target(flight) => Some((flight, group.speaks)),
        Pick::Exhausted | Pick::Stale => None,
    }
}

/// The answer, whether the connection may be used again, and for how many seconds the target keeps it.
async fn converse(stream: &Stream, head: &[u8]) -> Option<(Answered, bool, Option<u64>)> {
    let watch = Watch::new(PATIENCE);
    let meter = Meter::new(&watch, (Phase::Streaming, Phase::Streaming));
    write_all(stream, &mut [IoSlice::new(head)], &meter).await.ok()?;
    let asked = Asked { head: false, http10: false, upgrade: false, keep_alive: true, last: false };
    let (mut buffer, mut out) = (Buf::new(Vec::new()), Vec::new());
    let (mut answered, mut answer) = loop {
        if !matches!(buffer.fill(stream).await, Ok(1..)) {
            return None;
        }
        match response::parse(buffer.bytes(), asked, &Extra::default(), &UNEDITED, &mut out) {
            Parsed::Partial => {}
            Parsed::Malformed => return None,
            Parsed::Interim { head_len, .. } => buffer.consume(head_len),
            Parsed::Final(answer) => {
                let answered = Answered::read(&buffer.bytes()[..answer.head_len])?;
                buffer.consume(answer.head_len);
                break (answered, answer);
            }
        }
    };
    loop {
        let step = answer.body.step(buffer.bytes_mut()).ok()?;
        answered.body.extend_from_slice(&buffer.bytes()[..step.data]);
        buffer.consume(step.consumed);
        if answered.body.len() > MAX_BODY {
            return None;
        }
        if step.done {
            let keep = answer.target_keep_alive && buffer.is_empty();
            return Some((answered, keep, answer.target_patience));
        }
        match buffer.fill(stream).await {
            Ok(0) if answer.body == Body::UntilClose => return Some((answered, false, None)),
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
    }
}
