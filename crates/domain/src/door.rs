//! The door through which time and randomness come in, so that every test can hold them.

use quarry_wire::hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch: what is stored and shown. Never used for timeouts.
pub type UnixMillis = i64;

/// Source of wall-clock time (for what is shown) and of monotonic time (for what is waited for).
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> UnixMillis;
    /// Time since an arbitrary fixed point; never goes back, unmoved by clock changes.
    fn monotonic(&self) -> Duration;
}

/// Source of random bytes for identifiers and secrets.
pub trait Entropy: Send + Sync + 'static {
    fn fill(&self, buffer: &mut [u8]);
}

/// Clock and entropy together, cheap to clone and hand on.
#[derive(Clone)]
pub struct Door {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Door {
    /// The machine's clock and the kernel's randomness.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock { start: Instant::now() }), entropy: Arc::new(SystemEntropy) }
    }

    pub fn now_ms(&self) -> UnixMillis {
        self.clock.now_ms()
    }

    /// `n` random lower-case hexadecimal digits.
    pub fn hex(&self, n: usize) -> String {
        let mut bytes = vec![0u8; n.div_ceil(2)];
        self.entropy.fill(&mut bytes);
        let mut out = hash::hex(&bytes);
        out.truncate(n);
        out
    }

    /// A random (version 4) UUID in its usual text form.
    pub fn uuid(&self) -> String {
        let mut b = [0u8; 16];
        self.entropy.fill(&mut b);
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        let h = hash::hex(&b);
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn now_ms(&self) -> UnixMillis {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the kernel gives random bytes");
    }
}

/// A clock that stands still until it is moved, and entropy that counts: for tests.
pub struct TestDoor {
    now_ms: AtomicU64,
    /// How far the wall clock was set away from where it began.
    set_ms: AtomicI64,
    counter: AtomicU64,
}

impl TestDoor {
    /// A held door that starts at `start_ms` since the epoch.
    pub fn new(start_ms: u64) -> Arc<Self> {
        Arc::new(Self { now_ms: AtomicU64::new(start_ms), set_ms: AtomicI64::new(0), counter: AtomicU64::new(0) })
    }

    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Somebody sets the machine's clock, forward or back.
    pub fn set_clock(&self, by_ms: i64) {
        self.set_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    pub fn door(self: &Arc<Self>) -> Door {
        Door { clock: self.clone(), entropy: self.clone() }
    }
}

impl Clock for TestDoor {
    fn now_ms(&self) -> UnixMillis {
        self.now_ms.load(Ordering::SeqCst) as i64 + self.set_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }
}

impl Entropy for TestDoor {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // An odd multiplier spreads the counter over all bits and never repeats.
            let n = self.counter.fetch_add(1, Ordering::SeqCst) + 1;
            let bytes = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_their_shape_and_differ() {
        let door = TestDoor::new(0).door();
        let (a, b) = (door.uuid(), door.uuid());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(&a[14..15], "4");
        assert_eq!(door.hex(17).len(), 17);
    }
}
