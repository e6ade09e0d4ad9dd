//! One request at a time through the load balancer, as a client of the board sends it.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Where the board is reached: the load balancer's address and name.
#[derive(Clone, Debug)]
pub struct Site {
    pub address: SocketAddr,
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// The reads of the board that monolith and services must answer alike, whatever is written meanwhile.
pub const COMPARED: &[&str] = &[
    "/",
    "/api",
    "/api/",
    "/api/users?limit=6",
    "/api/users/1",
    "/api/users/2",
    "/api/users/9999",
    "/api/threads?limit=5",
    "/api/threads/1",
    "/api/threads/3",
    "/api/threads/9999",
    "/api/posts?limit=20",
    "/api/posts/1",
    "/api/posts/7",
    "/api/posts/9999",
    "/api/posts/in-thread/1",
    "/api/posts/in-thread/2",
    "/api/posts/by-user/1",
    "/api/posts/by-user/2",
    "/api/users?limit=2",
    "/api/posts?limit=5",
];

impl Site {
    /// `GET path` on a connection of its own.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        let (site, path) = (self.clone(), path.to_owned());
        tokio::task::spawn_blocking(move || site.get_blocking(&path)).await?
    }

    fn get_blocking(&self, path: &str) -> Result<Answer> {
        let timeout = Duration::from_secs(10);
        let mut stream = TcpStream::connect_timeout(&self.address, timeout)
            .with_context(|| format!("nobody listens on {}", self.address))?;
        stream.set_read_timeout(Some(timeout))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer).with_context(|| format!("{path}: the answer is no HTTP"))
    }

    /// All of [`COMPARED`].
    pub async fn all(&self) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for path in COMPARED {
            answers.push(self.get(path).await?);
        }
        Ok(answers)
    }
}

/// Status and body of a whole answer that ended with the connection.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let rest = &bytes[head_end + 4..];
    let chunked = head.lines().any(|l| l.to_ascii_lowercase().starts_with("transfer-encoding: chunked"));
    let body = if chunked { dechunk(rest)? } else { rest.to_vec() };
    Some(Answer { status, body })
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = bytes.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line_end]).ok()?, 16).ok()?;
        bytes = &bytes[line_end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_answers_are_read_alike() {
        let plain = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd").unwrap();
        let chunked =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n").unwrap();
        assert_eq!(plain, Answer { status: 200, body: b"abcd".to_vec() });
        assert_eq!(plain, chunked);
        assert!(parse(b"nonsense").is_none());
    }
}
