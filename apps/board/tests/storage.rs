//! The same rules over SQLite and over PostgreSQL.

mod common;

use board::config::Role;
use board::db::{Db, Storage, Value as Sql};
use common::postgres::Postgres;
use common::*;
use http::Method;
use serde_json::json;

#[tokio::test]
async fn rules_hold_over_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let storage = |name: &str| sqlite(dir.path(), name).unwrap();
    records_live_and_die(storage("life")).await;
    a_key_writes_once(storage("keys")).await;
    an_import_happens_once(storage("import")).await;
    a_dropped_transaction_leaves_nothing(storage("dropped")).await;
    starts_at_once_agree(storage("starts")).await;
    a_newer_schema_is_refused(storage("newer")).await;
    posts_and_their_thread_never_part(storage("race")).await;
    a_full_disk_is_said(storage("full")).await;
}

#[tokio::test]
async fn rules_hold_over_postgresql() {
    let Some(server) = Postgres::start() else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs PostgreSQL");
        println!("skipped: postgres not found");
        return;
    };
    records_live_and_die(server.database("life")).await;
    a_key_writes_once(server.database("keys")).await;
    an_import_happens_once(server.database("import")).await;
    a_dropped_transaction_leaves_nothing(server.database("dropped")).await;
    starts_at_once_agree(server.database("starts")).await;
    a_newer_schema_is_refused(server.database("newer")).await;
    posts_and_their_thread_never_part(server.database("race")).await;
    a_lost_server_is_503_and_comes_back(server).await;
}

async fn records_live_and_die(storage: Storage) {
    let board = start(config(Role::Api, Some(storage))).await;
    let at = board.address;
    let ana = post(at, "/api/users", &json!({ "username": "ana", "name": "Ana", "bio": "q'\"; --" })).await;
    assert_eq!((ana.status.as_u16(), ana.header("location")), (201, Some("/api/users/1")));
    assert_eq!(ana.json(), json!({ "id": 1, "username": "ana", "name": "Ana", "bio": "q'\"; --" }));
    let taken = post(at, "/api/users", &json!({ "username": "ana", "name": "Other" })).await;
    assert_eq!(taken.problem(409)["detail"], "That username is taken.");
    let bo = post(at, "/api/users", &json!({ "username": "bo", "name": "Bo" })).await.json();
    let thread = json!({ "title": "Tides", "createdBy": bo["id"] });
    let thread = post(at, "/api/threads", &thread).await.json();
    let text = json!({ "thread": thread["id"], "text": "πλοίο ⛵ \u{1F9ED}", "user": 1 });
    let written = post(at, "/api/posts", &text).await;
    assert_eq!(written.status, 201);
    let path = written.header("location").unwrap().to_owned();
    assert_eq!(get(at, &path).await.body, written.body);

    let (user, thread_path) = (format!("/api/users/{}", bo["id"]), format!("/api/threads/{}", thread["id"]));
    delete(at, &user).await.problem(409);
    delete(at, "/api/users/1").await.problem(409);
    delete(at, &thread_path).await.problem(409);
    let patched = put(at, Method::PATCH, &path, &json!({ "text": "mended" })).await.json();
    assert_eq!(patched["text"], "mended");
    assert_eq!(patched["thread"], thread["id"]);
    let replaced = json!({ "username": "bo2", "name": "Bo", "bio": "" });
    assert_eq!(put(at, Method::PUT, &user, &replaced).await.json()["username"], "bo2");
    put(at, Method::PUT, &user, &json!({ "username": "ana", "name": "Bo" })).await.problem(409);
    let wrong = json!({ "thread": 99, "text": "a", "user": 98 });
    let problem = post(at, "/api/posts", &wrong).await.problem(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2);

    for path in [&path, &thread_path, &user] {
        assert_eq!(delete(at, path).await.status, 204, "{path}");
        delete(at, path).await.problem(404);
    }
    // An id is never given twice.
    let next = post(at, "/api/threads", &json!({ "title": "Again", "createdBy": 1 })).await.json();
    assert!(next["id"].as_i64() > thread["id"].as_i64(), "{next}");
    assert_eq!(get(at, "/api/threads?createdBy=1").await.json(), json!([next]));
    assert_eq!(get(at, "/api/posts").await.json(), json!([]));
    board.stop().await;
}

async fn a_key_writes_once(storage: Storage) {
    // Two processes' worth of boards over one database.
    let one = start(config(Role::Api, Some(storage.clone()))).await;
    let two = start(config(Role::Api, Some(storage))).await;
    let user = json!({ "username": "ana", "name": "Ana" });
    let (a, b) = tokio::join!(
        post_once(one.address, "/api/users", "first", &user),
        post_once(two.address, "/api/users", "first", &user)
    );
    assert_eq!((a.status.as_u16(), &a.body), (201, &b.body));
    assert_eq!(b.status, 201);
    // The same key in another feature is another key.
    let thread = json!({ "title": "Tides", "createdBy": a.json()["id"] });
    let thread = post_once(two.address, "/api/threads", "first", &thread).await;
    assert_eq!(thread.status, 201);

    let text = json!({ "thread": thread.json()["id"], "text": "once", "user": a.json()["id"] });
    let writers: Vec<_> = (0..16)
        .map(|i| {
            let address = if i % 2 == 0 { one.address } else { two.address };
            let text = text.clone();
            tokio::spawn(async move { post_once(address, "/api/posts", "same", &text).await })
        })
        .collect();
    let mut replayed = 0;
    let mut answers = Vec::new();
    for writer in writers {
        let reply = writer.await.unwrap();
        assert_eq!(reply.status, 201, "{reply:?}");
        replayed += usize::from(reply.header("idempotency-replayed").is_some());
        answers.push((reply.header("location").unwrap().to_owned(), reply.body));
    }
    assert_eq!(replayed, 15);
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(get(one.address, "/api/posts").await.json().as_array().unwrap().len(), 1);

    let mut other = text.clone();
    other["text"] = json!("another");
    post_once(one.address, "/api/posts", "same", &other).await.problem(422);
    // A create that failed may be tried again with its key.
    let mut wrong = text.clone();
    wrong["user"] = json!(99);
    post_once(one.address, "/api/posts", "retry", &wrong).await.problem(422);
    assert_eq!(post_once(one.address, "/api/posts", "retry", &other).await.status, 201);
    assert_eq!(get(two.address, "/api/posts").await.json().as_array().unwrap().len(), 2);
    one.stop().await;
    two.stop().await;
}

async fn an_import_happens_once(storage: Storage) {
    let mut config = config(Role::Api, Some(storage));
    config.import = Some(sample());
    let board = start(config.clone()).await;
    let posts = get(board.address, "/api/posts").await.json();
    let rows = posts.as_array().unwrap().len() as i64;
    assert!(rows >= 15);
    // Ids that the file gave are not given again.
    let text = json!({ "thread": 1, "text": "next", "user": 1 });
    assert_eq!(post(board.address, "/api/posts", &text).await.json()["id"], rows + 1);
    for id in 1..=rows + 1 {
        assert_eq!(delete(board.address, &format!("/api/posts/{id}")).await.status, 204);
    }
    board.stop().await;
    let again = start(config).await;
    assert_eq!(get(again.address, "/api/posts").await.json(), json!([]), "deleted rows stay deleted");
    let users = get(again.address, "/api/users").await.json();
    assert_eq!(users.as_array().unwrap().len(), 6);
    again.stop().await;
}

async fn a_dropped_transaction_leaves_nothing(storage: Storage) {
    let db = open(&storage).await;
    let insert = "INSERT INTO users (username, name, bio) VALUES ($1, $2, $3) RETURNING id";
    let values = || -> Vec<Sql> { vec!["a".into(), "A".into(), "".into()] };
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.query(insert, values()).await.unwrap().len(), 1);
    drop(tx);
    let count = "SELECT count(*) FROM users";
    assert_eq!(db.query(count, vec![]).await.unwrap()[0].int(0), 0);
    let mut tx = db.begin().await.unwrap();
    tx.query(insert, values()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(db.query(count, vec![]).await.unwrap()[0].int(0), 1);
}

async fn starts_at_once_agree(storage: Storage) {
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let mut config = config(Role::Api, Some(storage.clone()));
            config.import = Some(sample());
            // Each start on its own thread, as processes would be.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let board = start(config).await;
                    let users = get(board.address, "/api/users").await.json();
                    board.stop().await;
                    users.as_array().unwrap().len()
                })
            })
        })
        .collect();
    for started in starts {
        let users = tokio::task::spawn_blocking(move || started.join().unwrap()).await.unwrap();
        assert_eq!(users, 6);
    }
}

async fn a_newer_schema_is_refused(storage: Storage) {
    let db = open(&storage).await;
    let mut tx = db.begin().await.unwrap();
    let newer = "INSERT INTO board_migrations (feature, number) VALUES ('users', 999)";
    tx.query(newer, vec![]).await.unwrap();
    tx.commit().await.unwrap();
    let error = board::app::open(&config(Role::Api, Some(storage))).await.unwrap_err();
    assert!(error.to_string().contains("start a newer version"), "{error}");
}

/// Posts are written into a thread while it is being deleted, by two processes' worth of boards.
async fn posts_and_their_thread_never_part(storage: Storage) {
    let one = start(config(Role::Api, Some(storage.clone()))).await;
    let two = start(config(Role::Api, Some(storage))).await;
    let user = json!({ "username": "ana", "name": "Ana" });
    post(one.address, "/api/users", &user).await;
    let (mut deleted, mut kept) = (0, 0);
    for round in 0..40 {
        let thread = json!({ "title": "Short", "createdBy": 1 });
        let thread = post(one.address, "/api/threads", &thread).await.json()["id"].clone();
        let text = json!({ "thread": thread, "text": "late", "user": 1 });
        let path = format!("/api/threads/{thread}");
        let write = async {
            // Now the one and now the other is first.
            if round % 2 == 0 {
                tokio::time::sleep(std::time::Duration::from_micros(round * 50)).await;
            }
            post(one.address, "/api/posts", &text).await.status.as_u16()
        };
        let (written, gone) = tokio::join!(write, delete(two.address, &path));
        let posts = get(two.address, &format!("/api/posts/in-thread/{thread}")).await.json();
        match (written, gone.status.as_u16()) {
            (422, 204) => {
                assert_eq!(posts, json!([]));
                deleted += 1;
            }
            (201, 409) => {
                assert_eq!(get(one.address, &path).await.status, 200);
                kept += 1;
            }
            other => panic!("round {round}: {other:?}"),
        }
    }
    println!("{deleted} threads deleted, {kept} kept");
    one.stop().await;
    two.stop().await;
}

async fn a_full_disk_is_said(storage: Storage) {
    let db = open(&storage).await;
    // SQLite's own limit on the file stands for the disk's.
    let mut tx = db.begin().await.unwrap();
    tx.query("PRAGMA max_page_count = 1", vec![]).await.unwrap();
    let insert = "INSERT INTO users (username, name, bio) VALUES ($1, $2, $3)";
    let values = vec!["a".into(), "A".into(), "x".repeat(100_000).into()];
    let error = tx.query(insert, values).await.unwrap_err();
    assert!(matches!(error, board::db::DbError::Full(_)), "{error}");
    assert_eq!(board::http::Problem::from(error).status, 507);
    drop(tx);
    assert_eq!(db.query("SELECT count(*) FROM users", vec![]).await.unwrap()[0].int(0), 0);
}

async fn a_lost_server_is_503_and_comes_back(mut server: Postgres) {
    let board = start(config(Role::Users, Some(server.database("lost")))).await;
    assert_eq!(get(board.address, "/healthz").await.json()["storage"], "postgresql");
    server.stop();
    get(board.address, "/api/users").await.problem(503);
    get(board.address, "/healthz").await.problem(503);
    let user = json!({ "username": "ana", "name": "Ana" });
    post(board.address, "/api/users", &user).await.problem(503);
    server.run();
    assert_eq!(get(board.address, "/healthz").await.status, 200);
    assert_eq!(post(board.address, "/api/users", &user).await.status, 201);
    board.stop().await;
}

async fn open(storage: &Storage) -> Db {
    Db::open(storage, &board::app::migrations(Role::Api.features())).await.unwrap()
}
