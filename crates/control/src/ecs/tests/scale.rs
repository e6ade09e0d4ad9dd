//! Many services and tasks: what nothing happened to costs nothing. `bench/control` runs the measured part.

use super::{Stage, running};
use crate::ecs::container_instances::{self, NewInstance};
use crate::ecs::reconcile::Reconciler;
use crate::ecs::reconcile::jobs::Jobs;
use crate::ecs::records::{LastStatus, Task};
use crate::elbv2::records::Target;
use crate::endpoint::{Auth, Endpoint};
use crate::link::builder::Builder;
use crate::platform::Platform;
use crate::start;
use crate::store::Item;
use crate::store::feed::Feed;
use crate::testing::{FakeCatalog, FakeImages, World};
use http::Request;
use quarry_aws::ec2;
use quarry_aws::ecs::{self as aws, op};
use quarry_aws::elbv2 as elb;
use quarry_domain::door::Door;
use quarry_domain::isolation::{Isolation, IsolationReport};
use quarry_domain::link::{TargetReport, TargetState};
use quarry_domain::task::{
    ContainerStats, Exec, ExecSpec, LaunchError, ObservedTask, Signal, TaskEntry, TaskId, TaskPhase, TaskRuntime,
    TaskSpec, Usage,
};
use quarry_wire::Operation;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_pass_looks_only_at_what_something_happened_to() {
    let mut stage = Stage::new();
    let definition = stage.define_with("api:v1", json!({"cpu": 0, "memory": 6}));
    for n in 0..12 {
        let create = aws::CreateServiceRequest {
            cluster: Some("demo".into()),
            service_name: Some(format!("other-{n}")),
            task_definition: Some(definition.clone()),
            desired_count: Some(2),
            ..Default::default()
        };
        stage.world.call::<op::CreateService>(create).unwrap();
    }
    stage.serve(&definition, 2, true);
    stage.settle();
    stage.pass_time(Duration::from_secs(11));
    let looked = |stage: &mut Stage| {
        stage.reconciler.looked = (0, 0);
        stage.settle();
        stage.reconciler.looked
    };
    assert_eq!(looked(&mut stage), (0, 0), "nothing happened");
    stage.update(|input| input.desired_count = Some(3));
    let (tasks, services) = looked(&mut stage);
    assert!((1..=20).contains(&tasks) && (1..=20).contains(&services), "one task more: {tasks}, {services}");
    assert_eq!(looked(&mut stage), (0, 0));
    // A target that falls ill moves its own service alone.
    let sick = stage.targets()[0].port;
    stage.sick.insert(sick);
    let (tasks, services) = looked(&mut stage);
    assert!(services > 0 && tasks <= 20 && services <= 40, "a task is replaced: {tasks}, {services}");
    stage.sick.clear();
    stage.settle();
    // Each is looked at now and then all the same.
    stage.reconciler.looked = (0, 0);
    stage.pass_time(Duration::from_secs(6));
    assert!(stage.reconciler.looked.1 >= 13, "{:?}", stage.reconciler.looked);
}

/// A runtime whose tasks run and end at once.
struct Instantly {
    tasks: Mutex<BTreeMap<TaskId, ObservedTask>>,
    changed: Mutex<BTreeSet<TaskId>>,
    wakes: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
    report: IsolationReport,
    root: PathBuf,
}

impl Instantly {
    fn new(root: &Path) -> Self {
        let report =
            IsolationReport { isolation: Isolation::Rootless, limits: false, low_ports: false, findings: Vec::new() };
        Self {
            tasks: Mutex::default(),
            changed: Mutex::default(),
            wakes: Mutex::default(),
            report,
            root: root.to_owned(),
        }
    }

    fn set(&self, id: &str, task: Option<ObservedTask>) {
        let mut tasks = self.tasks.lock().unwrap();
        match task {
            Some(task) => drop(tasks.insert(id.to_owned(), task)),
            None => drop(tasks.remove(id)),
        }
        drop(tasks);
        self.changed.lock().unwrap().insert(id.to_owned());
        self.wakes.lock().unwrap().iter().for_each(|wake| wake());
    }
}

impl TaskRuntime for Instantly {
    fn isolation(&self) -> &IsolationReport {
        &self.report
    }
    fn launch(&self, spec: &TaskSpec) -> Result<(), LaunchError> {
        self.set(&spec.id, Some(running(&spec.id)));
        Ok(())
    }
    fn observe(&self) -> io::Result<Vec<ObservedTask>> {
        Ok(self.tasks.lock().unwrap().values().cloned().collect())
    }
    fn observe_one(&self, id: &str) -> Option<ObservedTask> {
        self.tasks.lock().unwrap().get(id).cloned()
    }
    fn changed(&self) -> Option<BTreeSet<TaskId>> {
        Some(std::mem::take(&mut *self.changed.lock().unwrap()))
    }
    fn signal(&self, id: &str, _: Option<&str>, _: Signal) -> io::Result<()> {
        let phase = TaskPhase::Exited;
        self.set(id, Some(ObservedTask { id: id.into(), phase, containers: Vec::new(), entry: None }));
        Ok(())
    }
    fn exec(&self, _: &str, _: &ExecSpec) -> io::Result<Exec> {
        Err(io::Error::other("nothing runs"))
    }
    fn remove(&self, id: &str) -> io::Result<()> {
        self.set(id, None);
        Ok(())
    }
    fn subscribe(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.wakes.lock().unwrap().push(wake);
    }
    fn usage(&self, _: &str) -> Option<Usage> {
        None
    }
    fn stats(&self, _: &str) -> Vec<ContainerStats> {
        Vec::new()
    }
    fn written(&self, _: &str) -> Option<u64> {
        None
    }
    fn release_log(&self, _: &str, _: &str, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn collect(&self, _: Duration) -> io::Result<usize> {
        Ok(0)
    }
    fn log_path(&self, id: &str, container: &str) -> PathBuf {
        self.root.join(format!("{id}-{container}.log"))
    }
    fn connect(&self, _: &TaskEntry, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
    }
    fn volume_path(&self, name: &str) -> io::Result<PathBuf> {
        Ok(self.root.join(name))
    }
}

/// A platform in real time with everything served.
struct Large {
    platform: Arc<Platform>,
    endpoint: Endpoint,
    targets: Arc<Feed>,
    rules: Vec<String>,
    groups: Vec<String>,
    services: usize,
}

const TASKS: i32 = 10;

impl Large {
    fn new(dir: &Path, services: usize) -> Self {
        let images = Arc::new(FakeImages::default());
        images.add("api:v1");
        let mut config = World::config(dir);
        config.quotas.set("application-load-balancers=100").unwrap();
        let runtime = Arc::new(Instantly::new(dir));
        let catalog = Arc::new(FakeCatalog::default());
        let platform = Platform::new(config, Door::system(), runtime, images, catalog).unwrap();
        let operations = Arc::new(start::operations());
        let key = ("AKIDEXAMPLE".to_owned(), "secret".to_owned());
        let endpoint = Endpoint::new(platform.clone(), operations, Auth::Off, key);
        let targets = platform.store.follow(&[Target::KIND]);
        let mut large = Self { platform, endpoint, targets, rules: Vec::new(), groups: Vec::new(), services };
        large.furnish();
        large
    }

    fn call<O: Operation>(&self, input: O::Input) -> O::Output {
        let operations = start::operations();
        crate::api::internally(&self.platform, &operations, |ctx| ctx.invoke::<O>(input)).unwrap()
    }

    fn furnish(&mut self) {
        let vpc = ec2::CreateVpcRequest { cidr_block: Some("10.0.0.0/16".into()), ..Default::default() };
        let vpc = self.call::<ec2::op::CreateVpc>(vpc).vpc.unwrap().vpc_id;
        let subnet = |n: u32, zone: &str| ec2::CreateSubnetRequest {
            vpc_id: vpc.clone(),
            cidr_block: Some(format!("10.0.{n}.0/24")),
            availability_zone: Some(zone.into()),
            ..Default::default()
        };
        let subnets: Vec<String> = [(0, "us-east-1a"), (1, "us-east-1b")]
            .map(|(n, zone)| self.call::<ec2::op::CreateSubnet>(subnet(n, zone)).subnet.unwrap().subnet_id.unwrap())
            .into();
        let cluster = aws::CreateClusterRequest { cluster_name: Some("demo".into()), ..Default::default() };
        self.call::<op::CreateCluster>(cluster);
        let operations = start::operations();
        for n in 0..20 {
            let instance = NewInstance {
                ec2_instance_id: format!("i-{n:08x}"),
                instance_type: "m5.24xlarge".into(),
                availability_zone: if n % 2 == 0 { "us-east-1a".into() } else { "us-east-1b".into() },
                cpu_units: 1 << 20,
                memory_mib: 1 << 20,
                group: None,
            };
            let join = |ctx: &mut crate::api::Ctx<'_>| container_instances::register(ctx, "demo", &instance);
            crate::api::internally(&self.platform, &operations, join).unwrap();
        }
        let definition = json!({"family": "api", "containerDefinitions": [{
            "name": "api", "image": "api:v1", "cpu": 64, "memory": 64,
            "portMappings": [{"containerPort": 3000, "hostPort": 0}]}]});
        self.call::<op::RegisterTaskDefinition>(serde_json::from_value(definition).unwrap());
        let mut listener = String::new();
        let each = (self.services / 100).max(10);
        for n in 0..self.services {
            if n % each == 0 {
                let balancer = elb::CreateLoadBalancerInput {
                    name: Some(format!("balancer-{n}")),
                    subnets: Some(subnets.clone()),
                    ..Default::default()
                };
                let balancer = self.call::<elb::op::CreateLoadBalancer>(balancer).load_balancers.unwrap().remove(0);
                let input = elb::CreateListenerInput {
                    load_balancer_arn: balancer.load_balancer_arn,
                    protocol: Some("HTTP".into()),
                    port: Some(80),
                    default_actions: Some(vec![elb::Action {
                        r#type: Some("fixed-response".into()),
                        fixed_response_config: Some(elb::FixedResponseActionConfig {
                            status_code: Some("404".into()),
                            ..Default::default()
                        }),
                        ..Default::default()
                    }]),
                    ..Default::default()
                };
                let made = self.call::<elb::op::CreateListener>(input).listeners.unwrap().remove(0);
                listener = made.listener_arn.unwrap();
            }
            let group = elb::CreateTargetGroupInput {
                name: Some(format!("group-{n}")),
                protocol: Some("HTTP".into()),
                port: Some(80),
                vpc_id: vpc.clone(),
                ..Default::default()
            };
            let group = self.call::<elb::op::CreateTargetGroup>(group).target_groups.unwrap().remove(0);
            let group = group.target_group_arn.unwrap();
            let rule = json!({"ListenerArn": listener, "Priority": n % each + 1,
                "Conditions": [{"Field": "path-pattern", "Values": [format!("/api/{n}/*")]}],
                "Actions": [{"Type": "forward", "TargetGroupArn": group}]});
            let rule: elb::CreateRuleInput = serde_json::from_value(rule).unwrap();
            let rule = self.call::<elb::op::CreateRule>(rule).rules.unwrap().remove(0);
            self.rules.push(rule.rule_arn.unwrap());
            let create = json!({"cluster": "demo", "serviceName": format!("service-{n}"), "taskDefinition": "api",
                "desiredCount": TASKS, "loadBalancers":
                    [{"targetGroupArn": group, "containerName": "api", "containerPort": 3000}]});
            self.call::<op::CreateService>(serde_json::from_value(create).unwrap());
            self.groups.push(group);
        }
    }

    /// What proxies would report: each target is healthy, and drained as soon as it drains. Whether there was any news.
    fn report(&self) -> bool {
        let changes = self.targets.take();
        let changed: BTreeSet<String> = changes.into_iter().map(|change| change.key).collect();
        let mut any = false;
        for key in changed {
            let target = self.platform.store.read(|tx| tx.find::<Target>(&key)).unwrap();
            let Some(target) = target else { continue };
            any = true;
            if target.draining {
                self.platform.store.write(|tx| tx.delete::<Target>(&key)).unwrap();
                continue;
            }
            self.platform.live().report(TargetReport {
                target_group_arn: target.target_group_arn.clone(),
                registration: target.registration,
                state: TargetState::Healthy,
                reason: None,
                description: None,
                in_flight: 0,
            });
        }
        if any {
            self.platform.seen.signal();
        }
        any
    }

    fn settle(&self, reconciler: &mut Reconciler) {
        loop {
            let before = self.platform.store.changed.level();
            reconciler.pass();
            let news = self.report();
            if !news && self.platform.store.changed.level() == before {
                return;
            }
        }
    }

    fn running(&self) -> usize {
        let all = self.platform.store.read(|tx| tx.shared::<Task>()).unwrap();
        all.iter().filter(|task| task.status == LastStatus::Running).count()
    }

    /// A signed-off request as clients send it; how long it took, and its answer.
    fn ask(&self, service: &str, operation: &str, input: &serde_json::Value) -> (Duration, serde_json::Value) {
        let request = match service {
            "ecs" => Request::builder()
                .method("POST")
                .uri("http://127.0.0.1:4566/")
                .header("host", "127.0.0.1:4566")
                .header("content-type", "application/x-amz-json-1.1")
                .header("x-amz-target", format!("AmazonEC2ContainerServiceV20141113.{operation}"))
                .body(input.to_string()),
            _ => {
                let mut form = format!("Action={operation}&Version=2015-12-01");
                for (name, value) in input.as_object().unwrap() {
                    form.push_str(&format!(
                        "&{name}={}",
                        value.as_str().unwrap().replace('/', "%2F").replace(':', "%3A")
                    ));
                }
                Request::builder()
                    .method("POST")
                    .uri("http://127.0.0.1:4566/")
                    .header("host", "127.0.0.1:4566")
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(form)
            }
        };
        let (head, body) = request.unwrap().into_parts();
        let begun = Instant::now();
        let answer = self.endpoint.answer(&head, body.as_bytes());
        let took = begun.elapsed();
        assert!(answer.status().is_success(), "{operation} {input}: {:?}", answer.body());
        (took, serde_json::from_slice(answer.body()).unwrap_or_default())
    }
}

/// Processor time of this thread.
fn cpu() -> Duration {
    // The kernel counts when the thread gives way.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    ms(times[(times.len() * percent / 100).min(times.len() - 1)])
}

/// The curve: services, 10 tasks and one rule each, a load balancer for ten of them.
#[test]
#[ignore = "measures for a minute: run by bench/control"]
fn measured() {
    let sizes = std::env::var("QUARRY_SCALE").unwrap_or_else(|_| "10,100,1000".into());
    for size in sizes.split(',').map(|size| size.parse::<usize>().unwrap()) {
        measure(size);
    }
}

fn measure(services: usize) {
    let dir = tempfile::tempdir().unwrap();
    let large = Large::new(dir.path(), services);
    let operations = Arc::new(start::operations());
    let new = || {
        let jobs = Jobs::inline(large.platform.clone(), operations.clone());
        Reconciler::new(large.platform.clone(), operations.clone(), jobs)
    };
    let mut reconciler = new();
    let begun = Instant::now();
    large.settle(&mut reconciler);
    assert_eq!(large.running(), services * TASKS as usize);
    println!("{services} services, {} tasks: all run after {:.1} s", large.running(), begun.elapsed().as_secs_f64());

    // A pass that changes nothing, and one that looks at everything, as the first after a restart.
    let mut idle: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            reconciler.pass();
            begun.elapsed()
        })
        .collect();
    let begun = Instant::now();
    let mut reconciler = new();
    reconciler.pass();
    let whole = begun.elapsed();
    large.settle(&mut reconciler);
    println!(
        "  a pass that changes nothing: p50 {:.3}, max {:.3} ms; the first, which looks at everything: {:.0} ms",
        percentile(&mut idle, 50),
        percentile(&mut idle, 100),
        ms(whole)
    );

    // One change of one service, until it is as wanted again.
    let (mut spent, mut took, mut published) = (Vec::new(), Vec::new(), Vec::new());
    let (feed, mut builder) = (large.platform.store.follow(&[]), Builder::new(&large.platform.config));
    let follow = |builder: &mut Builder, feed: &Feed| {
        large.platform.store.read_on(feed, |tx, changes| builder.follow(tx, &changes)).unwrap();
        builder.content().line(1)
    };
    builder.checked = false;
    follow(&mut builder, &feed);
    for n in 0..20 {
        let update = json!({"cluster": "demo", "service": format!("service-{}", n * 7 % services),
            "desiredCount": if (n / services).is_multiple_of(2) { TASKS + 1 } else { TASKS }});
        let (before, begun) = (cpu(), Instant::now());
        large.ask("ecs", "UpdateService", &update);
        large.settle(&mut reconciler);
        spent.push(cpu() - before);
        took.push(begun.elapsed());
        let before = cpu();
        follow(&mut builder, &feed);
        published.push(cpu() - before);
    }
    let begun = cpu();
    builder.again();
    follow(&mut builder, &feed);
    let whole = cpu() - begun;
    println!(
        "  one task more or less: p50 {:.2} ms of processor time ({:.1} ms in all), and its snapshot {:.2} ms; a whole snapshot {:.1} ms, {} KiB",
        percentile(&mut spent, 50),
        percentile(&mut took, 50),
        percentile(&mut published, 50),
        ms(whole),
        builder.content().line(1).len() >> 10
    );
    drop((builder, reconciler));
    calls(&large);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    println!(
        "  memory of the process: {} MiB",
        memory.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    );
}

/// Calls of two clients at once, with everything running.
fn calls(large: &Large) {
    let control = start::start(large.platform.clone()).unwrap();
    let over = AtomicBool::new(false);
    let all: Mutex<BTreeMap<&str, Vec<Duration>>> = Mutex::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                large.report();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let clients: Vec<_> = (0..2).map(|client| scope.spawn({
            let all = &all;
            move || {
            for n in 0..60 {
                let n = (n * 2 + client) * 31 % large.services;
                let service = format!("service-{n}");
                let at = |name, (took, answer): (Duration, serde_json::Value)| {
                    all.lock().unwrap().entry(name).or_default().push(took);
                    answer
                };
                let ecs = |name, input: serde_json::Value| at(name, large.ask("ecs", name.split(' ').next().unwrap(), &input));
                let elb = |name, input: serde_json::Value| at(name, large.ask("elb", name, &input));
                ecs("DescribeServices", json!({"cluster": "demo", "services": [service]}));
                let tasks = ecs("ListTasks", json!({"cluster": "demo", "serviceName": service}));
                ecs("DescribeTasks", json!({"cluster": "demo", "tasks": tasks["taskArns"]}));
                ecs("ListTasks of the cluster", json!({"cluster": "demo"}));
                ecs("ListServices", json!({"cluster": "demo"}));
                ecs("DescribeClusters", json!({"clusters": ["demo"], "include": ["STATISTICS"]}));
                elb("DescribeTargetHealth", json!({"TargetGroupArn": large.groups[n]}));
                elb("DescribeRules", json!({"RuleArns.member.1": large.rules[n]}));
                elb("DescribeTargetGroups", json!({"TargetGroupArns.member.1": large.groups[n]}));
                elb("ModifyRule", json!({"RuleArn": large.rules[n],
                    "Conditions.member.1.Field": "path-pattern", "Conditions.member.1.Values.member.1": format!("/now/{n}/{client}")}));
                ecs("UpdateService", json!({"cluster": "demo", "service": service, "desiredCount": TASKS + client as i32}));
                let task = ecs("RunTask", json!({"cluster": "demo", "taskDefinition": "api"}));
                ecs("StopTask", json!({"cluster": "demo", "task": task["tasks"][0]["taskArn"]}));
                ecs("RegisterTaskDefinition", json!({"family": "other", "containerDefinitions":
                    [{"name": "api", "image": "api:v1", "memory": 64}]}));
            }
        }})).collect();
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    control.stop();
    let mut every: Vec<Duration> = Vec::new();
    for (name, mut times) in all.into_inner().unwrap() {
        println!("    {name}: p50 {:.2}, max {:.2} ms", percentile(&mut times, 50), percentile(&mut times, 100));
        every.extend(times);
    }
    let (p50, p99) = (percentile(&mut every, 50), percentile(&mut every, 99));
    println!(
        "  {} API calls of two clients: p50 {p50:.2}, p99 {p99:.2}, max {:.2} ms",
        every.len(),
        percentile(&mut every, 100)
    );
}
