//! Two files, a replicator that loses, repeats and reorders, and writers that go round everything.

mod bad_days;
mod random;

use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::contract::*;
use crate::scope::Tables;

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
CREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, body, score REAL);
CREATE TABLE tags (post INTEGER NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (post, tag)) WITHOUT ROWID;
CREATE TABLE keys (scope TEXT NOT NULL, key TEXT NOT NULL, answer TEXT, PRIMARY KEY (scope, key));
CREATE TABLE other (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT);";

/// A database, its kit, and a connection as any program has one.
struct Side {
    kit: Sqlite,
    app: Connection,
    path: PathBuf,
}

fn scopes() -> Vec<Scope> {
    let tables = [Tables::whole("posts"), Tables::whole("tags"), Tables::part("keys", "scope", "posts")];
    vec![Scope::new("posts", tables)]
}

impl Side {
    fn new(dir: &Path, name: &str, destination: bool) -> Side {
        let path = dir.join(name);
        let app = Connection::open(&path).unwrap();
        app.execute_batch(SCHEMA).unwrap();
        app.execute_batch("PRAGMA synchronous = OFF").unwrap();
        let destinations: Vec<String> = destination.then(|| "posts".to_owned()).into_iter().collect();
        let kit = Sqlite::open(&path, scopes(), &destinations).unwrap();
        lock(&kit.writer).execute_batch("PRAGMA synchronous = OFF").unwrap();
        Side { kit, app, path }
    }

    fn scope(&self) -> ScopeState {
        self.kit.state().unwrap().scopes.remove(0)
    }

    fn prepare(&self, role: Role, follow: Option<Follow>) -> Follow {
        let epoch = self.scope().epoch;
        let prepared = self.kit.prepare(&request(role, epoch, follow)).unwrap();
        prepared.feed.unwrap_or_else(|| panic!("{:?}", prepared.findings))
    }

    fn verify(&self, src: Option<&str>) -> Result<Verified> {
        self.kit.verify(&VerifyRequest { scope: "posts".into(), src: src.map(Into::into), allow_empty: false })
    }

    fn fence(&self, action: FenceAction, epoch: u64, expect: Option<(&str, &Mark)>) -> Result<Fenced> {
        self.kit.fence(&FenceRequest {
            scope: "posts".into(),
            action,
            epoch,
            src: expect.map(|(src, _)| src.to_owned()),
            expect_pos: expect.map(|(_, mark)| mark.position),
            expect_digest: expect.map(|(_, mark)| mark.digest.clone()),
        })
    }

    fn changes(&self, after: u64, until: Option<u64>, limit: Option<u32>) -> Result<Changes> {
        self.kit.changes_now(&ChangesQuery { scope: "posts".into(), after, limit, wait_ms: None, until })
    }

    /// Every row of the scope, as text.
    fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for sql in [
            "SELECT 'p', quote(id), quote(name), quote(body), quote(score) FROM posts ORDER BY id",
            "SELECT 't', quote(post), quote(tag), '', '' FROM tags ORDER BY post, tag",
            "SELECT 'k', quote(scope), quote(key), quote(answer), '' FROM keys WHERE scope = 'posts' ORDER BY key",
        ] {
            let mut statement = self.app.prepare(sql).unwrap();
            let found = statement.query_map([], |row| {
                Ok((0..5).map(|i| row.get::<_, String>(i).unwrap()).collect::<Vec<_>>().join(" "))
            });
            rows.extend(found.unwrap().map(std::result::Result::unwrap));
        }
        rows
    }
}

fn request(role: Role, epoch: u64, follow: Option<Follow>) -> PrepareRequest {
    PrepareRequest { scope: "posts".into(), role, epoch, follow, dry_run: false }
}

fn apply_of(changes: &Changes) -> ApplyRequest {
    ApplyRequest {
        scope: "posts".into(),
        src: changes.src.clone(),
        from: changes.from,
        to: changes.to,
        counted: changes.counted,
        events: changes.events.clone(),
        chunk: None,
    }
}

/// Both directions prepared: B's feed is known to A.
fn prepare(a: &Side, b: &Side) -> (String, String) {
    let of_b = b.prepare(Role::Destination, None);
    let of_a = a.prepare(Role::Source, Some(of_b.clone()));
    (of_a.src, of_b.src)
}

/// Where `to` stands in `src`.
fn position(to: &Side, src: &str) -> Option<u64> {
    to.scope().following.iter().find(|f| f.src == src).map(|f| f.position)
}

/// One step of the replicator; false when there was nothing to do.
fn follow(from: &Side, to: &Side, src: &str, limit: u32, until: Option<u64>) -> bool {
    let Some(after) = position(to, src) else { return false };
    let changes = from.changes(after, until, Some(limit)).unwrap();
    let applied = to.kit.apply(&apply_of(&changes)).unwrap();
    assert_eq!(applied.position, changes.to);
    // Sending again changes nothing.
    assert_eq!(to.kit.apply(&apply_of(&changes)).unwrap(), applied);
    if let Some(digest) = changes.digest.filter(|_| applied.copied && !to.scope().owner) {
        assert_eq!(digest, applied.digest, "at {}", changes.to);
    }
    changes.to < changes.head
}

/// Copies one chunk; false when every table is whole.
fn copy(from: &Side, to: &Side, src: &str, limit: u32) -> bool {
    let state = to.scope();
    let Some(table) = from
        .scope()
        .tables
        .into_iter()
        .find(|t| !state.tables.iter().any(|other| other.name == t.name && other.copied))
    else {
        return false;
    };
    let key = state.tables.iter().find(|t| t.name == table.name).and_then(|t| t.copied_to.clone());
    let query = SnapshotQuery {
        scope: "posts".into(),
        table: table.name,
        after: key.map(|key| serde_json::to_string(&key).unwrap()),
        limit: Some(limit),
        position: position(to, src),
    };
    let snapshot = from.kit.snapshot(&query).unwrap();
    assert_eq!(snapshot.src, src);
    while position(to, src).is_some_and(|at| at < snapshot.at) {
        follow(from, to, src, 3, Some(snapshot.at));
    }
    let request = ApplyRequest {
        scope: "posts".into(),
        src: src.to_owned(),
        from: snapshot.at,
        to: snapshot.at,
        counted: true,
        events: vec![],
        chunk: Some(snapshot.chunk),
    };
    let applied = to.kit.apply(&request).unwrap();
    assert_eq!(to.kit.apply(&request).unwrap(), applied, "a chunk twice");
    true
}

/// The move of a scope, from HOLD on; returns the mark.
fn hand_over(from: &Side, to: &Side, src: &str) -> Mark {
    verify_any(from).unwrap();
    let epoch = from.scope().epoch;
    let mark = from.fence(FenceAction::Release, epoch + 1, None).unwrap().mark.unwrap();
    assert_eq!(from.fence(FenceAction::Release, epoch + 1, None).unwrap().mark.as_ref(), Some(&mark), "sent again");
    while follow(from, to, src, 7, None) {}
    to.fence(FenceAction::Acquire, epoch + 2, Some((src, &mark))).unwrap();
    to.fence(FenceAction::Acquire, epoch + 2, Some((src, &mark))).unwrap();
    mark
}

/// Full comparison at the owner, also of nothing.
fn verify_any(side: &Side) -> Result<Verified> {
    side.kit.verify(&VerifyRequest { scope: "posts".into(), src: None, allow_empty: true })
}

fn write(side: &Side, sql: &str) {
    side.app.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

#[test]
fn a_cut_and_a_rollback_keep_every_row_id_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Side::new(dir.path(), "a", false), Side::new(dir.path(), "b", true));
    write(
        &a,
        "INSERT INTO posts (name, body, score) VALUES ('one', 'it''s', 0.1), ('two', x'00ff', NULL), ('3', 7, 1e17)",
    );
    write(&a, "INSERT INTO tags VALUES (1, 'x'), (1, 'y'), (2, 'x')");
    write(&a, "INSERT INTO keys VALUES ('posts', 'k1', 'A'), ('users', 'k1', 'B')");
    // An id that was given and is gone.
    write(&a, "INSERT INTO posts (id, name) VALUES (40, 'gone'); DELETE FROM posts WHERE id = 40");
    let (of_a, of_b) = prepare(&a, &b);
    assert_eq!(prepare(&a, &b), (of_a.clone(), of_b.clone()), "prepare twice");
    while copy(&a, &b, &of_a, 2) {
        write(&a, "UPDATE posts SET body = coalesce(body, '') || '+' WHERE id IN (1, 3)");
    }
    a.verify(None).unwrap();
    write(&a, "DELETE FROM tags WHERE tag = 'y'; INSERT INTO keys VALUES ('posts', 'k2', NULL)");
    while follow(&a, &b, &of_a, 1, None) {}
    assert!(a.verify(None).unwrap().compared);
    assert!(b.verify(Some(&of_a)).unwrap().compared);
    let mark = hand_over(&a, &b, &of_a);
    assert_eq!(a.rows(), b.rows());
    assert_eq!(mark.digest.rows, a.rows().len() as u64);
    write(&b, "INSERT INTO posts (name) VALUES ('new')");
    assert_eq!(b.app.last_insert_rowid(), 41, "ids go on above every id given");
    let refused = a.app.execute_batch("INSERT INTO posts (name) VALUES ('late')").unwrap_err();
    assert!(crate::fence::refused_by_trigger(&refused.to_string()).is_some(), "{refused}");
    // The other scope's keys are not fenced.
    write(&a, "INSERT INTO keys VALUES ('users', 'k2', 'C'); INSERT INTO other (text) VALUES ('x')");
    // And back.
    while follow(&b, &a, &of_b, 2, None) {}
    write(&b, "UPDATE posts SET id = 99 WHERE id = 41; INSERT INTO keys VALUES ('posts', 'k3', 'D')");
    hand_over(&b, &a, &of_b);
    assert_eq!(a.rows(), b.rows());
    write(&a, "INSERT INTO posts (name) VALUES ('home')");
    assert_eq!(a.app.last_insert_rowid(), 100);
    // A second cut goes on where the first ended.
    hand_over(&a, &b, &of_a);
    assert_eq!(a.rows(), b.rows());
    assert!(b.app.execute_batch("INSERT INTO posts (name) VALUES ('new again')").is_ok());
}

#[test]
fn every_writer_meets_the_guard() {
    let dir = tempfile::tempdir().unwrap();
    let b = Side::new(dir.path(), "b", true);
    for sql in [
        "INSERT INTO posts (name) VALUES ('x')",
        "INSERT OR IGNORE INTO posts (name) VALUES ('x')",
        "REPLACE INTO posts (id, name) VALUES (1, 'x')",
        "INSERT INTO tags VALUES (1, 'x') ON CONFLICT DO NOTHING",
        "INSERT INTO keys VALUES ('posts', 'k', '')",
    ] {
        let refused = b.app.execute_batch(sql).unwrap_err();
        let scope = crate::fence::refused_by_trigger(&refused.to_string());
        assert_eq!(scope.map(|s| s.scope().to_owned()).as_deref(), Some("posts"), "{sql}: {refused}");
    }
    write(&b, "INSERT INTO keys VALUES ('users', 'k', '')");
    assert!(b.app.execute_batch("UPDATE keys SET scope = 'posts'").is_err());
    // The guard is in the file: another program of the machine meets it too.
    if let Ok(output) =
        std::process::Command::new("sqlite3").arg(&b.path).arg("INSERT INTO posts (name) VALUES ('cron')").output()
    {
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("not owned here"));
    }
    assert!(b.rows().is_empty());
}

#[test]
fn replaced_rows_are_in_the_feed() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Side::new(dir.path(), "a", false), Side::new(dir.path(), "b", true));
    write(&a, "INSERT INTO posts (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    let (of_a, _) = prepare(&a, &b);
    while copy(&a, &b, &of_a, 10) {}
    a.verify(None).unwrap();
    for (i, sql) in [
        "REPLACE INTO posts (id, name) VALUES (1, 'uno')",
        // Two rows go for one that comes.
        "INSERT OR REPLACE INTO posts (id, name) VALUES (2, 'three')",
        "INSERT OR IGNORE INTO posts (id, name) VALUES (2, 'ignored')",
        "INSERT INTO posts (id, name) VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET name = 'upsert'",
        "INSERT INTO posts (name) VALUES ('a'), ('b'), ('c')",
        "UPDATE OR REPLACE posts SET name = 'a' WHERE id = 1",
        "UPDATE OR REPLACE posts SET id = 1 WHERE name = 'b'",
        "PRAGMA recursive_triggers = ON; REPLACE INTO posts (id, name) VALUES (1, 'c')",
        "REPLACE INTO keys VALUES ('posts', 'k', '1'); REPLACE INTO keys VALUES ('posts', 'k', '2')",
        "UPDATE keys SET scope = 'users'; UPDATE keys SET scope = 'posts'",
        "REPLACE INTO tags VALUES (1, 't'); REPLACE INTO tags VALUES (1, 't')",
    ]
    .iter()
    .enumerate()
    {
        write(&a, sql);
        while follow(&a, &b, &of_a, 100, None) {}
        assert_eq!(a.rows(), b.rows(), "{i}: {sql}");
        assert!(a.verify(None).unwrap().compared, "{sql}");
    }
}

#[test]
fn gaps_epochs_and_owners_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Side::new(dir.path(), "a", false), Side::new(dir.path(), "b", true));
    write(&a, "INSERT INTO posts (name) VALUES ('one'), ('two')");
    let (of_a, _) = prepare(&a, &b);
    let code = |result: Result<Applied>| result.unwrap_err().code;
    let empty = |from, to| ApplyRequest {
        scope: "posts".into(),
        src: of_a.clone(),
        from,
        to,
        counted: true,
        events: vec![],
        chunk: None,
    };
    assert_eq!(code(b.kit.apply(&empty(0, 0))), Code::Gap, "nothing was copied");
    while copy(&a, &b, &of_a, 10) {}
    write(&a, "INSERT INTO posts (name) VALUES ('three'), ('four'), ('five')");
    let changes = a.changes(0, None, None).unwrap();
    assert_eq!(changes.events.len(), 3);
    let mut gap = apply_of(&changes);
    gap.from = 1;
    assert_eq!(b.kit.apply(&gap).unwrap_err().position, Some(0));
    let mut skipped = apply_of(&changes);
    skipped.events.remove(1);
    assert_eq!(code(b.kit.apply(&skipped)), Code::Gap);
    let mut short = apply_of(&changes);
    short.events.pop();
    assert_eq!(code(b.kit.apply(&short)), Code::Gap);
    let mut wrong = apply_of(&changes);
    wrong.events[2].op = Op::Delete;
    wrong.events[2].before = wrong.events[2].after.take();
    assert_eq!(code(b.kit.apply(&wrong)), Code::Diverged);
    assert_eq!(b.rows().len(), 2, "what was refused left nothing");
    // The last two of them come again after the first.
    let mut first = apply_of(&changes);
    first.events.truncate(1);
    first.to = 1;
    b.kit.apply(&first).unwrap();
    assert_eq!(b.kit.apply(&apply_of(&changes)).unwrap().position, 3);
    assert_eq!(a.rows(), b.rows());

    assert_eq!(a.fence(FenceAction::Release, 1, None).unwrap_err().code, Code::Epoch);
    assert_eq!(a.fence(FenceAction::Release, 2, None).unwrap_err().code, Code::NotPrepared, "no digest yet");
    assert_eq!(b.fence(FenceAction::Release, 2, None).unwrap_err().code, Code::WrongOwner);
    assert_eq!(b.fence(FenceAction::Acquire, 9, None).unwrap_err().code, Code::WrongOwner);
    let elsewhere = ApplyRequest { src: "elsewhere".into(), ..apply_of(&changes) };
    assert_eq!(code(a.kit.apply(&elsewhere)), Code::WrongOwner);
    a.verify(None).unwrap();
    let mark = a.fence(FenceAction::Release, 2, None).unwrap().mark.unwrap();
    assert_eq!(b.fence(FenceAction::Acquire, 3, Some((&of_a, &mark))).unwrap_err().code, Code::Gap, "not caught up");
    while follow(&a, &b, &of_a, 10, None) {}
    let other = Mark { digest: Digest { rows: 5, sum: "0".repeat(64) }, ..mark.clone() };
    assert_eq!(b.fence(FenceAction::Acquire, 3, Some((&of_a, &other))).unwrap_err().code, Code::Diverged);
    // Given up: A takes back what it released, and a release that comes late is refused.
    assert!(a.fence(FenceAction::Acquire, 3, None).unwrap().owner);
    assert_eq!(a.fence(FenceAction::Release, 2, None).unwrap_err().code, Code::Epoch);
    write(&a, "INSERT INTO posts (name) VALUES ('six')");
    // The next attempt goes on from there.
    while follow(&a, &b, &of_a, 10, None) {}
    hand_over(&a, &b, &of_a);
    // B moved on: A may not take it back by itself once it has followed.
    let of_b = b.scope().feed.unwrap();
    write(&b, "INSERT INTO posts (name) VALUES ('seven')");
    while follow(&b, &a, &of_b, 10, None) {}
    assert_eq!(a.fence(FenceAction::Acquire, 99, None).unwrap_err().code, Code::WrongOwner);
}

#[test]
fn schemas_that_cannot_be_cut_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let app = Connection::open(&path).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE plain (id INTEGER PRIMARY KEY, t); CREATE TABLE none (t); \
         CREATE TABLE nullable (k TEXT PRIMARY KEY); CREATE TABLE named (k TEXT PRIMARY KEY NOT NULL); \
         CREATE TABLE child (id INTEGER PRIMARY KEY AUTOINCREMENT, p REFERENCES plain (id));",
    )
    .unwrap();
    let tables = ["plain", "none", "nullable", "named", "absent", "child"].map(Tables::whole);
    let kit = Sqlite::open(&path, vec![Scope::new("posts", tables)], &[]).unwrap();
    let prepared = kit.prepare(&request(Role::Source, 1, None)).unwrap();
    assert_eq!(prepared.feed, None);
    let found: Vec<(&str, &str)> = prepared
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Blocking)
        .map(|f| (f.table.as_deref().unwrap(), f.code.as_str()))
        .collect();
    let expected =
        [("plain", "no-autoincrement"), ("none", "no-key"), ("nullable", "null-key"), ("absent", "no-table")];
    assert_eq!(found, expected);
    let declared = Scope::new("posts", [Tables::whole("plain").own_key(), Tables::whole("child")]);
    drop(kit);
    let kit = Sqlite::open(&path, vec![declared], &[]).unwrap();
    let dry = PrepareRequest { dry_run: true, ..request(Role::Source, 1, None) };
    assert_eq!(kit.prepare(&dry).unwrap().findings, []);
    assert_eq!(kit.state().unwrap().scopes[0].feed, None, "a dry run makes nothing");
    assert!(kit.prepare(&request(Role::Source, 1, None)).unwrap().feed.is_some());
}

#[test]
fn a_schema_change_in_the_middle_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Side::new(dir.path(), "a", false), Side::new(dir.path(), "b", true));
    write(&a, "INSERT INTO posts (name) VALUES ('one')");
    let (of_a, _) = prepare(&a, &b);
    while copy(&a, &b, &of_a, 10) {}
    a.verify(None).unwrap();
    write(&a, "ALTER TABLE posts ADD COLUMN extra TEXT");
    assert_eq!(a.changes(0, None, None).unwrap_err().code, Code::SchemaChanged);
    assert_eq!(a.fence(FenceAction::Release, 2, None).unwrap_err().code, Code::SchemaChanged);
    write(&a, "ALTER TABLE posts DROP COLUMN extra");
    assert!(a.changes(0, None, None).is_ok());
    write(&a, "DROP TRIGGER \"cut_posts.posts.insert\"; INSERT INTO posts (name) VALUES ('unseen')");
    assert_eq!(a.fence(FenceAction::Release, 2, None).unwrap_err().code, Code::SchemaChanged);
    // Prepared again it is another feed: the old position means nothing.
    let again = a.prepare(Role::Source, None);
    assert_ne!(again.src, of_a);
    assert_eq!(position(&b, &again.src), None);
}

#[test]
fn a_feed_that_skips_a_write_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Side::new(dir.path(), "a", false), Side::new(dir.path(), "b", true));
    assert_eq!(a.verify(None).unwrap_err().code, Code::NotPrepared);
    let (of_a, _) = prepare(&a, &b);
    assert_eq!(a.verify(None).unwrap_err().code, Code::NothingCompared);
    write(&a, "INSERT INTO posts (name) VALUES ('one')");
    while copy(&a, &b, &of_a, 10) {}
    a.verify(None).unwrap();
    // A program that has switched its triggers off.
    a.app.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    write(&a, "INSERT INTO posts (name) VALUES ('unseen')");
    assert_eq!(a.verify(None).unwrap_err().code, Code::Diverged);
    b.app.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    while follow(&a, &b, &of_a, 10, None) {}
    assert!(b.verify(Some(&of_a)).is_ok());
    write(&b, "UPDATE posts SET body = 'changed'");
    assert_eq!(b.verify(Some(&of_a)).unwrap_err().code, Code::Diverged);
    // And an event for the row that is another one here is refused.
    a.app.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true).unwrap();
    write(&a, "UPDATE posts SET body = 'x' WHERE name = 'one'");
    let changes = a.changes(position(&b, &of_a).unwrap(), None, None).unwrap();
    let refused = b.kit.apply(&apply_of(&changes)).unwrap_err();
    assert_eq!(refused.code, Code::Diverged);
    assert!(refused.message.contains("[1]"), "{refused}");
}

#[test]
fn what_starts_empty_and_what_is_left_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let a = Side::new(dir.path(), "a", false);
    write(&a, "INSERT INTO posts (name) VALUES ('one')");
    let wrong = a.kit.prepare(&request(Role::Destination, 1, None)).unwrap_err();
    assert_eq!(wrong.code, Code::WrongOwner);
    // A service that was not told that it is a destination, but has never been written to, becomes one.
    let b = Side::new(dir.path(), "b", false);
    let (of_a, _) = prepare(&a, &b);
    assert!(b.app.execute_batch("INSERT INTO posts (name) VALUES ('x')").is_err());
    while copy(&a, &b, &of_a, 10) {}
    // Given up before anything moved: the destination is cleared, and the source is as before.
    let finish = |side: &Side, owner, tables| side.kit.finish(&FinishRequest { scope: "posts".into(), owner, tables });
    assert_eq!(finish(&b, true, Fate::Keep).unwrap_err().code, Code::WrongOwner);
    assert_eq!(finish(&a, true, Fate::Drop).unwrap_err().code, Code::WrongOwner);
    finish(&a, true, Fate::Keep).unwrap();
    write(&a, "INSERT INTO posts (name) VALUES ('two')");
    assert!(b.app.execute_batch("INSERT INTO posts (name) VALUES ('x')").is_err(), "still fenced");
    // What was copied by the feed that is gone is not trusted.
    let (of_a, _) = prepare(&a, &b);
    let query = SnapshotQuery { scope: "posts".into(), table: "posts".into(), ..SnapshotQuery::default() };
    let snapshot = a.kit.snapshot(&query).unwrap();
    let first = ApplyRequest {
        scope: "posts".into(),
        src: of_a,
        from: snapshot.at,
        to: snapshot.at,
        counted: true,
        events: vec![],
        chunk: Some(snapshot.chunk),
    };
    assert_eq!(b.kit.apply(&first).unwrap_err().code, Code::Diverged);
    b.kit.finish(&FinishRequest { scope: "posts".into(), owner: false, tables: Fate::Keep }).unwrap();
    let rows = b.kit.prepare(&request(Role::Destination, 1, None)).unwrap();
    assert_eq!((rows.feed, rows.findings[0].code.as_str()), (None, "rows"));
    finish(&b, false, Fate::Clear).unwrap();
    assert!(b.rows().is_empty());
    // The next cut; then the old side is retired.
    let (of_a, of_b) = prepare(&a, &b);
    while copy(&a, &b, &of_a, 10) {}
    hand_over(&a, &b, &of_a);
    while follow(&b, &a, &of_b, 10, None) {}
    let finished = finish(&a, false, Fate::Rename).unwrap();
    assert_eq!(finished.tables[0], format!("posts_retired_{}", finished.epoch));
    assert_eq!(finished.tables[2], "keys", "a shared table stays");
    assert!(a.app.execute_batch("INSERT INTO posts (name) VALUES ('x')").is_err());
    assert!(a.scope().retired && !a.scope().owner);
    assert_eq!(a.fence(FenceAction::Acquire, 99, None).unwrap_err().code, Code::WrongOwner);
    finish(&b, true, Fate::Keep).unwrap();
    write(&b, "INSERT INTO posts (name) VALUES ('on')");
    // Opened again, nothing changes hands.
    let again = Sqlite::open(&a.path, scopes(), &[]).unwrap();
    assert!(!again.state().unwrap().scopes[0].owner);
    let again = Sqlite::open(&b.path, scopes(), &["posts".into()]).unwrap();
    assert!(again.state().unwrap().scopes[0].owner);
}

/// Numbers of usual size come through the triggers bit by bit.
#[test]
fn real_numbers_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Side::new(dir.path(), "a", false), Side::new(dir.path(), "b", true));
    write(&a, "INSERT INTO posts (name) VALUES ('first')");
    let (of_a, _) = prepare(&a, &b);
    while copy(&a, &b, &of_a, 10) {}
    let mut seed = 1_u64;
    write(&a, "BEGIN");
    for i in 0..2_000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // A random significand, between 2^-59 and 2^58.
        let exponent = 1023 - 59 + (seed >> 33) % 117;
        let number = f64::from_bits((seed & (1 << 63)) | (exponent << 52) | (seed.rotate_left(17) >> 12));
        a.app.execute("INSERT INTO posts (name, score) VALUES (?1, ?2)", (i, number)).unwrap();
    }
    write(&a, "INSERT INTO posts (name, score) VALUES ('inf', 9e999), ('zero', 0.0), ('tenth', 0.1); COMMIT");
    while follow(&a, &b, &of_a, 1_000, None) {}
    let scores = |side: &Side| -> Vec<Option<u64>> {
        let mut statement = side.app.prepare("SELECT score FROM posts ORDER BY id").unwrap();
        let found = statement.query_map([], |row| Ok(row.get::<_, Option<f64>>(0)?.map(f64::to_bits)));
        found.unwrap().map(std::result::Result::unwrap).collect()
    };
    assert_eq!(scores(&a), scores(&b));
    assert!(a.verify(None).is_ok());
    assert!(a.verify(None).unwrap().compared);
}
