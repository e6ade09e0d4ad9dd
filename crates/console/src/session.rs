//! Signing in: one-time links, sessions, and the token that forms carry.

use crate::api::Api;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a link leads, and where one signs in.
pub const SIGN_IN: &str = "/sign-in";
/// How long a link is good for.
const LINK_LIFE: Duration = Duration::from_secs(120);
/// How long a session lasts that nobody uses.
const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Sessions at a time; the one that was not used for longest makes room.
const SESSIONS: usize = 256;

/// Signs one-time links; a new one at each start of `serve`.
#[derive(Clone)]
pub struct LinkKey(String);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey(…)")
    }
}

impl LinkKey {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A link to a console that signs in once, within two minutes.
    pub fn link(&self, console: &str) -> String {
        let body = format!("{}-{}", unix_seconds() + LINK_LIFE.as_secs(), secret());
        format!("{console}{SIGN_IN}?token={body}-{}", self.tag(&body))
    }

    fn tag(&self, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        quarry_wire::hash::hex(hmac::sign(&key, body.as_bytes()).as_ref())
    }

    /// When a token of ours ends, in Unix seconds, if it has not yet.
    fn ends(&self, token: &str, now: u64) -> Option<u64> {
        let (body, tag) = token.rsplit_once('-')?;
        // Digests of digests are compared, so that the time it takes tells nothing.
        let same = quarry_wire::hash::sha256(tag.as_bytes()) == quarry_wire::hash::sha256(self.tag(body).as_bytes());
        let ends: u64 = body.split('-').next()?.parse().ok()?;
        (same && ends > now).then_some(ends)
    }
}

/// Whoever signed in.
pub struct Session {
    pub api: Api,
    /// The access key id, for the page's header.
    pub who: String,
    /// Forms carry it.
    pub token: String,
    /// What was just done, for the next page.
    said: Mutex<Option<String>>,
    used: Mutex<Instant>,
}

impl Session {
    pub fn say(&self, what: String) {
        *locked(&self.said) = Some(what);
    }

    /// What was just done, once.
    pub fn said(&self) -> Option<String> {
        locked(&self.said).take()
    }
}

/// All sessions, in memory: a restart of `serve` ends them.
pub struct Sessions {
    key: LinkKey,
    open: Mutex<HashMap<String, Arc<Session>>>,
    /// Links that were used, and when they end.
    used: Mutex<HashMap<String, u64>>,
}

impl Sessions {
    pub fn new(key: LinkKey) -> Self {
        Self { key, open: Mutex::default(), used: Mutex::default() }
    }

    /// Whether a link's token is good: once.
    pub fn redeem(&self, token: &str) -> bool {
        let now = unix_seconds();
        let Some(ends) = self.key.ends(token, now) else { return false };
        let mut used = locked(&self.used);
        used.retain(|_, ends| *ends > now);
        used.insert(token.to_owned(), ends).is_none()
    }

    /// Opens a session: what its cookie says.
    pub fn open(&self, api: Api, who: &str) -> String {
        let session = Session {
            api,
            who: who.to_owned(),
            token: secret(),
            said: Mutex::default(),
            used: Mutex::new(Instant::now()),
        };
        let id = secret();
        let mut open = locked(&self.open);
        open.retain(|_, session| locked(&session.used).elapsed() < SESSION_LIFE);
        if open.len() >= SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| *locked(&session.used)).map(|(id, _)| id.clone());
            oldest.and_then(|id| open.remove(&id));
        }
        open.insert(id.clone(), Arc::new(session));
        id
    }

    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        let session = locked(&self.open).get(id)?.clone();
        let mut used = locked(&session.used);
        if used.elapsed() >= SESSION_LIFE {
            return None;
        }
        *used = Instant::now();
        drop(used);
        Some(session)
    }

    pub fn close(&self, id: &str) {
        locked(&self.open).remove(id);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// 256 random bits.
fn secret() -> String {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the kernel's generator does not fail after boot");
    quarry_wire::hash::hex(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_client::{Client, Credentials};

    fn api() -> Api {
        let credentials = Credentials::new("AKIA", "secret", None);
        Api::new(Client::new("http://127.0.0.1:1", "us-east-1", credentials).unwrap(), "http://127.0.0.1:1")
    }

    #[test]
    fn a_link_signs_in_once_and_only_where_it_was_made() {
        let sessions = Sessions::new(LinkKey::new("this start"));
        let link = LinkKey::new("this start").link("http://127.0.0.2:4567");
        let token = link.strip_prefix("http://127.0.0.2:4567/sign-in?token=").unwrap();
        let mut forged = token.to_owned();
        forged.replace_range(..1, if token.starts_with('9') { "8" } else { "9" });
        assert!(!sessions.redeem(&forged) && !sessions.redeem("") && !sessions.redeem("1-2-3"));
        assert!(!Sessions::new(LinkKey::new("another start")).redeem(token));
        assert!(sessions.redeem(token));
        assert!(!sessions.redeem(token), "a second time");
        let key = LinkKey::new("this start");
        assert!(key.ends(token, unix_seconds() + LINK_LIFE.as_secs() + 1).is_none(), "too late");
    }

    #[test]
    fn sessions_are_bounded_and_end() {
        let sessions = Sessions::new(LinkKey::new("x"));
        let first = sessions.open(api(), "AKIA");
        assert!(sessions.find(&first).is_some_and(|s| s.token.len() == 64 && s.said().is_none()));
        sessions.find(&first).unwrap().say("Done.".into());
        assert_eq!(sessions.find(&first).unwrap().said().as_deref(), Some("Done."));
        assert!(sessions.find("no such").is_none());
        let others: Vec<_> = (0..SESSIONS).map(|_| sessions.open(api(), "AKIA")).collect();
        assert!(sessions.find(&first).is_none(), "the oldest made room");
        sessions.close(&others[1]);
        assert!(sessions.find(&others[1]).is_none() && sessions.find(&others[2]).is_some());
    }
}
