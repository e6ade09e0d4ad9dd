//! Idle connections to targets, one pool per worker.

use crate::stream::Stream;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Per target, the most recently used last.
#[derive(Default)]
pub struct Pool(RefCell<HashMap<u64, Vec<Idle>>>);

struct Idle {
    stream: Stream,
    since: Instant,
    until: Instant,
}

/// Kept idle per target and worker at most.
const MAX_IDLE: usize = 512;
/// Kept idle at most, unless the target names a shorter time.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How often the holder of a pool looks for what its targets have closed.
pub const SWEEP: Duration = Duration::from_secs(2);
/// A request that may not be repeated takes only connections used within this time: most servers that
/// close idle connections without a word wait longer.
const FRESH: Duration = Duration::from_secs(1);

impl Pool {
    /// A connection that was open when last looked at. `fresh`: only one that was in use just now and is open still.
    pub fn take(&self, target: u64, fresh: bool) -> Option<Stream> {
        let mut pool = self.0.borrow_mut();
        let idle = pool.get_mut(&target)?;
        let now = Instant::now();
        // The most recently used comes first, so if it is not fresh none is.
        while let Some(candidate) = idle.pop_if(|newest| !fresh || newest.since + FRESH > now) {
            if candidate.until > now && is_quiet(&candidate.stream) && !(fresh && candidate.stream.is_left()) {
                return Some(candidate.stream);
            }
        }
        None
    }

    /// `patience`: how long the target says it keeps an idle connection, in seconds.
    pub fn put(&self, target: u64, stream: Stream, patience: Option<u64>) {
        // A second earlier than the target would close it, so that no request meets the closing.
        let age = match patience {
            None => MAX_AGE,
            Some(seconds) => Duration::from_secs(seconds.saturating_sub(1)).min(MAX_AGE),
        };
        if age.is_zero() {
            return;
        }
        let mut pool = self.0.borrow_mut();
        let idle = pool.entry(target).or_default();
        if idle.len() < MAX_IDLE {
            let now = Instant::now();
            idle.push(Idle { stream, since: now, until: now + age });
        }
    }

    /// Closes all idle connections to a target.
    pub fn close(&self, target: u64) {
        self.0.borrow_mut().remove(&target);
    }

    /// Closes what is too old or was closed by its target.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain(|i| i.until > now && is_quiet(&i.stream));
            !idle.is_empty()
        });
    }

    /// Closes everything: to free descriptors.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Nothing has come in: neither an end nor bytes nobody asked for. Costs no system call unless the
/// socket has had an event since.
fn is_quiet(stream: &Stream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
}
