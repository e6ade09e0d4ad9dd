//! kill -9 of each process at any point: acknowledged calls and writes survive, no task is there twice
//! or left over, the load balancer serves on. The order of faults comes from a seed (`CHAOS_SEED`), the
//! moment at which they hit from the machine.

mod stage;

use quarry_aws::cloudformation::op::{CreateStack, DeleteStack, DescribeStacks};
use quarry_aws::cloudformation::{CreateStackInput, DeleteStackInput, DescribeStacksInput};
use quarry_aws::ecr::op::{BatchGetImage, CreateRepository};
use quarry_aws::ecr::{BatchGetImageRequest, CreateRepositoryRequest, ImageIdentifier};
use quarry_aws::ecs::op::{
    CreateService, DeleteService, DescribeServices, ListServices, ListTasks, RegisterTaskDefinition, UpdateService,
};
use quarry_aws::ecs::{
    ContainerDefinition, CreateServiceRequest, DeleteServiceRequest, DescribeServicesRequest, ListServicesRequest,
    ListTasksRequest, RegisterTaskDefinitionRequest, Service, UpdateServiceRequest,
};
use quarry_client::{Client, oci};
use quarry_load::{Load, LoadConfig, LoadHandle, Pace, PathSpec};
use quarry_testkit::wait_for;
use serde_json::{Value, json};
use stage::{EXE, SERVICES, Stage, block_on, kill, pid_of, push, request};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Within this time after a fault everything is as wanted again.
const CONVERGES: Duration = Duration::from_secs(20);

/// splitmix64: the same faults in the same order for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn shuffled<T>(&mut self, mut deck: Vec<T>) -> Vec<T> {
        for i in (1..deck.len()).rev() {
            deck.swap(i, self.below(i as u64 + 1) as usize);
        }
        deck
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `serve`, again and again, while calls change services, stacks and images.
    ServeUnderCalls,
    Task(&'static str),
    Shim(&'static str),
    Proxy,
    Holder,
    /// SIGTERM to `serve`, then another one.
    ServeAsked,
    /// `serve`, again and again, in its first moments.
    ServeBeginning,
    /// Shims as soon as they are there.
    YoungShims,
    /// As a power cut that spares the disk.
    Everything,
}

impl Fault {
    /// Services whose requests may fail.
    fn hits(self) -> &'static [&'static str] {
        match self {
            Self::Task(service) | Self::Shim(service) => match service {
                "users" => &["users"],
                "threads" => &["threads"],
                "posts" => &["posts"],
                _ => &["web"],
            },
            Self::Proxy | Self::Everything => &SERVICES,
            Self::ServeUnderCalls | Self::Holder | Self::ServeAsked | Self::ServeBeginning | Self::YoungShims => &[],
        }
    }
}

#[test]
fn every_process_may_be_killed_at_any_moment() {
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut dice = Dice(seed);
    let mut stage = Stage::set();
    let aws = stage.platform.client().unwrap();
    prepare(&aws, &stage.cluster);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let load = {
        let _inside = runtime.enter();
        start_load(&stage)
    };
    let writer = Writer::start(stage.address, stage.host.clone());
    let versions = Versions::watch(stage.platform.data_dir().join("proxy/snapshot.json"));
    let ledger = Arc::new(Mutex::new(Ledger::default()));

    let services = |n: u64| SERVICES[n as usize];
    let mut deck = vec![Fault::ServeUnderCalls; 3];
    deck.extend([Fault::Proxy, Fault::Holder, Fault::ServeAsked, Fault::ServeBeginning]);
    deck.extend([Fault::YoungShims, Fault::Everything]);
    deck.extend([Fault::Task(services(dice.below(4))), Fault::Shim(services(dice.below(4)))]);
    for (round, fault) in dice.shuffled(deck).into_iter().enumerate() {
        load.phase(format!("{round} {fault:?}"));
        let before = Instant::now();
        inflict(fault, &mut stage, &mut dice, &ledger, round);
        let inflicted = before.elapsed();
        converge(&stage, &format!("seed {seed}, round {round}, {fault:?}"));
        ledger.lock().unwrap().check(&stage);
        println!(
            "{round} {fault:?}: inflicted in {} ms, as wanted after {} ms",
            inflicted.as_millis(),
            (before.elapsed() - inflicted).as_millis()
        );
        // Late failures belong to this fault, not to the next.
        std::thread::sleep(Duration::from_millis(300));
        let report = load.snapshot();
        let phase = report.phases.last().unwrap();
        for (label, counts) in &phase.labels {
            let excused = fault.hits().contains(&label.as_str());
            let seen: Vec<_> = report.failures.iter().filter(|f| f.phase == phase.name).take(3).collect();
            assert!(excused || counts.failed == 0, "{label}, {}: {:?} {seen:?}", phase.name, counts.kinds);
            assert!(excused || counts.requests > 0, "{label}, {}: no request", phase.name);
        }
    }
    let report = runtime.block_on(load.stop());
    println!(
        "reads: {} ok, {} failed; snapshots up to version {}",
        report.total.ok,
        report.total.failed,
        versions.end()
    );
    writer.end_and_check(&stage);

    stop_in_the_middle(&mut stage, &mut dice);
}

/// `quarry stop` while tasks are launched, removed and drained, the proxy is being started again or
/// `serve` has just begun: nothing is left, and the next `serve` brings all of it back.
fn stop_in_the_middle(stage: &mut Stage, dice: &mut Dice) {
    let aws = stage.platform.client().unwrap();
    let create = CreateServiceRequest {
        cluster: Some(stage.cluster.clone()),
        service_name: Some("chaos-end".into()),
        task_definition: Some("chaos".into()),
        desired_count: Some(6),
        ..Default::default()
    };
    block_on(aws.call::<CreateService>(create)).unwrap();
    for service in SERVICES {
        let update = UpdateServiceRequest {
            cluster: Some(stage.cluster.clone()),
            service: Some(service.into()),
            force_new_deployment: Some(true),
            ..Default::default()
        };
        block_on(aws.call::<UpdateService>(update)).unwrap();
    }
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(dice.below(250)));
        if round % 2 == 1 {
            kill(stage.holder_of("proxy/lock"));
        }
        let start = Instant::now();
        let stopped = stage.platform.quarry(&["stop"]).unwrap();
        assert!(stopped.status.success(), "{stopped:?}");
        println!("stopped in {} ms", start.elapsed().as_millis());
        assert_nothing_left(stage.platform.data_dir());
        stage.platform.restart_serve().unwrap();
    }
    converge(stage, "after the last stop");
    assert!(stage.platform.quarry(&["stop"]).unwrap().status.success());
    assert_nothing_left(stage.platform.data_dir());
}

fn inflict(fault: Fault, stage: &mut Stage, dice: &mut Dice, ledger: &Arc<Mutex<Ledger>>, round: usize) {
    let aws = stage.platform.client().unwrap();
    match fault {
        Fault::ServeUnderCalls => {
            let calls = {
                let (cluster, endpoint) = (stage.cluster.clone(), stage.platform.endpoint.clone());
                let (ledger, dice) = (ledger.clone(), Dice(dice.below(u64::MAX)));
                std::thread::spawn(move || block_on(call_away(aws, endpoint, cluster, ledger, dice, round)))
            };
            let mut kills = 0;
            while !calls.is_finished() && kills < 6 {
                std::thread::sleep(Duration::from_millis(dice.below(200)));
                stage.platform.kill_serve().unwrap();
                let start = Instant::now();
                stage.platform.restart_serve().unwrap();
                kills += 1;
                println!("  serve killed, answers again after {} ms", start.elapsed().as_millis());
            }
            calls.join().unwrap();
        }
        Fault::Task(service) | Fault::Shim(service) => {
            let task = stage.tasks(&aws, service).pop_first().unwrap();
            let start = Instant::now();
            match fault {
                Fault::Shim(_) => kill(shims(stage.platform.data_dir())[&task][0]),
                _ => kill(pid_of(stage.platform.data_dir(), &task)),
            }
            wait_for("a killed task is replaced", || {
                let now = stage.tasks(&aws, service);
                (!now.contains(&task) && stage.running(&aws, service) == 1).then_some(())
            });
            println!("  {service} replaced after {} ms", start.elapsed().as_millis());
            let path = PATHS.iter().find(|(label, _)| *label == service).unwrap().1;
            wait_for("the balancer serves it again", || {
                stage.request("GET", path, None, "").filter(|(status, _)| *status == 200)
            });
            println!("  {service} served after {} ms", start.elapsed().as_millis());
        }
        Fault::ServeBeginning => {
            stage.platform.kill_serve().unwrap();
            for _ in 0..10 {
                let mut serve = std::process::Command::new(EXE)
                    .args(["serve", "--listen", stage.platform.endpoint.trim_start_matches("http://"), "--data-dir"])
                    .arg(stage.platform.data_dir())
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                std::thread::sleep(Duration::from_millis(dice.below(60)));
                serve.kill().unwrap();
                serve.wait().unwrap();
            }
            stage.platform.restart_serve().unwrap();
        }
        Fault::YoungShims => {
            let known = shims(stage.platform.data_dir());
            let name = format!("chaos-young-{round}");
            let create = CreateServiceRequest {
                cluster: Some(stage.cluster.clone()),
                service_name: Some(name.clone()),
                task_definition: Some("chaos".into()),
                desired_count: Some(3),
                ..Default::default()
            };
            block_on(aws.call::<CreateService>(create)).unwrap();
            let mut killed = BTreeSet::new();
            wait_for("young shims are killed", || {
                for (task, pids) in shims(stage.platform.data_dir()) {
                    if !known.contains_key(&task) && killed.len() < 4 && killed.insert(task) {
                        std::thread::sleep(Duration::from_millis(dice.below(15)));
                        // It may just be making a child: whoever is named so dies.
                        pids.into_iter().for_each(try_kill);
                    }
                }
                (killed.len() == 4).then_some(())
            });
            ledger.lock().unwrap().services.insert(name.clone(), Some(3));
            converge(stage, "after the deaths of young shims");
            block_on(aws.call::<DeleteService>(delete_service(&stage.cluster, &name))).unwrap();
            ledger.lock().unwrap().services.insert(name, None);
        }
        Fault::Everything => {
            let data = stage.platform.data_dir().to_owned();
            let proxies = processes("proxy", &data);
            let holders = processes("holder", &data);
            let shims: Vec<i32> = shims(&data).into_values().flatten().collect();
            stage.platform.kill_serve().unwrap();
            proxies.into_iter().chain(holders).chain(shims).for_each(try_kill);
            let start = Instant::now();
            stage.platform.restart_serve().unwrap();
            println!("  serve answers after {} ms", start.elapsed().as_millis());
            wait_for("all is served again", || {
                let served = |path| stage.request("GET", path, None, "").is_some_and(|(status, _)| status == 200);
                PATHS.iter().all(|(_, path)| served(path)).then_some(())
            });
            println!("  all services served after {} ms", start.elapsed().as_millis());
        }
        Fault::Proxy => {
            kill(stage.holder_of("proxy/lock"));
            let start = Instant::now();
            wait_for("the proxy is back", || {
                stage.request("GET", "/api/users/1", None, "").filter(|(status, _)| *status == 200)
            });
            println!("  proxy serves again after {} ms", start.elapsed().as_millis());
        }
        Fault::Holder => {
            let Some(holder) = processes("holder", stage.platform.data_dir()).first().copied() else { return };
            let listening = hub_listeners(holder);
            assert!(!listening.is_empty());
            kill(holder);
            let start = Instant::now();
            wait_for("the hub is held again, and all listen on it", || {
                let new = *processes("holder", stage.platform.data_dir()).first().filter(|pid| **pid != holder)?;
                (hub_listeners(new) == listening).then_some(())
            });
            println!("  hub as before after {} ms", start.elapsed().as_millis());
        }
        Fault::ServeAsked => {
            let before = SERVICES.map(|service| stage.tasks(&aws, service));
            stage.platform.terminate_serve().unwrap();
            std::thread::sleep(Duration::from_millis(dice.below(300)));
            stage.platform.restart_serve().unwrap();
            assert_eq!(
                SERVICES.map(|service| stage.tasks(&aws, service)),
                before,
                "serve ended and began: other tasks"
            );
        }
    }
}

const PATHS: [(&str, &str); 4] =
    [("users", "/api/users/1"), ("threads", "/api/threads/1"), ("posts", "/api/posts/in-thread/1"), ("web", "/")];

fn start_load(stage: &Stage) -> LoadHandle {
    let mut config = LoadConfig::new(stage.address, stage.host.clone(), Pace::Rate(120.0));
    config.paths = PATHS.map(|(label, path)| PathSpec::new(label, path)).into();
    Load::start(config).unwrap()
}

fn prepare(aws: &Client, cluster: &str) {
    block_on(async {
        let described = aws
            .call::<DescribeServices>(DescribeServicesRequest {
                cluster: Some(cluster.into()),
                services: Some(vec!["web".into()]),
                ..Default::default()
            })
            .await
            .unwrap();
        let web = described.services.unwrap_or_default().remove(0);
        let definition = aws
            .call::<quarry_aws::ecs::op::DescribeTaskDefinition>(quarry_aws::ecs::DescribeTaskDefinitionRequest {
                task_definition: web.task_definition,
                ..Default::default()
            })
            .await
            .unwrap();
        let container = definition.task_definition.unwrap().container_definitions.unwrap().remove(0);
        aws.call::<RegisterTaskDefinition>(RegisterTaskDefinitionRequest {
            family: Some("chaos".into()),
            container_definitions: Some(vec![ContainerDefinition {
                name: Some("chaos".into()),
                image: container.image,
                cpu: Some(64),
                memory: Some(64),
                port_mappings: container.port_mappings,
                ..Default::default()
            }]),
            ..Default::default()
        })
        .await
        .unwrap();
        aws.call::<CreateRepository>(CreateRepositoryRequest {
            repository_name: Some("chaos".into()),
            ..Default::default()
        })
        .await
        .unwrap();
    });
}

/// What was acknowledged, and so must hold.
#[derive(Default)]
struct Ledger {
    /// Desired count; `None`: deleted.
    services: BTreeMap<String, Option<i32>>,
    /// Exists or not.
    stacks: BTreeMap<String, bool>,
    /// Digests by tag.
    images: BTreeMap<String, String>,
}

impl Ledger {
    fn check(&self, stage: &Stage) {
        let aws = stage.platform.client().unwrap();
        let active: BTreeMap<_, _> =
            services(&aws, &stage.cluster).into_iter().map(|s| (s.service_name.clone().unwrap(), s)).collect();
        for (name, wanted) in &self.services {
            let desired = active.get(name).and_then(|s| s.desired_count);
            assert_eq!(desired, *wanted, "service {name} is not as acknowledged");
        }
        for (name, exists) in &self.stacks {
            let input = DescribeStacksInput { stack_name: Some(name.clone()), ..Default::default() };
            let found = block_on(aws.call::<DescribeStacks>(input));
            let status = found.ok().and_then(|f| f.stacks?.into_iter().next()?.stack_status);
            assert_eq!(status.as_deref(), exists.then_some("CREATE_COMPLETE"), "stack {name} is not as acknowledged");
            let service = active.contains_key(&format!("{name}-service"));
            assert_eq!(service, *exists, "the service of stack {name}");
        }
        for (tag, digest) in &self.images {
            let input = BatchGetImageRequest {
                repository_name: Some("chaos".into()),
                image_ids: Some(vec![ImageIdentifier { image_tag: Some(tag.clone()), ..Default::default() }]),
                ..Default::default()
            };
            let found = block_on(aws.call::<BatchGetImage>(input)).unwrap().images.unwrap_or_default();
            let found = found.first().and_then(|i| i.image_id.clone()?.image_digest);
            assert_eq!(found.as_ref(), Some(digest), "image {tag} is not as pushed");
        }
    }
}

/// Calls one after the other, each repeated until it is answered; what is answered goes into the ledger.
async fn call_away(
    aws: Client,
    endpoint: String,
    cluster: String,
    ledger: Arc<Mutex<Ledger>>,
    mut dice: Dice,
    round: usize,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let stack = format!("chaos-stack-{round}");
    macro_rules! until_answered {
        ($call:expr) => {
            loop {
                match $call.await {
                    Ok(answer) => break answer,
                    Err(error) if error.is_transport() && Instant::now() < deadline => {}
                    Err(error) => panic!("{}: {error}", stringify!($call)),
                }
            }
        };
    }
    let template = json!({"Resources": {
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": format!("/{stack}")}},
        "Repository": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": stack}},
        "Service": {"Type": "AWS::ECS::Service", "DependsOn": ["Logs", "Repository"], "Properties": {
            "Cluster": cluster, "TaskDefinition": "chaos", "DesiredCount": 1, "ServiceName": format!("{stack}-service")}}
    }});
    let create_stack = CreateStackInput {
        stack_name: Some(stack.clone()),
        template_body: Some(template.to_string()),
        client_request_token: Some(format!("create-{stack}")),
        ..Default::default()
    };
    until_answered!(aws.call::<CreateStack>(create_stack.clone()));
    for n in 0..2 {
        let name = format!("chaos-{round}-{n}");
        let create = CreateServiceRequest {
            cluster: Some(cluster.clone()),
            service_name: Some(name.clone()),
            task_definition: Some("chaos".into()),
            desired_count: Some(1 + dice.below(2) as i32),
            client_token: Some(format!("token-{name}")),
            ..Default::default()
        };
        until_answered!(aws.call::<CreateService>(create.clone()));
        ledger.lock().unwrap().services.insert(name.clone(), create.desired_count);
        let update = UpdateServiceRequest {
            cluster: Some(cluster.clone()),
            service: Some(name.clone()),
            desired_count: Some(dice.below(3) as i32),
            force_new_deployment: Some(dice.below(2) == 0),
            ..Default::default()
        };
        until_answered!(aws.call::<UpdateService>(update.clone()));
        ledger.lock().unwrap().services.insert(name.clone(), update.desired_count);

        let bytes: Vec<u8> = (0..200_000).map(|_| dice.below(256) as u8).collect();
        let image = oci::OciImage {
            config: format!(r#"{{"architecture":"amd64","os":"linux","chaos":"{name}"}}"#).into(),
            layers: vec![oci::OciLayer::new(oci::LAYER_GZIP, bytes)],
        };
        let digest = loop {
            match push(&aws, &endpoint, "chaos", &name, &image).await {
                Ok(digest) => break digest,
                Err(error) => assert!(Instant::now() < deadline, "push: {error}"),
            }
        };
        ledger.lock().unwrap().images.insert(name.clone(), digest);
        if n == 1 {
            until_answered!(aws.call::<DeleteService>(delete_service(&cluster, &name)));
            ledger.lock().unwrap().services.insert(name, None);
        }
    }
    let status = loop {
        let described = until_answered!(
            aws.call::<DescribeStacks>(DescribeStacksInput { stack_name: Some(stack.clone()), ..Default::default() })
        );
        let status = described.stacks.unwrap_or_default().remove(0).stack_status.unwrap_or_default();
        if status != "CREATE_IN_PROGRESS" {
            break status;
        }
        assert!(Instant::now() < deadline, "stack {stack} is not made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status, "CREATE_COMPLETE", "{stack}");
    ledger.lock().unwrap().stacks.insert(stack.clone(), true);
    let delete = DeleteStackInput { stack_name: Some(stack.clone()), ..Default::default() };
    until_answered!(aws.call::<DeleteStack>(delete.clone()));
    ledger.lock().unwrap().stacks.insert(stack.clone(), false);
    if dice.below(2) == 0 {
        let name = format!("chaos-{round}-0");
        until_answered!(aws.call::<DeleteService>(delete_service(&cluster, &name)));
        ledger.lock().unwrap().services.insert(name, None);
    }
}

fn delete_service(cluster: &str, name: &str) -> DeleteServiceRequest {
    DeleteServiceRequest { cluster: Some(cluster.into()), service: Some(name.into()), force: Some(true) }
}

trait IsTransport {
    fn is_transport(&self) -> bool;
}

impl IsTransport for quarry_client::CallError {
    fn is_transport(&self) -> bool {
        matches!(self, Self::Transport(_))
    }
}

fn services(aws: &Client, cluster: &str) -> Vec<Service> {
    let listed = block_on(
        aws.paginate::<ListServices>(ListServicesRequest { cluster: Some(cluster.into()), ..Default::default() }),
    );
    let names: Vec<String> =
        listed.unwrap().into_iter().flat_map(|page| page.service_arns.unwrap_or_default()).collect();
    let described = block_on(aws.call::<DescribeServices>(DescribeServicesRequest {
        cluster: Some(cluster.into()),
        services: Some(names),
        ..Default::default()
    }));
    let services = described.unwrap().services.unwrap_or_default();
    services.into_iter().filter(|s| s.status.as_deref() == Some("ACTIVE")).collect()
}

/// Waits until everything is as wanted: the API, the runtime's directories, processes, control groups
/// and the hub's interfaces tell of the same tasks, each once.
fn converge(stage: &Stage, when: &str) {
    let deadline = Instant::now() + CONVERGES;
    loop {
        match differences(stage) {
            found if found.is_empty() => return,
            found => {
                let log = stage.platform.log();
                let from = log.len().saturating_sub(3000);
                assert!(
                    Instant::now() < deadline,
                    "{when}: not as wanted after {} s:\n{}\n{}",
                    CONVERGES.as_secs(),
                    found.join("\n"),
                    log.get(from..).unwrap_or_default()
                );
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn differences(stage: &Stage) -> Vec<String> {
    let aws = stage.platform.client().unwrap();
    let data = stage.platform.data_dir();
    let mut found = Vec::new();
    let mut wanted = 0;
    for service in services(&aws, &stage.cluster) {
        let (desired, running) = (service.desired_count.unwrap(), service.running_count.unwrap());
        let (pending, deployments) = (service.pending_count.unwrap(), service.deployments.unwrap_or_default().len());
        wanted += desired;
        if (running, pending, deployments) != (desired, 0, 1) {
            found.push(format!(
                "{}: desired {desired}, running {running}, pending {pending}, deployments {deployments}: {:?}",
                service.service_name.unwrap(),
                service.events.unwrap_or_default().into_iter().take(3).map(|e| e.message).collect::<Vec<_>>()
            ));
        }
    }
    let stacks = block_on(aws.paginate::<DescribeStacks>(Default::default())).unwrap();
    for stack in stacks.into_iter().flat_map(|page| page.stacks.unwrap_or_default()) {
        let status = stack.stack_status.unwrap_or_default();
        if !status.ends_with("_COMPLETE") {
            found.push(format!("stack {} is {status}", stack.stack_name.unwrap_or_default()));
        }
    }
    let listed = block_on(
        aws.paginate::<ListTasks>(ListTasksRequest { cluster: Some(stage.cluster.clone()), ..Default::default() }),
    );
    let listed: BTreeSet<String> = listed
        .unwrap()
        .into_iter()
        .flat_map(|page| page.task_arns.unwrap_or_default())
        .map(|arn| arn.rsplit('/').next().unwrap().to_owned())
        .collect();
    if listed.len() != wanted as usize {
        found.push(format!("{wanted} tasks wanted, listed are {listed:?}"));
    }
    let mut differ = |what: &str, there: BTreeSet<String>| {
        if there != listed {
            found.push(format!("{what}: {there:?}, listed are {listed:?}"));
        }
    };
    let entries = std::fs::read_dir(data.join("tasks")).unwrap().flatten();
    differ("directories", entries.map(|e| e.file_name().into_string().unwrap()).collect());
    let shims = shims(data);
    let groups = control_groups(&shims);
    let holders = processes("holder", data);
    let proxies = processes("proxy", data);
    for (task, pids) in &shims {
        if pids.len() != 1 {
            found.push(format!("task {task} has {} shims", pids.len()));
        }
    }
    let mut differ = |what: &str, there: BTreeSet<String>| {
        if there != listed {
            found.push(format!("{what}: {there:?}, listed are {listed:?}"));
        }
    };
    differ("shims", shims.into_keys().collect());
    if let Some(groups) = groups {
        differ("control groups", groups);
    }
    if let [holder] = holders[..] {
        let devices = std::fs::read_to_string(format!("/proc/{holder}/net/dev")).unwrap_or_default();
        let devices = devices.lines().skip(2).filter(|l| !l.trim_start().starts_with("lo:")).count();
        if devices != listed.len() {
            found.push(format!("the hub has {devices} interfaces, listed are {} tasks", listed.len()));
        }
    } else if !holders.is_empty() {
        found.push(format!("{} holders", holders.len()));
    }
    if proxies.len() != 1 {
        found.push(format!("{} proxies", proxies.len()));
    }
    found
}

/// Addresses with a TCP listener in the hub's network namespace, in the kernel's notation.
fn hub_listeners(holder: i32) -> BTreeSet<String> {
    let table = std::fs::read_to_string(format!("/proc/{holder}/net/tcp")).unwrap_or_default();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(3) == Some(&"0A")).map(|row| row[1].to_owned()).collect()
}

fn try_kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Processes of a role of this data directory.
fn processes(role: &str, data: &Path) -> Vec<i32> {
    with_role(role, data).into_iter().map(|(pid, _)| pid).collect()
}

fn with_role(role: &str, data: &Path) -> Vec<(i32, PathBuf)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&str> = command.split('\0').collect();
        let place = words.iter().skip(2).find(|word| Path::new(word).starts_with(data));
        if words.get(1) == Some(&role)
            && let Some(place) = place
        {
            found.push((pid, PathBuf::from(place)));
        }
    }
    found
}

/// The shims by task. What a shim forks before it executes a container still has its command line.
fn shims(data: &Path) -> BTreeMap<String, Vec<i32>> {
    let mut found: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    let all = with_role("shim", data);
    for (pid, place) in &all {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|s| s.split_whitespace().nth(1)?.parse::<i32>().ok());
        if !all.iter().any(|(other, _)| Some(*other) == parent) {
            found.entry(place.file_name().unwrap().to_str().unwrap().to_owned()).or_default().push(*pid);
        }
    }
    found
}

/// The tasks that have a control group, if tasks have any here.
fn control_groups(shims: &BTreeMap<String, Vec<i32>>) -> Option<BTreeSet<String>> {
    let shims: BTreeSet<i32> = shims.values().flatten().copied().collect();
    let child = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: i32 = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).ok()?;
        (shims.contains(&parent) && groups.contains("/quarry/")).then_some(groups)
    })?;
    let mut found = BTreeSet::new();
    for line in child.lines().filter(|line| line.contains("/quarry/")) {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, Path::new(parts.next()?));
        let root = match controllers {
            "" => PathBuf::from("/sys/fs/cgroup"),
            some => Path::new("/sys/fs/cgroup").join(some),
        };
        let ours = root.join(path.parent()?.parent()?.strip_prefix("/").ok()?);
        let entries = std::fs::read_dir(ours).ok()?.flatten().filter(|e| e.path().is_dir());
        found.extend(entries.map(|e| e.file_name().into_string().unwrap()));
    }
    Some(found)
}

fn assert_nothing_left(data: &Path) {
    assert_eq!(quarry_runtime::leftovers(data), Vec::<String>::new());
    for role in ["serve", "proxy", "holder", "shim"] {
        assert_eq!(processes(role, data), Vec::<i32>::new(), "{role} is left");
    }
}

/// Writes posts under keys of their own, each repeated until it is acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Writer {
    fn start(address: SocketAddr, host: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let n = acknowledged.len();
                let text = format!("written through chaos, number {n}.");
                let body = json!({"thread": 1, "user": 1, "text": text}).to_string();
                wait_for("a write is acknowledged", || {
                    match request(address, &host, "POST", "/api/posts", Some(&format!("chaos-{n}")), &body)? {
                        (201, _) => Some(()),
                        (502..=504, _) => None,
                        (status, body) => panic!("{status}: {body}"),
                    }
                });
                acknowledged.push(text);
                std::thread::sleep(Duration::from_millis(25));
            }
            acknowledged
        });
        Self { stop, thread }
    }

    fn end_and_check(self, stage: &Stage) {
        self.stop.store(true, Ordering::Relaxed);
        let acknowledged = self.thread.join().unwrap();
        let posts: Value = stage.get("/api/posts");
        let mut copies: BTreeMap<&str, u32> = BTreeMap::new();
        for post in posts.as_array().unwrap() {
            *copies.entry(post["text"].as_str().unwrap()).or_default() += 1;
        }
        for text in &acknowledged {
            assert_eq!(copies.get(text.as_str()), Some(&1), "{text:?}");
        }
        println!("writes: {} acknowledged, each there once", acknowledged.len());
    }
}

/// Watches that the version of the snapshot in force never goes back.
struct Versions {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Versions {
    fn watch(path: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut last = 0;
            while !stopped.load(Ordering::Relaxed) {
                let snapshot: Value = match std::fs::read(&path) {
                    Ok(bytes) => serde_json::from_slice(&bytes).expect("whole at any time"),
                    // The test has failed and its directory is gone.
                    Err(_) => break,
                };
                let version = snapshot["version"].as_u64().unwrap();
                assert!(version >= last, "the snapshot went back from {last} to {version}");
                last = version;
                std::thread::sleep(Duration::from_millis(5));
            }
            last
        });
        Self { stop, thread }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_data_directory_has_one_serve() {
    let platform = quarry_testkit::Platform::start(EXE).unwrap();
    let second = platform.quarry(&["serve", "--listen", "127.0.0.1:0"]).unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("already runs"), "{said}");
}
