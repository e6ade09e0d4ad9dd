//! A foreign application: a forum in Python over PostgreSQL (`monolith.py`), once as the monolith and once as the service
//! that is to have its posts, both plain processes behind Quarry's load balancer.

// Each program uses what it needs of it.
#![allow(dead_code)]

use crate::cutting::{self, Dice, Moves};
use crate::stage::block_on;
use quarry_aws::ec2::op::{AuthorizeSecurityGroupIngress, CreateSecurityGroup, CreateSubnet, CreateVpc};
use quarry_aws::elbv2::op::{
    CreateListener, CreateLoadBalancer, CreateRule, CreateTargetGroup, DescribeTargetHealth, RegisterTargets,
};
use quarry_client::Client;
use quarry_client::cuts::{Ask, CutRequest, Cuts, DatabaseUrl, ResumeRequest};
use quarry_load::{Account, Ledger, LedgerConfig, LedgerHandle, Verdict};
use quarry_testkit::postgres::{PASSWORD, Postgres};
use quarry_testkit::{Platform, wait_for};
use quarry_wire::Operation;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_quarry");
pub const TABLES: [&str; 2] = ["posts", "comments"];

/// Of the monolith.
const USERS: &str = "CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL);
    INSERT INTO users (name) SELECT 'user ' || i FROM generate_series(1, 20) i;";
/// Of both: the service's table of users is elsewhere.
const POSTS: &str = "CREATE TABLE posts (
        id serial PRIMARY KEY, author integer NOT NULL, title text NOT NULL, body text, changes integer NOT NULL DEFAULT 0,
        at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE comments (
        id bigserial PRIMARY KEY, post integer NOT NULL REFERENCES posts (id) ON DELETE CASCADE, text text NOT NULL);";
const FILLED: &str = "ALTER TABLE posts ADD FOREIGN KEY (author) REFERENCES users (id);
    INSERT INTO posts (author, title, body) SELECT 1 + i % 20, 'old ' || i, repeat('x', 100) FROM generate_series(1, 2500) i;
    INSERT INTO comments (post, text) SELECT 1 + i % 2500, 'old ' || i FROM generate_series(1, 1500) i;";

/// A process of the application. Killed when dropped.
pub struct Forum {
    child: Child,
    pub port: u16,
}

/// The forum behind the load balancer, its posts still in the monolith.
pub struct Site {
    pub platform: Platform,
    pub address: SocketAddr,
    pub host: String,
    pub forums: [Forum; 2],
    /// The old side's server, and the new side's.
    pub servers: [Postgres; 2],
    aws: Client,
    runtime: tokio::runtime::Runtime,
}

impl Forum {
    fn start(python: &PathBuf, url: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/monolith.py");
        let mut child = Command::new(python)
            .arg(script)
            .env("DATABASE_URL", url)
            .env_remove("PORT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().expect("it says its port") }
    }
}

impl Drop for Forum {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Python with psycopg2. `None` after saying so, which fails under `CI=true`.
fn python() -> Option<PathBuf> {
    let candidates = ["/usr/bin/python3", "python3"].map(PathBuf::from);
    let has = |python: &PathBuf| {
        let tried = Command::new(python).args(["-c", "import psycopg2"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().find(has);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs python3-psycopg2");
        println!("skipped: Python's psycopg2 not found");
    }
    found
}

impl Site {
    /// `None` where PostgreSQL or psycopg2 is missing.
    pub fn open() -> Option<Self> {
        let python = python()?;
        let servers = [Postgres::start()?, Postgres::start()?];
        for (server, schema) in servers.iter().zip([format!("{USERS}{POSTS}{FILLED}"), POSTS.to_owned()]) {
            // `forum` owns the tables; `quarry` may do what a cut needs, and is no superuser.
            server
                .sql(
                    "postgres",
                    &format!(
                        "CREATE ROLE forum LOGIN PASSWORD '{PASSWORD}'; \
                         CREATE ROLE quarry LOGIN REPLICATION PASSWORD '{PASSWORD}' IN ROLE forum, pg_read_all_stats; \
                         GRANT SET ON PARAMETER session_replication_role TO quarry"
                    ),
                )
                .unwrap();
            server.sql("postgres", "CREATE DATABASE forum OWNER forum").unwrap();
            server
                .sql("forum", "GRANT CREATE ON DATABASE forum TO quarry; GRANT ALL ON SCHEMA public TO forum, quarry")
                .unwrap();
            server.sql("forum", &format!("SET ROLE forum; {schema}")).unwrap();
        }
        let forums = [0, 1].map(|side: usize| Forum::start(&python, &servers[side].url("forum", "forum")));
        let platform = Platform::start(EXE).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let aws = platform.client().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut site = Self { platform, address, host: "localhost".into(), forums, servers, aws, runtime };
        site.balance();
        Some(site)
    }

    fn balance(&mut self) {
        let vpc = self.call::<CreateVpc>(json!({"CidrBlock": "10.0.0.0/16"})).vpc.unwrap().vpc_id.unwrap();
        let subnets = ["a", "b"].map(|zone| {
            let block = format!("10.0.{}.0/24", u8::from(zone == "b"));
            let input = json!({"VpcId": vpc, "CidrBlock": block, "AvailabilityZone": format!("us-east-1{zone}")});
            self.call::<CreateSubnet>(input).subnet.unwrap().subnet_id.unwrap()
        });
        let input = json!({"GroupName": "front", "Description": "everybody", "VpcId": vpc});
        let front = self.call::<CreateSecurityGroup>(input).group_id.unwrap();
        let everybody = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
        self.call::<AuthorizeSecurityGroupIngress>(json!({"GroupId": front, "IpPermissions": everybody}));
        let input = json!({"Name": "forum", "Subnets": subnets, "SecurityGroups": [front]});
        let balancer = self.call::<CreateLoadBalancer>(input).load_balancers.unwrap().remove(0);
        let groups = [("monolith", 0), ("posts", 1)].map(|(name, side): (&str, usize)| {
            let made = self.call::<CreateTargetGroup>(json!({
                "Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": vpc, "TargetType": "ip",
                "HealthCheckPath": "/health", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2,
                "HealthyThresholdCount": 2,
            }));
            let arn = made.target_groups.unwrap().remove(0).target_group_arn.unwrap();
            let target = json!([{"Id": "127.0.0.1", "Port": self.forums[side].port}]);
            self.call::<RegisterTargets>(json!({"TargetGroupArn": arn, "Targets": target}));
            arn
        });
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listener = self.call::<CreateListener>(json!({
            "LoadBalancerArn": balancer.load_balancer_arn, "Protocol": "HTTP", "Port": port,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": groups[0]}],
        }));
        let listener = listener.listeners.unwrap().remove(0).listener_arn;
        // So that the new side is probed.
        self.call::<CreateRule>(json!({
            "ListenerArn": listener, "Priority": 10,
            "Conditions": [{"Field": "path-pattern", "Values": ["/posts*"]}],
            "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": [
                {"TargetGroupArn": groups[0], "Weight": 1}, {"TargetGroupArn": groups[1], "Weight": 0}]}}],
        }));
        self.address.set_port(port);
        for group in groups {
            wait_for("both sides are healthy", || {
                let health = self.call::<DescribeTargetHealth>(json!({"TargetGroupArn": group}));
                let states = health.target_health_descriptions.unwrap().into_iter();
                let healthy = states.filter_map(|one| one.target_health?.state).any(|state| state == "healthy");
                if !healthy {
                    std::thread::sleep(Duration::from_millis(100));
                }
                healthy.then_some(())
            });
        }
    }

    /// Calls an operation, input in JSON; it must be accepted.
    pub fn call<O: Operation>(&self, input: Value) -> O::Output
    where
        O::Input: DeserializeOwned,
    {
        let input: O::Input = serde_json::from_value(input).unwrap();
        self.runtime.block_on(self.aws.call::<O>(input)).unwrap_or_else(|error| panic!("{}: {error}", O::NAME))
    }

    pub fn cuts(&self) -> Cuts {
        Cuts::new(self.platform.client().unwrap())
    }

    /// As the role that drives the cut sees its databases.
    pub fn urls(&self) -> [String; 2] {
        [0, 1].map(|side: usize| self.servers[side].url("quarry", "forum"))
    }

    pub fn request(&self) -> CutRequest {
        let [from, to] = self.urls();
        CutRequest {
            scope: "posts".into(),
            from: "monolith".into(),
            to: "posts".into(),
            paths: vec!["/posts*".into()],
            tables: TABLES.map(String::from).to_vec(),
            from_database: Some(DatabaseUrl(from)),
            to_database: Some(DatabaseUrl(to)),
            shadow_percent: Some(0),
            ..CutRequest::default()
        }
    }

    /// Posts, without idempotency keys: nothing is sent twice.
    pub fn write_posts(&self, series: &'static str, rate: f64) -> LedgerHandle {
        self.write(
            "/posts",
            rate,
            move |n| json!({"author": 1 + n % 20, "title": format!("{series}-{n}"), "body": "new"}),
        )
    }

    /// Comments on a post that stays.
    pub fn write_comments(&self, series: &'static str, rate: f64) -> LedgerHandle {
        self.write("/posts/7/comments", rate, move |n| json!({"text": format!("{series}-{n}")}))
    }

    fn write(&self, path: &str, rate: f64, body: impl Fn(u64) -> Value + Send + Sync + 'static) -> LedgerHandle {
        let mut config = LedgerConfig::new(self.address, &self.host, path, rate);
        config.keys = None;
        config.connections = 4;
        let _inside = self.runtime.enter();
        Ledger::start(config.body(move |number| body(number).to_string())).unwrap()
    }

    /// Ends the ledger and holds it against the rows that its side's database has.
    pub fn check(&self, ledger: LedgerHandle, side: usize, table: &str, series: &str) -> (Account, Verdict) {
        let account = self.runtime.block_on(ledger.stop());
        let column = if table == "posts" { "title" } else { "text" };
        let sql =
            format!("SELECT substr({column}, length('{series}-') + 1) FROM {table} WHERE {column} LIKE '{series}-%'");
        let rows = self.servers[side].sql("forum", &sql).unwrap();
        let verdict = account.check(rows.lines().map(|number| number.parse().expect("a number")));
        (account, verdict)
    }
}

/// Moves of one cut there and back, so many; in each, at a chance of `crashes` percent, one of the servers crashes and
/// comes again. At the end the cut is aborted on the old side: `moves` is even.
pub fn to_and_fro(site: &mut Site, wanted: u64, crashes: u64, dice: &mut Dice) -> Moves {
    let cuts = site.cuts();
    let mut moves = Moves::default();
    let id = cutting::begin(&cuts, &site.request());
    moves.cuts += 1;
    for n in 0..wanted {
        let there = n % 2 == 0;
        let crash = dice.below(100) < crashes;
        let begin = Instant::now();
        if n > 0 && there {
            let _ = block_on(cuts.resume(&id, &ResumeRequest::default()));
        } else if n > 0 {
            let _ = block_on(cuts.ask(&id, Ask::Rollback));
        }
        if crash {
            std::thread::sleep(Duration::from_millis(dice.below(900)));
            let server = &mut site.servers[dice.below(2) as usize];
            server.crash();
            std::thread::sleep(Duration::from_millis(dice.below(400)));
            server.run().unwrap();
            moves.crashes += 1;
        }
        cutting::go(&cuts, &id, there, &mut moves);
        if !there && !crash {
            moves.rollbacks.push(begin.elapsed().as_micros() as u64);
        }
        let other = &site.servers[usize::from(!there)];
        let round = other.sql("forum", "INSERT INTO comments (post, text) VALUES (7, 'round')").unwrap_err();
        assert!(round.to_string().contains("cut: not owned here"), "one owner: {round}");
    }
    let report = cutting::report(&cuts, &id);
    assert!(report.digests_agree, "digests differ");
    moves.moves += report.cut.moves.len() as u64;
    moves.holds.extend(report.cut.moves.iter().filter_map(|one| one.hold_micros));
    moves.holds_given_up += report.cut.moves.iter().map(|one| one.aborted_holds).sum::<u64>();
    moves.note_states(&cuts, &id);
    cutting::abort(&cuts, &id);
    moves
}
