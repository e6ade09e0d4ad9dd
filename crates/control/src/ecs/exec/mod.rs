//! Sessions of ExecuteCommand: what was ordered, until whoever ordered it opens the data channel, and the
//! channel itself, which speaks as AWS's Session Manager does.

mod channel;
mod serve;
pub mod words;

pub use serve::serve;

use quarry_domain::door::Door;
use quarry_domain::hash::sha256;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where data channels are opened, before a session's id.
pub const PATH: &str = "/v1/data-channel/";

/// A session must be opened within this time, in milliseconds.
const PATIENCE_MS: i64 = 60_000;

/// Sessions that may wait to be opened, and those that may be open, at a time.
const MOST: usize = 100;

/// What a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub task: String,
    pub container: String,
    /// Never empty.
    pub command: Vec<String>,
}

/// Sessions of this run of `serve`. They are kept nowhere else: a session ends with its connection, and whoever
/// asked for one that was never opened asks again.
#[derive(Default)]
pub struct Sessions {
    waiting: Mutex<HashMap<String, Waiting>>,
    open: std::sync::Arc<()>,
}

struct Waiting {
    order: Order,
    /// The token's digest.
    token: String,
    until_ms: i64,
}

/// An open session, counted as long as it lives.
pub struct Open {
    pub order: Order,
    _place: std::sync::Arc<()>,
}

impl Sessions {
    /// A new session's id and token; `None` where there are too many.
    pub fn begin(&self, door: &Door, order: Order) -> Option<(String, String)> {
        let now = door.now_ms();
        let mut waiting = self.waiting();
        waiting.retain(|_, session| session.until_ms > now);
        if waiting.len() >= MOST {
            return None;
        }
        let (id, token) = (format!("ecs-execute-command-{}", door.hex(17)), door.hex(64));
        let until_ms = now + PATIENCE_MS;
        waiting.insert(id.clone(), Waiting { order, token: sha256(token.as_bytes()), until_ms });
        Some((id, token))
    }

    /// Whether somebody may still open it.
    pub fn waits(&self, door: &Door, id: &str) -> bool {
        let now = door.now_ms();
        self.waiting().get(id).is_some_and(|session| session.until_ms > now)
    }

    /// Opens a session, once.
    fn take(&self, door: &Door, id: &str, token: &str) -> Option<Open> {
        let now = door.now_ms();
        let mut waiting = self.waiting();
        let fits = |session: &Waiting| session.until_ms > now && session.token == sha256(token.as_bytes());
        if std::sync::Arc::strong_count(&self.open) > MOST || !waiting.get(id).is_some_and(fits) {
            return None;
        }
        waiting.remove(id).map(|session| Open { order: session.order, _place: self.open.clone() })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a session's data channel is.
pub fn stream_url(port: u16, id: &str) -> String {
    format!("ws://127.0.0.1:{port}{PATH}{id}?role=publish_subscribe")
}

/// Of a stream's URL, what `quarry exec` adds to it: AWS's protocol has a terminal always and no exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    pub terminal: bool,
    pub exit_code: bool,
}

impl Wishes {
    pub fn of(query: &str) -> Self {
        let has = |wish: &str| query.split('&').any(|pair| pair == wish);
        Self { terminal: !has("terminal=off"), exit_code: has("exit-code=on") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::door::TestDoor;
    use std::time::Duration;

    #[test]
    fn a_session_is_opened_once_in_time_with_its_token() {
        let test = TestDoor::new(1_000);
        let (door, sessions) = (test.door(), Sessions::default());
        let order = Order { task: "t".into(), container: "c".into(), command: vec!["sh".into()] };
        let (id, token) = sessions.begin(&door, order.clone()).unwrap();
        assert!(sessions.waits(&door, &id) && !sessions.waits(&door, "other"));
        assert!(sessions.take(&door, &id, "wrong").is_none());
        assert_eq!(sessions.take(&door, &id, &token).unwrap().order, order);
        assert!(sessions.take(&door, &id, &token).is_none());
        let (id, token) = sessions.begin(&door, order.clone()).unwrap();
        test.advance(Duration::from_secs(61));
        assert!(!sessions.waits(&door, &id) && sessions.take(&door, &id, &token).is_none());
        let all: Vec<_> = (0..MOST).map(|_| sessions.begin(&door, order.clone()).unwrap()).collect();
        assert!(sessions.begin(&door, order.clone()).is_none(), "too many wait");
        let open: Vec<_> = all.iter().filter_map(|(id, token)| sessions.take(&door, id, token)).collect();
        assert_eq!(open.len(), MOST);
        let (id, token) = sessions.begin(&door, order).unwrap();
        assert!(sessions.take(&door, &id, &token).is_none(), "too many are open");
        drop(open);
        assert!(sessions.take(&door, &id, &token).is_some());
    }

    #[test]
    fn wishes_are_read() {
        assert_eq!(Wishes::of("role=publish_subscribe"), Wishes { terminal: true, exit_code: false });
        assert_eq!(Wishes::of("role=x&terminal=off&exit-code=on"), Wishes { terminal: false, exit_code: true });
    }
}
