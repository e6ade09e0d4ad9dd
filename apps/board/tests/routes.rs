//! What each binary answers, and that the services answer what the monolith answers.

mod common;

use board::config::Role;
use common::*;
use http::Method;
use serde_json::{Value, json};

const SERVICES: [Role; 3] = [Role::Users, Role::Threads, Role::Posts];

#[tokio::test]
async fn every_binary_says_that_it_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    for role in [Role::Api, Role::Users, Role::Threads, Role::Posts, Role::Web] {
        let storage = sqlite(dir.path(), role.name()).filter(|_| role != Role::Web);
        let board = start(config(role, storage)).await;
        for (path, words) in [
            ("/", "Ready to receive requests"),
            ("/api", "API ready to receive requests"),
            ("/api/", "API ready to receive requests"),
        ] {
            let reply = get(board.address, path).await;
            assert_eq!(reply.status, 200, "{role:?} {path}");
            assert_eq!(reply.body, words, "{role:?} {path}");
            let head = send(board.address, Method::HEAD, path, &[], "").await;
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
            assert_eq!(head.header("content-length"), reply.header("content-length"));
        }
        let health = get(board.address, "/healthz").await;
        assert_eq!(health.status, 200);
        assert_eq!(health.json()["service"], role.name());
        let storage = if role == Role::Web { "none" } else { "sqlite" };
        assert_eq!(health.json()["storage"], storage);
        get(board.address, "/nowhere").await.problem(404);
        let refused = put(board.address, Method::DELETE, "/api", &json!({})).await;
        refused.problem(405);
        assert!(refused.header("allow").unwrap().contains("GET"));
        board.stop().await;
    }
}

#[tokio::test]
async fn a_service_holds_its_feature_alone() {
    let dir = tempfile::tempdir().unwrap();
    for role in SERVICES {
        let board = start(config(role, sqlite(dir.path(), role.name()))).await;
        for other in SERVICES {
            let reply = get(board.address, &format!("/api/{}", other.name())).await;
            if other == role {
                assert_eq!(reply.json(), json!([]));
            } else {
                reply.problem(404);
            }
        }
        board.stop().await;
    }
}

#[tokio::test]
async fn monolith_and_services_answer_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut monolith = config(Role::Api, sqlite(dir.path(), "api"));
    monolith.import = Some(sample());
    let monolith = start(monolith).await;
    let mut compared = 0;
    for role in SERVICES {
        let mut service = config(role, sqlite(dir.path(), role.name()));
        service.import = Some(sample());
        let service = start(service).await;
        let name = role.name();
        let all = get(service.address, &format!("/api/{name}")).await.json();
        let mut paths = vec![format!("/api/{name}"), format!("/api/{name}/999")];
        for record in all.as_array().unwrap() {
            paths.push(format!("/api/{name}/{}", record["id"]));
        }
        for limit in [1, 3, 200] {
            paths.push(format!("/api/{name}?limit={limit}"));
        }
        paths.push(format!("/api/{name}?limit=2&cursor=a2"));
        paths.push(format!("/api/{name}?limit=0"));
        paths.push(format!("/api/{name}/none"));
        match role {
            Role::Threads => paths.push("/api/threads?createdBy=3".into()),
            Role::Posts => {
                for id in 0..8 {
                    paths.push(format!("/api/posts/in-thread/{id}"));
                    paths.push(format!("/api/posts/by-user/{id}?limit=2"));
                }
            }
            _ => {}
        }
        for path in paths {
            let (ours, theirs) = (get(monolith.address, &path).await, get(service.address, &path).await);
            assert_eq!(ours.status, theirs.status, "{path}");
            assert_eq!(ours.body, theirs.body, "{path}");
            for header in ["content-type", "link", "cache-control", "allow"] {
                assert_eq!(ours.header(header), theirs.header(header), "{path}");
            }
            compared += 1;
        }
        service.stop().await;
    }
    assert!(compared > 60, "{compared}");
    monolith.stop().await;
}

#[tokio::test]
async fn existing_clients_find_their_fields() {
    let dir = tempfile::tempdir().unwrap();
    let mut monolith = config(Role::Api, sqlite(dir.path(), "api"));
    monolith.import = Some(sample());
    let board = start(monolith).await;
    let file: Value = serde_json::from_slice(&std::fs::read(sample()).unwrap()).unwrap();
    assert_eq!(get(board.address, "/api/users").await.json(), file["users"]);
    assert_eq!(get(board.address, "/api/threads").await.json(), file["threads"]);
    let posts = get(board.address, "/api/posts").await.json();
    for (i, (ours, given)) in posts.as_array().unwrap().iter().zip(file["posts"].as_array().unwrap()).enumerate() {
        let mut given = given.clone();
        given["id"] = json!(i + 1);
        assert_eq!(*ours, given);
    }
    assert_eq!(posts.as_array().unwrap().len(), file["posts"].as_array().unwrap().len());
    board.stop().await;
}

#[tokio::test]
async fn pages_cover_a_list_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut monolith = config(Role::Api, sqlite(dir.path(), "api"));
    monolith.import = Some(sample());
    let board = start(monolith).await;
    let whole = get(board.address, "/api/posts").await;
    assert_eq!(whole.header("link"), None);
    let mut pages = Vec::new();
    let mut path = Some("/api/posts?limit=7".to_owned());
    while let Some(next) = path {
        let page = get(board.address, &next).await;
        let rows = page.json().as_array().unwrap().clone();
        assert!(!rows.is_empty() && rows.len() <= 7);
        pages.extend(rows);
        path = page.header("link").map(|link| {
            let link = link.strip_suffix(">; rel=\"next\"").expect("a link to the next page");
            link.strip_prefix('<').unwrap().to_owned()
        });
    }
    assert_eq!(Value::Array(pages), whole.json());
    board.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut monolith = config(Role::Api, sqlite(dir.path(), "api"));
    monolith.import = Some(sample());
    let board = start(monolith).await;
    let before = everything(board.address).await;
    let long = "x".repeat(10_001);
    let post = |text: &str| format!(r#"{{"thread":1,"text":{},"user":1}}"#, json!(text));
    let js = "application/json";
    let cases: Vec<(Method, &str, &str, String, u16, &str)> = vec![
        (Method::POST, "/api/posts", js, "".into(), 400, ""),
        (Method::POST, "/api/posts", js, "{".into(), 400, ""),
        (Method::POST, "/api/posts", js, "\u{feff}{}".into(), 400, ""),
        (Method::POST, "/api/posts", js, "[".repeat(5000), 400, ""),
        (Method::POST, "/api/posts", "text/plain", post("a"), 415, ""),
        (Method::POST, "/api/posts", js, " ".repeat(200_000), 413, ""),
        (Method::POST, "/api/posts", js, "[]".into(), 422, ""),
        (Method::POST, "/api/posts", js, "{}".into(), 422, "/thread"),
        (Method::POST, "/api/posts", js, post(""), 422, "/text"),
        (Method::POST, "/api/posts", js, post("   "), 422, "/text"),
        (Method::POST, "/api/posts", js, post("a\u{0}b"), 422, "/text"),
        (Method::POST, "/api/posts", js, post(&long), 422, "/text"),
        (Method::POST, "/api/posts", js, r#"{"thread":"1","text":"a","user":1}"#.into(), 422, "/thread"),
        (Method::POST, "/api/posts", js, r#"{"thread":1.5,"text":"a","user":1}"#.into(), 422, "/thread"),
        (Method::POST, "/api/posts", js, r#"{"thread":0,"text":"a","user":1}"#.into(), 422, "/thread"),
        (Method::POST, "/api/posts", js, r#"{"thread":1,"text":"a","user":9007199254740992}"#.into(), 422, "/user"),
        (Method::POST, "/api/posts", js, r#"{"thread":1,"text":"a","user":1,"id":3}"#.into(), 422, "/id"),
        (Method::POST, "/api/posts", js, r#"{"thread":1,"text":"a","user":1,"admin":true}"#.into(), 422, "/admin"),
        (Method::POST, "/api/posts", js, r#"{"thread":99,"text":"a","user":1}"#.into(), 422, "/thread"),
        (Method::POST, "/api/posts", js, r#"{"thread":1,"text":"a","user":99}"#.into(), 422, "/user"),
        (Method::POST, "/api/users", js, r#"{"username":" a","name":"A"}"#.into(), 422, "/username"),
        (Method::POST, "/api/users", js, r#"{"username":"a\nb","name":"A"}"#.into(), 422, "/username"),
        (Method::POST, "/api/users", js, r#"{"username":"ines","name":"A"}"#.into(), 409, ""),
        (Method::POST, "/api/threads", js, r#"{"title":"t","createdBy":99}"#.into(), 422, "/createdBy"),
        (Method::PUT, "/api/users/2", js, r#"{"username":"ines","name":"A"}"#.into(), 409, ""),
        (Method::PUT, "/api/users/2", js, r#"{"id":3,"username":"x","name":"A"}"#.into(), 422, "/id"),
        (Method::PUT, "/api/users/99", js, r#"{"username":"x","name":"A"}"#.into(), 404, ""),
        (Method::PUT, "/api/posts/1", js, r#"{"text":"a"}"#.into(), 422, "/thread"),
        (Method::PATCH, "/api/posts/1", js, r#"{"user":99}"#.into(), 422, "/user"),
        (Method::PATCH, "/api/posts/1", js, r#"{"colour":"red"}"#.into(), 422, "/colour"),
        (Method::PATCH, "/api/posts/01", js, r#"{"text":"a"}"#.into(), 404, ""),
        (Method::DELETE, "/api/posts/99", js, "".into(), 404, ""),
        (Method::DELETE, "/api/posts/-1", js, "".into(), 404, ""),
        (Method::DELETE, "/api/users/1", js, "".into(), 409, ""),
        (Method::DELETE, "/api/threads/1", js, "".into(), 409, ""),
        (Method::GET, "/api/posts?limit=1000", js, "".into(), 400, ""),
        (Method::GET, "/api/posts?cursor=zz", js, "".into(), 400, ""),
        (Method::GET, "/api/threads?createdBy=x", js, "".into(), 400, ""),
        (Method::GET, "/api/posts/9999999999999999999999", js, "".into(), 404, ""),
        (Method::GET, "/api/posts/%ff", js, "".into(), 404, ""),
        (Method::GET, "/api/posts/in-thread/'%20OR%201=1", js, "".into(), 404, ""),
        (Method::POST, "/api/posts/1", js, post("a"), 405, ""),
    ];
    for (method, path, kind, body, status, pointer) in cases {
        let shown: String = body.chars().take(80).collect();
        let reply = send(board.address, method.clone(), path, &[("content-type", kind)], body).await;
        assert_eq!(reply.status, status, "{method} {path} {shown}: {reply:?}");
        let problem = reply.problem(status);
        if !pointer.is_empty() {
            let errors = problem["errors"].as_array().unwrap();
            assert!(errors.iter().any(|e| e["pointer"] == pointer), "{path} {shown}: {problem}");
        }
    }
    let bad_key = [("content-type", js), ("idempotency-key", "has space")];
    let reply = send(board.address, Method::POST, "/api/posts", &bad_key, post("a")).await;
    reply.problem(400);
    assert_eq!(everything(board.address).await, before);
    board.stop().await;
}

#[tokio::test]
async fn posts_ask_the_other_services_and_read_without_them() {
    let dir = tempfile::tempdir().unwrap();
    let open = async |role: Role, configure: &dyn Fn(&mut board::config::Config)| {
        let mut config = config(role, sqlite(dir.path(), role.name()));
        config.import = Some(sample());
        configure(&mut config);
        start(config).await
    };
    // Threads and posts are found by users through addresses that are known only later, so users
    // start twice: once alone, and once knowing them.
    let users = open(Role::Users, &|_| {}).await;
    let threads = open(Role::Threads, &|c| c.users = peer(users.address)).await;
    let posts = open(Role::Posts, &|c| {
        // Patience is another test's subject.
        c.users = peer(users.address).map(|peer| peer.with_patience(std::time::Duration::from_millis(200)));
        c.threads = peer(threads.address);
    })
    .await;
    let good = json!({ "thread": 1, "text": "over HTTP", "user": 2 });
    let created = post(posts.address, "/api/posts", &good).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("location"), Some("/api/posts/21"));
    let wrong = json!({ "thread": 77, "text": "a", "user": 88 });
    let problem = post(posts.address, "/api/posts", &wrong).await.problem(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2);

    // Nobody told this one where posts are: what cannot be checked is not deleted.
    delete(users.address, "/api/users/6").await.problem(503);
    let asking = open(Role::Users, &|c| {
        c.threads = peer(threads.address);
        c.posts = peer(posts.address);
    })
    .await;
    delete(asking.address, "/api/users/6").await.problem(409);
    let new = json!({ "username": "nobody", "name": "Nobody yet" });
    let new = post(asking.address, "/api/users", &new).await;
    let path = new.header("location").unwrap().to_owned();
    assert_eq!(delete(asking.address, &path).await.status, 204);
    get(asking.address, &path).await.problem(404);

    let before = get(posts.address, "/api/posts").await;
    let once = post_once(posts.address, "/api/posts", "kept", &good).await;
    assert_eq!(once.status, 201);
    users.stop().await;
    let down = post(posts.address, "/api/posts", &good).await;
    down.problem(503);
    assert_eq!(down.header("retry-after"), Some("1"));
    assert_ne!(get(posts.address, "/api/posts").await.body, before.body);
    assert_eq!(get(posts.address, "/api/posts/in-thread/1").await.status, 200);
    // What was written before is answered again, and a text may be mended.
    let again = post_once(posts.address, "/api/posts", "kept", &good).await;
    assert_eq!((again.status, &again.body), (once.status, &once.body));
    let mended = put(posts.address, Method::PATCH, "/api/posts/21", &json!({ "text": "mended" })).await;
    assert_eq!(mended.json()["text"], "mended");
    for board in [asking, threads, posts] {
        board.stop().await;
    }
}

/// A users service that closes each connection after one answer, without saying so.
#[tokio::test]
async fn a_trace_goes_on_and_a_closed_connection_is_replaced() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut threads = config(Role::Threads, sqlite(dir.path(), "threads"));
    threads.users = peer(listener.local_addr().unwrap());
    let threads = start(threads).await;
    let (asked, mut heads) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            let _ = asked.send(String::from_utf8_lossy(&head[..length]).to_lowercase());
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    for i in 0..3 {
        let trace = format!("Root=1-67891233-abcdef01234567891234567{i}");
        let headers = [("content-type", "application/json"), ("x-amzn-trace-id", &trace)];
        let body = json!({ "title": "Traced", "createdBy": 4 }).to_string();
        let reply = send(threads.address, Method::POST, "/api/threads", &headers, body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let head = heads.recv().await.unwrap();
        assert!(head.starts_with("get /api/users/4 http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("x-amzn-trace-id: {}", trace.to_lowercase())), "{head}");
    }
    threads.stop().await;
}

#[tokio::test]
async fn browsers_get_a_page_that_runs_only_its_own_script() {
    let board = start(config(Role::Web, None)).await;
    let accept = [("accept", "text/html,*/*;q=0.8")];
    let page = send(board.address, Method::GET, "/", &accept, "").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("Ready to receive requests"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"));
    assert!(!policy.contains("unsafe"));
    // The hash in the policy is the hash of what stands in the page.
    use base64::Engine as _;
    use sha2::Digest as _;
    for (tag, directive) in [("script", "script-src"), ("style", "style-src")] {
        let start = html.find(&format!("<{tag}>")).unwrap() + tag.len() + 2;
        let end = html.find(&format!("</{tag}>")).unwrap();
        let hash = sha2::Sha256::digest(&html.as_bytes()[start..end]);
        let hash = base64::engine::general_purpose::STANDARD.encode(hash);
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{tag}");
    }
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!html.contains(sink), "{sink}");
    }
    board.stop().await;
}

async fn everything(address: std::net::SocketAddr) -> Vec<Value> {
    let mut all = Vec::new();
    for name in ["users", "threads", "posts"] {
        all.push(get(address, &format!("/api/{name}")).await.json());
    }
    all
}

/// A users service on a machine that is busy: it closes the first connection, then a load balancer answers in its
/// place, then it is silent for longer than one try lasts.
#[tokio::test]
async fn a_write_waits_for_a_peer_that_fails_for_a_moment() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut threads = config(Role::Threads, sqlite(dir.path(), "threads"));
    threads.users = peer(listener.local_addr().unwrap());
    let threads = start(threads).await;
    let served = tokio::spawn(async move {
        for turn in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return turn };
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            let answer = match turn {
                0 => continue,
                1 => "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
                2 => {
                    // Its answer would come too late.
                    tokio::spawn(async move {
                        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
                        drop(stream);
                    });
                    continue;
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            if turn == 3 {
                return turn;
            }
        }
        0
    });
    let created = post(threads.address, "/api/threads", &json!({ "title": "patience", "createdBy": 1 })).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(served.await.unwrap(), 3);
    threads.stop().await;
}
