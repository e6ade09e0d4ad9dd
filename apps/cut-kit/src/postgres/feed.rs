//! `GET /snapshot` and `GET /changes`: the log, read by SQL.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, IsolationLevel};

use super::decode::{Decoder, Transaction};
use super::shape::{self, Shape};
use super::store::{self, Fence};
use super::{Postgres, Result, Typed, failed, lsn, parse_lsn};
use crate::contract::{
    Changes, ChangesQuery, Chunk, Code, Event, Key, MAX_LIMIT, Op, Problem, Row, Snapshot, SnapshotQuery, Value,
};
use crate::digest::Sum;
use crate::scope::{Scope, literal, relation};

const LIMIT: u32 = 1_000;
/// A chunk that lies between two commits in the log, but not in the order of visibility, is read again.
const TRIES: usize = 50;
/// Log is forgotten so often, and sooner where there are so many transactions of it.
const FORGET_EVERY: Duration = Duration::from_secs(1);
const MANY: usize = 200;

/// The transactions of a feed from its confirmed position on.
pub struct Log {
    /// Everything up to here has been given up by the slot.
    pub confirmed: u64,
    pub transactions: Vec<Transaction>,
    /// Everything up to here was read.
    pub read: u64,
}

/// Which part of the log is read.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// All that is committed now; what is committed without waiting for the disk is put there first.
    Committed,
    /// All that is on disk now.
    Written,
    /// About as much as is needed for so many changes after a position.
    After(u64, u32),
}

/// The tables of a scope as they are now, and on how many of them is what a cut needs.
pub struct Now {
    shapes: Vec<Option<Shape>>,
    identities: i64,
    guarded: i64,
    published: i64,
}

/// What is done with the lock of [`Postgres::may_forget`].
#[derive(Clone, Copy)]
pub(super) enum Hold {
    Alone,
    Over,
    Shared,
    SharedOver,
}

/// The first half of its number.
const LOCK: i32 = 0x0063_7574;

/// Which transactions a snapshot sees, by the low halves of their ids.
pub struct Visible {
    xmax: u32,
    running: Vec<u32>,
}

impl Visible {
    /// The snapshot of the running transaction, or of this moment.
    pub async fn now(client: &impl GenericClient) -> Result<Visible> {
        let sql =
            "SELECT pg_snapshot_xmax(s)::text, array(SELECT pg_snapshot_xip(s)::text) FROM pg_current_snapshot() s";
        let row = client.query_typed_one(sql, &[]).await.map_err(failed)?;
        let low = |text: &str| text.parse::<u64>().unwrap_or(0) as u32;
        Ok(Visible { xmax: low(row.get(0)), running: row.get::<_, Vec<String>>(1).iter().map(|x| low(x)).collect() })
    }

    /// Whether a committed transaction is seen.
    pub fn sees(&self, xid: u32) -> bool {
        // Ids wrap around: what is less than half of the circle behind is older.
        (xid.wrapping_sub(self.xmax) as i32) < 0 && !self.running.contains(&xid)
    }

    /// The position of a log that is exactly what this snapshot sees; `None` where there is none.
    pub fn position(&self, log: &Log, at_least: u64) -> Option<u64> {
        let mut at = log.confirmed.max(at_least);
        let mut beyond = false;
        for transaction in &log.transactions {
            match self.sees(transaction.xid) {
                true if beyond => return None,
                true => at = at.max(transaction.end),
                false if transaction.end <= at_least => return None,
                false => beyond = true,
            }
        }
        Some(at)
    }
}

impl Postgres {
    /// `GET /snapshot`. The rows of one snapshot, and the position in the log that it stands at.
    pub async fn snapshot(&self, query: &SnapshotQuery) -> Result<Snapshot> {
        let scope = self.scope(&query.scope)?;
        let after: Option<Key> = match &query.after {
            Some(text) => Some(
                serde_json::from_str(text)
                    .map_err(|e| Problem::new(Code::BadRequest, format!("after is no key: {e}")))?,
            ),
            None => None,
        };
        let limit = query.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT) as usize;
        let mut client = self.client().await?;
        let fence = store::fence(&client, &scope.name).await?;
        let (feed, shapes) = prepared(&client, scope, &fence).await?;
        let shape = shapes.iter().find(|shape| shape.name == query.table);
        let shape = shape
            .ok_or_else(|| Problem::new(Code::NotFound, format!("{} is no table of {}", query.table, scope.name)))?;
        for _ in 0..TRIES {
            let tx = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
            let tx = tx.start().await.map_err(failed)?;
            let visible = Visible::now(&tx).await?;
            let chunk = chunk(&tx, shape, after.clone(), limit).await?;
            tx.commit().await.map_err(failed)?;
            let log = self.log(&client, &scope.name, &fence, Part::Committed).await?;
            if let Some(at) = visible.position(&log, query.position.unwrap_or(0)) {
                self.put_back(client);
                return Ok(Snapshot { src: feed, at, chunk });
            }
        }
        Err(Problem::new(Code::Busy, "commits came too fast to read between them; try again"))
    }

    /// `GET /changes`, without waiting: the caller asks again.
    pub async fn changes_now(&self, query: &ChangesQuery) -> Result<Changes> {
        let scope = self.scope(&query.scope)?;
        let client = self.lend().await?;
        let (fence, now) = tokio::try_join!(biased; store::fence(&*client, &scope.name), now(&*client, scope))?;
        let (feed, shapes) = now.prepared(scope, &fence)?;
        let limit = query.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
        let log = self.log(&client, &scope.name, &fence, Part::After(query.after, limit)).await?;
        if query.after < log.confirmed {
            let message = format!("the feed of {} does not reach back to {}", scope.name, lsn(query.after));
            return Err(Problem::new(Code::Gap, message).at(log.confirmed));
        }
        // A commit may be in the log before others see it; a chunk that is read afterwards has to have it.
        let visible = Visible::now(&*client).await?;
        let (mut to, mut whole) = (query.after, true);
        let (mut events, mut count) = (Vec::new(), 0);
        for transaction in log.transactions.iter().filter(|t| t.end > query.after) {
            let past = query.until.is_some_and(|until| transaction.end > until);
            if past || count >= limit as usize || !visible.sees(transaction.xid) {
                whole = past;
                break;
            }
            let some = self::events(&scope.name, &shapes, transaction);
            count += some.len();
            events.extend(some);
            to = transaction.end;
        }
        if whole {
            to = to.max(log.read.min(query.until.unwrap_or(u64::MAX)));
        }
        let digest = sum_at(scope, &fence, &shapes, &log, to).map(|sum| sum.digest());
        drop(client);
        // The server reads its log anew for it: not at every call.
        if query.after > log.confirmed && self.is_due(&scope.name, log.transactions.len(), query.wait_ms.is_some()) {
            self.forget(scope, &fence, &shapes, &log, query.after).await?;
        }
        let head = log.read.max(to);
        Ok(Changes { src: feed, from: query.after, to, head, counted: false, events, digest })
    }

    /// What the other side has safe may be forgotten, once the digest up to there is stored; not while somebody reads the rows
    /// and needs the log from before.
    async fn forget(&self, scope: &Scope, fence: &Fence, shapes: &[Shape], log: &Log, after: u64) -> Result<()> {
        let client = self.client().await?;
        if self.may_forget(&client, &scope.name, Hold::Alone).await? {
            let sum = sum_at(scope, fence, shapes, log, after);
            let stored = match sum.filter(|_| fence.owner) {
                Some(sum) if after > fence.digest_position => store::keep(&client, &scope.name, &sum, after).await?,
                Some(_) => true,
                // Where another call has stored and forgotten more meanwhile, this one leaves it.
                None if fence.owner => fence.digest.is_none(),
                // A mark whose digest is not computed yet needs the log before it.
                None => {
                    let computed = fence.released.as_ref().is_some_and(|mark| mark.epoch == fence.epoch);
                    computed || !super::fence::has_mark(&client, &scope.name, fence.epoch).await?
                }
            };
            if stored {
                let sql = "SELECT pg_replication_slot_advance($1::text::name, ($2::text)::pg_lsn)::text";
                let mut reading = self.reading.lock().await;
                let reader = self.reader(&mut reading).await?;
                // Another task may read the slot at this moment: the next call does it.
                let _ = reader.query_typed(sql, &[(&fence.slot, Type::TEXT), (&lsn(after), Type::TEXT)]).await;
            }
            self.may_forget(&client, &scope.name, Hold::Over).await?;
        }
        self.put_back(client);
        Ok(())
    }

    /// A lock of the database, with the connection's life at most: who reads rows shares it, who forgets log has it alone.
    pub(super) async fn may_forget(&self, client: &Client, scope: &str, hold: Hold) -> Result<bool> {
        let function = match hold {
            Hold::Alone => "pg_try_advisory_lock",
            Hold::Over => "pg_advisory_unlock",
            Hold::Shared => "true FROM pg_advisory_lock_shared",
            Hold::SharedOver => "pg_advisory_unlock_shared",
        };
        let sql = format!("SELECT {function}({LOCK}, hashtext($1))");
        let row = client.query_typed_one(&sql, &[(&scope, Type::TEXT)]).await.map_err(failed)?;
        Ok(row.get(0))
    }

    /// Whether it is time to forget log again. Who does not wait for changes is in a hurry, and leaves it to who does.
    fn is_due(&self, scope: &str, transactions: usize, waits: bool) -> bool {
        let (every, many) = if waits { (FORGET_EVERY, MANY) } else { (FORGET_EVERY * 5, MANY * 5) };
        let mut forgot = self.forgot.lock().unwrap_or_else(PoisonError::into_inner);
        let due = transactions >= many || forgot.get(scope).is_none_or(|at| at.elapsed() >= every);
        if due {
            forgot.insert(scope.to_owned(), Instant::now());
        }
        due
    }

    /// Reads the log from the confirmed position on.
    pub(super) async fn log(&self, client: &Client, scope: &str, fence: &Fence, part: Part) -> Result<Log> {
        let mut reading = self.reading.lock().await;
        let reader = self.reader(&mut reading).await?;
        self.read(reader, client, scope, fence, part).await
    }

    /// The connection that reads slots.
    async fn reader<'a>(&self, reading: &'a mut Option<Client>) -> Result<&'a Client> {
        let open = reading.take().filter(|reader| !reader.is_closed());
        let reader = match open {
            Some(reader) => reader,
            None => self.target.connect().await.map_err(failed)?,
        };
        Ok(reading.insert(reader))
    }

    async fn read(&self, reader: &Client, client: &Client, scope: &str, fence: &Fence, part: Part) -> Result<Log> {
        if matches!(part, Part::Committed) {
            let sql = "SELECT pg_logical_emit_message(true, 'cut', '')::text";
            client.query_typed(sql, &[]).await.map_err(failed)?;
        }
        let row = client.query_typed_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.map_err(failed)?;
        let end = parse_lsn(row.get(0));
        let sql = "SELECT data FROM pg_logical_slot_peek_binary_changes($1::text::name, ($2::text)::pg_lsn, $3, \
                   'proto_version', '1', 'publication_names', $4, 'messages', 'true')";
        // Each event is a row, and each transaction has two more; what lies between the confirmed position and the wanted one
        // is read again, so the limit grows until something new is there.
        let mut rows_wanted = match part {
            Part::Committed | Part::Written => None,
            Part::After(_, limit) => Some(i32::try_from(limit.saturating_mul(3)).unwrap_or(i32::MAX)),
        };
        loop {
            let (until, published) = (lsn(end), publication(scope));
            let parameters: [Typed<'_>; 4] =
                [(&fence.slot, Type::TEXT), (&until, Type::TEXT), (&rows_wanted, Type::INT4), (&published, Type::TEXT)];
            let mut tries = 0;
            let (rows, confirmed) = loop {
                // Asked for afterwards: whoever moves the slot on meanwhile shows as a gap.
                let read = async {
                    let rows = reader.query_typed(sql, &parameters).await.map_err(failed)?;
                    Ok::<_, Problem>((rows, confirmed(client, fence).await?))
                };
                match read.await {
                    // Another task of the service reads it.
                    Err(problem) if problem.code == Code::Busy && tries < 40 => {
                        tries += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Ok((rows, Some(confirmed))) => break (rows, confirmed),
                    Err(problem) if problem.code == Code::Busy || confirmed(client, fence).await?.is_some() => {
                        return Err(problem);
                    }
                    Ok(_) | Err(_) => {
                        let message = format!("the replication slot of {scope} is gone: prepare and copy again");
                        return Err(Problem::new(Code::Gap, message));
                    }
                }
            };
            let mut decoder = Decoder::default();
            for row in &rows {
                decoder.message(row.get(0))?;
            }
            let last = decoder.done.last().map_or(confirmed, |t| t.end);
            let full = rows_wanted.is_some_and(|wanted| rows.len() >= wanted as usize);
            let read = if full { last } else { last.max(end) };
            match (part, rows_wanted) {
                (Part::After(after, _), Some(wanted))
                    if full && !decoder.done.iter().any(|t| t.end > after && t.says()) =>
                {
                    rows_wanted = Some(wanted.saturating_mul(4));
                }
                _ => return Ok(Log { confirmed, transactions: decoder.done, read }),
            }
        }
    }
}

/// The slot's confirmed position; `None` where it is gone.
pub(super) async fn confirmed(client: &impl GenericClient, fence: &Fence) -> Result<Option<u64>> {
    let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots \
               WHERE slot_name = $1::text::name AND wal_status IS DISTINCT FROM 'lost'";
    let row = client.query_typed(sql, &[(&fence.slot, Type::TEXT)]).await.map_err(failed)?.pop();
    Ok(row.map(|row| parse_lsn(row.get(0))))
}

/// The publication of a scope.
pub fn publication(scope: &str) -> String {
    format!("cut_{scope}")
}

/// On how many tables of a scope what a cut needs is: names of the tables, the scope, the publication.
pub(super) const PREPARE: &str = "PREPARE cut_counts (text[], text, text) AS \
    WITH t AS (SELECT to_regclass(name)::oid AS oid FROM unnest($1) AS name) \
    SELECT (SELECT count(*) FROM pg_class JOIN t USING (oid) WHERE relreplident = 'f'), \
    (SELECT count(DISTINCT tgrelid) FROM pg_trigger WHERE tgname LIKE 'cut\\_' || $2 || '.%' AND tgenabled = 'A'), \
    (SELECT count(*) FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN t ON t.oid = r.prrelid \
    WHERE p.pubname = $3)";

/// Looks at the tables, in one exchange.
pub async fn now(client: &impl GenericClient, scope: &Scope) -> Result<Now> {
    let names = scope.tables.iter().map(|t| literal(&relation(&t.name))).collect::<Vec<_>>().join(", ");
    let (scope_name, publication) = (literal(&scope.name), literal(&publication(&scope.name)));
    let sql = format!("EXECUTE cut_counts (ARRAY[{names}]::text[], {scope_name}, {publication})");
    let counts = async { client.query_typed_one(&sql, &[]).await.map_err(failed) };
    let (shapes, row) = tokio::try_join!(biased; shape::shapes(client, scope), counts)?;
    Ok(Now { shapes, identities: row.get(0), guarded: row.get(1), published: row.get(2) })
}

impl Now {
    /// Those that are there.
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        self.shapes.iter().flatten()
    }

    /// The feed and the tables as they were prepared; refused where they have changed since.
    pub fn prepared(self, scope: &Scope, fence: &Fence) -> Result<(String, Vec<Shape>)> {
        let (Some(feed), Some(stored)) = (&fence.feed, &fence.shapes) else {
            return Err(Problem::new(Code::NotPrepared, format!("{} is not prepared here", scope.name)));
        };
        let changed = |what: &str| {
            Problem::new(Code::SchemaChanged, format!("{what} of {} changed since the cut was prepared", scope.name))
        };
        let shapes: Option<Vec<Shape>> = self.shapes.into_iter().collect();
        let shapes = shapes.ok_or_else(|| changed("the tables"))?;
        if serde_json::to_string(&shapes).ok().as_ref() != Some(stored) {
            return Err(changed("the tables"));
        }
        let expected = scope.tables.len() as i64;
        let found = [
            (self.identities, "the replica identity"),
            (self.guarded, "the triggers"),
            (self.published, "the publication"),
        ];
        for (count, what) in found {
            if count != expected {
                return Err(changed(what));
            }
        }
        Ok((feed.clone(), shapes))
    }
}

/// [`Now::prepared`] of this moment.
pub async fn prepared(client: &impl GenericClient, scope: &Scope, fence: &Fence) -> Result<(String, Vec<Shape>)> {
    now(client, scope).await?.prepared(scope, fence)
}

async fn chunk(client: &impl GenericClient, shape: &Shape, after: Option<Key>, limit: usize) -> Result<Chunk> {
    let mut wanted = shape.belongs("");
    let key = texts(after.as_ref().unwrap_or(&Vec::new()))?;
    if after.is_some() {
        if key.len() != shape.key.len() {
            return Err(Problem::new(Code::BadRequest, format!("the key of {} has other columns", shape.name)));
        }
        wanted = format!("{wanted} AND ROW({}) > {}", shape.key_list(), shape.key_row(1));
    }
    let sql = format!(
        "SELECT {} FROM {} WHERE {wanted} ORDER BY {} LIMIT {}",
        shape.outputs(),
        relation(&shape.name),
        shape.key_list(),
        limit + 1
    );
    let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = key.iter().map(|k| k as _).collect();
    let found = client.query(&sql, &parameters).await.map_err(failed)?;
    let mut rows: Vec<Row> = found.iter().map(|row| shape.read(row)).collect();
    let last = rows.len() <= limit;
    rows.truncate(limit);
    let to = rows.last().and_then(|row| shape.key_of(row));
    Ok(Chunk { table: shape.name.clone(), after, rows, to, last })
}

/// Values as parameters of type text.
pub fn texts(values: &[Value]) -> Result<Vec<Option<String>>> {
    let text = |value: &Value| match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text.clone())),
        _ => Err(Problem::new(Code::BadRequest, "values of PostgreSQL travel as texts")),
    };
    values.iter().map(text).collect()
}

/// The events of a transaction that are the scope's.
pub fn events(scope: &str, shapes: &[Shape], transaction: &Transaction) -> Vec<Event> {
    let mut events = Vec::new();
    if transaction.applied {
        return events;
    }
    for change in &transaction.changes {
        let mut event = Event {
            position: transaction.end,
            op: change.op,
            table: String::new(),
            before: change.before.clone(),
            after: change.after.clone(),
            at_ms: transaction.at_ms,
        };
        if change.table == "cut_marks" {
            let row = change.after.clone().unwrap_or_default();
            let text = |name: &str| match row.get(name) {
                Some(Value::Text(text)) => text.clone(),
                _ => String::new(),
            };
            if change.op != Op::Insert || text("scope") != scope {
                continue;
            }
            let mut after: Row = serde_json::from_str(&text("sequences")).unwrap_or_default();
            after.insert("epoch".into(), Value::Integer(text("epoch").parse().unwrap_or(0)));
            event = Event { op: Op::Mark, before: None, after: Some(after), ..event };
            events.push(event);
            continue;
        }
        let Some(shape) = shapes.iter().find(|shape| shape.is(&change.schema, &change.table)) else { continue };
        event.table = shape.name.clone();
        // A row that enters or leaves the scope's part of a shared table begins or ends.
        event.before = event.before.filter(|row| shape.has(row));
        event.after = event.after.filter(|row| shape.has(row));
        event.op = match (&event.before, &event.after) {
            (Some(_), Some(_)) => Op::Update,
            (None, Some(_)) => Op::Insert,
            (Some(_), None) => Op::Delete,
            (None, None) => continue,
        };
        events.push(event);
    }
    events
}

/// The owner's digest at a position of its log; `None` before the first `verify`, and where the log does not reach.
pub fn sum_at(scope: &Scope, fence: &Fence, shapes: &[Shape], log: &Log, position: u64) -> Option<Sum> {
    let mut sum = fence.digest?;
    if !fence.owner {
        let mark = fence.released.as_ref().filter(|mark| mark.position == position)?;
        return Sum::parse(&mark.digest);
    }
    if position < fence.digest_position || fence.digest_position < log.confirmed || position > log.read {
        // Nothing was written between an older digest and the confirmed position only where they are the same.
        if position != fence.digest_position {
            return None;
        }
    }
    let between = |t: &&Transaction| t.end > fence.digest_position && t.end <= position;
    for transaction in log.transactions.iter().filter(between) {
        for event in events(&scope.name, shapes, transaction).iter().filter(|event| event.op != Op::Mark) {
            sum.change(&event.table, event.before.as_ref(), event.after.as_ref());
        }
    }
    Some(sum)
}
