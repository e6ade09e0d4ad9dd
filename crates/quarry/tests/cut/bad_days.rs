//! One cut with every bad day that a person can make: a program that goes round the load balancer, answers that differ, a
//! slow upload across the switch, a schema that is changed in the middle. What is wrong, the cut's own sentence says.

use super::{Board, Writers, ask};
use quarry_testkit::wait_for;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database of a service as a cron job beside it would open it: the file is on a volume of its task.
fn database(board: &Board, service: &str) -> Connection {
    let file = find(board.site.platform.data_dir(), &format!("{service}.db")).expect("the file is on a volume");
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(directory).ok()?.flatten().collect();
    let here = entries.iter().find(|entry| entry.file_name() == name).map(std::fs::DirEntry::path);
    let is_directory = |entry: &&std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    here.or_else(|| entries.iter().filter(is_directory).find_map(|entry| find(&entry.path(), name)))
}

fn insert(connection: &Connection, text: &str) -> rusqlite::Result<usize> {
    connection.execute("INSERT INTO posts (thread_id, body, user_id) VALUES (1, ?1, 1)", [text])
}

fn has(connection: &Connection, text: &str) -> bool {
    connection.query_row("SELECT count(*) FROM posts WHERE body = ?1", [text], |row| row.get::<_, i64>(0)).unwrap() == 1
}

/// Waits until the cut waits for a person, for this reason.
fn stop(board: &Board, id: &str, code: &str) -> Value {
    wait_for(code, || {
        let (_, cut) = board.cuts.call("GET", &format!("/{id}"), "", &Value::Null)?;
        let found = cut["stopped"]["code"].as_str()?.to_owned();
        assert_eq!(found, code, "{}", cut["summary"]);
        Some(cut)
    })
}

fn status(board: &Board, id: &str) -> String {
    let (_, cut) = board.cuts.call("GET", &format!("/{id}"), "", &Value::Null).expect("serve answers");
    cut["summary"].as_str().unwrap().to_owned()
}

#[test]
fn bad_days_are_told_in_a_sentence_and_end_well() {
    let board = Board::new();
    let (old, new) = (database(&board, "api"), database(&board, "posts"));
    let writers = Writers::start(board.at);
    let request = json!({
        "scope": "posts", "from": "api", "to": "demo/posts", "paths": ["/api/posts*"], "shadow_seconds": 1,
        "canary_percent": 50, "canary_seconds": 1, "until": "FOLLOW",
    });
    let id = wait_for("the cut begins", || {
        let (status, answer) = board.cuts.call("POST", "", "", &request)?;
        (status < 300).then(|| answer["id"].as_str().unwrap().to_owned())
    });
    stop(&board, &id, "Reached");

    // Round the load balancer: where the scope is owned the rows move, too; where it is not, nothing is written.
    insert(&old, "by a cron job").unwrap();
    wait_for("its row has moved", || has(&new, "by a cron job").then_some(()));
    let refused = insert(&new, "by a cron job that is wrong").unwrap_err().to_string();
    assert!(refused.contains("cut: not owned here: posts"), "{refused}");

    // A row that is another one at the new side, and whoever did that switched the triggers off.
    new.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    let text: String = new.query_row("SELECT body FROM posts WHERE id = 2", [], |row| row.get(0)).unwrap();
    board.ok("POST", &format!("/{id}/resume"), json!({"until": "SHADOW"}));
    // The full comparison comes before; the row is damaged after it.
    wait_for("reads are compared", || {
        let (_, cut) = board.cuts.call("GET", &format!("/{id}"), "", &Value::Null)?;
        (cut["state"] == "SHADOW").then_some(())
    });
    stop(&board, &id, "Reached");
    new.execute("UPDATE posts SET body = 'damaged' WHERE id = 2", []).unwrap();
    board.ok("POST", &format!("/{id}/resume"), json!({}));
    let cut = wait_for("the difference is found", || {
        assert_eq!(ask(board.at, "GET", "/api/posts/2", None, "").unwrap().0, 200);
        let (_, cut) = board.cuts.call("GET", &format!("/{id}"), "", &Value::Null)?;
        (cut["stopped"]["code"] == "Differences").then_some(cut)
    });
    let said = cut["summary"].as_str().unwrap();
    assert!(said.contains("GET /api/posts/2") && said.contains("it waits for you"), "{said}");
    let example = cut["traffic"]["shadow"]["examples"].as_array().unwrap().last().unwrap().clone();
    assert!(example["source"]["body"].as_str().unwrap().contains(&text), "{example}");
    assert!(example["destination"]["body"].as_str().unwrap().contains("damaged"), "{example}");
    assert!(example["difference"].as_str().unwrap().contains("text"), "{example}");
    let refused = board.cuts.call("POST", &format!("/{id}/resume"), "", &json!({})).unwrap();
    assert_eq!(refused.0, 409, "{}", refused.1);
    new.execute("UPDATE posts SET body = ?1 WHERE id = 2", [&text]).unwrap();

    // An upload that begins before the hold and ends after the switch, reads that the new side answers a share of.
    let body = json!({"thread": 1, "user": 1, "text": "a slow upload"}).to_string();
    let mut slow = TcpStream::connect(board.at).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    write!(slow, "POST /api/posts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{}", &body[..10]).unwrap();
    board.ok("POST", &format!("/{id}/resume"), json!({"accept_differences": true}));
    let cut = board.until(&id, "the cut", |cut| {
        assert_eq!(ask(board.at, "GET", "/api/posts/2", None, "").unwrap().0, 200);
        cut["state"] == "WATCH"
    });
    assert!(cut["traffic"]["canary_reads"].as_u64() > Some(0), "{}", cut["traffic"]);
    println!("hold {} µs with an upload in flight", cut["moves"][0]["hold_micros"]);
    slow.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(has(&new, "a slow upload"));

    // The same round the load balancer, the other way.
    let refused = insert(&old, "by a cron job that is late").unwrap_err().to_string();
    assert!(refused.contains("cut: not owned here: posts"), "{refused}");
    new.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true).unwrap();
    insert(&new, "by a cron job that has moved").unwrap();
    wait_for("its row has moved back", || has(&old, "by a cron job that has moved").then_some(()));

    // Somebody changes the schema of the side that follows.
    old.execute_batch("ALTER TABLE posts ADD COLUMN extra TEXT").unwrap();
    wait_for("the status says so", || {
        let said = status(&board, &id);
        (said.contains("is on posts") && said.contains("posts changed since the cut was prepared")).then_some(())
    });
    old.execute_batch("ALTER TABLE posts DROP COLUMN extra").unwrap();
    wait_for("it goes on", || (!status(&board, &id).contains("trouble")).then_some(()));

    board.ok("POST", &format!("/{id}/rollback"), Value::Null);
    board.until(&id, "the rollback", |cut| cut["stopped"]["code"] == "RolledBack");
    let ledger = writers.end();
    assert_eq!(ledger.failed, Vec::<String>::new(), "of {} writes", ledger.acknowledged.len());
    let (_, body) = ask(board.at, "GET", "/api/posts", None, "").unwrap();
    let posts: Vec<Value> = serde_json::from_str(&body).unwrap();
    let times = |text: &str| posts.iter().filter(|post| post["text"] == text).count();
    for (text, id) in &ledger.acknowledged {
        assert_eq!((times(text), posts.iter().any(|post| post["id"] == *id)), (1, true), "{text}");
    }
    for text in ["by a cron job", "a slow upload", "by a cron job that has moved"] {
        assert_eq!(times(text), 1, "{text}");
    }
    board.ok("POST", &format!("/{id}/abort"), Value::Null);
    wait_for("the end", || status(&board, &id).contains("aborted: posts is on api").then_some(()));
}
