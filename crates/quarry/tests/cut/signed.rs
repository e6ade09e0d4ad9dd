//! The cuts' API as another tool would call it: plain HTTP, signed.

use quarry_testkit::Platform;
use quarry_wire::Timestamp;
use quarry_wire::sigv4::{self, Credentials};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub struct Cuts {
    authority: String,
    region: String,
    credentials: Credentials,
}

impl Cuts {
    pub fn of(platform: &Platform) -> Self {
        let secrets = std::fs::read(platform.data_dir().join("secrets.json")).unwrap();
        let secrets: Value = serde_json::from_slice(&secrets).unwrap();
        let text = |name: &str| secrets[name].as_str().unwrap().to_owned();
        Self {
            authority: platform.endpoint.trim_start_matches("http://").to_owned(),
            region: text("region"),
            credentials: Credentials {
                access_key_id: text("access_key_id"),
                secret_access_key: text("secret_access_key"),
                session_token: None,
            },
        }
    }

    /// Status and answer. `None` while nobody answers.
    pub fn call(&self, method: &str, path: &str, query: &str, body: &Value) -> Option<(u16, Value)> {
        self.send(method, path, query, body, true)
    }

    pub fn send(&self, method: &str, path: &str, query: &str, body: &Value, sign: bool) -> Option<(u16, Value)> {
        let path = format!("/_quarry/v1/cuts{path}");
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let mut headers = http::HeaderMap::new();
        headers.insert("host", self.authority.parse().unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let request = sigv4::Request { method, path: &path, query, headers: &headers, body: &body };
        let now = Timestamp::from_millis(now);
        let signature = sigv4::sign(&request, now, &self.region, "quarry", &self.credentials);
        let mut head = format!("{method} {path}{}{query} HTTP/1.1\r\n", if query.is_empty() { "" } else { "?" });
        head += &format!("host: {}\r\nconnection: close\r\ncontent-length: {}\r\n", self.authority, body.len());
        for (name, value) in signature.iter().filter(|_| sign) {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = TcpStream::connect(&self.authority).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(b"\r\n").ok()?;
        stream.write_all(&body).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).unwrap_or_default()))
    }
}
