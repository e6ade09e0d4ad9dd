//! A ledger against a server that keeps writes honestly, and against servers that do not.

use quarry_load::{Ledger, LedgerConfig, Verdict};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Some answers get lost after the write, some requests before it, some are refused; keys are honoured.
    Honest,
    /// The same, and keys are not looked at.
    Keyless,
    /// Every tenth acknowledged write is forgotten.
    Forgetful,
}

#[derive(Default)]
struct Stored {
    rows: Vec<u64>,
    /// What each key stored.
    keys: BTreeMap<String, u64>,
    tries: BTreeMap<u64, u32>,
}

async fn serve(stream: TcpStream, kind: Kind, stored: Arc<Mutex<Stored>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length, mut key) = (String::new(), 0, None);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.trim_end().split_once(": ") {
                match name {
                    "content-length" => length = value.parse().unwrap(),
                    "idempotency-key" => key = Some(value.to_owned()),
                    _ => {}
                }
            }
            head += &line;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let answer = match answer(&head, &body, key, kind, &stored) {
            Some(answer) => answer,
            None => return Ok(()),
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

/// `None`: the connection ends without an answer.
fn answer(head: &str, body: &[u8], key: Option<String>, kind: Kind, stored: &Mutex<Stored>) -> Option<String> {
    let mut stored = stored.lock().unwrap();
    let empty = |status: &str| Some(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
    if let Some(number) = head.strip_prefix("GET /rows/").and_then(|rest| rest.split(' ').next()) {
        let found = stored.rows.contains(&number.parse().unwrap());
        return if found {
            Some("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".into())
        } else {
            empty("404 Not Found")
        };
    }
    let text = std::str::from_utf8(body).unwrap();
    let number: u64 = text.trim_start_matches("{\"number\":").trim_end_matches('}').parse().unwrap();
    let tries = stored.tries.entry(number).or_default();
    *tries += 1;
    let first = *tries == 1;
    match number % 10 {
        1 if first => return None,
        2 => return empty("400 Bad Request"),
        3 => return empty("503 Service Unavailable"),
        _ => {}
    }
    let known = kind != Kind::Keyless && key.as_ref().is_some_and(|key| stored.keys.contains_key(key));
    let forgotten = kind == Kind::Forgetful && number % 10 == 7;
    if !known && !forgotten {
        stored.rows.push(number);
        stored.keys.extend(key.map(|key| (key, number)));
    }
    if number % 10 == 4 && first {
        return None;
    }
    Some(format!("HTTP/1.1 201 Created\r\nlocation: /rows/{number}\r\ncontent-length: 0\r\n\r\n"))
}

async fn held(kind: Kind, change: impl Fn(&mut LedgerConfig)) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let stored = Arc::<Mutex<Stored>>::default();
    let kept = stored.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, kind, kept.clone()));
        }
    });
    let mut config = LedgerConfig::new(address, "demo.elb.localhost", "/rows", 2000.0);
    change(&mut config);
    let ledger = Ledger::start(config).unwrap();
    while ledger.acknowledged() < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let account = ledger.stop().await;
    let rows = stored.lock().unwrap().rows.clone();
    account.check(rows)
}

#[tokio::test]
async fn honest_servers_are_found_exact_whatever_gets_lost() {
    let verdict = held(Kind::Honest, |_| {}).await;
    assert!(verdict.is_exact(), "{verdict:?}");
    assert!(verdict.failed > 0, "{verdict:?}");
    let alone = held(Kind::Honest, |config| config.keys = None).await;
    assert!(alone.is_exact() && alone.unknown > 0, "without keys nothing is sent again: {alone:?}");
}

#[tokio::test]
async fn a_write_done_twice_and_one_forgotten_are_found() {
    let verdict = held(Kind::Keyless, |_| {}).await;
    assert!(!verdict.doubled.is_empty() && verdict.doubled.iter().all(|number| number % 10 == 4), "{verdict:?}");
    let verdict = held(Kind::Forgetful, |_| {}).await;
    assert!(!verdict.missing.is_empty() && verdict.missing.iter().all(|number| number % 10 == 7), "{verdict:?}");
    assert!(!verdict.unread.is_empty(), "a forgotten write is not readable: {verdict:?}");
    let verdict = held(Kind::Forgetful, |config| config.read_back = false).await;
    assert!(verdict.unread.is_empty() && !verdict.is_exact());
}
