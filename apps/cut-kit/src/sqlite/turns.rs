//! Turns at a file's write lock, among those who write in one process.
//!
//! SQLite's lock is not fair: a program that begins a transaction as soon as the last one has ended can keep a
//! command of the cut waiting for as long as it has work, and the writes at the load balancer with it. So the engine
//! announces itself, and the application gives way ([`Turns::give_way`]) before each of its own transactions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// An application waits no longer than this for the engine, whatever happens.
const LONGEST: Duration = Duration::from_secs(1);

/// The turns of one file.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Commands of the engine that write or are about to.
    engine: Mutex<usize>,
    none: Condvar,
}

/// The engine's turn, until it is dropped.
pub(super) struct Turn(Arc<Inner>);

static FILES: Mutex<Option<HashMap<PathBuf, Weak<Inner>>>> = Mutex::new(None);

impl Turns {
    /// Those of the file at `path`, the same for every caller in this process.
    pub fn of(path: &Path) -> Turns {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files.get_or_insert_default();
        files.retain(|_, inner| inner.strong_count() > 0);
        if let Some(inner) = files.get(&path).and_then(Weak::upgrade) {
            return Turns(inner);
        }
        let inner = Arc::<Inner>::default();
        files.insert(path, Arc::downgrade(&inner));
        Turns(inner)
    }

    /// For the application: returns when no command of the engine waits for the lock, or after a second. To be called
    /// before a transaction begins, on a thread that may block; never within one.
    pub fn give_way(&self) {
        let deadline = Instant::now() + LONGEST;
        let mut engine = self.0.lock();
        while *engine > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            engine = self.0.none.wait_timeout(engine, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn take(&self) -> Turn {
        *self.0.lock() += 1;
        Turn(self.0.clone())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut engine = self.0.lock();
        *engine -= 1;
        if *engine == 0 {
            self.0.none.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_gives_way_to_the_engine_of_its_own_file() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let turns = Turns::of(&one);
        turns.give_way();
        let turn = Turns::of(&one).take();
        Turns::of(&other).give_way();
        let waiting = std::thread::spawn(move || {
            let begun = Instant::now();
            turns.give_way();
            begun.elapsed()
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(turn);
        assert!(waiting.join().unwrap() < LONGEST);
    }
}
