//! Points between a call and its last effect at which a test ends the process, as a crash would. There are none in
//! a release build.
//!
//! `QUARRY_FAILPOINT=name` aborts the process at the named point; `name:3` the third time it comes there.

#[cfg(debug_assertions)]
use std::cell::RefCell;
#[cfg(debug_assertions)]
use std::sync::Mutex;

/// The variable that arms a point.
pub const ARM: &str = "QUARRY_FAILPOINT";

/// All points, in the order in which a task passes them.
pub const ALL: [&str; 19] = [
    "api.decided",
    "api.committed",
    "service.decided",
    "service.committed",
    "task.launch",
    "image.filled",
    "image.unpacked",
    "runtime.planned",
    "runtime.started",
    "task.launched",
    "task.registered",
    "task.committed",
    "snapshot.built",
    "snapshot.numbered",
    "snapshot.handed-out",
    "task.signalled",
    "task.remove",
    "runtime.removed",
    "task.removed",
];

/// The process may end here.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn at(_name: &str) {}

/// The process may end here.
#[cfg(debug_assertions)]
pub fn at(name: &'static str) {
    debug_assert!(ALL.contains(&name), "{name} is not among all failpoints");
    HERE.with_borrow_mut(|armed| {
        if armed.as_mut().is_some_and(|armed| armed.comes_to(name)) {
            *armed = None;
            std::panic::panic_any(Crash(name));
        }
    });
    static ARMED: Mutex<Option<Option<Armed>>> = Mutex::new(None);
    let mut armed = ARMED.lock().unwrap_or_else(|e| e.into_inner());
    let armed = armed.get_or_insert_with(|| Armed::parse(&std::env::var(ARM).ok()?));
    if armed.as_mut().is_some_and(|armed| armed.comes_to(name)) {
        eprintln!("the process ends at {name}");
        std::process::abort();
    }
}

/// What a point that was armed by [`arm`] panics with.
#[cfg(debug_assertions)]
#[derive(Debug)]
pub struct Crash(pub &'static str);

/// Lets this thread panic at a point, the `nth` time it comes there (from 1).
#[cfg(debug_assertions)]
pub fn arm(name: &str, nth: u32) {
    HERE.set(Some(Armed { name: name.to_owned(), left: nth }));
}

/// Whether the point that this thread armed was not come to; it is no more armed.
#[cfg(debug_assertions)]
pub fn disarm() -> bool {
    HERE.take().is_some()
}

#[cfg(debug_assertions)]
thread_local! {
    static HERE: RefCell<Option<Armed>> = const { RefCell::new(None) };
}

#[cfg(debug_assertions)]
struct Armed {
    name: String,
    left: u32,
}

#[cfg(debug_assertions)]
impl Armed {
    fn parse(text: &str) -> Option<Self> {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        Some(Self { name: name.to_owned(), left: nth.parse().ok()? })
    }

    fn comes_to(&mut self, name: &str) -> bool {
        if self.name != name || self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.left == 0
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_point_ends_its_thread_the_nth_time_and_no_other() {
        arm("task.launch", 2);
        at("task.launch");
        at("task.removed");
        let crash = std::panic::catch_unwind(|| at("task.launch")).unwrap_err();
        assert_eq!(crash.downcast_ref::<Crash>().unwrap().0, "task.launch");
        assert!(!disarm());
        at("task.launch");
        arm("task.launch", 1);
        std::thread::spawn(|| at("task.launch")).join().unwrap();
        assert!(disarm());
    }
}
