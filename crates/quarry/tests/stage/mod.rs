//! The stage of the tests that break things: the tour's cluster, left running, and hands to reach it.

// Each test program uses what it needs of it.
#![allow(dead_code)]

use quarry_aws::ecs::op::{DescribeServices, ListTasks, UpdateService};
use quarry_aws::ecs::{DescribeServicesRequest, ListTasksRequest, UpdateServiceRequest};
use quarry_client::Client;
use quarry_testkit::{Platform, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

pub const EXE: &str = env!("CARGO_BIN_EXE_quarry");

/// The board's services behind the load balancer `demo`.
pub const SERVICES: [&str; 4] = ["users", "threads", "posts", "web"];

/// The stage: cluster `BreakTheMonolith-Demo…` with users, threads, posts and web behind `demo`.
pub struct Stage {
    pub platform: Platform,
    pub cluster: String,
    pub address: SocketAddr,
    pub host: String,
}

impl Stage {
    pub fn set() -> Self {
        Self::of(&[])
    }

    /// The same before the cuts: the monolith `api` has all features, the services are empty.
    pub fn uncut() -> Self {
        Self::of(&["--uncut"])
    }

    fn of(options: &[&str]) -> Self {
        let data = tempfile::Builder::new().prefix("q").tempdir_in("/tmp").unwrap();
        let output = Command::new(EXE)
            .args(["tour", "--keep", "--json", "--rate", "50", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .args(options)
            .env_remove("AWS_ENDPOINT_URL")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "the tour failed:\n{}", String::from_utf8_lossy(&output.stderr));
        let platform = Platform::adopt(EXE, data).unwrap();
        let listing: Value = serde_json::from_slice(&platform.quarry(&["ls", "--json"]).unwrap().stdout).unwrap();
        let url = listing["load_balancers"][0]["urls"][1].as_str().unwrap();
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        let address = if authority.contains(':') { authority.into() } else { format!("{authority}:80") };
        Self {
            cluster: listing["services"][0]["cluster"].as_str().unwrap().into(),
            address: address.parse().unwrap(),
            host: authority.into(),
            platform,
        }
    }

    /// One request on a connection of its own: status and body. `None` if the connection broke.
    pub fn request(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> Option<(u16, String)> {
        request(self.address, &self.host, method, path, key, body)
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, None, "").expect("the balancer answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn tasks(&self, aws: &Client, service: &str) -> BTreeSet<String> {
        let input = ListTasksRequest {
            cluster: Some(self.cluster.clone()),
            service_name: Some(service.into()),
            ..Default::default()
        };
        let listed = block_on(aws.call::<ListTasks>(input)).unwrap().task_arns.unwrap_or_default();
        listed.iter().map(|arn| arn.rsplit('/').next().unwrap().to_owned()).collect()
    }

    pub fn running(&self, aws: &Client, service: &str) -> i32 {
        let input = DescribeServicesRequest {
            cluster: Some(self.cluster.clone()),
            services: Some(vec![service.into()]),
            ..Default::default()
        };
        let services = block_on(aws.call::<DescribeServices>(input)).unwrap().services.unwrap_or_default();
        services[0].running_count.unwrap_or_default()
    }

    pub fn scale(&self, aws: &Client, service: &str, count: i32) {
        let input = UpdateServiceRequest {
            cluster: Some(self.cluster.clone()),
            service: Some(service.into()),
            desired_count: Some(count),
            ..Default::default()
        };
        block_on(aws.call::<UpdateService>(input)).unwrap();
        wait_for("the service has as many tasks as wanted", || {
            (self.running(aws, service) == count && self.tasks(aws, service).len() == count as usize).then_some(())
        });
    }

    /// The process that holds a lock file which names it.
    pub fn holder_of(&self, lock: &str) -> i32 {
        let text = std::fs::read_to_string(self.platform.data_dir().join(lock)).unwrap();
        text.trim().parse().unwrap()
    }
}

pub fn request(
    address: SocketAddr,
    host: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let key = key.map_or(String::new(), |k| format!("Idempotency-Key: {k}\r\n"));
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n{key}Content-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The process of a task's first container, as its shim wrote it down.
pub fn pid_of(data_dir: &Path, task: &str) -> i32 {
    use quarry_domain::task::{ContainerState, TaskRuntime};
    let runtime = quarry_runtime::Runtime::open(quarry_runtime::RuntimeConfig {
        exe: EXE.into(),
        ..quarry_runtime::RuntimeConfig::new(data_dir.to_owned())
    })
    .unwrap();
    let observed = runtime.observe_one(task).expect("the task is here");
    observed
        .containers
        .iter()
        .find_map(|c| match c.state {
            ContainerState::Running { pid, .. } => Some(pid as i32),
            _ => None,
        })
        .expect("its container runs")
}

pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
