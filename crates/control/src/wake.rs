//! Waking reconcilers: by signal when something changed, by timer in case a signal was missed.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A level that only rises. Cloned handles share it; whoever waits sees every rise at least once.
#[derive(Clone, Default)]
pub struct Wake {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    rises: Condvar,
}

#[derive(Default)]
struct State {
    level: u64,
    stopped: bool,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    Signal,
    Timer,
    /// The process is ending: return.
    Stop,
}

impl Wake {
    /// Wakes everyone who waits on this level.
    pub fn signal(&self) {
        self.lock().level += 1;
        self.inner.rises.notify_all();
    }

    /// Ends every wait from now on with [`Woken::Stop`].
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.inner.rises.notify_all();
    }

    /// The level now; pass it to [`wait`](Self::wait) to see every later signal.
    pub fn level(&self) -> u64 {
        self.lock().level
    }

    /// Waits until the level is above `seen`, or `timeout` has passed. Updates `seen`.
    pub fn wait(&self, seen: &mut u64, timeout: Duration) -> Woken {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if state.stopped {
                return Woken::Stop;
            }
            if state.level > *seen {
                *seen = state.level;
                return Woken::Signal;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Woken::Timer;
            }
            state = self.inner.rises.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_before_the_wait_is_not_missed() {
        let wake = Wake::default();
        let mut seen = wake.level();
        wake.signal();
        assert_eq!(wake.wait(&mut seen, Duration::from_secs(60)), Woken::Signal);
        assert_eq!(wake.wait(&mut seen, Duration::ZERO), Woken::Timer);
        wake.stop();
        assert_eq!(wake.wait(&mut seen, Duration::from_secs(60)), Woken::Stop);
    }
}
