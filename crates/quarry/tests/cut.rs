//! Posts are cut out of the running monolith with their data, back, and out again, while clients write: no
//! acknowledged write is lost or doubled, and none fails. Over SQLite, and over PostgreSQL.

#[path = "cut/bad_days.rs"]
mod bad_days;
#[path = "cut/clients.rs"]
mod clients;
#[path = "cut/full_disk.rs"]
mod full_disk;
#[path = "cut/signed.rs"]
mod signed;
#[path = "network/site.rs"]
mod site;

use quarry_aws::ecs::op::{CreateService, DescribeServices, RegisterTaskDefinition};
use quarry_aws::elbv2::op::{
    CreateRule, CreateTargetGroup, DeleteRule, DescribeLoadBalancers, DescribeRules, DescribeTargetHealth,
};
use quarry_testkit::postgres::Postgres;
use quarry_testkit::{PATIENCE, Platform, image, wait_for};
use serde_json::{Value, json};
use signed::Cuts;
use site::Site;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_quarry");
const WRITERS: usize = 3;

/// What became of each write, by its text.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<String, i64>,
    failed: Vec<String>,
}

struct Writers {
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(at: SocketAddr) -> Self {
        let (stop, ledger): (Arc<AtomicBool>, Arc<Mutex<Ledger>>) = Default::default();
        let threads = (0..WRITERS).map(|writer| {
            let (stop, ledger) = (stop.clone(), ledger.clone());
            std::thread::spawn(move || {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let text = format!("post {n} of writer {writer}");
                    let body = json!({"thread": 1, "user": 1, "text": text}).to_string();
                    // Every second one has a key, as every second client has.
                    let key = (n % 2 == 0).then(|| format!("{writer}-{n}"));
                    let answer = ask(at, "POST", "/api/posts", key.as_deref(), &body);
                    let mut ledger = ledger.lock().unwrap();
                    match answer {
                        Some((201, body)) => {
                            let created: Value = serde_json::from_str(&body).unwrap();
                            ledger.acknowledged.insert(text, created["id"].as_i64().unwrap());
                        }
                        other => ledger.failed.push(format!("{text}: {other:?}")),
                    }
                    drop(ledger);
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
        });
        Self { stop: stop.clone(), ledger: ledger.clone(), threads: threads.collect() }
    }

    fn count(&self) -> usize {
        self.ledger.lock().unwrap().acknowledged.len()
    }

    fn end(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.ledger.lock().unwrap())
    }
}

fn ask(at: SocketAddr, method: &str, path: &str, key: Option<&str>, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let key = key.map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{key}Content-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The monolith behind the default rule, the posts service behind a rule for its paths that sends it nothing yet.
struct Board {
    site: Site,
    at: SocketAddr,
    rule: String,
    cuts: Cuts,
}

impl Board {
    fn new() -> Self {
        Self::on(Platform::start(EXE).unwrap(), None, false)
    }

    /// Each service with a PostgreSQL database of its own, on a server outside that the allow-list names. Where tasks
    /// are plain processes they reach it on the host's loopback.
    fn over(server: &Postgres) -> Self {
        for name in ["api", "posts"] {
            server.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        }
        let here = format!("127.0.0.1:{}", server.port());
        let allow = ["api", "posts"].map(|service| format!("{service}=db.internal:5432@{here}"));
        let options: Vec<&str> = allow.iter().flat_map(|entry| ["--allow-outside", entry]).collect();
        let inside = Platform::start_as(EXE, Some("user-namespaces"), &options);
        let (platform, at) = match inside {
            Ok(platform) => (platform, "db.internal:5432"),
            Err(_) => (Platform::start_with(EXE, Some("none")).unwrap(), here.as_str()),
        };
        let urls = ["api", "posts"].map(|name| server.url("postgres", name).replace(&here, at));
        Self::on(platform, Some(urls), at == here)
    }

    /// `plain`: tasks are plain processes, which share the host's ports and files.
    fn on(platform: Platform, databases: Option<[String; 2]>, plain: bool) -> Self {
        let site = Site::on(platform);
        let (api_group, at) = site.balance();
        let image = |name: &str| {
            let binary = format!("board-{name}");
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
            image::compile_binary("board", &binary, target).unwrap();
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
            let context = quarry_deploy_kit::Context::default()
                .with_file("board", target.join("debug").join(&binary), 0o755)
                .with_file("db.json", root.join("apps/board/data/db.json"), 0o644);
            let dockerfile = "FROM scratch\nCOPY board /board\nCOPY db.json /db.json\nENTRYPOINT [\"/board\"]\n";
            let built = quarry_deploy_kit::build("Dockerfile", dockerfile, &context, &Default::default()).unwrap();
            site.platform.push("board", name, built).unwrap()
        };
        let balancer = site.call::<DescribeLoadBalancers>(json!({"Names": ["demo"]})).load_balancers.unwrap().remove(0);
        let listener = site
            .call::<quarry_aws::elbv2::op::DescribeListeners>(json!({"LoadBalancerArn": balancer.load_balancer_arn}))
            .listeners
            .unwrap()
            .remove(0)
            .listener_arn
            .unwrap();
        let group = site.call::<CreateTargetGroup>(json!({
            "Name": "posts", "Protocol": "HTTP", "Port": 80, "VpcId": site.vpc, "TargetType": "ip",
            "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
        }));
        let posts_group = group.target_groups.unwrap().remove(0).target_group_arn.unwrap();
        let made = site.call::<CreateRule>(json!({
            "ListenerArn": listener, "Priority": 10,
            "Conditions": [{"Field": "path-pattern", "Values": ["/api/posts*"]}],
            "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": [
                {"TargetGroupArn": api_group, "Weight": 1}, {"TargetGroupArn": posts_group, "Weight": 0}]}}],
        }));
        let rule = made.rules.unwrap().remove(0).rule_arn.unwrap();
        let front = format!("http://{}:{}", balancer.dns_name.unwrap(), at.port());
        let env = |pairs: &[(&str, &str)]| {
            Value::Array(pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect())
        };
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let ports = |side: usize| {
            let ports = if plain { [free(), free()] } else { ["3000", "9100"].map(str::to_owned) };
            ports.into_iter().chain(databases.as_ref().map(|urls| urls[side].clone())).collect::<Vec<_>>()
        };
        let (of_api, of_posts) = (ports(0), ports(1));
        let import = match plain {
            false => "/db.json".to_owned(),
            true => format!("{}/../../apps/board/data/db.json", env!("CARGO_MANIFEST_DIR")),
        };
        let stored = |own: &[String], more: &[(&str, &str)]| {
            let names = ["PORT", "CUT_ADMIN_PORT", "DATABASE_URL"];
            let own: Vec<_> = names.into_iter().zip(own.iter().map(String::as_str)).collect();
            env(&[&own[..], more].concat())
        };
        for (name, group, port, variables) in [
            ("api", &api_group, &of_api[0], stored(&of_api, &[("IMPORT", &import)])),
            (
                "posts",
                &posts_group,
                &of_posts[0],
                stored(&of_posts, &[("CUT_DESTINATION", "posts"), ("USERS_URL", &front), ("THREADS_URL", &front)]),
            ),
        ] {
            let port: u16 = port.parse().unwrap();
            site.call::<RegisterTaskDefinition>(json!({
                "family": name, "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
                "cpu": "256", "memory": "512",
                "volumes": [{"name": name}],
                "containerDefinitions": [{
                    "name": name, "image": image(name), "environment": variables, "stopTimeout": 2,
                    "portMappings": [{"containerPort": port}],
                    "mountPoints": [{"sourceVolume": name, "containerPath": "/data"}],
                }],
            }));
            site.call::<CreateService>(json!({
                "cluster": "demo", "serviceName": name, "taskDefinition": name, "desiredCount": 1,
                "launchType": "FARGATE", "networkConfiguration": site.network(),
                "loadBalancers": [{"targetGroupArn": group, "containerName": name, "containerPort": port}],
            }));
        }
        let cuts = Cuts::of(&site.platform);
        let board = Self { site, at, rule, cuts };
        for group in [&api_group, &posts_group] {
            wait_for("both services are healthy", || {
                let health = board.site.call::<DescribeTargetHealth>(json!({"TargetGroupArn": group}));
                let healthy = health
                    .target_health_descriptions
                    .unwrap()
                    .into_iter()
                    .any(|one| one.target_health.and_then(|health| health.state).as_deref() == Some("healthy"));
                if !healthy {
                    std::thread::sleep(Duration::from_millis(200));
                }
                healthy.then_some(())
            });
        }
        board
    }

    fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.cuts.call(method, path, "", &body).expect("serve answers");
        assert!(status < 300, "{method} {path}: {status} {answer}\n{}", self.site.platform.log());
        answer
    }

    /// Waits until the cut is there; any stop that is not wanted fails.
    fn until(&self, id: &str, what: &str, mut reached: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((_, cut)) = self.cuts.call("GET", &format!("/{id}"), "", &Value::Null) {
                if reached(&cut) {
                    return cut;
                }
                let stopped = !cut["stopped"].is_null();
                if stopped || Instant::now() > deadline {
                    let (_, report) = self.cuts.call("GET", &format!("/{id}/report"), "", &Value::Null).unwrap();
                    panic!("{what}: {report:#}\n{}", self.site.platform.log());
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn weights(&self) -> Vec<i32> {
        let rules = self.site.call::<DescribeRules>(json!({"RuleArns": [self.rule]})).rules.unwrap();
        let action = rules[0].actions.as_ref().unwrap()[0].clone();
        let groups = action.forward_config.unwrap().target_groups.unwrap();
        groups.iter().map(|group| group.weight.unwrap()).collect()
    }
}

#[test]
fn posts_are_cut_out_back_and_out_again_while_clients_write() {
    out_back_and_out_again(Board::new());
}

#[test]
fn the_same_over_postgresql() {
    let Some(server) = Postgres::start() else { return };
    out_back_and_out_again(Board::over(&server));
    let left = server.sql("api", "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'posts%'").unwrap();
    assert!(left.starts_with("posts_retired_"), "{left}");
    assert_eq!(server.sql("posts", "SELECT count(*) FROM pg_replication_slots").unwrap(), "0");
}

fn out_back_and_out_again(mut board: Board) {
    let request = json!({
        "scope": "posts", "from": "api", "to": "demo/posts", "paths": ["/api/posts*"], "shadow_seconds": 1,
    });
    let (status, refused) = board.cuts.send("GET", "", "", &Value::Null, false).unwrap();
    assert_eq!((status, refused["code"].as_str()), (400, Some("MissingAuthenticationTokenException")), "unsigned");
    let mut plan = request.clone();
    plan["dry_run"] = true.into();
    // On a slow machine an application may not answer the first question in time.
    wait_for("a plan without a refusal", || (board.ok("POST", "", plan.clone())["refused"] == false).then_some(()));

    let writers = Writers::start(board.at);
    wait_for("writes go on", || (writers.count() > 20).then_some(()));
    let id = board.ok("POST", "", request.clone())["id"].as_str().unwrap().to_owned();
    // While it runs: no second one, and nobody else's hands on its rule.
    let (status, second) = board.cuts.call("POST", "", "", &request).unwrap();
    assert_eq!((status, second["code"].as_str()), (409, Some("Refused")), "{second}");
    let aws = board.site.platform.client().unwrap();
    let delete = serde_json::from_value(json!({"RuleArn": board.rule})).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(aws.call::<DeleteRule>(delete)).unwrap_err().to_string();
    assert!(refused.contains("OperationNotPermitted"), "{refused}");

    let cut = board.until(&id, "the cut", |cut| cut["state"] == "WATCH");
    assert_eq!(board.weights(), [0, 1]);
    println!("hold {} µs, {}", cut["moves"][0]["hold_micros"], cut["summary"]);
    let at_cut = writers.count();
    wait_for("writes on the new side", || (writers.count() > at_cut + 20).then_some(()));

    board.ok("POST", &format!("/{id}/rollback"), Value::Null);
    let cut = board.until(&id, "the rollback", |cut| cut["stopped"]["code"] == "RolledBack");
    assert_eq!((board.weights(), cut["owner"].as_str()), (vec![1, 0], Some("source")));
    println!("hold {} µs, rollback {} ms", cut["moves"][1]["hold_micros"], cut["moves"][1]["total_ms"]);
    let at_rollback = writers.count();
    wait_for("writes on the old side", || (writers.count() > at_rollback + 20).then_some(()));

    // Out again, and `serve` is killed in the middle.
    board.ok("POST", &format!("/{id}/resume"), json!({}));
    board.site.without_serve(|_| ());
    let cut = board.until(&id, "the second cut", |cut| cut["state"] == "WATCH");
    println!("hold {} µs after a crash", cut["moves"][2]["hold_micros"]);
    let at_second = writers.count();
    wait_for("writes on the new side again", || (writers.count() > at_second + 20).then_some(()));

    let ledger = writers.end();
    assert_eq!(ledger.failed, Vec::<String>::new(), "of {} writes", ledger.acknowledged.len());
    let (status, body) = ask(board.at, "GET", "/api/posts", None, "").unwrap();
    assert_eq!(status, 200);
    let posts: Vec<Value> = serde_json::from_str(&body).unwrap();
    let mut found: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for post in &posts {
        found.entry(post["text"].as_str().unwrap()).or_default().push(post["id"].as_i64().unwrap());
    }
    let of_writers: Vec<_> = found.iter().filter(|(text, _)| text.contains(" of writer ")).collect();
    assert_eq!(of_writers.len(), ledger.acknowledged.len(), "nothing missing, nothing beside");
    for (text, ids) in of_writers {
        assert_eq!(ids.as_slice(), [ledger.acknowledged[*text]], "{text}");
    }

    let report = board.ok("GET", &format!("/{id}/report"), Value::Null);
    assert_eq!(report["digests_agree"], true, "{report}");
    assert_eq!(report["cut"]["moves"].as_array().unwrap().len(), 3);
    let states: Vec<_> = report["journal"].as_array().unwrap().iter().map(|e| e["state"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|state| **state == "SWITCH").count(), 3, "{states:?}");

    board.ok("POST", &format!("/{id}/finish"), Value::Null);
    board.until(&id, "the end", |cut| cut["state"] == "FINISHED");
    assert_eq!(board.weights(), [0, 1], "what is left is a plain rule");
    let (status, _) = ask(board.at, "POST", "/api/posts", None, r#"{"thread":1,"user":1,"text":"after"}"#).unwrap();
    assert_eq!(status, 201);
    let services = board.site.call::<DescribeServices>(json!({"cluster": "demo", "services": ["api", "posts"]}));
    assert!(services.services.unwrap().iter().all(|service| service.running_count == Some(1)), "nothing was restarted");
}
