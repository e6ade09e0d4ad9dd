//! HTTP to the admin listener of a service's application: inside any running task of the service, the next one
//! when it fails.

use super::pair::Trouble;
use super::secret;
use crate::ecs::records::{LastStatus, Task};
use crate::platform::Platform;
use crate::store::StoreError;
use bytes::Bytes;
use cut_kit::contract::{BASE, Problem};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer at most.
const MAX_ANSWER: usize = 64 << 20;
/// Connections kept.
const MAX_IDLE: usize = 4;

/// The admin listeners of one service.
pub struct Admin {
    platform: Arc<Platform>,
    service_arn: String,
    port: u16,
    idle: RefCell<Vec<Connection>>,
}

struct Connection {
    bearer: String,
    sender: SendRequest<Full<Bytes>>,
}

/// What an admin listener refused, or why there was no answer.
#[derive(Debug)]
pub enum Failure {
    Refused(u16, Problem),
    Unreachable(String),
}

impl Admin {
    pub fn new(platform: Arc<Platform>, service_arn: &str, port: u16) -> Self {
        Self { platform, service_arn: service_arn.to_owned(), port, idle: RefCell::default() }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, Failure> {
        self.call(Method::GET, path, Bytes::new(), limit).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Unreachable(error.to_string()))?;
        self.call(Method::POST, path, body.into(), limit).await
    }

    /// Every call of the contract may be sent again, so a broken connection is no end.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, Failure> {
        let work = async {
            loop {
                let Some(connection) = self.idle.borrow_mut().pop() else { break };
                if let Ok(answer) = self.exchange(connection, &method, path, body.clone()).await {
                    return answer;
                }
            }
            let mut why = format!("no task of {} runs", self.service_arn);
            for task in self.tasks()? {
                let Some(entry) = task.entry.clone() else { continue };
                let (platform, port) = (self.platform.clone(), self.port);
                let connected = tokio::task::spawn_blocking(move || platform.runtime.connect(&entry, port)).await;
                let opened = match connected {
                    Ok(Ok(stream)) => self.open(stream, &task.id).await,
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                let answered = match opened {
                    Ok(connection) => self.exchange(connection, &method, path, body.clone()).await,
                    Err(error) => Err(error),
                };
                match answered {
                    Ok(answer) => return answer,
                    Err(error) => why = format!("task {}, port {port}: {error}", task.id),
                }
            }
            Err(Failure::Unreachable(why))
        };
        match tokio::time::timeout(limit, work).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Unreachable(format!("no answer within {} ms", limit.as_millis()))),
        }
    }

    /// Running tasks of the service, newest first.
    fn tasks(&self) -> Result<Vec<Arc<Task>>, Failure> {
        let all = self.platform.store.read(|tx| tx.owned::<Task>(&self.service_arn));
        let mut tasks = all.map_err(|error: StoreError| Failure::Unreachable(error.to_string()))?;
        tasks.retain(|task| task.status == LastStatus::Running && task.wanted);
        tasks.sort_by_key(|task| std::cmp::Reverse(task.order));
        Ok(tasks)
    }

    async fn open(&self, stream: std::net::TcpStream, task: &str) -> Result<Connection, String> {
        let prepared = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
        let stream = prepared.and_then(|()| tokio::net::TcpStream::from_std(stream)).map_err(|e| e.to_string())?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::task::spawn_local(async move {
            // Its end is seen by whoever sends next.
            let _ = connection.await;
        });
        Ok(Connection { bearer: format!("Bearer {}", secret::of(&self.platform, task)), sender })
    }

    /// The outer error: the connection is of no use.
    async fn exchange<T: DeserializeOwned>(
        &self,
        mut connection: Connection,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<Result<T, Failure>, String> {
        connection.sender.ready().await.map_err(|error| error.to_string())?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{BASE}{path}"))
            .header(header::HOST, "127.0.0.1")
            .header(header::AUTHORIZATION, &connection.bearer)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let response = connection.sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let bytes = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let bytes = bytes.map_err(|error| error.to_string())?.to_bytes();
        if self.idle.borrow().len() < MAX_IDLE {
            self.idle.borrow_mut().push(connection);
        }
        if status == 200 {
            return serde_json::from_slice(&bytes).map(Ok).map_err(|error| format!("it cannot be understood: {error}"));
        }
        match serde_json::from_slice(&bytes) {
            Ok(problem) => Ok(Err(Failure::Refused(status, problem))),
            Err(_) => Err(format!("status {status}")),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            // 5xx: it says itself that it may go well later.
            Failure::Refused(status, problem) => Self { message: problem.message, refused: status < 500 },
            Failure::Unreachable(why) => Self::new(why),
        }
    }
}
