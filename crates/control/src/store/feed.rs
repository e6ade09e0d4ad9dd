//! Which records were written, for those who look again at what changed and at nothing else.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// A record that was written or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: &'static str,
    pub key: String,
    pub parent: String,
    /// See [`Item::owner`](super::Item::owner).
    pub owner: String,
}

/// The committed changes of some kinds, from when it was made.
pub struct Feed {
    /// None: all.
    kinds: &'static [&'static str],
    changes: Mutex<Vec<Change>>,
}

/// All feeds of a store.
#[derive(Default)]
pub(super) struct Feeds(Mutex<Vec<Weak<Feed>>>);

impl Feed {
    /// What was committed since the last call, in order. A transaction that begins after the call may see more.
    pub fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *lock(&self.changes))
    }
}

impl Feeds {
    pub fn open(&self, kinds: &'static [&'static str]) -> Arc<Feed> {
        let feed = Arc::new(Feed { kinds, changes: Mutex::default() });
        let mut feeds = lock(&self.0);
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(&feed));
        feed
    }

    /// Tells each feed what is of its kinds.
    pub fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        for feed in lock(&self.0).iter().filter_map(Weak::upgrade) {
            let own = changes.iter().filter(|change| feed.kinds.is_empty() || feed.kinds.contains(&change.kind));
            lock(&feed.changes).extend(own.cloned());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A push is done or not.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
