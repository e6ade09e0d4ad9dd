//! Two databases, a replicator that repeats everything, and writers that go on meanwhile.

mod names;
mod random;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::Client;

use super::*;
use crate::contract::*;
use crate::scope::Tables;
use server::Server;

const SCHEMA: &str = "
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE posts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, body text, flag boolean,
    score double precision, at timestamptz, raw bytea, code char(4), amount numeric(20, 5), doc jsonb, tags text[], mood mood,
    long bigint GENERATED ALWAYS AS (length(name)) STORED
);
CREATE TABLE tags (post bigint NOT NULL, tag varchar(20) NOT NULL, PRIMARY KEY (tag, post));
CREATE TABLE keys (scope text NOT NULL, key text NOT NULL, answer text, PRIMARY KEY (scope, key));
CREATE TABLE other (id serial PRIMARY KEY, text text);";

struct Side {
    kit: Postgres,
    app: Client,
    url: String,
}

fn scopes() -> Vec<Scope> {
    let tables = [Tables::whole("posts"), Tables::whole("tags"), Tables::part("keys", "scope", "posts")];
    vec![Scope::new("posts", tables)]
}

async fn client(url: &str) -> Client {
    Target::parse(url, "test").unwrap().connect().await.unwrap()
}

impl Side {
    async fn new(server: &Server, name: &str, destination: bool) -> Side {
        let url = server.database(name);
        let app = client(&url).await;
        app.batch_execute(SCHEMA).await.unwrap();
        let destinations: Vec<String> = destination.then(|| "posts".to_owned()).into_iter().collect();
        let kit = Postgres::open(&url, scopes(), &destinations).await.unwrap();
        Side { kit, app, url }
    }

    async fn scope(&self) -> ScopeState {
        self.kit.state().await.unwrap().scopes.remove(0)
    }

    async fn prepare(&self, role: Role, follow: Option<Follow>) -> Follow {
        let epoch = self.scope().await.epoch;
        let request = PrepareRequest { scope: "posts".into(), role, epoch, follow, dry_run: false };
        let prepared = self.kit.prepare(&request).await.unwrap();
        prepared.feed.unwrap_or_else(|| panic!("{:?}", prepared.findings))
    }

    async fn verify(&self, src: Option<&str>) -> Result<Verified> {
        let request = VerifyRequest { scope: "posts".into(), src: src.map(Into::into), allow_empty: false };
        self.kit.verify(&request).await
    }

    async fn fence(&self, action: FenceAction, epoch: u64, expect: Option<(&str, &Mark)>) -> Result<Fenced> {
        let request = FenceRequest {
            scope: "posts".into(),
            action,
            epoch,
            src: expect.map(|(src, _)| src.to_owned()),
            expect_pos: expect.map(|(_, mark)| mark.position),
            expect_digest: expect.map(|(_, mark)| mark.digest.clone()),
        };
        self.kit.fence(&request).await
    }

    async fn write(&self, sql: &str) {
        self.app.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {:?}", e.as_db_error()));
    }

    /// Every row of the scope, as text.
    async fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for sql in [
            "SELECT p::text FROM posts p ORDER BY id",
            "SELECT t::text FROM tags t ORDER BY tag, post",
            "SELECT k::text FROM keys k WHERE scope = 'posts' ORDER BY key",
        ] {
            rows.extend(self.app.query(sql, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
        }
        rows
    }

    async fn new_id(&self, name: &str) -> i64 {
        let sql = "INSERT INTO posts (name) VALUES ($1) RETURNING id";
        self.app.query_one(sql, &[&name]).await.unwrap().get(0)
    }
}

async fn same(a: &Side, b: &Side) {
    let (a, b) = (a.rows().await, b.rows().await);
    let short = |rows: &[String]| rows.iter().map(|row| format!("{row:.60}")).collect::<Vec<_>>();
    assert!(a == b, "{:?}\n{:?}", short(&a), short(&b));
}

async fn prepare(a: &Side, b: &Side) -> (String, String) {
    let of_b = b.prepare(Role::Destination, None).await;
    let of_a = a.prepare(Role::Source, Some(of_b.clone())).await;
    (of_a.src, of_b.src)
}

async fn position(to: &Side, src: &str) -> Option<u64> {
    to.scope().await.following.iter().find(|f| f.src == src).map(|f| f.position)
}

/// Applies until nothing is left, each request twice.
async fn follow(from: &Side, to: &Side, src: &str, limit: u32, until: Option<u64>) {
    loop {
        let after = position(to, src).await.unwrap();
        let query = ChangesQuery { scope: "posts".into(), after, limit: Some(limit), wait_ms: None, until };
        let changes = from.kit.changes_now(&query).await.unwrap();
        let request = ApplyRequest {
            scope: "posts".into(),
            src: src.to_owned(),
            from: changes.from,
            to: changes.to,
            counted: changes.counted,
            events: changes.events.clone(),
            chunk: None,
        };
        let applied = to.kit.apply(&request).await.unwrap();
        assert_eq!(to.kit.apply(&request).await.unwrap(), applied);
        if let Some(digest) = changes.digest.filter(|_| applied.copied) {
            assert_eq!(digest, applied.digest, "at {}", lsn(changes.to));
        }
        if until.map_or(changes.events.is_empty(), |until| changes.to >= until) {
            return;
        }
    }
}

/// Copies every table, in chunks.
async fn copy(from: &Side, to: &Side, src: &str, limit: u32) -> usize {
    let mut chunks = 0;
    while copy_one(from, to, src, limit).await {
        chunks += 1;
    }
    chunks
}

/// One chunk, twice; whether there was one left.
async fn copy_one(from: &Side, to: &Side, src: &str, limit: u32) -> bool {
    let state = to.scope().await;
    let Some(table) = state.tables.iter().find(|table| !table.copied) else { return false };
    let query = SnapshotQuery {
        scope: "posts".into(),
        table: table.name.clone(),
        after: table.copied_to.as_ref().map(|key| serde_json::to_string(key).unwrap()),
        limit: Some(limit),
        position: position(to, src).await,
    };
    let snapshot = from.kit.snapshot(&query).await.unwrap();
    if query.position.is_some() {
        follow(from, to, src, 1_000, Some(snapshot.at)).await;
    }
    let request = ApplyRequest {
        scope: "posts".into(),
        src: src.to_owned(),
        from: snapshot.at,
        to: snapshot.at,
        counted: false,
        events: vec![],
        chunk: Some(snapshot.chunk),
    };
    let applied = to.kit.apply(&request).await.unwrap();
    assert_eq!(to.kit.apply(&request).await.unwrap(), applied, "a chunk twice");
    true
}

async fn hand_over(from: &Side, to: &Side, src: &str) -> Mark {
    from.verify(None).await.unwrap();
    let epoch = from.scope().await.epoch;
    let mark = from.fence(FenceAction::Release, epoch + 1, None).await.unwrap().mark.unwrap();
    assert_eq!(from.fence(FenceAction::Release, epoch + 1, None).await.unwrap().mark.as_ref(), Some(&mark));
    assert_eq!(to.fence(FenceAction::Acquire, epoch + 2, Some((src, &mark))).await.unwrap_err().code, Code::Gap);
    follow(from, to, src, 100, None).await;
    let other = Mark { digest: Digest { rows: 0, sum: "0".repeat(64) }, ..mark.clone() };
    assert_eq!(to.fence(FenceAction::Acquire, epoch + 2, Some((src, &other))).await.unwrap_err().code, Code::Diverged);
    to.fence(FenceAction::Acquire, epoch + 2, Some((src, &mark))).await.unwrap();
    assert!(to.fence(FenceAction::Acquire, epoch + 2, Some((src, &mark))).await.unwrap().owner);
    mark
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_postgresql() {
    let Some(mut server) = Server::start() else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs PostgreSQL");
        println!("skipped: postgres not found");
        return;
    };
    a_cut_and_a_rollback_keep_every_row_id_and_key(&server).await;
    writers_go_on_while_their_rows_are_copied(&server).await;
    every_writer_meets_the_guard(&server).await;
    what_cannot_be_cut_is_refused(&server).await;
    what_a_role_may_not_do_is_said(&server).await;
    names::a_table_is_found_by_its_schema(&server).await;
    names::what_inherits_is_refused_by_name(&server).await;
    names::a_connection_is_encrypted_where_its_url_says_so(&server).await;
    random::any_order_of_steps_keeps_every_write(&server);
    a_crash_in_the_middle_changes_nothing(&mut server).await;
}

async fn a_cut_and_a_rollback_keep_every_row_id_and_key(server: &Server) {
    let (a, b) = (Side::new(server, "a", false).await, Side::new(server, "b", true).await);
    a.write(
        "INSERT INTO posts (name, body, flag, score, at, raw, code, amount, doc, tags, mood) VALUES \
         ('one', E'it''s \\\\ \\n', true, 0.1, '2026-01-02 03:04:05.678+09', '\\x00ff', 'ab', 12.5, '{\"a\": [1, null]}', \
         '{a,\"b c\",NULL}', 'bad'), ('two', NULL, false, 'NaN', 'infinity', '', '', -0.00001, NULL, '{}', NULL)",
    )
    .await;
    // Longer than fits a page: stored apart, and left out of the log where it does not change.
    a.write(
        "INSERT INTO posts (name, body) SELECT 'long', string_agg(md5(i::text), '') FROM generate_series(1, 1000) i",
    )
    .await;
    a.write("INSERT INTO tags VALUES (1, 'x'), (1, 'y'), (2, 'x'); INSERT INTO keys VALUES ('posts', 'k1', 'A'), ('users', 'k1', 'B')").await;
    a.write("INSERT INTO posts (name) VALUES ('gone'); DELETE FROM posts WHERE name = 'gone'").await;
    let (of_a, of_b) = prepare(&a, &b).await;
    assert_eq!(prepare(&a, &b).await, (of_a.clone(), of_b.clone()), "prepare twice");
    assert_eq!(a.fence(FenceAction::Release, 2, None).await.unwrap_err().code, Code::NotPrepared, "no digest yet");
    assert!(copy(&a, &b, &of_a, 2).await >= 5);
    assert!(!a.verify(None).await.unwrap().compared);
    a.write(
        "UPDATE posts SET flag = NOT flag; DELETE FROM tags WHERE tag = 'y'; UPDATE tags SET post = 9 WHERE post = 2",
    )
    .await;
    a.write("INSERT INTO keys VALUES ('posts', 'k2', NULL); UPDATE keys SET scope = 'posts', key = 'k9' WHERE scope = 'users'").await;
    follow(&a, &b, &of_a, 2, None).await;
    same(&a, &b).await;
    assert!(a.verify(None).await.unwrap().compared);
    assert!(b.verify(Some(&of_a)).await.unwrap().compared);
    // Given up once, on the way.
    a.fence(FenceAction::Release, 2, None).await.unwrap();
    assert!(a.fence(FenceAction::Acquire, 3, None).await.unwrap().owner);
    assert_eq!(a.fence(FenceAction::Release, 2, None).await.unwrap_err().code, Code::Epoch);
    assert_eq!(a.fence(FenceAction::Release, 3, None).await.unwrap_err().code, Code::Epoch);
    a.write("UPDATE posts SET body = 'after' WHERE id = 1").await;
    let mark = hand_over(&a, &b, &of_a).await;
    same(&a, &b).await;
    assert_eq!(mark.digest.rows, a.rows().await.len() as u64);
    assert_eq!(b.new_id("new").await, 5, "ids go on above every id given");
    a.write("INSERT INTO keys VALUES ('users', 'k2', 'C'); INSERT INTO other (text) VALUES ('x')").await;
    // And back.
    b.write("DELETE FROM posts WHERE id = 5; INSERT INTO keys VALUES ('posts', 'k3', 'D')").await;
    follow(&b, &a, &of_b, 100, None).await;
    hand_over(&b, &a, &of_b).await;
    same(&a, &b).await;
    assert_eq!(a.new_id("home").await, 6);
    assert!(a.fence(FenceAction::Acquire, 2, None).await.is_err());
    // A second cut goes on where the first ended; then the old side is retired.
    follow(&a, &b, &of_a, 100, None).await;
    hand_over(&a, &b, &of_a).await;
    same(&a, &b).await;
    follow(&b, &a, &of_b, 100, None).await;
    let finish = async |side: &Side, owner, tables| {
        side.kit.finish(&FinishRequest { scope: "posts".into(), owner, tables }).await
    };
    assert_eq!(finish(&a, true, Fate::Keep).await.unwrap_err().code, Code::WrongOwner);
    let finished = finish(&a, false, Fate::Rename).await.unwrap();
    assert_eq!(finished.tables, ["posts_retired_8", "tags_retired_8", "keys"]);
    assert!(a.app.batch_execute("INSERT INTO posts (name) VALUES ('x')").await.is_err());
    assert!(a.scope().await.retired);
    finish(&b, true, Fate::Keep).await.unwrap();
    b.write("INSERT INTO posts (name) VALUES ('on'); TRUNCATE tags").await;
    let slots = b.app.query("SELECT 1 FROM pg_replication_slots", &[]).await.unwrap();
    assert!(slots.is_empty(), "no slot holds the log back");
    for side in [&a, &b] {
        let again = Postgres::open(&side.url, scopes(), &["posts".into()]).await.unwrap();
        let owner = again.state().await.unwrap().scopes[0].owner;
        assert_eq!(owner, side.url == b.url, "opened again, nothing changes hands");
    }
}

async fn writers_go_on_while_their_rows_are_copied(server: &Server) {
    let (a, b) = (Side::new(server, "c", false).await, Side::new(server, "d", true).await);
    a.write("INSERT INTO posts (name, body) SELECT 'row ' || i, 'x' FROM generate_series(1, 300) i").await;
    let ended = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..4 {
        let (ended, app) = (ended.clone(), client(&a.url).await);
        writers.push(tokio::spawn(async move {
            let (mut acknowledged, mut refused) = (Vec::new(), 0);
            if writer == 0 {
                // Visible before it is on the disk.
                app.batch_execute("SET synchronous_commit = off").await.unwrap();
            }
            for i in 0.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("writer {writer} {i}");
                let row = (i * 7 + writer * 31) % 300 + 1;
                let sql = format!(
                    "BEGIN; UPDATE posts SET body = '{name}' WHERE id = {row}; \
                     INSERT INTO posts (name) VALUES ('{name}'); DELETE FROM posts WHERE name = 'writer {writer} {}'; \
                     INSERT INTO keys VALUES ('posts', '{name}', '') ; COMMIT",
                    i - 3
                );
                match app.batch_execute(&sql).await {
                    Ok(()) => acknowledged.push(name),
                    Err(error) => {
                        // Deadlocks among themselves are the writers' own affair.
                        refused += usize::from(error.code().is_some_and(|c| c.code() == crate::fence::SQLSTATE));
                        app.batch_execute("ROLLBACK").await.unwrap();
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            (acknowledged, refused)
        }));
    }
    let (of_a, _) = prepare(&a, &b).await;
    assert!(copy(&a, &b, &of_a, 100).await > 4);
    for _ in 0..3 {
        a.verify(None).await.unwrap();
        follow_some(&a, &b, &of_a).await;
        b.verify(Some(&of_a)).await.unwrap();
    }
    let released = std::time::Instant::now();
    let epoch = a.scope().await.epoch;
    let mark = a.fence(FenceAction::Release, epoch + 1, None).await.unwrap().mark.unwrap();
    follow(&a, &b, &of_a, 1_000, None).await;
    b.fence(FenceAction::Acquire, epoch + 2, Some((&of_a, &mark))).await.unwrap();
    println!("release to acquire: {:?}", released.elapsed());
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    ended.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        let (names, refused) = writer.await.unwrap();
        assert!(refused > 0, "each writer has met the fence");
        acknowledged.extend(names);
    }
    assert!(acknowledged.len() > 40, "{}", acknowledged.len());
    same(&a, &b).await;
    let sql = "SELECT count(*) FROM keys WHERE scope = 'posts' AND key = ANY($1)";
    let there: i64 = b.app.query_one(sql, &[&acknowledged]).await.unwrap().get(0);
    assert_eq!(there as usize, acknowledged.len(), "every acknowledged write is there");
    let all: i64 = b.app.query_one("SELECT count(*) FROM keys", &[]).await.unwrap().get(0);
    assert_eq!(there, all, "and no other");
}

/// A few batches, while there are always more.
async fn follow_some(a: &Side, b: &Side, src: &str) {
    for _ in 0..3 {
        let head = a.scope().await.head;
        follow(a, b, src, 1_000, Some(head)).await;
    }
}

async fn every_writer_meets_the_guard(server: &Server) {
    let b = Side::new(server, "e", true).await;
    for sql in [
        "INSERT INTO posts (name) VALUES ('x')",
        "INSERT INTO posts (name) VALUES ('x') ON CONFLICT DO NOTHING",
        "UPDATE posts SET body = 'x'",
        "DELETE FROM tags",
        "INSERT INTO keys VALUES ('posts', 'k', '')",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO tags VALUES (1, 'x')",
        "SET session_replication_role = replica; INSERT INTO tags VALUES (1, 'x')",
    ] {
        let error = b.app.batch_execute(sql).await.unwrap_err();
        let database = error.as_db_error().unwrap();
        assert_eq!(database.code().code(), crate::fence::SQLSTATE, "{sql}: {error:?}");
        assert!(crate::fence::refused_by_trigger(database.message()).is_some());
        b.write("ROLLBACK; RESET session_replication_role").await;
    }
    b.write("INSERT INTO keys VALUES ('users', 'k', '')").await;
    assert!(b.app.batch_execute("UPDATE keys SET scope = 'posts'").await.is_err());
    assert!(b.app.batch_execute("TRUNCATE posts").await.is_err());
    // A writer that has begun holds the fence; one that saw the time before it may not write after it.
    let a = Side::new(server, "f", false).await;
    a.write("INSERT INTO posts (name) VALUES ('one')").await;
    a.prepare(Role::Source, None).await;
    a.verify(None).await.unwrap();
    a.write("BEGIN; INSERT INTO posts (name) VALUES ('late')").await;
    assert_eq!(a.fence(FenceAction::Release, 2, None).await.unwrap_err().code, Code::Busy);
    let early = client(&a.url).await;
    early.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM posts").await.unwrap();
    a.write("COMMIT").await;
    let mark = a.fence(FenceAction::Release, 2, None).await.unwrap().mark.unwrap();
    assert_eq!(mark.digest.rows, 2);
    assert!(early.batch_execute("INSERT INTO posts (name) VALUES ('too late')").await.is_err());
}

async fn what_cannot_be_cut_is_refused(server: &Server) {
    let url = server.database("g");
    let app = client(&url).await;
    app.batch_execute(
        "CREATE TABLE none (t text); CREATE TABLE good (id serial PRIMARY KEY, t text); CREATE VIEW v AS SELECT 1",
    )
    .await
    .unwrap();
    let tables = ["none", "good", "v"].map(Tables::whole);
    let kit = Postgres::open(&url, vec![Scope::new("posts", tables)], &[]).await.unwrap();
    let request = PrepareRequest { scope: "posts".into(), role: Role::Source, epoch: 1, follow: None, dry_run: false };
    let prepared = kit.prepare(&request).await.unwrap();
    let codes: Vec<&str> = prepared.findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!((codes, prepared.feed), (vec!["no-key", "no-table"], None));
    let kit = Postgres::open(&url, vec![Scope::new("posts", [Tables::whole("good")])], &[]).await.unwrap();
    let dry = PrepareRequest { dry_run: true, ..request.clone() };
    assert_eq!(kit.prepare(&dry).await.unwrap().findings, []);
    assert_eq!(
        kit.verify(&VerifyRequest { scope: "posts".into(), src: None, allow_empty: false }).await.unwrap_err().code,
        Code::NotPrepared
    );
    let feed = kit.prepare(&request).await.unwrap().feed.unwrap();
    let query = ChangesQuery { scope: "posts".into(), after: feed.position, limit: None, wait_ms: None, until: None };
    app.batch_execute("INSERT INTO good (t) VALUES ('seen'); ALTER TABLE good ADD COLUMN u text").await.unwrap();
    assert_eq!(kit.changes_now(&query).await.unwrap_err().code, Code::SchemaChanged);
    app.batch_execute("ALTER TABLE good DROP COLUMN u; ALTER TABLE good DISABLE TRIGGER ALL").await.unwrap();
    assert_eq!(kit.changes_now(&query).await.unwrap_err().code, Code::SchemaChanged);
    let again = kit.prepare(&request).await.unwrap().feed.unwrap();
    assert_ne!(again.src, feed.src);
    let request = FinishRequest { scope: "posts".into(), owner: true, tables: Fate::Keep };
    kit.finish(&request).await.unwrap();
}

async fn what_a_role_may_not_do_is_said(server: &Server) {
    let url = server.database("j");
    let app = client(&url).await;
    app.batch_execute(
        "CREATE ROLE weak LOGIN; CREATE TABLE users (id serial PRIMARY KEY); \
         CREATE TABLE posts (id serial PRIMARY KEY, author int REFERENCES users ON DELETE CASCADE); \
         CREATE SEQUENCE shared; CREATE TABLE tags (id int PRIMARY KEY DEFAULT nextval('shared'), post int REFERENCES posts); \
         CREATE TABLE parts (id int) PARTITION BY RANGE (id); \
         CREATE FUNCTION log_user() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO tags (post) VALUES (1); RETURN NEW; END $$; \
         CREATE TRIGGER logs AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION log_user()",
    )
    .await
    .unwrap();
    let scope = Scope::new("posts", ["posts", "tags", "parts", "nothing"].map(Tables::whole));
    let weak = survey(&url.replace("app@", "weak@"), &scope, Role::Source).await.unwrap();
    let blocking = |survey: &Survey| {
        let findings = survey.findings.iter().filter(|finding| finding.severity == Severity::Blocking);
        findings.map(|finding| finding.message.clone()).collect::<Vec<_>>()
    };
    let found = blocking(&weak).join("\n");
    for said in [
        "ALTER ROLE \"weak\" REPLICATION",
        "GRANT CREATE ON DATABASE \"j\" TO \"weak\"",
        "posts belongs to app",
        "posts_author_fkey: make it NO ACTION, or take users into the scope",
        "GRANT SET ON PARAMETER session_replication_role",
        "the sequence that gives tags.id is not the column's own",
        "parts is partitioned: partitioned tables are not cut",
        "there is no table nothing",
        "the trigger logs of users, which stays, writes into tags (log_user)",
    ] {
        assert!(found.contains(said), "{said}: {found}");
    }
    let left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'cut%'";
    assert_eq!(app.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0, "a survey makes nothing");
    // What was said is mended.
    app.batch_execute(
        "ALTER TABLE posts DROP CONSTRAINT posts_author_fkey; ALTER SEQUENCE shared OWNED BY tags.id; DROP TRIGGER logs ON users; \
         INSERT INTO posts DEFAULT VALUES",
    )
    .await
    .unwrap();
    let scope = Scope::new("posts", ["posts", "tags"].map(Tables::whole));
    let source = survey(&url, &scope, Role::Source).await.unwrap();
    assert_eq!(blocking(&source), Vec::<String>::new());
    assert!(!source.identity.is_empty() && source.state.is_none() && source.tables.len() == 2);
    let destination = survey(&url, &scope, Role::Destination).await.unwrap();
    assert_eq!(blocking(&destination), ["posts has rows that did not come by a cut: the new side must be empty"]);
    assert!(survey("postgres://nobody@127.0.0.1:1/x", &scope, Role::Source).await.is_err());
}

async fn a_crash_in_the_middle_changes_nothing(server: &mut Server) {
    let (mut a, mut b) = (Side::new(server, "h", false).await, Side::new(server, "i", true).await);
    a.write("INSERT INTO posts (name) SELECT 'row ' || i FROM generate_series(1, 20) i").await;
    let (of_a, of_b) = prepare(&a, &b).await;
    copy(&a, &b, &of_a, 7).await;
    a.verify(None).await.unwrap();
    a.write("DELETE FROM posts WHERE id % 3 = 0; INSERT INTO posts (name) VALUES ('last')").await;
    let mark = a.fence(FenceAction::Release, 2, None).await.unwrap().mark.unwrap();
    for half in 0..2 {
        server.crash();
        assert!(a.kit.state().await.is_err());
        server.run();
        a.app = client(&a.url).await;
        b.app = client(&b.url).await;
        assert_eq!(a.fence(FenceAction::Release, 2, None).await.unwrap().mark.as_ref(), Some(&mark));
        if half == 0 {
            follow(&a, &b, &of_a, 3, None).await;
        }
    }
    b.fence(FenceAction::Acquire, 3, Some((&of_a, &mark))).await.unwrap();
    same(&a, &b).await;
    assert_eq!(b.new_id("first here").await, 22);
    follow(&b, &a, &of_b, 10, None).await;
    same(&a, &b).await;
}
