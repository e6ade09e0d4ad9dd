//! Garbage: layers that were pushed for an image that never came. What an image of the repository has stays, and so
//! does what somebody who pushes has sent, mounted or asked for lately.

use crate::Registry;
use crate::digest::Digest;
use crate::store::Repository;
use quarry_domain::image::Collected;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When blobs were last of interest to somebody who pushes, by repository and digest, in monotonic time. What is not
/// here was not since this registry was opened.
#[derive(Default)]
pub(crate) struct Touched(Mutex<HashMap<(String, Digest), Touch>>);

struct Touch {
    at: Duration,
    /// The pusher was told that it is here, and will not send it.
    told: bool,
}

impl Touched {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Digest), Touch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Somebody who pushes to this repository counts on this blob.
    pub(crate) fn touch(&self, repository: &str, digest: &Digest, told: bool) {
        let at = self.door.clock.monotonic();
        let mut touched = self.touched.lock();
        let entry = touched.entry((repository.to_owned(), digest.clone())).or_insert(Touch { at, told });
        entry.at = at;
        entry.told |= told;
    }

    /// Whether a pusher was told lately that this blob is here.
    pub(crate) fn is_counted_on(&self, repository: &str, digest: &Digest) -> bool {
        let now = self.door.clock.monotonic();
        let touched = self.touched.lock();
        let touch = touched.get(&(repository.to_owned(), digest.clone()));
        touch.is_some_and(|touch| touch.told && now.saturating_sub(touch.at) < self.config.push_idle)
    }

    /// Removes the blobs that no image of their repository has and nobody was interested in for
    /// [`garbage_idle`](crate::RegistryConfig::garbage_idle). An upload under way is no blob yet.
    pub(crate) fn collect_garbage(&self) -> io::Result<Collected> {
        let mut collected = Collected::default();
        let now = self.door.clock.monotonic();
        let names = self.store.hold().names();
        for name in names {
            // One repository at a time: nobody is kept waiting for long.
            let mut held = self.store.hold();
            let Some(record) = held.get(&name) else { continue };
            let idle = |digest: &Digest| {
                let touched = self.touched.lock();
                let since = touched.get(&(name.clone(), digest.clone())).map_or(self.opened, |touch| touch.at);
                now.saturating_sub(since) >= self.config.garbage_idle
            };
            let loose: Vec<Digest> = loose(record).into_iter().filter(idle).collect();
            if loose.is_empty() {
                continue;
            }
            let mut changed = record.clone();
            for digest in &loose {
                collected.bytes += changed.blobs.remove(digest).unwrap_or(0);
                collected.blobs += 1;
            }
            held.put(changed)?;
            held.sweep(loose);
        }
        // What is said of blobs that are gone.
        let keep = self.config.garbage_idle.max(self.config.push_idle);
        self.touched.lock().retain(|_, touch| now.saturating_sub(touch.at) < keep);
        Ok(collected)
    }
}

/// The blobs of a repository that none of its images has.
fn loose(record: &Repository) -> Vec<Digest> {
    let used: BTreeSet<&Digest> = record.manifests.values().flat_map(|manifest| &manifest.blobs).collect();
    record.blobs.keys().filter(|digest| !used.contains(digest)).cloned().collect()
}
