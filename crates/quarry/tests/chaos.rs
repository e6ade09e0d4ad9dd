//! kill -9 of each process at any point: acknowledged calls and writes survive, no task is there twice
//! or left over, the load balancer serves on. The order of faults comes from a seed (`CHAOS_SEED`), the
//! moment at which they hit from the machine. `CHAOS_KILLS=200` goes on until so many processes were killed.

#[path = "chaos/ledger.rs"]
mod ledger;
#[path = "chaos/seen.rs"]
mod seen;
mod stage;
#[path = "chaos/watch.rs"]
mod watch;

use ledger::*;
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
use quarry_testkit::image::push;
use quarry_testkit::wait_for;
use seen::*;
use serde_json::{Value, json};
use stage::{EXE, SERVICES, Stage, block_on, kill, pid_of, request};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use watch::*;

/// Within this time after a fault everything is as wanted again: a program that had only just begun when it was asked to
/// end heeds no signal as the first process of its namespace, and is killed after its `stopTimeout` of 30 s.
const CONVERGES: Duration = Duration::from_secs(45);

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
#[ignore = "a minute of chaos, run by name: cargo test -p quarry --test chaos -- --ignored"]
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

    let kills: u32 = std::env::var("CHAOS_KILLS").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    println!("seed {seed}");
    let (mut deck, mut round) = (shuffled_deck(&mut dice), 0);
    while let Some(fault) = deck.pop() {
        if deck.is_empty() && KILLED.load(Ordering::Relaxed) < kills {
            deck = shuffled_deck(&mut dice);
            // Room for the next ones.
            ledger.lock().unwrap().end_services(&aws, &stage.cluster);
        }
        round += 1;
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
    println!("{} processes were killed", KILLED.load(Ordering::Relaxed));
    println!(
        "reads: {} ok, {} failed; snapshots up to version {}",
        report.total.ok,
        report.total.failed,
        versions.end()
    );
    writer.end_and_check(&stage);

    stop_in_the_middle(&mut stage, &mut dice);
}

/// Processes that got SIGKILL.
static KILLED: AtomicU32 = AtomicU32::new(0);

fn count_killed(n: usize) {
    KILLED.fetch_add(n as u32, Ordering::Relaxed);
}

/// Each fault once, those of `serve` more often.
fn shuffled_deck(dice: &mut Dice) -> Vec<Fault> {
    let services = |n: u64| SERVICES[n as usize];
    let mut deck = vec![Fault::ServeUnderCalls; 3];
    deck.extend([Fault::Proxy, Fault::Holder, Fault::ServeAsked, Fault::ServeBeginning]);
    deck.extend([Fault::YoungShims, Fault::Everything]);
    deck.extend([Fault::Task(services(dice.below(4))), Fault::Shim(services(dice.below(4)))]);
    dice.shuffled(deck)
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
                count_killed(1);
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
            count_killed(1);
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
            count_killed(11);
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
            let deadline = Instant::now() + Duration::from_secs(60);
            while killed.len() < 4 {
                for (task, pids) in shims(stage.platform.data_dir()) {
                    if !known.contains_key(&task) && killed.len() < 4 && killed.insert(task) {
                        std::thread::sleep(Duration::from_millis(dice.below(15)));
                        // It may just be making a child: whoever is named so dies.
                        count_killed(1);
                        pids.into_iter().for_each(try_kill);
                    }
                }
                if Instant::now() > deadline {
                    panic!("round {round}: only {killed:?} came; {}", told(stage, &differences(stage)));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
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
            count_killed(1 + proxies.len() + holders.len() + shims.len());
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
            count_killed(1);
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
            count_killed(1);
            let start = Instant::now();
            wait_for("the hub is held again, and all listen on it", || {
                let new = *processes("holder", stage.platform.data_dir()).first().filter(|pid| **pid != holder)?;
                (hub_listeners(new) == listening).then_some(())
            });
            // Through the tasks' own addresses, which come and go with them.
            wait_for("all is served through the new hub", || {
                let served = |path| stage.request("GET", path, None, "").is_some_and(|(status, _)| status == 200);
                PATHS.iter().all(|(_, path)| served(path)).then_some(())
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

#[test]
fn a_data_directory_has_one_serve() {
    let platform = quarry_testkit::Platform::start(EXE).unwrap();
    let second = platform.quarry(&["serve", "--listen", "127.0.0.1:0"]).unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("already runs"), "{said}");
}
