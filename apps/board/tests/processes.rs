//! The binaries as processes: sharing a file, being killed, being told to end.

mod common;
#[path = "processes/telemetry.rs"]
mod telemetry;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

const API: &str = env!("CARGO_BIN_EXE_board-api");
const POSTS: &str = env!("CARGO_BIN_EXE_board-posts");
const ALL: [&str; 5] = [
    API,
    env!("CARGO_BIN_EXE_board-users"),
    env!("CARGO_BIN_EXE_board-threads"),
    POSTS,
    env!("CARGO_BIN_EXE_board-web"),
];

#[test]
fn every_binary_starts_fast_and_ends_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    for (i, binary) in ALL.iter().enumerate() {
        let path = dir.path().join(format!("deep/er/{i}.db"));
        let started = Instant::now();
        let mut process = Process::start(binary, &[("DATABASE_PATH", path.to_str().unwrap())]);
        let mut stream = TcpStream::connect(process.address).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\nReady to receive requests"), "{answer}");
        println!("{binary}: first answer after {:?}", started.elapsed());
        process.signal(Signal::TERM);
        assert_eq!(process.ended().code(), Some(0));
    }
}

#[test]
fn wrong_settings_are_one_clear_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    std::fs::write(&text, "no database, only some text that is long enough to be read as a header".repeat(3)).unwrap();
    let text = text.to_str().unwrap();
    let db = dir.path().join("a.db");
    let db = db.to_str().unwrap();
    type Case<'a> = (&'a [(&'a str, &'a str)], i32, &'a str);
    let cases: [Case; 8] = [
        (&[("DATABASE_URL", "sqlite:///data/posts.db")], 2, "several hosts cannot share a SQLite file"),
        (&[("DATABASE_URL", "postgres://h/d"), ("DATABASE_PATH", "/x")], 2, "not both"),
        (&[("USERS_URL", "https://users")], 2, "USERS_URL"),
        (&[("PORT", "http")], 2, "invalid value 'http'"),
        (&[("DATABASE_PATH", db), ("IMPORT", "/nowhere.json")], 1, "cannot read /nowhere.json"),
        (&[("DATABASE_PATH", db), ("IMPORT", text)], 1, "it is not JSON"),
        (&[("DATABASE_PATH", text)], 1, "file is not a database"),
        (&[("DATABASE_PATH", "/proc/x/a.db")], 1, "cannot make the directory /proc/x"),
    ];
    for (settings, code, sentence) in cases {
        let mut command = Command::new(POSTS);
        command.env_clear().env("PORT", "0").envs(settings.iter().copied());
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{settings:?}: {said}");
        assert!(said.contains(sentence), "{settings:?}: {said}");
    }
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(POSTS).env("PORT", &port).env("DATABASE_PATH", db).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("cannot listen on port {port}")));
}

/// Writers post through three processes of the posts service over one file. One process is killed;
/// its writers go on at another with the same key, because they do not know what became of their
/// last request. A new process starts. Every post is there exactly once, for every reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_task_loses_and_doubles_nothing() {
    const WRITERS: usize = 9;
    const EACH: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let (main, shared) = (dir.path().join("api.db"), dir.path().join("posts.db"));
    let sample = sample();
    let sample = sample.to_str().unwrap();
    let others = [("DATABASE_PATH", main.to_str().unwrap()), ("IMPORT", sample)];
    let others = Process::start(API, &others);
    let url = format!("http://localhost:{}", others.address.port());
    let settings =
        [("DATABASE_PATH", shared.to_str().unwrap()), ("IMPORT", sample), ("USERS_URL", &url), ("THREADS_URL", &url)];
    // All three start at the same time on a file that is not there yet.
    let tasks = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(|| Process::start(POSTS, &settings))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    let addresses: Arc<Vec<SocketAddr>> = Arc::new(tasks.iter().map(|t| t.address).collect());
    let written = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(addresses.clone(), writer, EACH, written.clone()))).collect();
    while written.load(Ordering::Relaxed) < WRITERS * EACH / 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tasks[0].signal(Signal::KILL);
    let mut acknowledged = HashMap::new();
    let mut moved = 0;
    for writer in writers {
        let (posts, errors) = writer.await.unwrap();
        moved += errors;
        acknowledged.extend(posts);
    }
    assert!(moved > 0, "the killed process had writers");
    assert_eq!(acknowledged.len(), WRITERS * EACH);

    let new = Process::start(POSTS, &settings);
    let mut lists = Vec::new();
    for address in [addresses[1], addresses[2], new.address] {
        lists.push(get(address, "/api/posts").await.json());
    }
    assert!(lists[0] == lists[1] && lists[1] == lists[2], "readers agree");
    let mut found: HashMap<String, Vec<i64>> = HashMap::new();
    for post in lists[0].as_array().unwrap().iter().skip(20) {
        let text = post["text"].as_str().unwrap().to_owned();
        found.entry(text).or_default().push(post["id"].as_i64().unwrap());
    }
    assert_eq!(found.len(), acknowledged.len());
    for (text, id) in acknowledged {
        assert_eq!(found[&text], [id], "{text} is there once, under its id");
    }
}

/// Posts `count` texts, moving on to the next address when one fails; returns text → id, and the
/// number of failures.
async fn write(
    addresses: Arc<Vec<SocketAddr>>,
    writer: usize,
    count: usize,
    written: Arc<AtomicUsize>,
) -> (HashMap<String, i64>, usize) {
    let mut at = writer;
    let mut errors = 0;
    let mut connection = None;
    let mut acknowledged = HashMap::new();
    for i in 0..count {
        let text = format!("writer {writer}, text {i}");
        let body = json!({ "thread": 1 + i % 5, "text": text, "user": 1 + writer % 6 }).to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", &text.replace(' ', "_"))];
        let reply = loop {
            assert!(errors < 100, "{text}: no process answers");
            if connection.is_none() {
                connection = Connection::open(addresses[at % addresses.len()]).await.ok();
            }
            if let Some(open) = &mut connection
                && let Ok(reply) = open.send(Method::POST, "/api/posts", &headers, body.clone()).await
            {
                break reply;
            }
            connection = None;
            errors += 1;
            at += 1;
        };
        assert_eq!(reply.status, 201, "{reply:?}");
        acknowledged.insert(text, reply.json()["id"].as_i64().unwrap());
        written.fetch_add(1, Ordering::Relaxed);
    }
    (acknowledged, errors)
}

/// Readers and writers keep connections busy when SIGTERM comes. Each request that was sent gets
/// its answer; then new connections are refused and the process ends with 0. What was acknowledged
/// is there after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_cuts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (db, sample) = (dir.path().join("api.db"), sample());
    let settings = [("DATABASE_PATH", db.to_str().unwrap()), ("IMPORT", sample.to_str().unwrap())];
    let mut process = Process::start(API, &settings);
    let address = process.address;
    // A request whose body is on its way when the signal comes.
    let body = json!({ "thread": 1, "text": "slowly", "user": 1 }).to_string();
    let mut slow = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /api/posts HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&body.as_bytes()[..10]).unwrap();
    let mut idle = TcpStream::connect(address).unwrap();

    let clients: Vec<_> = (0..6).map(|i| tokio::spawn(press(address, i))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    slow.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let mut nothing = Vec::new();
    assert_eq!(idle.read_to_end(&mut nothing).unwrap(), 0, "idle connections are closed");

    let (mut reads, mut texts) = (0, vec!["slowly".to_owned()]);
    for client in clients {
        let (read, written) = client.await.unwrap();
        reads += read;
        texts.extend(written);
    }
    let status = tokio::task::block_in_place(|| process.ended());
    assert_eq!(status.code(), Some(0));
    println!("{reads} reads and {} writes", texts.len());
    assert!(reads > 50 && texts.len() > 10, "{reads} reads, {} writes", texts.len());
    let again = Process::start(API, &settings);
    let posts = get(again.address, "/api/posts").await.json();
    let posts: Vec<&str> = posts.as_array().unwrap().iter().filter_map(|p| p["text"].as_str()).collect();
    for text in &texts {
        assert_eq!(posts.iter().filter(|p| *p == text).count(), 1, "{text}");
    }
}

/// Sends requests until the server takes no new connection. A request on an open connection that
/// gets no answer fails the test; one on a connection that the server never accepted was not cut.
async fn press(address: SocketAddr, client: usize) -> (usize, Vec<String>) {
    let (mut reads, mut written) = (0, Vec::new());
    let mut connection: Option<Connection> = None;
    for i in 0.. {
        let fresh = connection.is_none();
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::open(address).await {
                Ok(open) => open,
                Err(_) => break,
            },
        };
        let text = format!("client {client}, text {i}");
        let body: Value = json!({ "thread": 1, "text": text, "user": 1 });
        let headers = [("content-type", "application/json")];
        let sent = if client.is_multiple_of(2) {
            open.send(Method::GET, "/api/threads", &[], "").await
        } else {
            open.send(Method::POST, "/api/posts", &headers, body.to_string()).await
        };
        let reply = match sent {
            Ok(reply) => reply,
            Err(_) if fresh => break,
            Err(error) => panic!("a request was cut: {error}"),
        };
        match reply.status.as_u16() {
            200 => reads += 1,
            201 => written.push(text),
            other => panic!("{other}: {reply:?}"),
        }
        if reply.header("connection") != Some("close") {
            connection = Some(open);
        }
    }
    (reads, written)
}
