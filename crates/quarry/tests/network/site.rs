//! A platform with a VPC, a cluster, a load balancer and an image whose tasks try to reach each other.

// Each test program uses what it needs of it.
#![allow(dead_code)]

use quarry_client::Client;
use quarry_testkit::{Platform, image, wait_for};
use quarry_wire::Operation;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_quarry");

pub struct Site {
    pub platform: Platform,
    pub subnets: Vec<String>,
    pub vpc: String,
    /// The image's name in the registry.
    pub image: String,
    aws: Client,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    /// `None` after saying that the isolation cannot be had here.
    pub fn open(isolation: &str) -> Option<Self> {
        let platform = match Platform::start_with(EXE, Some(isolation)) {
            Ok(platform) => platform,
            Err(error) => {
                println!("skipped: {isolation} cannot be had here: {error}");
                return None;
            }
        };
        Some(Self::on(platform))
    }

    /// Furnishes a platform.
    pub fn on(platform: Platform) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let aws = platform.client().unwrap();
        let mut site = Self { platform, subnets: Vec::new(), vpc: String::new(), image: String::new(), aws, runtime };
        site.image = site.push_program("peer");
        use quarry_aws::{ec2, ecs};
        let vpc = site.call::<ec2::op::CreateVpc>(json!({"CidrBlock": "10.0.0.0/16"})).vpc.unwrap();
        site.vpc = vpc.vpc_id.unwrap();
        for (block, zone) in [("10.0.1.0/24", "a"), ("10.0.2.0/24", "b")] {
            let zone = format!("us-east-1{zone}");
            let input = json!({"VpcId": site.vpc, "CidrBlock": block, "AvailabilityZone": zone});
            let made = site.call::<ec2::op::CreateSubnet>(input).subnet.unwrap();
            site.subnets.push(made.subnet_id.unwrap());
        }
        site.call::<ecs::op::CreateCluster>(json!({"clusterName": "demo"}));
        site
    }

    /// SIGKILL to `serve`, as a crash; what is done meanwhile; and `serve` again.
    pub fn without_serve<T>(&mut self, meanwhile: impl FnOnce(&Self) -> T) -> T {
        self.platform.kill_serve().unwrap();
        let done = meanwhile(self);
        self.platform.restart_serve().unwrap();
        // The old one's connections are closed.
        self.aws = self.platform.client().unwrap();
        done
    }

    /// Calls an operation, input in JSON; it must be accepted.
    pub fn call<O: Operation>(&self, input: Value) -> O::Output
    where
        O::Input: DeserializeOwned,
    {
        let input: O::Input = serde_json::from_value(input).unwrap();
        self.runtime.block_on(self.aws.call::<O>(input)).unwrap_or_else(|error| panic!("{}: {error}", O::NAME))
    }

    /// Calls an operation that may be refused, or not be answered.
    pub fn answered<O: Operation>(&self, input: Value) -> Option<O::Output>
    where
        O::Input: DeserializeOwned,
    {
        let input: O::Input = serde_json::from_value(input).unwrap();
        self.runtime.block_on(self.aws.call::<O>(input)).ok()
    }

    /// The same: whether it was acknowledged.
    pub fn tried<O: Operation>(&self, input: Value) -> bool
    where
        O::Input: DeserializeOwned,
    {
        self.answered::<O>(input).is_some()
    }

    /// Starts `serve`, which has ended by itself, again.
    pub fn restart_after_crash(&mut self) {
        self.platform.restart_serve().unwrap();
        self.refresh();
    }

    /// Calls over new connections from now on.
    pub fn refresh(&mut self) {
        self.aws = self.platform.client().unwrap();
    }

    /// Processes of a role of this data directory, and what they are of.
    pub fn processes(&self, role: &str) -> Vec<(i32, String)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<&str> = command.split('\0').collect();
            let place = words.iter().skip(2).find(|word| Path::new(word).starts_with(self.platform.data_dir()));
            if words.get(1) == Some(&role)
                && let Some(place) = place
            {
                found.push((pid, place.rsplit('/').next().unwrap_or_default().to_owned()));
            }
        }
        found
    }

    /// The task of each shim. What a shim forks before it executes a container still has its command line.
    pub fn shims(&self) -> Vec<String> {
        let all = self.processes("shim");
        let parent = |pid: i32| -> Option<i32> {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
        };
        let own = all.iter().filter(|(pid, _)| !all.iter().any(|(other, _)| Some(*other) == parent(*pid)));
        own.map(|(_, task)| task.clone()).collect()
    }

    /// Calls an operation that must be refused: why.
    pub fn refused<O: Operation>(&self, input: Value) -> String
    where
        O::Input: DeserializeOwned,
    {
        let input: O::Input = serde_json::from_value(input).unwrap();
        match self.runtime.block_on(self.aws.call::<O>(input)) {
            Ok(_) => panic!("{} was answered", O::NAME),
            Err(error) => error.to_string(),
        }
    }

    /// The image `<name>:v1` with a program of `tests/programs`.
    pub fn push_program(&self, name: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(format!("{name}.rs"));
        image::compile(&source, &program).unwrap();
        let dockerfile = format!("FROM scratch\nCOPY {name} /{name}\nENTRYPOINT [\"/{name}\"]\n");
        self.platform.push(name, "v1", image::built(&dockerfile, name, &program).unwrap()).unwrap()
    }

    /// Registers a Fargate task definition of containers that run `peer`; members are added to each.
    pub fn define(&self, family: &str, containers: Value, members: Value) -> String {
        let mut input = json!({
            "family": family, "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
            "cpu": "256", "memory": "512", "containerDefinitions": containers,
        });
        for container in input["containerDefinitions"].as_array_mut().unwrap() {
            if container.get("image").is_none() {
                container["image"] = json!(self.image);
            }
            container["stopTimeout"] = json!(1);
        }
        for (name, value) in members.as_object().unwrap() {
            input[name] = value.clone();
        }
        let registered = self.call::<quarry_aws::ecs::op::RegisterTaskDefinition>(input);
        registered.task_definition.unwrap().task_definition_arn.unwrap()
    }

    /// A security group of the VPC, which lets everything out and nothing in.
    pub fn group(&self, name: &str) -> String {
        let input = json!({"GroupName": name, "Description": name, "VpcId": self.vpc});
        self.call::<quarry_aws::ec2::op::CreateSecurityGroup>(input).group_id.unwrap()
    }

    /// The VPC's own, whose members let each other in.
    pub fn default_group(&self) -> String {
        let filters = json!([
            {"Name": "vpc-id", "Values": [self.vpc]}, {"Name": "group-name", "Values": ["default"]},
        ]);
        let found = self.call::<quarry_aws::ec2::op::DescribeSecurityGroups>(json!({"Filters": filters}));
        found.security_groups.unwrap().remove(0).group_id.unwrap()
    }

    /// Lets something in to a group.
    pub fn allow(&self, group: &str, permission: Value) {
        let input = json!({"GroupId": group, "IpPermissions": [permission]});
        self.call::<quarry_aws::ec2::op::AuthorizeSecurityGroupIngress>(input);
    }

    pub fn network(&self) -> Value {
        json!({"awsvpcConfiguration": {"subnets": self.subnets}})
    }

    /// Runs one Fargate task and waits until it runs.
    pub fn run(&self, definition: &str) -> quarry_aws::ecs::Task {
        self.run_in(definition, self.network())
    }

    /// The same with a network configuration of its own.
    pub fn run_in(&self, definition: &str, network: Value) -> quarry_aws::ecs::Task {
        let started = self.call::<quarry_aws::ecs::op::RunTask>(json!({
            "cluster": "demo", "taskDefinition": definition, "launchType": "FARGATE",
            "networkConfiguration": network,
        }));
        assert_eq!(started.failures, Some(Vec::new()));
        let arn = started.tasks.unwrap().remove(0).task_arn.unwrap();
        wait_for("the task runs", || {
            let task = self.task(&arn);
            let status = task.last_status.clone().unwrap();
            assert_ne!(status, "STOPPED", "{:?}\n{}", task.stopped_reason, self.platform.log());
            (status == "RUNNING").then_some(task)
        })
    }

    pub fn task(&self, arn: &str) -> quarry_aws::ecs::Task {
        let input = json!({"cluster": "demo", "tasks": [arn]});
        self.call::<quarry_aws::ecs::op::DescribeTasks>(input).tasks.unwrap().remove(0)
    }

    /// The process of a task's first container.
    pub fn pid(&self, task: &str) -> i32 {
        use quarry_domain::task::{ContainerState, TaskRuntime};
        let config = quarry_runtime::RuntimeConfig::new(self.platform.data_dir().to_owned());
        let runtime = quarry_runtime::RuntimeConfig { exe: EXE.into(), ..config };
        let seen = quarry_runtime::Runtime::open(runtime).unwrap().observe_one(task).expect("the task is here");
        let pid = seen.containers.iter().find_map(|container| match container.state {
            ContainerState::Running { pid, .. } => Some(pid as i32),
            _ => None,
        });
        pid.expect("its container runs")
    }

    /// The service's tasks that are wanted.
    pub fn tasks(&self, service: &str) -> Vec<quarry_aws::ecs::Task> {
        let input = json!({"cluster": "demo", "serviceName": service});
        let arns = self.call::<quarry_aws::ecs::op::ListTasks>(input).task_arns.unwrap();
        arns.iter().map(|arn| self.task(arn)).collect()
    }

    /// A load balancer whose listener on a free port forwards to a group of type ip: the group's ARN,
    /// and where to ask.
    pub fn balance(&self) -> (String, SocketAddr) {
        use quarry_aws::elbv2::op::{
            CreateListener, CreateLoadBalancer, CreateTargetGroup, ModifyTargetGroupAttributes,
        };
        // Clients come from everywhere, and the tasks, in the default group, let that group in.
        let front = self.group("front");
        self.allow(
            &front,
            json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 65535,
            "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}),
        );
        let input = json!({"Name": "demo", "Subnets": self.subnets, "SecurityGroups": [front, self.default_group()]});
        let balancer = self.call::<CreateLoadBalancer>(input).load_balancers.unwrap().remove(0);
        let group = self.call::<CreateTargetGroup>(json!({
            "Name": "peer", "Protocol": "HTTP", "Port": 80, "VpcId": self.vpc, "TargetType": "ip",
            "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
        }));
        let group = group.target_groups.unwrap().remove(0).target_group_arn.unwrap();
        let delay = json!([{"Key": "deregistration_delay.timeout_seconds", "Value": "2"}]);
        self.call::<ModifyTargetGroupAttributes>(json!({"TargetGroupArn": group, "Attributes": delay}));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.call::<CreateListener>(json!({
            "LoadBalancerArn": balancer.load_balancer_arn, "Protocol": "HTTP", "Port": port,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}],
        }));
        (group, SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// The task's private address, as its attachment says.
pub fn address(task: &quarry_aws::ecs::Task) -> String {
    let details = task.attachments.as_ref().unwrap()[0].details.as_ref().unwrap();
    let found = details.iter().find(|detail| detail.name.as_deref() == Some("privateIPv4Address"));
    found.and_then(|detail| detail.value.clone()).unwrap()
}

/// One request on a connection of its own: status and body. `None` if nothing answered.
pub fn get(at: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
