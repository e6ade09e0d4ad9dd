//! What is counted over all records of a kind, without looking at all of them again after each write.
//!
//! Counts belong to the writer: while it holds the store nobody else changes anything, so they are true for its
//! transaction once the records were taken in that were written since. What a transaction took in and then undid is
//! taken in anew by the next.

use super::feed::Change;
use super::{Item, StoreError, Tx};
use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// Something that is counted. The order in which records come must not matter.
pub trait Tally: Default + Send + Sync + 'static {
    type Of: Item;
    fn add(&mut self, item: &Self::Of);
    /// Undoes [`add`](Self::add) of the same record.
    fn remove(&mut self, item: &Self::Of);
}

/// All counts of a store.
#[derive(Default)]
pub(super) struct Tallies(Mutex<HashMap<TypeId, Box<dyn Kept>>>);

/// A count of any type.
trait Kept: Any + Send {
    fn ended(&mut self, changes: &[Change]);
}

pub(super) struct Counted<A: Tally> {
    pub total: A,
    records: HashMap<String, Arc<A::Of>>,
    begun: bool,
    /// Records to take in, beside those that the present transaction has written.
    again: HashSet<String>,
    /// How many changes of the present transaction were looked at.
    own: usize,
}

impl Tallies {
    /// The count, which is taken out: [`put`](Self::put) it back. Whoever fails to do so makes it begin anew.
    pub fn take<A: Tally>(&self) -> Box<Counted<A>> {
        let kept = lock(&self.0).remove(&TypeId::of::<Counted<A>>());
        let known = kept.and_then(|kept| (kept as Box<dyn Any>).downcast().ok());
        known.unwrap_or_else(|| Box::new(Counted::new()))
    }

    pub fn put<A: Tally>(&self, counted: Box<Counted<A>>) {
        lock(&self.0).insert(TypeId::of::<Counted<A>>(), counted);
    }

    /// A transaction ended, committed or not, that had written these.
    pub fn ended(&self, changes: &[Change]) {
        lock(&self.0).values_mut().for_each(|kept| kept.ended(changes));
    }

    /// What was written is not known.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }
}

impl<A: Tally> Counted<A> {
    fn new() -> Self {
        Self { total: A::default(), records: HashMap::new(), begun: false, again: HashSet::new(), own: 0 }
    }

    /// Takes in what was written. `changes`: what this transaction has written.
    pub fn follow(&mut self, tx: &Tx<'_>, changes: &[Change]) -> Result<(), StoreError> {
        if !self.begun {
            for item in tx.shared::<A::Of>()?.iter() {
                self.set(item.key(), Some(item.clone()));
            }
            self.begun = true;
        } else {
            let own = changes[self.own..].iter().filter(|change| change.kind == A::Of::KIND);
            let mut again = std::mem::take(&mut self.again);
            again.extend(own.map(|change| change.key.clone()));
            for key in again {
                let item = tx.find(&key)?;
                self.set(key, item);
            }
        }
        self.own = changes.len();
        Ok(())
    }

    fn set(&mut self, key: String, item: Option<Arc<A::Of>>) {
        if let Some(before) = self.records.remove(&key) {
            self.total.remove(&before);
        }
        if let Some(item) = item {
            self.total.add(&item);
            self.records.insert(key, item);
        }
    }
}

impl<A: Tally> Kept for Counted<A> {
    fn ended(&mut self, changes: &[Change]) {
        let own = changes.iter().filter(|change| change.kind == A::Of::KIND);
        self.again.extend(own.map(|change| change.key.clone()));
        self.own = 0;
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
        assert_eq!(store.read(sum).unwrap(), 100, "one that only reads counts for itself");
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
}
