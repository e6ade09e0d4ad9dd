use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};

use super::*;
use crate::contract::ROUTES;
use crate::scope::{Scope, Tables};

const SECRET: &str = "0123456789abcdef0123";

fn kit(dir: &std::path::Path) -> Kit {
    let path = dir.join("a");
    let app = rusqlite::Connection::open(&path).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT); \
         INSERT INTO posts (t) VALUES ('one')",
    )
    .unwrap();
    let scope = Scope::new("posts", [Tables::whole("posts")]);
    Kit::Sqlite(Arc::new(crate::sqlite::Sqlite::open(&path, vec![scope], &[]).unwrap()))
}

async fn send(at: SocketAddr, method: &str, path: &str, secret: Option<&str>, body: Vec<u8>) -> (u16, Json) {
    let stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = hyper::Request::builder().method(method).uri(path).header("host", "localhost");
    if let Some(secret) = secret {
        request = request.header("authorization", format!("Bearer {secret}"));
    }
    let response = sender.send_request(request.body(Full::new(bytes(body))).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Json::Null))
}

fn bytes(body: Vec<u8>) -> axum::body::Bytes {
    body.into()
}

async fn ask(at: SocketAddr, method: &str, call: &str, body: Json) -> (u16, Json) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    send(at, method, &format!("{BASE}{call}"), Some(SECRET), body).await
}

#[test]
fn it_listens_only_with_both_variables() {
    let settings = Settings::from_variables;
    assert_eq!(settings(Some("9100"), None), Ok(None));
    assert_eq!(settings(None, Some(SECRET)), Ok(None));
    assert_eq!(settings(Some("9100"), Some("")), Ok(None));
    assert_eq!(settings(Some("9100"), Some(SECRET)).unwrap().unwrap().port, 9100);
    assert!(settings(Some("x"), Some(SECRET)).is_err());
    assert!(settings(Some("1"), Some("short")).is_err());
    let shown = format!("{:?}", Settings::new(1, SECRET).unwrap());
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(same(b"abc", b"abc") && !same(b"abd", b"abc") && !same(b"ab", b"abc") && !same(b"abcd", b"abc"));
}

#[tokio::test]
async fn the_calls_need_the_secret_and_answer_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let at = listen(kit(dir.path()), Settings::new(0, SECRET).unwrap()).await.unwrap();
    assert!(at.ip().is_loopback());
    for (method, path) in ROUTES {
        let path = format!("{BASE}{path}");
        for secret in [None, Some("0123456789abcdef012x")] {
            let (status, body) = send(at, method, &path, secret, Vec::new()).await;
            assert_eq!((status, &body["code"]), (401, &json!("unauthorized")), "{path}");
        }
        let (status, _) = send(at, method, &path, Some(SECRET), Vec::new()).await;
        assert_ne!(status, 404, "{path}");
    }
    assert_eq!(ask(at, "GET", "/other", Json::Null).await.0, 404);
    assert_eq!(ask(at, "GET", "/apply", Json::Null).await.0, 404);
    let (status, state) = ask(at, "GET", "/state", Json::Null).await;
    assert_eq!((status, &state["scopes"][0]["owner"]), (200, &json!(true)));
    let (status, refused) = ask(at, "POST", "/prepare", json!({ "scope": "none", "role": "source", "epoch": 1 })).await;
    assert_eq!((status, &refused["code"]), (404, &json!("not-found")));
    assert_eq!(ask(at, "POST", "/prepare", json!({ "scope": "posts" })).await.1["code"], "bad-request");
    assert_eq!(ask(at, "GET", "/changes?scope=posts", Json::Null).await.1["code"], "bad-request");
    let (_, refused) = ask(at, "GET", "/changes?scope=posts&after=0", Json::Null).await;
    assert_eq!(refused["code"], "not-prepared");
    let long = vec![b' '; MAX_BODY + 1];
    let (status, refused) = send(at, "POST", &format!("{BASE}/apply"), Some(SECRET), long).await;
    assert_eq!((status, &refused["code"]), (413, &json!("too-large")));
}

#[tokio::test]
async fn changes_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = listen(kit(dir.path()), Settings::new(0, SECRET).unwrap()).await.unwrap();
    let (status, prepared) =
        ask(at, "POST", "/prepare", json!({ "scope": "posts", "role": "source", "epoch": 1 })).await;
    assert_eq!(status, 200, "{prepared}");
    let (status, first) = ask(at, "GET", "/snapshot?scope=posts&table=posts", Json::Null).await;
    assert_eq!((status, &first["chunk"]["rows"][0]), (200, &json!({ "id": 1, "t": "one" })));
    let (_, rest) = ask(at, "GET", "/snapshot?scope=posts&table=posts&after=%5B1%5D", Json::Null).await;
    assert_eq!((&rest["chunk"]["rows"], &rest["chunk"]["last"]), (&json!([]), &json!(true)));
    let started = Instant::now();
    let (_, none) = ask(at, "GET", "/changes?scope=posts&after=0&wait_ms=60", Json::Null).await;
    assert_eq!(none["events"], json!([]));
    assert!(started.elapsed() >= Duration::from_millis(60));
    let path = dir.path().join("a");
    let writer = std::thread::spawn(move || {
        let app = rusqlite::Connection::open(path).unwrap();
        app.busy_timeout(Duration::from_secs(10)).unwrap();
        app.execute_batch("INSERT INTO posts (t) VALUES ('two')").unwrap();
    });
    let (_, some) = ask(at, "GET", "/changes?scope=posts&after=0&wait_ms=20000", Json::Null).await;
    writer.join().unwrap();
    assert_eq!(some["events"][0]["after"], json!({ "id": 2, "t": "two" }));
    let (_, verified) = ask(at, "POST", "/verify", json!({ "scope": "posts" })).await;
    assert_eq!(verified["digest"]["rows"], 2);
    let release = json!({ "scope": "posts", "action": "release", "epoch": 2 });
    let (_, fenced) = ask(at, "POST", "/fence", release).await;
    assert_eq!((&fenced["owner"], &fenced["mark"]["position"]), (&json!(false), &json!(2)));
    let (_, last) = ask(at, "GET", "/changes?scope=posts&after=1", Json::Null).await;
    assert_eq!(last["events"][0]["op"], "mark");
    assert_eq!(last["digest"], fenced["mark"]["digest"]);
}
