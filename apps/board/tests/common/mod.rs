//! Boards for tests: in this process or as processes of their own, and a client.
#![allow(dead_code)]

pub mod postgres;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use board::config::{Config, Role};
use board::db::Storage;
use board::http::{Bound, Peer, Shutdown, serve};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A board in this process.
pub struct Running {
    pub address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<bool>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A connection that is used again.
pub struct Connection(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

/// A board's binary as a process; killed when dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

pub fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/db.json")
}

pub fn config(role: Role, storage: Option<Storage>) -> Config {
    Config {
        role,
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        storage,
        import: None,
        users: None,
        threads: None,
        posts: None,
        cut: None,
        cuttable: false,
        destinations: Vec::new(),
        log_level: tracing::Level::ERROR,
    }
}

pub fn sqlite(dir: &Path, name: &str) -> Option<Storage> {
    Some(Storage::Sqlite(dir.join(format!("{name}.db"))))
}

/// A loopback port on which nobody listens.
pub fn closed_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

pub fn peer(address: SocketAddr) -> Option<Peer> {
    Some(Peer::parse(&format!("http://{address}")).unwrap())
}

pub async fn start(config: Config) -> Running {
    let router = board::app::open(&config).await.expect("starts");
    let bound = Bound::bind(config.address).await.unwrap();
    let address = bound.address;
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(serve(bound, router, shutdown.clone()));
    Running { address, shutdown, serving }
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.trigger();
        assert!(self.serving.await.unwrap(), "drained");
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// Checks status and form of a problem; returns its document.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        assert_eq!(body["status"], status);
        assert!(body["title"].is_string() && body["detail"].is_string() && body["type"].is_string());
        body
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Connection(sender))
    }

    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Result<Reply> {
        let mut request = Request::builder().method(method).uri(path).header("host", "board.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.0.send_request(request).await?;
        let (parts, body) = response.into_parts();
        Ok(Reply { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Reply {
    send(address, Method::GET, path, &[], "").await
}

/// A JSON body by `method`.
pub async fn put(address: SocketAddr, method: Method, path: &str, body: &Value) -> Reply {
    let headers = [("content-type", "application/json")];
    send(address, method, path, &headers, body.to_string()).await
}

pub async fn post(address: SocketAddr, path: &str, body: &Value) -> Reply {
    put(address, Method::POST, path, body).await
}

/// A create with an idempotency key.
pub async fn post_once(address: SocketAddr, path: &str, key: &str, body: &Value) -> Reply {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    send(address, Method::POST, path, &headers, body.to_string()).await
}

pub async fn delete(address: SocketAddr, path: &str) -> Reply {
    send(address, Method::DELETE, path, &[], "").await
}

pub async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let mut connection = Connection::open(address).await.unwrap();
    connection.send(method, path, headers, body).await.unwrap()
}

impl Process {
    /// Starts a binary on a port of the system's choice, and waits until it listens.
    pub fn start(binary: &str, settings: &[(&str, &str)]) -> Process {
        let mut command = Command::new(binary);
        command.env_clear().env("PORT", "0").stdout(Stdio::piped());
        command.envs(settings.iter().copied());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut log = Vec::new();
        let port = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("{binary} ended: {log:?}");
            };
            let entry: Value = serde_json::from_str(&line).expect("one JSON document a line");
            if entry["message"] == "listening" {
                break entry["port"].as_u64().unwrap() as u16;
            }
            log.push(line);
        };
        std::thread::spawn(move || lines.for_each(drop));
        Process { child, address: (Ipv4Addr::LOCALHOST, port).into() }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end, ten seconds at most.
    pub fn ended(&mut self) -> ExitStatus {
        for _ in 0..1000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("process {} did not end", self.child.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
