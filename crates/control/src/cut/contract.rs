//! Both sides by the application's contract, or by their databases: the platform is the replicator.

use super::admin::Failure;
use super::end::End;
use super::pair::{Copied, Fate, Fenced, Followed, Later, Looked, Pair, Trouble};
use cut_kit::contract::{
    self, Applied, ApplyRequest, ChangesQuery, Code, Digest, FenceAction, FenceRequest, FinishRequest, Follow,
    PrepareRequest, Prepared, Role, ScopeState, Severity, SnapshotQuery, State, VerifyRequest,
};
use quarry_domain::cut::{Mark, Side, SideSeen, Verified};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A call that reads or changes little.
const QUICK: Duration = Duration::from_secs(5);
/// A command in the hold: it is sent again. An answer that comes late is better than none: as long as a hold may last.
const URGENT: Duration = Duration::from_secs(1);
/// A call that goes through all rows.
const WHOLE: Duration = Duration::from_secs(600);
/// Rows of a chunk, changes of a batch.
const BATCH: u32 = 1000;
/// So long rows are copied before somebody else's turn.
const TURN: Duration = Duration::from_millis(200);

/// The contract at both sides.
pub struct ContractPair {
    scope: String,
    source: End,
    destination: End,
    known: RefCell<Known>,
    /// Held while changes are applied.
    applying: tokio::sync::Mutex<()>,
}

/// What was last seen: names of feeds, and positions that only this platform moves.
#[derive(Default)]
struct Known {
    /// By side.
    feeds: [Option<String>; 2],
    /// How far this side has the other's feed.
    applied: [Option<u64>; 2],
}

fn index(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Destination => 1,
    }
}

impl ContractPair {
    pub fn new(scope: &str, source: End, destination: End) -> Self {
        Self { scope: scope.to_owned(), source, destination, known: RefCell::default(), applying: Default::default() }
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    async fn state(&self, side: Side) -> Result<(State, Option<ScopeState>), Trouble> {
        let state: State = self.end(side).state(QUICK).await?;
        if state.contract != contract::VERSION {
            let message = format!("it speaks version {} of the contract, not {}", state.contract, contract::VERSION);
            return Err(Trouble { message, refused: true });
        }
        let scope = state.scopes.iter().find(|one| one.scope == self.scope).cloned();
        if let Some(scope) = &scope {
            self.known.borrow_mut().feeds[index(side)] = scope.feed.clone();
        }
        Ok((state, scope))
    }

    /// The name of a side's feed; asked for where it is not known.
    async fn feed(&self, side: Side) -> Result<Option<String>, Trouble> {
        let known = self.known.borrow().feeds[index(side)].clone();
        match known {
            Some(feed) => Ok(Some(feed)),
            None => Ok(self.state(side).await?.1.and_then(|scope| scope.feed)),
        }
    }

    async fn own_feed(&self, side: Side) -> Result<String, Trouble> {
        self.feed(side).await?.ok_or_else(|| Trouble::new(format!("the {} has no feed", side.name())))
    }

    async fn looked(&self, side: Side) -> Result<Looked, Trouble> {
        let (_, Some(scope)) = self.state(side).await? else { return Ok(Looked::default()) };
        let other = self.feed(side.other()).await?;
        let following = scope.following.iter().find(|one| Some(&one.src) == other.as_ref());
        self.known.borrow_mut().applied[index(side)] = following.map(|one| one.position);
        let released = scope.released.as_ref().filter(|mark| !scope.owner && mark.epoch == scope.epoch);
        let prepared = scope.feed.is_some() && (side == Side::Destination || following.is_some());
        Ok(Looked {
            known: true,
            copied: following.is_some_and(|one| one.copied),
            rows: following.map_or(0, |one| one.digest.rows),
            oldest_write_ms: scope.oldest_write_ms,
            tables: scope
                .tables
                .iter()
                .map(|table| format!("{} {:?} {:?}", table.name, table.key, columns(table)))
                .collect(),
            seen: SideSeen {
                prepared: prepared && !scope.retired,
                owner: scope.owner,
                epoch: scope.epoch,
                released: released.map(mark),
                applied: following.map_or(0, |one| one.position),
                digest: following.map(|one| text(&one.digest)).unwrap_or_default(),
            },
        })
    }

    async fn preparing(&self, owner: Side, dry_run: bool) -> Result<Vec<(Side, String)>, Trouble> {
        let (one, other) = (self.state(owner).await?.1, self.state(owner.other()).await?.1);
        let (Some(one), Some(other)) = (one, other) else {
            let message = format!("an application does not know the scope {}", self.scope);
            return Err(Trouble { message, refused: true });
        };
        let epoch = one.epoch.max(other.epoch).max(1);
        let mut found = Vec::new();
        let mut said = |side: Side, prepared: &Prepared| {
            let blocking = prepared.findings.iter().filter(|finding| finding.severity == Severity::Blocking);
            found.extend(blocking.map(|finding| (side, finding.message.clone())));
        };
        let request = |role, follow| PrepareRequest { scope: self.scope.clone(), role, epoch, follow, dry_run };
        let new = self.end(owner.other()).prepare(&request(Role::Destination, None), WHOLE).await?;
        said(owner.other(), &new);
        let follow = new.feed.as_ref().map(|feed| Follow { src: feed.src.clone(), position: feed.position });
        let old = self.end(owner).prepare(&request(Role::Source, follow), WHOLE).await?;
        said(owner, &old);
        if old.engine != new.engine {
            let message = format!("the databases are of different kinds: {:?} and {:?}", old.engine, new.engine);
            found.push((owner.other(), message));
        }
        if old.database == new.database {
            found.push((owner.other(), "both services have the same database: there is nothing to move".to_owned()));
        }
        for table in &old.tables {
            match new.tables.iter().find(|one| one.name == table.name) {
                None => found.push((owner.other(), format!("table {} is missing", table.name))),
                Some(same) if columns(same) != columns(table) || same.key != table.key => {
                    found.push((owner.other(), format!("table {} has other columns or another key", table.name)));
                }
                Some(_) => {}
            }
        }
        let mut known = self.known.borrow_mut();
        known.feeds[index(owner)] = old.feed.map(|feed| feed.src);
        known.feeds[index(owner.other())] = new.feed.map(|feed| feed.src);
        Ok(found)
    }

    /// Changes after the position, applied at the other side.
    async fn pass_on(&self, from: Side, after: u64, wait: Duration, until: Option<u64>) -> Result<Followed, Trouble> {
        let query = ChangesQuery {
            scope: self.scope.clone(),
            after,
            limit: Some(BATCH),
            wait_ms: (!wait.is_zero()).then_some(wait.as_millis() as u32),
            until,
        };
        let changes = self.end(from).changes(&query, wait + QUICK).await?;
        let known = Instant::now();
        let count = changes.events.len() as u64;
        let to = from.other();
        let request = ApplyRequest {
            scope: self.scope.clone(),
            src: changes.src,
            from: changes.from,
            to: changes.to,
            counted: changes.counted,
            events: changes.events,
            chunk: None,
        };
        let _applying = self.applying.lock().await;
        let applied: Applied = match self.end(to).apply(&request, QUICK).await {
            Ok(applied) => applied,
            Err(failure) => {
                // Where it stands is asked anew.
                self.known.borrow_mut().applied[index(to)] = None;
                return Err(failure.into());
            }
        };
        let mut positions = self.known.borrow_mut();
        let position = positions.applied[index(to)].unwrap_or(0).max(applied.position);
        positions.applied[index(to)] = Some(position);
        Ok(Followed {
            applied: applied.position,
            digest: text(&applied.digest),
            changes: count,
            behind: changes.head.saturating_sub(applied.position),
            took: known.elapsed(),
        })
    }

    /// Where the other side stands in this side's feed.
    async fn position(&self, from: Side) -> Result<Option<u64>, Trouble> {
        let to = from.other();
        let known = self.known.borrow().applied[index(to)];
        match known {
            Some(position) => Ok(Some(position)),
            None => {
                self.looked(to).await?;
                Ok(self.known.borrow().applied[index(to)])
            }
        }
    }

    /// One chunk; `None`: there is none left.
    async fn copy_chunk(&self, from: Side) -> Result<Option<u64>, Trouble> {
        let to = from.other();
        let Some(new) = self.state(to).await?.1 else { return Err(Trouble::new("the scope is gone")) };
        let feed = self.own_feed(from).await?;
        let Some(old) = self.state(from).await?.1 else { return Err(Trouble::new("the scope is gone")) };
        let following = new.following.iter().find(|one| one.src == feed);
        if following.is_some_and(|one| one.copied) {
            return Ok(None);
        }
        // In the owner's order: a table comes after those that it refers to.
        let is_copied = |name: &str| new.tables.iter().any(|one| one.name == name && one.copied);
        let next = old.tables.iter().find(|table| !is_copied(&table.name));
        let Some(table) = next.and_then(|table| new.tables.iter().find(|one| one.name == table.name)) else {
            return Ok(None);
        };
        let after = table.copied_to.as_ref().map(serde_json::to_string).transpose();
        let query = SnapshotQuery {
            scope: self.scope.clone(),
            table: table.name.clone(),
            after: after.map_err(|error| Trouble::new(error.to_string()))?,
            limit: Some(BATCH),
            position: following.map(|one| one.position),
        };
        let snapshot = self.end(from).snapshot(&query, QUICK).await?;
        let mut position = following.map(|one| one.position);
        while let Some(at) = position
            && at < snapshot.at
        {
            position = Some(self.pass_on(from, at, Duration::ZERO, Some(snapshot.at)).await?.applied);
        }
        let request = ApplyRequest {
            scope: self.scope.clone(),
            src: snapshot.src,
            from: snapshot.at,
            to: snapshot.at,
            counted: false,
            events: Vec::new(),
            chunk: Some(snapshot.chunk),
        };
        let applied = self.end(to).apply(&request, QUICK).await?;
        self.known.borrow_mut().applied[index(to)] = Some(applied.position);
        Ok(if applied.copied { None } else { Some(applied.digest.rows) })
    }

    async fn fenced(&self, side: Side, request: FenceRequest) -> Result<Fenced, Trouble> {
        let fenced = self.end(side).fence(&request, URGENT).await?;
        Ok(Fenced { owner: fenced.owner, epoch: fenced.epoch, released: fenced.mark.as_ref().map(mark) })
    }
}

impl Pair for ContractPair {
    fn look(&self, side: Side) -> Later<'_, Looked> {
        Box::pin(self.looked(side))
    }

    fn check(&self) -> Later<'_, Vec<(Side, String)>> {
        Box::pin(self.preparing(Side::Source, true))
    }

    fn prepare(&self, owner: Side) -> Later<'_, Vec<(Side, String)>> {
        Box::pin(self.preparing(owner, false))
    }

    fn copy(&self, from: Side) -> Later<'_, Copied> {
        Box::pin(async move {
            let began = Instant::now();
            loop {
                let Some(rows) = self.copy_chunk(from).await? else {
                    let rows = self.looked(from.other()).await?.rows;
                    return Ok(Copied { done: true, rows });
                };
                if began.elapsed() > TURN {
                    return Ok(Copied { done: false, rows });
                }
            }
        })
    }

    fn follow(&self, from: Side, wait: Duration) -> Later<'_, Followed> {
        Box::pin(async move {
            match self.position(from).await? {
                Some(position) => self.pass_on(from, position, wait, None).await,
                None => Err(Trouble::new(format!("the {} follows nothing yet", from.other().name()))),
            }
        })
    }

    fn settle(&self) -> Later<'_, ()> {
        Box::pin(async {
            drop(self.applying.lock().await);
            Ok(())
        })
    }

    fn verify(&self, owner: Side) -> Later<'_, Verified> {
        Box::pin(async move {
            let feed = self.own_feed(owner).await?;
            let mut rows = u64::MAX;
            for (side, src) in [(owner, None), (owner.other(), Some(feed))] {
                // The first one of an owner makes the kept digest, the next compares with it.
                for last in [false, true] {
                    let request = VerifyRequest { scope: self.scope.clone(), src: src.clone(), allow_empty: false };
                    match self.end(side).verify(&request, WHOLE).await {
                        Ok(verified) if verified.compared || last => {
                            rows = rows.min(verified.digest.rows);
                            break;
                        }
                        Ok(_) => {}
                        Err(Failure::Refused(_, problem)) if problem.code == Code::NothingCompared => {
                            rows = 0;
                            break;
                        }
                        Err(Failure::Refused(_, problem)) if problem.code == Code::Diverged => {
                            return Ok(Verified::Wrong(format!("the {}: {}", side.name(), problem.message)));
                        }
                        Err(failure) => return Err(failure.into()),
                    }
                }
            }
            Ok(Verified::Rows(rows))
        })
    }

    fn give_up(&self, side: Side, epoch: u64) -> Later<'_, Fenced> {
        let request = FenceRequest {
            scope: self.scope.clone(),
            action: FenceAction::Release,
            epoch,
            src: None,
            expect_pos: None,
            expect_digest: None,
        };
        Box::pin(self.fenced(side, request))
    }

    fn take(&self, side: Side, epoch: u64, expect: Option<(u64, String)>) -> Later<'_, Fenced> {
        Box::pin(async move {
            let mut request = FenceRequest {
                scope: self.scope.clone(),
                action: FenceAction::Acquire,
                epoch,
                src: None,
                expect_pos: None,
                expect_digest: None,
            };
            if let Some((position, digest)) = expect {
                request.src = Some(self.own_feed(side.other()).await?);
                request.expect_pos = Some(position);
                request.expect_digest = digest_of(&digest);
            }
            self.fenced(side, request).await
        })
    }

    fn retire(&self, owner: Side, fate: Fate) -> Later<'_, ()> {
        let fate = match fate {
            Fate::Keep => contract::Fate::Keep,
            Fate::Rename => contract::Fate::Rename,
            Fate::Drop => contract::Fate::Drop,
            Fate::Clear => contract::Fate::Clear,
        };
        Box::pin(async move {
            let request = |owner, tables| FinishRequest { scope: self.scope.clone(), owner, tables };
            self.end(owner).finish(&request(true, contract::Fate::Keep), WHOLE).await?;
            self.end(owner.other()).finish(&request(false, fate), WHOLE).await?;
            *self.known.borrow_mut() = Known::default();
            Ok(())
        })
    }
}

fn columns(table: &contract::Table) -> Vec<contract::Column> {
    let mut columns = table.columns.clone();
    columns.sort();
    columns
}

fn mark(mark: &contract::Mark) -> Mark {
    Mark { position: mark.position, digest: text(&mark.digest) }
}

/// A digest as `rows:sum`.
fn text(digest: &Digest) -> String {
    format!("{}:{}", digest.rows, digest.sum)
}

fn digest_of(text: &str) -> Option<Digest> {
    let (rows, sum) = text.split_once(':')?;
    Some(Digest { rows: rows.parse().ok()?, sum: sum.to_owned() })
}
