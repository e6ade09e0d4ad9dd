//! What survives: the board's writes when tasks are killed and scaled, the platform when its own
//! processes are killed. The tour sets the stage and leaves it running.

use quarry_aws::ecs::op::{DescribeServices, ListTasks, UpdateService};
use quarry_aws::ecs::{DescribeServicesRequest, ListTasksRequest, UpdateServiceRequest};
use quarry_client::Client;
use quarry_testkit::{PATIENCE, Platform, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_quarry");

/// The stage: cluster `BreakTheMonolith-Demo…` with users, threads, posts and web behind `demo`.
struct Stage {
    platform: Platform,
    cluster: String,
    address: SocketAddr,
    host: String,
}

impl Stage {
    fn set() -> Self {
        let data = tempfile::Builder::new().prefix("q").tempdir_in("/tmp").unwrap();
        let output = Command::new(EXE)
            .args(["tour", "--keep", "--json", "--rate", "50", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
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
    fn request(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> Option<(u16, String)> {
        request(self.address, &self.host, method, path, key, body)
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, None, "").expect("the balancer answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn tasks(&self, aws: &Client, service: &str) -> BTreeSet<String> {
        let input = ListTasksRequest {
            cluster: Some(self.cluster.clone()),
            service_name: Some(service.into()),
            ..Default::default()
        };
        let listed = block_on(aws.call::<ListTasks>(input)).unwrap().task_arns.unwrap_or_default();
        listed.iter().map(|arn| arn.rsplit('/').next().unwrap().to_owned()).collect()
    }

    fn running(&self, aws: &Client, service: &str) -> i32 {
        let input = DescribeServicesRequest {
            cluster: Some(self.cluster.clone()),
            services: Some(vec![service.into()]),
            ..Default::default()
        };
        let services = block_on(aws.call::<DescribeServices>(input)).unwrap().services.unwrap_or_default();
        services[0].running_count.unwrap_or_default()
    }

    fn scale(&self, aws: &Client, service: &str, count: i32) {
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
}

fn request(
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

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The process of a task's first container, as its shim wrote it down.
fn pid_of(data_dir: &Path, task: &str) -> i32 {
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

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn what_was_acknowledged_survives() {
    let mut stage = Stage::set();
    let aws = stage.platform.client().unwrap();

    // Writes, each acknowledged under a key of its own, while the task that takes them is killed.
    let mut acknowledged = Vec::new();
    for n in 0..40 {
        if n == 20 {
            let task = stage.tasks(&aws, "posts").pop_first().unwrap();
            kill(pid_of(stage.platform.data_dir(), &task));
        }
        let text = format!("post number {n} of this test");
        let body = json!({"thread": 1, "user": 1, "text": text}).to_string();
        let key = format!("survival-{n}");
        // A client repeats with the same key until it hears an answer.
        wait_for("a write is acknowledged", || {
            let (status, body) = stage.request("POST", "/api/posts", Some(&key), &body)?;
            match status {
                201 => Some(acknowledged.push((body, text.clone()))),
                502..=504 => None,
                other => panic!("{other}: {body}"),
            }
        });
    }
    stage.scale(&aws, "posts", 3);
    let mut seen_by_all = 0;
    wait_for("every task of posts was asked", || {
        let posts = stage.get("/api/posts");
        let posts = posts.as_array().unwrap();
        for (_, text) in &acknowledged {
            let copies = posts.iter().filter(|p| p["text"] == text.as_str()).count();
            assert_eq!(copies, 1, "{text:?} is there {copies} times");
        }
        seen_by_all += 1;
        (seen_by_all == 12).then_some(())
    });
    stage.scale(&aws, "posts", 1);

    // serve dies: the balancer and the tasks go on, nothing is started twice or lost.
    let before: Vec<_> = ["users", "threads", "posts", "web"].map(|s| stage.tasks(&aws, s)).into();
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let reader = {
        let (stop, asked, failed) = (stop.clone(), asked.clone(), failed.clone());
        let (address, host) = (stage.address, stage.host.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                asked.fetch_add(1, Ordering::Relaxed);
                match request(address, &host, "GET", "/api/users/1", None, "") {
                    Some((200, _)) => {}
                    _ => {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    };
    stage.platform.kill_serve().unwrap();
    let asked_before = asked.load(Ordering::Relaxed);
    wait_for("the balancer serves on without serve", || {
        (asked.load(Ordering::Relaxed) > asked_before + 100).then_some(())
    });
    stage.platform.restart_serve().unwrap();
    let aws = stage.platform.client().unwrap();
    let after: Vec<_> = ["users", "threads", "posts", "web"].map(|s| stage.tasks(&aws, s)).into();
    assert_eq!(before, after, "a restart of serve changed tasks");
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} requests some failed", asked.load(Ordering::Relaxed));

    // A scale-up works after the restart, so the reconcilers adopted what was there.
    stage.scale(&aws, "users", 2);
    stage.scale(&aws, "users", 1);

    // The proxy dies: it is back with the last snapshot.
    let text = std::fs::read_to_string(stage.platform.data_dir().join("proxy/lock")).unwrap();
    kill(text.trim().parse().unwrap());
    let start = Instant::now();
    wait_for("the proxy is back", || match stage.request("GET", "/api/users/1", None, "") {
        Some((200, _)) => Some(()),
        _ => None,
    });
    println!("proxy back after {} ms", start.elapsed().as_millis());
    assert!(start.elapsed() < PATIENCE);

    // Everything ends, and nothing is left.
    assert!(stage.platform.quarry(&["stop"]).unwrap().status.success());
    assert_eq!(quarry_runtime::leftovers(stage.platform.data_dir()), Vec::<String>::new());
}
