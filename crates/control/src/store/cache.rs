//! Records that were read once need not be decoded again.
//!
//! Each version of a stored record has a number of its own that is never given again, so what was decoded of a
//! number is true for every transaction that sees the number, whatever others have written meanwhile.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Longer ones, in bytes of JSON, are decoded whenever they are read.
const LONGEST: usize = 64 * 1024;

type Value = Arc<dyn Any + Send + Sync>;
type Made = (Vec<i64>, Value);

/// Shared by all transactions of a store.
pub(super) struct Cache {
    next: AtomicI64,
    /// By row: the version it was decoded of.
    records: Mutex<HashMap<i64, (i64, Value)>>,
    /// By name and type: the versions of the kinds it was made of.
    made: Mutex<HashMap<(&'static str, TypeId), Made>>,
}

impl Cache {
    /// `last`: the highest number that is stored.
    pub fn new(last: i64) -> Self {
        Self { next: AtomicI64::new(last + 1), records: Mutex::default(), made: Mutex::default() }
    }

    /// A number for what is written next.
    pub fn number(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// What is known of these rows, in order; `None` where one has to be read.
    pub fn find<T: Send + Sync + 'static>(&self, rows: &[(i64, i64)]) -> Vec<Option<Arc<T>>> {
        let records = lock(&self.records);
        let known = |(row, version): &(i64, i64)| {
            let (of, value) = records.get(row)?;
            (of == version).then(|| value.clone().downcast().ok())?
        };
        rows.iter().map(known).collect()
    }

    pub fn keep<T: Send + Sync + 'static>(&self, row: i64, version: i64, length: usize, value: &Arc<T>) {
        let mut records = lock(&self.records);
        if length > LONGEST {
            records.remove(&row);
        } else if records.get(&row).is_none_or(|(known, _)| *known <= version) {
            records.insert(row, (version, value.clone()));
        }
    }

    pub fn forget(&self, row: i64) {
        lock(&self.records).remove(&row);
    }

    /// What was made under this name while the kinds had these versions.
    pub fn made<V: Send + Sync + 'static>(&self, name: &'static str, versions: &[i64]) -> Option<Arc<V>> {
        let made = lock(&self.made);
        let (of, value) = made.get(&(name, TypeId::of::<V>()))?;
        (of == versions).then(|| value.clone().downcast().ok())?
    }

    pub fn keep_made<V: Send + Sync + 'static>(&self, name: &'static str, versions: Vec<i64>, value: &Arc<V>) {
        lock(&self.made).insert((name, TypeId::of::<V>()), (versions, value.clone()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each entry is whole by itself.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
