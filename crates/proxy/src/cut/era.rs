//! Which writes began before a cut was known. A write of any rule belongs to its worker's era; when a cut
//! appears, each worker turns to a new era, and when the last write of the old one has ended, the scope
//! knows that every write that it has not counted is over.

use super::scope::Scope;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A worker's eras.
#[derive(Default)]
pub struct Eras(RefCell<Rc<Era>>);

/// Lives as long as a write that began in it, or in an era before.
#[derive(Default)]
pub struct Era {
    scopes: RefCell<Vec<Arc<Scope>>>,
    next: RefCell<Option<Rc<Era>>>,
}

impl Eras {
    /// To be held by a write until it has ended.
    pub fn now(&self) -> Rc<Era> {
        self.0.borrow().clone()
    }

    /// A new era begins; these scopes wait for the end of all before.
    pub fn turn(&self, scopes: &[Arc<Scope>]) {
        if scopes.is_empty() {
            return;
        }
        let new = Rc::<Era>::default();
        let old = self.0.replace(new.clone());
        old.scopes.borrow_mut().extend_from_slice(scopes);
        // An older era keeps the younger alive, so that they end in order.
        old.next.replace(Some(new));
    }
}

impl Drop for Era {
    fn drop(&mut self) {
        self.scopes.get_mut().iter().for_each(|scope| scope.era_ended());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Notify;

    #[test]
    fn a_scope_waits_for_writes_of_all_eras_before_it() {
        let new = || Scope::new(1, Arc::new(Notify::new()));
        let (eras, one, two) = (Eras::default(), new(), new());
        let first = eras.now();
        eras.turn(std::slice::from_ref(&one));
        let second = eras.now();
        eras.turn(std::slice::from_ref(&two));
        let third = eras.now();
        drop(second);
        assert_eq!((one.in_flight(), two.in_flight()), (1, 1));
        drop(first);
        assert_eq!((one.in_flight(), two.in_flight()), (0, 0), "although a later write goes on");
        drop(third);
    }
}
