//! What is counted over all records of a kind, without looking at all of them again after each write.
//!
//! The writer has counts of its own: while it holds the store nobody else changes anything, so they are true for its
//! transaction once the records were taken in that were written since. What a transaction took in and then undid is
//! taken in anew by the next. Those who only read have others, which are true for the newest state that one of them has
//! looked at; who looks at an older one counts for itself.

use super::feed::Change;
use super::{Item, StoreError, Tx};
use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// Something that is counted. The order in which records come must not matter.
pub trait Tally: Default + Send + Sync + 'static {
    type Of: Item;
    fn add(&mut self, item: &Self::Of);
    /// Undoes [`add`](Self::add) of the same record.
    fn remove(&mut self, item: &Self::Of);
}

/// How many writes are remembered. Who comes back after more counts anew.
const REMEMBERED: usize = 2048;

/// All counts of a store.
#[derive(Default)]
pub(super) struct Tallies {
    of_writer: Mutex<HashMap<TypeId, Box<dyn Any + Send>>>,
    of_readers: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    written: Mutex<Written>,
}

/// The latest writes, in order, with those that were undone.
#[derive(Default)]
struct Written {
    entries: VecDeque<Entry>,
    /// How many were forgotten.
    forgotten: u64,
}

struct Entry {
    kind: &'static str,
    key: String,
    /// The last [version](Tx::versions) before its transaction: those who see a later one of its kind see the write.
    before: i64,
}

pub(super) struct Counted<A: Tally> {
    total: A,
    records: HashMap<String, Arc<A::Of>>,
    /// How far the writes were taken in; none: no record was.
    position: Option<u64>,
    /// Of the reader's state that it is true for.
    version: i64,
    /// How many writes of the writer's present transaction were taken in.
    own: usize,
}

impl Tallies {
    /// Looks at a count in the writer's transaction, which has written `changes` so far.
    pub fn in_write<A: Tally, R>(
        &self,
        tx: &Tx<'_>,
        changes: &[Change],
        look: impl FnOnce(&A) -> R,
    ) -> Result<R, StoreError> {
        // Taken out meanwhile: whoever fails before it is put back makes it begin anew.
        let kept = lock(&self.of_writer).remove(&TypeId::of::<A>());
        let known = kept.and_then(|kept| kept.downcast::<Counted<A>>().ok());
        let mut counted = known.unwrap_or_else(|| Box::new(Counted::new()));
        counted.follow(tx, &lock(&self.written), changes)?;
        let found = look(&counted.total);
        lock(&self.of_writer).insert(TypeId::of::<A>(), counted);
        Ok(found)
    }

    /// Looks at a count in a transaction that only reads.
    pub fn in_read<A: Tally, R>(&self, tx: &Tx<'_>, look: impl FnOnce(&A) -> R) -> Result<R, StoreError> {
        let version = tx.versions(&[A::Of::KIND])?[0];
        let new = || Arc::new(Mutex::new(Counted::<A>::new()));
        let kept = lock(&self.of_readers).entry(TypeId::of::<A>()).or_insert_with(|| new()).clone();
        let kept = kept.downcast::<Mutex<Counted<A>>>().unwrap_or_else(|_| new());
        let mut counted = lock(&kept);
        if counted.position.is_some() && version < counted.version {
            drop(counted);
            let mut own = Counted::<A>::new();
            own.begin(tx)?;
            return Ok(look(&own.total));
        }
        counted.advance(tx, version, &self.written)?;
        Ok(look(&counted.total))
    }

    /// A transaction that had written these ends now, committed or not. `before`: the last version before it.
    pub fn ending(&self, before: i64, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let mut written = lock(&self.written);
        let new = changes.iter().map(|change| Entry { kind: change.kind, key: change.key.clone(), before });
        written.entries.extend(new);
        let over = written.entries.len().saturating_sub(REMEMBERED);
        written.entries.drain(..over);
        written.forgotten += over as u64;
    }

    /// What the writer has written is not known; nobody else has seen it.
    pub fn clear(&self) {
        lock(&self.of_writer).clear();
    }
}

impl Written {
    fn end(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// From a position on. `None`: some of them are forgotten.
    fn since(&self, position: u64) -> Option<impl Iterator<Item = &Entry>> {
        let known = position.checked_sub(self.forgotten)?;
        Some(self.entries.range((known as usize).min(self.entries.len())..))
    }

    /// The keys of a kind that are written from a position on and seen by those who see `version`, and the position after
    /// the last. `None`: some are forgotten.
    fn seen(&self, kind: &str, position: u64, version: i64) -> Option<(BTreeSet<String>, u64)> {
        let mut keys = BTreeSet::new();
        for (n, entry) in self.since(position)?.enumerate().filter(|(_, entry)| entry.kind == kind) {
            if entry.before >= version {
                return Some((keys, position + n as u64));
            }
            keys.insert(entry.key.clone());
        }
        Some((keys, self.end()))
    }
}

impl<A: Tally> Counted<A> {
    fn new() -> Self {
        Self { total: A::default(), records: HashMap::new(), position: None, version: 0, own: 0 }
    }

    /// Takes in what was written. `changes`: what this transaction has written.
    fn follow(&mut self, tx: &Tx<'_>, written: &Written, changes: &[Change]) -> Result<(), StoreError> {
        let end = written.end();
        let since = self.position.and_then(|position| written.since(position));
        match since {
            None => self.begin(tx)?,
            Some(since) => {
                let own = if self.position == Some(end) { self.own } else { 0 };
                let kind = A::Of::KIND;
                let before = since.filter(|entry| entry.kind == kind).map(|entry| &entry.key);
                let own = changes[own..].iter().filter(|change| change.kind == kind).map(|change| &change.key);
                self.take_in(tx, before.chain(own).collect())?;
            }
        }
        self.position = Some(end);
        self.own = changes.len();
        Ok(())
    }

    /// Takes in what is written up to a reader's state, which is not older than the one that this is true for.
    fn advance(&mut self, tx: &Tx<'_>, version: i64, written: &Mutex<Written>) -> Result<(), StoreError> {
        let (keys, position) = {
            let written = lock(written);
            let seen = |position| written.seen(A::Of::KIND, position, version);
            match self.position.and_then(seen) {
                Some((keys, position)) => (Some(keys), position),
                None => (None, seen(written.forgotten).map_or(0, |(_, position)| position)),
            }
        };
        match keys {
            Some(keys) => self.take_in(tx, keys.iter().collect())?,
            None => self.begin(tx)?,
        }
        (self.position, self.version) = (Some(position), version);
        Ok(())
    }

    /// Counts all.
    fn begin(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        *self = Self::new();
        for item in tx.shared::<A::Of>()?.iter() {
            self.set(&item.key(), Some(item.clone()));
        }
        Ok(())
    }

    fn take_in(&mut self, tx: &Tx<'_>, keys: BTreeSet<&String>) -> Result<(), StoreError> {
        for key in keys {
            let item = tx.find(key)?;
            self.set(key, item);
        }
        Ok(())
    }

    fn set(&mut self, key: &str, item: Option<Arc<A::Of>>) {
        if let Some(before) = self.records.remove(key) {
            self.total.remove(&before);
        }
        if let Some(item) = item {
            self.total.add(&item);
            self.records.insert(key.to_owned(), item);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each entry is whole by itself.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        id: String,
        n: i64,
    }

    impl Item for Thing {
        const KIND: &'static str = "test.thing";
        fn key(&self) -> String {
            self.id.clone()
        }
    }

    #[derive(Default)]
    struct Sum {
        sum: i64,
        looked: u32,
    }

    impl Tally for Sum {
        type Of = Thing;
        fn add(&mut self, item: &Thing) {
            self.sum += item.n;
            self.looked += 1;
        }
        fn remove(&mut self, item: &Thing) {
            self.sum -= item.n;
        }
    }

    fn put(tx: &Tx<'_>, id: &str, n: i64) -> Result<(), StoreError> {
        tx.put(&Thing { id: id.into(), n })
    }

    fn sum(tx: &Tx<'_>) -> Result<i64, StoreError> {
        tx.tally(|sum: &Sum| sum.sum)
    }

    #[test]
    fn counts_are_true_within_a_transaction_and_after_one_that_was_undone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("control.db")).unwrap();
        let write = |f: &dyn Fn(&Tx<'_>) -> Result<i64, StoreError>| store.write(f);
        let all = (0..100).map(|n| format!("t{n}")).collect::<Vec<_>>();
        let filled = write(&|tx| {
            all.iter().try_for_each(|id| put(tx, id, 1))?;
            sum(tx)
        });
        assert_eq!(filled.unwrap(), 100);
        let undone = write(&|tx| {
            put(tx, "t1", 50)?;
            assert_eq!(sum(tx)?, 149);
            tx.delete::<Thing>("t2")?;
            put(tx, "new", 7)?;
            assert_eq!(sum(tx)?, 155);
            Err(StoreError::Key(std::io::Error::other("undone")))
        });
        assert!(undone.is_err());
        assert_eq!(store.read(sum).unwrap(), 100);
        assert_eq!(store.tally(|sum: &Sum| sum.sum).unwrap(), 100);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            write(&|tx| {
                put(tx, "t1", 50)?;
                sum(tx)?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(store.tally(|sum: &Sum| sum.sum).unwrap(), 100);
        write(&|tx| put(tx, "t3", 2).map(|()| 0)).unwrap();
        let before = store.tally(|sum: &Sum| sum.looked).unwrap();
        write(&|tx| tx.delete::<Thing>("t4").map(|_| 0)).unwrap();
        write(&|tx| put(tx, "t3", 5).map(|()| 0)).unwrap();
        let (total, looked) = store.tally(|sum: &Sum| (sum.sum, sum.looked)).unwrap();
        assert_eq!((total, looked - before), (103, 1), "only what was written is looked at");
    }
    fn true_sum(tx: &Tx<'_>) -> Result<i64, StoreError> {
        Ok(tx.all::<Thing>()?.iter().map(|thing| thing.n).sum())
    }

    #[test]
    fn readers_count_what_they_see_and_only_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("control.db")).unwrap();
        store.write(|tx| (0..100).try_for_each(|n| put(tx, &format!("t{n}"), 1))).unwrap();
        assert_eq!(store.read(sum).unwrap(), 100);
        let looked = || store.read(|tx| tx.tally(|sum: &Sum| sum.looked)).unwrap();
        let before = looked();
        store.write(|tx| put(tx, "t1", 11)).unwrap();
        let undone = store.write(|tx| {
            put(tx, "t2", 1000)?;
            Err::<(), _>(StoreError::Key(std::io::Error::other("undone")))
        });
        assert!(undone.is_err());
        assert_eq!(store.read(sum).unwrap(), 110);
        assert_eq!(looked() - before, 1, "one was written; what was undone is not seen");
        // One that began before a write, and looks after others have seen it.
        store
            .read(|tx| {
                assert_eq!(true_sum(tx)?, 110);
                store.write(|tx| put(tx, "t3", 21))?;
                assert_eq!(sum(tx)?, 110, "begun before the write, looks first");
                assert_eq!(store.read(sum)?, 130);
                assert_eq!(sum(tx)?, 110, "begun before the write, looks last");
                Ok::<_, StoreError>(())
            })
            .unwrap();
        store.write(|tx| (0..REMEMBERED + 1).try_for_each(|n| put(tx, &format!("new{n}"), 1))).unwrap();
        assert_eq!(store.read(sum).unwrap(), 131 + REMEMBERED as i64, "more than is remembered");
    }

    #[test]
    fn readers_beside_a_writer_count_what_they_see() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("control.db")).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..600 {
                        let (counted, all) = store.read(|tx| Ok::<_, StoreError>((sum(tx)?, true_sum(tx)?))).unwrap();
                        assert_eq!(counted, all);
                    }
                });
            }
            for n in 0..600_i64 {
                let done = store.write(|tx| {
                    put(tx, &format!("t{}", n * 7 % 50), n)?;
                    tx.delete::<Thing>(&format!("t{}", n * 11 % 50))?;
                    assert_eq!(sum(tx)?, true_sum(tx)?);
                    if n % 5 == 0 { Err(StoreError::Key(std::io::Error::other("undone"))) } else { Ok(()) }
                });
                assert_eq!(done.is_ok(), n % 5 != 0);
            }
        });
    }
}
