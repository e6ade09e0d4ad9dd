//! Server-sent events: a page again each time it has changed, lines of logs as they are written.

use crate::api::Data;
use crate::form::Form;
use crate::pages::{self, Ctx, logs};
use crate::session::Session;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// How often a page is looked at, and a log.
const LOOK: Duration = Duration::from_secs(2);
const LOOK_AT_LOG: Duration = Duration::from_secs(1);
/// A look may take this part of the time at most.
const PART: u32 = 10;
/// Time between two signs of life where nothing changes.
const BEAT: Duration = Duration::from_secs(16);
/// Looks at a log until it is asked anew which streams are meant.
const ANEW: u32 = 30;
/// A line may come so much later than others of its time, in milliseconds.
const LATE: i64 = 5_000;
/// Lines sent at once: of more, the newest.
const LINES: usize = 500;

/// Whom events go to.
pub struct Reader {
    pub session: Arc<Session>,
    /// The session has not ended.
    pub alive: Box<dyn Fn() -> bool + Send>,
    pub _place: OwnedSemaphorePermit,
    /// Path and query of the page.
    pub of: String,
}

/// A page that is kept up to date.
pub struct Follower {
    reader: Reader,
    version: String,
    beat: Instant,
    wait: Duration,
}

/// A log page to which lines are added.
pub struct Tail {
    reader: Reader,
    query: Form,
    sources: Vec<logs::Source>,
    looks: u32,
    /// Lines of this time and later are asked for, in milliseconds.
    since: i64,
    /// Ids of lines that were sent or shown.
    sent: HashSet<String>,
    beat: Instant,
}

impl Reader {
    fn parts(&self) -> (&str, &str) {
        self.of.split_once('?').unwrap_or((&self.of, ""))
    }

    fn ctx<'a>(&'a self, query: &'a Form) -> Ctx<'a> {
        Ctx { api: &self.session.api, token: &self.session.token, query, path: self.parts().0 }
    }
}

impl Follower {
    /// `version`: of the page as it is shown.
    pub fn new(reader: Reader, version: &str) -> Self {
        Self { reader, version: version.to_owned(), beat: Instant::now(), wait: LOOK }
    }

    /// The next event, or nothing once the session or the page has ended.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            tokio::time::sleep(self.wait).await;
            if !(self.reader.alive)() {
                return None;
            }
            let began = Instant::now();
            let query = Form::parse(self.reader.parts().1);
            let ctx = self.reader.ctx(&query);
            let shown = pages::page(&ctx).await.ok()?.body.into_string();
            self.wait = LOOK.max(began.elapsed() * PART);
            let version = crate::server::version(&shown);
            if version != self.version {
                self.version = version;
                self.beat = Instant::now();
                return Some(format!("data: {}\n\n", json!(shown)));
            }
            if self.beat.elapsed() >= BEAT {
                self.beat = Instant::now();
                return Some(":\n\n".into());
            }
        }
    }
}

impl Tail {
    /// `after`: the time of the newest line that is shown, in milliseconds.
    pub fn new(reader: Reader, after: i64) -> Self {
        let query = Form::parse(reader.parts().1);
        let since = after.saturating_sub(LATE).max(0);
        Self { reader, query, sources: Vec::new(), looks: 0, since, sent: HashSet::new(), beat: Instant::now() }
    }

    /// The next event: lines by their ids, some of which may be shown already.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            tokio::time::sleep(LOOK_AT_LOG).await;
            if !(self.reader.alive)() {
                return None;
            }
            let ctx = self.reader.ctx(&self.query);
            if self.looks.is_multiple_of(ANEW) {
                self.sources = logs::sources_of(&ctx).await.ok()?;
            }
            self.looks += 1;
            let mut lines = logs::read(&ctx, &self.sources, self.since).await.ok()?;
            lines.retain(|line| !self.sent.contains(line.text("eventId")));
            lines.drain(..lines.len().saturating_sub(LINES));
            if let Some(newest) = lines.iter().map(|line| line.whole("timestamp")).max() {
                self.since = self.since.max(newest - LATE);
                if self.sent.len() > 20 * LINES {
                    self.sent.clear();
                }
                self.sent.extend(lines.iter().map(|line| line.text("eventId").to_owned()));
                self.beat = Instant::now();
                let shown: Vec<Value> = lines.iter().map(logs::shown).collect();
                return Some(format!("id: {newest}\ndata: {}\n\n", json!(shown)));
            }
            if self.beat.elapsed() >= BEAT {
                self.beat = Instant::now();
                return Some(":\n\n".into());
            }
        }
    }
}
