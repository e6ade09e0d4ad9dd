//! Posts are cut out of the monolith while it runs, and moved back.

mod common;

use std::net::SocketAddr;

use board::config::{Config, Role};
use board::db::Storage;
use board::http::Peer;
use board::links::Feature;
use common::*;
use cut_kit::contract::{Applied, Changes, Fenced, Snapshot, State};
use cut_kit::http::Settings;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SECRET: &str = "the-secret-of-a-task";

/// A board that is part of a cut.
struct Side {
    board: Running,
    admin: SocketAddr,
}

#[tokio::test]
async fn posts_move_out_and_back_over_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let storage = |name: &str| sqlite(dir.path(), name).unwrap();
    posts_move_out_and_back(storage("api"), storage("posts")).await;
}

#[tokio::test]
async fn posts_move_out_and_back_over_postgresql() {
    let Some(server) = common::postgres::Postgres::start() else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs PostgreSQL");
        println!("skipped: postgres not found");
        return;
    };
    posts_move_out_and_back(server.database("api"), server.database("posts")).await;
}

fn settings(role: Role, storage: Storage, address: SocketAddr, admin: SocketAddr) -> Config {
    let mut config = config(role, Some(storage));
    config.address = address;
    config.cuttable = true;
    config.cut = Some(Settings::new(admin.port(), SECRET).unwrap());
    config
}

async fn posts_move_out_and_back(of_api: Storage, of_posts: Storage) {
    let (at_api, at_posts) = (closed_port(), closed_port());
    let (admin_api, admin_posts) = (closed_port(), closed_port());
    let peer = |at: SocketAddr| Some(Peer::parse(&format!("http://{at}")).unwrap());
    let mut for_api = settings(Role::Api, of_api, at_api, admin_api);
    for_api.import = Some(sample());
    for_api.posts = peer(at_posts);
    let api = Side { board: start(for_api.clone()).await, admin: admin_api };
    let mut for_posts = settings(Role::Posts, of_posts, at_posts, admin_posts);
    for_posts.destinations = vec![Feature::Posts];
    (for_posts.users, for_posts.threads) = (peer(at_api), peer(at_api));
    // What is to come by a cut is not imported, whoever asks for it.
    let seeded = Config { import: Some(sample()), cut: None, ..for_posts.clone() };
    let refused = board::app::open(&seeded).await.unwrap_err();
    assert!(refused.to_string().contains("come by a cut"), "{refused}");
    let posts = Side { board: start(for_posts).await, admin: admin_posts };

    // The new service starts empty and fenced.
    let text = json!({ "thread": 1, "text": "during the cut", "user": 1 });
    fenced(&post(at_posts, "/api/posts", &text).await);
    assert_eq!(get(at_posts, "/api/posts").await.json(), json!([]));
    let keyed = post_once(at_api, "/api/posts", "before", &text).await;
    assert_eq!(keyed.status, 201);

    let (out, back) = prepare(&api, &posts).await;
    copy(&api, &posts, &out).await;
    verify(&api, None).await;
    let patched = json!({ "text": "changed while it is copied" });
    assert_eq!(put(at_api, Method::PATCH, "/api/posts/2", &patched).await.status, 200);
    follow(&api, &posts, &out).await;
    verify(&posts, Some(&out)).await;
    hand_over(&api, &posts, &out, 1).await;
    assert_eq!(get(at_api, "/api/posts").await.body, get(at_posts, "/api/posts").await.body);

    // The old side refuses, and says that it did nothing; the new one goes on.
    fenced(&post(at_api, "/api/posts", &text).await);
    fenced(&put(at_api, Method::PATCH, "/api/posts/1", &patched).await);
    fenced(&delete(at_api, "/api/posts/1").await);
    let again = post_once(at_posts, "/api/posts", "before", &text).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(again.body, keyed.body);
    let new = with_epoch(at_posts, &text, "3").await;
    assert_eq!(new.status, 201, "{new:?}");
    assert!(new.json()["id"].as_i64() > keyed.json()["id"].as_i64());
    for other in ["1", "2", "4", "", "x"] {
        fenced(&with_epoch(at_posts, &text, other).await);
    }

    // The monolith without posts: what depends on them, it asks the new service.
    let user = json!({ "username": "mia", "name": "Mia" });
    let user = post(at_api, "/api/users", &user).await.json()["id"].clone();
    let mine = json!({ "thread": 1, "text": "only there", "user": user });
    let mine = post(at_posts, "/api/posts", &mine).await;
    let path = format!("/api/users/{user}");
    delete(at_api, &path).await.problem(409);
    assert_eq!(delete(at_posts, mine.header("location").unwrap()).await.status, 204);
    assert_eq!(delete(at_api, &path).await.status, 204);
    let unknown = json!({ "thread": 1, "text": "of nobody", "user": user });
    post(at_posts, "/api/posts", &unknown).await.problem(422);

    // Back, with everything that was written meanwhile.
    follow(&posts, &api, &back).await;
    hand_over(&posts, &api, &back, 3).await;
    assert_eq!(get(at_api, "/api/posts").await.body, get(at_posts, "/api/posts").await.body);
    fenced(&post(at_posts, "/api/posts", &text).await);
    assert_eq!(with_epoch(at_api, &text, "5").await.status, 201);
    // Out for good; the old table is retired, and the monolith starts without it.
    follow(&api, &posts, &out).await;
    hand_over(&api, &posts, &out, 5).await;
    follow(&posts, &api, &back).await;
    let finish = json!({ "scope": "posts", "owner": false, "tables": "rename" });
    let finished: Value = call(&api, "POST", "/finish", finish).await.unwrap();
    assert_eq!(finished["tables"][0], "posts_retired_6");
    fenced(&get(at_api, "/api/posts").await);
    fenced(&get(at_api, "/api/posts/1").await);
    fenced(&post(at_api, "/api/posts", &text).await);
    let _: Value = call(&posts, "POST", "/finish", json!({ "scope": "posts", "owner": true })).await.unwrap();
    assert_eq!(post(at_posts, "/api/posts", &text).await.status, 201);
    api.board.stop().await;
    for_api.cut = None;
    let api = start(for_api).await;
    assert_eq!(get(at_api, "/api/users").await.status, 200);
    delete(at_api, "/api/users/1").await.problem(409);
    api.stop().await;
    posts.board.stop().await;
}

/// 421 with the scope: not executed.
fn fenced(reply: &Reply) {
    assert_eq!(reply.problem(421)["title"], "Misdirected Request");
    assert_eq!(reply.header("x-cut-fenced"), Some("posts"));
}

async fn with_epoch(at: SocketAddr, body: &Value, epoch: &str) -> Reply {
    let headers = [("content-type", "application/json"), ("x-cut-epoch", epoch)];
    send(at, Method::POST, "/api/posts", &headers, body.to_string()).await
}

async fn call<T: DeserializeOwned>(side: &Side, method: &str, path: &str, body: Value) -> Result<T, Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let authorization = format!("Bearer {SECRET}");
    let headers = [("authorization", authorization.as_str())];
    let path = format!("/_cut/v1{path}");
    let reply = send(side.admin, Method::from_bytes(method.as_bytes()).unwrap(), &path, &headers, body).await;
    if reply.status != 200 {
        return Err(reply.json());
    }
    Ok(serde_json::from_slice(&reply.body).unwrap())
}

async fn position(side: &Side, src: &str) -> Option<u64> {
    let state: State = call(side, "GET", "/state", Value::Null).await.unwrap();
    let posts = state.scopes.into_iter().find(|scope| scope.scope == "posts").unwrap();
    posts.following.into_iter().find(|following| following.src == src).map(|following| following.position)
}

/// The feeds out and back.
async fn prepare(api: &Side, posts: &Side) -> (String, String) {
    let body = json!({ "scope": "posts", "role": "destination", "epoch": 1 });
    let back: Value = call(posts, "POST", "/prepare", body).await.unwrap();
    assert_eq!(back["findings"], json!([]));
    let body = json!({ "scope": "posts", "role": "source", "epoch": 1, "follow": back["feed"] });
    let out: Value = call(api, "POST", "/prepare", body).await.unwrap();
    (out["feed"]["src"].as_str().unwrap().into(), back["feed"]["src"].as_str().unwrap().into())
}

async fn copy(from: &Side, to: &Side, src: &str) {
    for table in ["posts", "idempotency_keys"] {
        let mut after = None;
        loop {
            let key = after.map(|key: Value| format!("&after={}", key.to_string().replace('"', "%22")));
            let stands = position(to, src).await;
            let stands_at = stands.map(|at| format!("&position={at}"));
            let path = format!(
                "/snapshot?scope=posts&table={table}&limit=4{}{}",
                key.unwrap_or_default(),
                stands_at.unwrap_or_default()
            );
            let snapshot: Snapshot = call(from, "GET", &path, Value::Null).await.unwrap();
            if stands.is_some() {
                reach(from, to, src, Some(snapshot.at)).await;
            }
            let (at, last) = (snapshot.at, snapshot.chunk.last);
            after = snapshot.chunk.to.as_ref().map(|key| json!(key));
            let body = json!({ "scope": "posts", "src": src, "from": at, "to": at, "chunk": snapshot.chunk });
            let _: Applied = call(to, "POST", "/apply", body).await.unwrap();
            if last {
                break;
            }
        }
    }
}

async fn follow(from: &Side, to: &Side, src: &str) {
    reach(from, to, src, None).await;
}

/// Applies changes until nothing is left up to `until`.
async fn reach(from: &Side, to: &Side, src: &str, until: Option<u64>) {
    loop {
        let at = position(to, src).await.unwrap();
        let until = until.map(|until| format!("&until={until}")).unwrap_or_default();
        let path = format!("/changes?scope=posts&after={at}&limit=3&wait_ms=20{until}");
        let changes: Changes = call(from, "GET", &path, Value::Null).await.unwrap();
        if changes.events.is_empty() && changes.to == at {
            return;
        }
        let done = changes.events.is_empty();
        let mut body = serde_json::to_value(&changes).unwrap();
        body["scope"] = json!("posts");
        let applied: Applied = call(to, "POST", "/apply", body).await.unwrap();
        assert_eq!(applied.position, changes.to);
        if let Some(digest) = changes.digest.filter(|_| applied.copied) {
            assert_eq!(digest, applied.digest);
        }
        if done {
            return;
        }
    }
}

async fn verify(side: &Side, src: Option<&str>) {
    let body = json!({ "scope": "posts", "src": src });
    let verified: Value = call(side, "POST", "/verify", body).await.unwrap();
    assert!(verified["digest"]["rows"].as_u64() > Some(10), "{verified}");
}

async fn hand_over(from: &Side, to: &Side, src: &str, epoch: u64) {
    verify(from, None).await;
    let body = json!({ "scope": "posts", "action": "release", "epoch": epoch + 1 });
    let released: Fenced = call(from, "POST", "/fence", body).await.unwrap();
    let mark = released.mark.unwrap();
    let body = json!({
        "scope": "posts", "action": "acquire", "epoch": epoch + 2, "src": src,
        "expect_pos": mark.position, "expect_digest": mark.digest,
    });
    let early: Result<Fenced, Value> = call(to, "POST", "/fence", body.clone()).await;
    assert_eq!(early.unwrap_err()["code"], "gap");
    follow(from, to, src).await;
    let acquired: Fenced = call(to, "POST", "/fence", body).await.unwrap();
    assert!(acquired.owner);
}
