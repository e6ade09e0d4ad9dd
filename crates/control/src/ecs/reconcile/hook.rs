//! Lifecycle hooks: asked over HTTP on this machine's loopback, beside the reconciler and never inside a transaction.

use super::super::blue_green;
use super::super::deployment_options::hook_address;
use super::super::deployment_records::{BlueGreen, HookRun, HookStatus, ServiceDeployment};
use crate::api::{Operations, Result, internally};
use crate::platform::Platform;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use quarry_wire::Document;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How long one call may take: as long as a Lambda function may run.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Seconds until the next call after IN_PROGRESS, unless the answer says otherwise.
const CALL_BACK: i64 = 30;
/// Bytes of an answer at most.
const MOST: usize = 256 << 10;

/// Hooks that are being asked, by their ids. A restart forgets it and asks again.
pub(super) struct Hooks {
    asking: Arc<Mutex<HashSet<String>>>,
    /// They are asked by the caller, and it waits: for tests.
    inline: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    hook_status: HookStatus,
    call_back_delay: Option<i64>,
    hook_details: Option<Document>,
}

impl Hooks {
    pub fn new(inline: bool) -> Self {
        Self { asking: Arc::default(), inline }
    }

    pub fn is_asking(&self, id: &str) -> bool {
        lock(&self.asking).contains(id)
    }

    /// Asks, and writes the answer down.
    pub fn ask(
        &self,
        platform: &Arc<Platform>,
        operations: &Arc<Operations>,
        deployment: &ServiceDeployment,
        shift: &BlueGreen,
        hook: &HookRun,
    ) {
        if !lock(&self.asking).insert(hook.id.clone()) {
            return;
        }
        let (platform, operations, asking) = (platform.clone(), operations.clone(), self.asking.clone());
        let url = blue_green::target(&deployment.configuration, hook);
        let payload = blue_green::payload(deployment, shift, hook);
        let (arn, id) = (deployment.arn.clone(), hook.id.clone());
        let work = move || {
            let answer = call(&url, &payload);
            if let Err(error) = write_down(&platform, &operations, &arn, &id, &url, answer) {
                tracing::error!(%error, "a lifecycle hook's answer could not be written down; it is asked again");
            }
            lock(&asking).remove(&id);
            platform.seen.signal();
        };
        if self.inline {
            return work();
        }
        if let Err(error) = std::thread::Builder::new().name("ecs-hook".into()).spawn(work) {
            tracing::error!(%error, "a thread for a lifecycle hook could not be made");
            lock(&self.asking).remove(&hook.id);
        }
    }
}

fn lock(asking: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    asking.lock().unwrap_or_else(|e| e.into_inner())
}

/// An answer that comes too late, when the stage is over, is for nobody.
fn write_down(
    platform: &Platform,
    operations: &Operations,
    arn: &str,
    id: &str,
    url: &str,
    answer: std::result::Result<Answer, String>,
) -> Result<()> {
    internally(platform, operations, |ctx| {
        let Some(mut deployment) = ctx.tx.get::<ServiceDeployment>(arn)? else { return Ok(()) };
        let hook = deployment.shift.as_mut().and_then(|shift| shift.hooks.iter_mut().find(|hook| hook.id == id));
        let Some(hook) = hook.filter(|hook| hook.status == HookStatus::InProgress) else { return Ok(()) };
        match answer {
            Ok(Answer { hook_status: HookStatus::InProgress, call_back_delay, hook_details }) => {
                let seconds = call_back_delay.unwrap_or(CALL_BACK).clamp(0, 24 * 60 * 60);
                hook.not_before_ms = ctx.platform.now_ms() + seconds * 1000;
                hook.details = hook_details.or(hook.details.take());
            }
            Ok(Answer { hook_status: HookStatus::Succeeded, .. }) => hook.status = HookStatus::Succeeded,
            Ok(Answer { hook_status: HookStatus::Failed | HookStatus::TimedOut, .. }) => {
                hook.status = HookStatus::Failed;
                hook.reason = Some(format!("the lifecycle hook {url} answered FAILED"));
            }
            Err(why) => {
                hook.status = HookStatus::Failed;
                hook.reason = Some(format!("the lifecycle hook {url} failed: {why}"));
            }
        }
        Ok(ctx.tx.put(&deployment)?)
    })
}

fn call(url: &str, payload: &Value) -> std::result::Result<Answer, String> {
    let (host, port, path) = hook_address(url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let exchange = async {
        let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let request = Request::post(&path)
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(payload.to_string())))
            .map_err(|e| e.to_string())?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|e| e.to_string())?.to_bytes();
            if !status.is_success() {
                return Err(format!("status {}", status.as_u16()));
            }
            serde_json::from_slice(&body).map_err(|error| format!("its answer has no valid hookStatus: {error}"))
        };
        tokio::pin!(answered, connection);
        tokio::select! {
            answer = &mut answered => answer,
            // The connection may end with the last byte of the answer.
            _ = &mut connection => answered.await,
        }
    };
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err("there was no answer in time".to_owned()))
    })
}
