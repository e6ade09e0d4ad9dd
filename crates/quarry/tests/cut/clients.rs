//! A cut of a path without data, there and back, while clients hold their connections open: HTTP/2 clients write over one
//! connection, and a WebSocket stays with the side it was opened to.

use super::signed::Cuts;
use super::{EXE, PATIENCE};
use quarry_aws::acm::op::RequestCertificate;
use quarry_aws::ec2::op::{AuthorizeSecurityGroupIngress, CreateSecurityGroup, CreateSubnet, CreateVpc};
use quarry_aws::elbv2::op::{
    CreateListener, CreateLoadBalancer, CreateRule, CreateTargetGroup, DescribeTargetHealth, RegisterTargets,
};
use quarry_client::Client;
use quarry_testkit::{Platform, client_program, wait_for};
use quarry_wire::Operation;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One side's application: counts what is posted, and answers in a WebSocket with its name.
struct Application {
    port: u16,
    posted: Arc<Mutex<Vec<String>>>,
}

impl Application {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let posted: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = posted.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let posted = posted.clone();
                std::thread::spawn(move || serve(name, stream, &posted));
            }
        });
        Self { port, posted: all }
    }
}

fn serve(name: &str, stream: TcpStream, posted: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut first, mut length, mut upgrades) = (String::new(), 0, false);
        reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            upgrades |= line == "upgrade: websocket";
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if upgrades {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
            write!(writer, "{head}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n").ok()?;
            // Frames pass as they are: what comes is a byte, what goes is the name.
            let mut byte = [0];
            while reader.read_exact(&mut byte).is_ok() {
                writer.write_all(name.as_bytes()).ok()?;
            }
            return None;
        }
        let path = first.split(' ').nth(1)?.to_owned();
        let status = if first.starts_with("POST") {
            // As long as a write may take: some are always under way.
            std::thread::sleep(Duration::from_millis(10));
            posted.lock().unwrap().push(path);
            "201 Created"
        } else {
            "200 OK"
        };
        write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len()).ok()?;
    }
}

struct Site {
    platform: Platform,
    cuts: Cuts,
    aws: Client,
    runtime: tokio::runtime::Runtime,
    /// The old side, and the new one.
    sides: [Application; 2],
    listener: String,
    port: u16,
}

impl Site {
    /// A listener of this protocol whose rule for `/items*` sends everything to the old side.
    fn open(protocol: &str) -> Self {
        let platform = Platform::start(EXE).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (aws, cuts) = (platform.client().unwrap(), Cuts::of(&platform));
        let sides = [Application::start("old"), Application::start("new")];
        let mut site = Self { platform, cuts, aws, runtime, sides, listener: String::new(), port: 0 };
        let vpc = site.call::<CreateVpc>(json!({"CidrBlock": "10.0.0.0/16"})).vpc.unwrap().vpc_id.unwrap();
        let subnets = ["a", "b"].map(|zone| {
            let block = format!("10.0.{}.0/24", u8::from(zone == "b"));
            let input = json!({"VpcId": vpc, "CidrBlock": block, "AvailabilityZone": format!("us-east-1{zone}")});
            site.call::<CreateSubnet>(input).subnet.unwrap().subnet_id.unwrap()
        });
        let input = json!({"GroupName": "front", "Description": "everybody", "VpcId": vpc});
        let front = site.call::<CreateSecurityGroup>(input).group_id.unwrap();
        let everybody = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
        site.call::<AuthorizeSecurityGroupIngress>(json!({"GroupId": front, "IpPermissions": everybody}));
        let input = json!({"Name": "items", "Subnets": subnets, "SecurityGroups": [front]});
        let balancer = site.call::<CreateLoadBalancer>(input).load_balancers.unwrap().remove(0).load_balancer_arn;
        let groups = [("old", 0), ("new", 1)].map(|(name, side): (&str, usize)| {
            let made = site.call::<CreateTargetGroup>(json!({
                "Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": vpc, "TargetType": "ip",
                "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
            }));
            let arn = made.target_groups.unwrap().remove(0).target_group_arn.unwrap();
            let target = json!([{"Id": "127.0.0.1", "Port": site.sides[side].port}]);
            site.call::<RegisterTargets>(json!({"TargetGroupArn": arn, "Targets": target}));
            arn
        });
        site.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut input = json!({
            "LoadBalancerArn": balancer, "Protocol": protocol, "Port": site.port,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": groups[0]}],
        });
        if protocol == "HTTPS" {
            let certificate = site.call::<RequestCertificate>(json!({"DomainName": "items.example.com"}));
            input["Certificates"] = json!([{"CertificateArn": certificate.certificate_arn}]);
        }
        let listener = site.call::<CreateListener>(input).listeners.unwrap().remove(0).listener_arn;
        site.listener = listener.unwrap();
        site.call::<CreateRule>(json!({
            "ListenerArn": site.listener, "Priority": 10,
            "Conditions": [{"Field": "path-pattern", "Values": ["/items*"]}],
            "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": [
                {"TargetGroupArn": groups[0], "Weight": 1}, {"TargetGroupArn": groups[1], "Weight": 0}]}}],
        }));
        for group in groups {
            wait_for("both sides are healthy", || {
                let health = site.call::<DescribeTargetHealth>(json!({"TargetGroupArn": group}));
                let states = health.target_health_descriptions.unwrap().into_iter();
                states.filter_map(|one| one.target_health?.state).any(|state| state == "healthy").then_some(())
            });
        }
        site
    }

    fn call<O: Operation>(&self, input: Value) -> O::Output
    where
        O::Input: DeserializeOwned,
    {
        let input: O::Input = serde_json::from_value(input).unwrap();
        self.runtime.block_on(self.aws.call::<O>(input)).unwrap_or_else(|error| panic!("{}: {error}", O::NAME))
    }

    /// Begins the cut and waits until the new side has the path.
    fn cut(&self) -> String {
        let request = json!({
            "scope": "items", "from": "old", "to": "new", "paths": ["/items*"], "data": "none",
            "shadow_percent": 0, "shadow_seconds": 0, "listener": self.listener,
        });
        let (status, made) = self.cuts.call("POST", "", "", &request).unwrap();
        assert!(status < 300, "{made}");
        let id = made["id"].as_str().unwrap().to_owned();
        self.until(&id, |cut| cut["state"] == "WATCH");
        id
    }

    fn roll_back(&self, id: &str) {
        let (status, answer) = self.cuts.call("POST", &format!("/{id}/rollback"), "", &Value::Null).unwrap();
        assert!(status < 300, "{answer}");
        self.until(id, |cut| cut["stopped"]["code"] == "RolledBack");
    }

    fn until(&self, id: &str, reached: impl Fn(&Value) -> bool) {
        let begin = Instant::now();
        loop {
            let (_, cut) = self.cuts.call("GET", &format!("/{id}"), "", &Value::Null).unwrap();
            if reached(&cut) {
                return;
            }
            assert!(cut["stopped"].is_null() && begin.elapsed() < PATIENCE, "{}", cut["summary"]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn posted(&self) -> [usize; 2] {
        [0, 1].map(|side: usize| self.sides[side].posted.lock().unwrap().len())
    }
}

#[test]
fn writes_over_http2_connections_pass_a_cut_and_its_way_back() {
    let Some(_) = client_program("curl") else { return };
    let site = Site::open("HTTPS");
    let authority = site.platform.data_dir().join("certificate-authority.pem");
    // One after the other over one connection, and eight streams at a time over others.
    let curl = |words: &[&str], from: u32, to: u32| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--http2", "--max-time", "60", "-d", "x", "-o", "/dev/null", "--cacert"]).arg(&authority);
        command.args(["--connect-to", &format!("items.example.com:443:127.0.0.1:{}", site.port)]);
        command.args(["-w", "%{http_code} %{http_version} %{num_connects}\n"]).args(words);
        command.arg(format!("https://items.example.com/items/[{from}-{to}]"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    const SERIAL: u32 = 400;
    const PARALLEL: u32 = 1500;
    let serial = curl(&["--rate", "50/s"], 1, SERIAL);
    let parallel = curl(&["--parallel", "--parallel-max", "8"], SERIAL + 1, SERIAL + PARALLEL);
    wait_for("writes reach the old side", || (site.posted()[0] > 50).then_some(()));
    let id = site.cut();
    wait_for("writes reach the new side", || (site.posted()[1] > 20).then_some(()));
    let before = site.posted()[0];
    site.roll_back(&id);
    wait_for("writes reach the old side again", || (site.posted()[0] > before).then_some(()));
    let mut connections = 0;
    for (curl, count) in [(serial, SERIAL), (parallel, PARALLEL)] {
        let output = curl.wait_with_output().unwrap();
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.lines().count(), count as usize, "{errors}");
        for line in said.lines() {
            assert!(line.starts_with("201 2 "), "{line}: {errors}");
            connections += line.rsplit(' ').next().unwrap().parse::<u32>().unwrap();
        }
    }
    assert!(connections < 20, "connections were kept: {connections}");
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for side in &site.sides {
        for path in side.posted.lock().unwrap().iter() {
            *times.entry(path.clone()).or_default() += 1;
        }
    }
    assert_eq!((times.len() as u32, times.values().max()), (SERIAL + PARALLEL, Some(&1)), "each write once");
}

#[test]
fn a_websocket_stays_where_it_was_opened() {
    let site = Site::open("HTTP");
    let open = || {
        let mut socket = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = "GET /items/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        write!(socket, "{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        socket
    };
    let who = |socket: &mut TcpStream| {
        socket.write_all(b"?").unwrap();
        let mut name = [0; 3];
        socket.read_exact(&mut name).unwrap();
        String::from_utf8_lossy(&name).into_owned()
    };
    let mut first = open();
    assert_eq!(who(&mut first), "old");
    let id = site.cut();
    assert_eq!(who(&mut first), "old", "an open one is not a write that a hold waits for, and is not broken");
    let mut second = open();
    assert_eq!(who(&mut second), "new");
    site.roll_back(&id);
    assert_eq!([who(&mut first), who(&mut second), who(&mut open())], ["old", "new", "old"]);
}
