//! The service's operations and the reconciler, with a fake runtime, fake images and real target
//! groups whose health the tests report.

mod bad_input;
mod blue_green;
mod daemon;
mod deployments;
// The points are there in debug builds only.
#[cfg(debug_assertions)]
mod failpoints;
mod instances;
mod life;
mod network;
mod protection;
mod registries;
mod restart;
mod roles;
mod rolling;
mod scale;
mod secrets;
mod threads;
mod unknown;

use super::container_instances::{self, NewInstance};
use super::reconcile::Reconciler;
use super::reconcile::SETTLED;
use super::reconcile::jobs::Jobs;
use super::records::{LastStatus, Task};
use crate::api::Operations;
use crate::elbv2::records::Target;
use crate::elbv2::tests as elb;
use crate::store::StoreError;
use crate::testing::World;
use quarry_aws::ecs::{self as aws, op};
use quarry_domain::link::{TargetReport, TargetState};
use quarry_domain::task::{
    ContainerHealth, ContainerState, ObservedContainer, ObservedTask, Signal, TaskEntry, TaskPhase, TaskRuntime,
};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// A platform with one cluster `demo` of two instances, and the reconciler, moved by hand.
pub struct Stage {
    pub world: World,
    pub reconciler: Reconciler,
    /// Containers that exit at once with this code, by image.
    pub exits: HashMap<String, i32>,
    /// What the load balancer says of all targets, unless named in `sick`.
    pub healthy: bool,
    /// Host ports whose targets are unhealthy.
    pub sick: BTreeSet<u16>,
    launched: usize,
    signalled: usize,
}

pub fn operations(operations: &mut Operations) {
    super::register(operations);
    crate::logs::register(operations);
    crate::iam::register(operations);
    crate::secretsmanager::register(operations);
    crate::ssm::register(operations);
    crate::elbv2::register(operations);
    crate::cloudwatch::register(operations);
    elb::fake_ec2(operations);
}

impl Stage {
    pub fn new() -> Self {
        Self::furnished(World::new(operations))
    }

    /// With the cluster and the images on a platform of one's own.
    pub fn furnished(world: World) -> Self {
        let mut stage = Self::on(world);
        stage
            .world
            .call::<op::CreateCluster>(aws::CreateClusterRequest {
                cluster_name: Some("demo".into()),
                ..Default::default()
            })
            .unwrap();
        for (id, zone) in [("i-0a", "us-east-1a"), ("i-0b", "us-east-1b")] {
            stage.join(id, zone);
        }
        for name in ["api:v1", "api:v2"] {
            stage.world.images.add(name);
        }
        stage
    }

    pub fn on(world: World) -> Self {
        let jobs = Jobs::inline(world.platform.clone(), world.operations.clone());
        let reconciler = Reconciler::new(world.platform.clone(), world.operations.clone(), jobs);
        Self {
            world,
            reconciler,
            exits: HashMap::new(),
            healthy: true,
            sick: BTreeSet::new(),
            launched: 0,
            signalled: 0,
        }
    }

    pub fn join(&mut self, id: &str, zone: &str) -> String {
        let instance = NewInstance {
            ec2_instance_id: id.into(),
            instance_type: "t2.micro".into(),
            availability_zone: zone.into(),
            cpu_units: 1024,
            memory_mib: 983,
            group: None,
        };
        self.world.transact(|ctx| container_instances::register(ctx, "demo", &instance)).unwrap()
    }

    pub fn define(&self, image: &str) -> String {
        self.define_with(image, serde_json::json!({}))
    }

    /// Registers family `api` with one container, further members of which are given.
    pub fn define_with(&self, image: &str, members: serde_json::Value) -> String {
        let mut container = serde_json::json!({
            "name": "api", "image": image, "cpu": 256, "memory": 256,
            "portMappings": [{"containerPort": 3000, "hostPort": 0}],
        });
        for (name, value) in members.as_object().unwrap() {
            container[name] = value.clone();
        }
        let input = serde_json::json!({"family": "api", "containerDefinitions": [container]});
        let output = self.world.call::<op::RegisterTaskDefinition>(serde_json::from_value(input).unwrap()).unwrap();
        output.task_definition.unwrap().task_definition_arn.unwrap()
    }

    /// Makes service `api`, with a target group behind a listener if `balanced`.
    pub fn serve(&self, definition: &str, desired: i32, balanced: bool) -> Option<String> {
        let group = balanced.then(|| {
            let balancer = elb::balancer(&self.world, "demo");
            let group = elb::group(&self.world, "api");
            elb::listener(&self.world, &balancer, &group);
            group
        });
        let balancers = group.iter().map(|arn| aws::LoadBalancer {
            target_group_arn: Some(arn.clone()),
            container_name: Some("api".into()),
            container_port: Some(3000),
            ..Default::default()
        });
        self.world
            .call::<op::CreateService>(aws::CreateServiceRequest {
                cluster: Some("demo".into()),
                service_name: Some("api".into()),
                task_definition: Some(definition.into()),
                desired_count: Some(desired),
                load_balancers: Some(balancers.collect()),
                ..Default::default()
            })
            .unwrap();
        group
    }

    pub fn update(&self, change: impl FnOnce(&mut aws::UpdateServiceRequest)) {
        let mut input = aws::UpdateServiceRequest {
            cluster: Some("demo".into()),
            service: Some("api".into()),
            ..Default::default()
        };
        change(&mut input);
        self.world.call::<op::UpdateService>(input).unwrap();
    }

    /// Lets everything happen until nothing does any more.
    pub fn settle(&mut self) {
        for _ in 0..60 {
            self.reconciler.pass();
            let before = self.world.platform.store.changed.level();
            let acted = self.runtime() | self.proxy();
            self.reconciler.pass();
            if !acted && self.world.platform.store.changed.level() == before {
                match self.unsettled() {
                    Some(left) => self.world.door.advance(left),
                    None => return,
                }
            }
        }
        panic!("it does not settle: {:#?}", self.service().events);
    }

    /// How long until every task that runs and that nobody checks has run for long enough to count.
    fn unsettled(&self) -> Option<Duration> {
        let tasks = self.world.platform.store.read(|tx| tx.all::<Task>()).unwrap();
        let now = self.world.platform.now_ms();
        let judged = |task: &Task| !task.targets.is_empty() || task.is_checked() || task.service.is_none();
        let running = tasks.iter().filter(|task| task.status == LastStatus::Running && !judged(task));
        let until = running.filter_map(|task| task.started_ms).map(|at| at + SETTLED.as_millis() as i64).max()?;
        (until > now).then(|| Duration::from_millis((until - now).unsigned_abs()))
    }

    pub fn pass_time(&mut self, time: Duration) {
        self.world.door.advance(time);
        self.settle();
    }

    /// The fake runtime starts what was launched and ends what is signalled.
    pub fn runtime(&mut self) -> bool {
        let runtime = self.world.runtime.clone();
        let launched = runtime.launched.lock().unwrap()[self.launched..].to_vec();
        let signals = runtime.signals.lock().unwrap()[self.signalled..].to_vec();
        let acted = !launched.is_empty() || !signals.is_empty();
        (self.launched, self.signalled) = (self.launched + launched.len(), self.signalled + signals.len());
        for spec in launched {
            let image = self.world.images.images.lock().unwrap().clone();
            let name = image.iter().find(|(_, image)| **image == spec.containers[0].image).unwrap().0.clone();
            match self.exits.get(&name) {
                Some(code) => self.ended(&spec.id, Some(*code)),
                None => runtime.show(running(&spec.id)),
            }
        }
        for (id, _, signal) in signals {
            let code = if signal == Signal::Kill { 137 } else { 0 };
            self.ended(&id, Some(code));
        }
        acted
    }

    /// A task ends with an exit code, or is lost.
    pub fn ended(&self, id: &str, code: Option<i32>) {
        let state = code.map(|code| ContainerState::Exited { code, oom_killed: false, at_ms: 0 });
        let containers = state
            .into_iter()
            .map(|state| ObservedContainer { name: "api".into(), state, health: ContainerHealth::Unknown })
            .collect();
        let phase = if code.is_some() { TaskPhase::Exited } else { TaskPhase::Lost };
        self.world.runtime.show(ObservedTask { id: id.into(), phase, containers, entry: None });
    }

    /// The proxy reports the health of all targets and drains those that are deregistered.
    pub fn proxy(&mut self) -> bool {
        let targets = self.world.platform.store.read(|tx| tx.all::<Target>()).unwrap();
        let mut acted = false;
        for target in targets {
            if target.draining {
                let gone = |tx: &crate::store::Tx<'_>| tx.delete::<Target>(&crate::store::Item::key(&target));
                acted |= self.world.platform.store.write(gone).unwrap();
                continue;
            }
            let healthy = self.healthy && !self.sick.contains(&target.port);
            let report = TargetReport {
                target_group_arn: target.target_group_arn.clone(),
                registration: target.registration,
                state: if healthy { TargetState::Healthy } else { TargetState::Unhealthy },
                reason: None,
                description: (!healthy).then(|| "Health checks failed with these codes: [500]".into()),
                in_flight: 0,
            };
            acted |= self.world.platform.live().report(report);
        }
        acted
    }

    pub fn service(&self) -> aws::Service {
        let input = aws::DescribeServicesRequest {
            cluster: Some("demo".into()),
            services: Some(vec!["api".into()]),
            ..Default::default()
        };
        self.world.call::<op::DescribeServices>(input).unwrap().services.unwrap().remove(0)
    }

    /// Messages of the service's events, oldest first, without their ids.
    pub fn events(&self) -> Vec<String> {
        let hex = |word: &str| word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit());
        let plain = |event: &aws::ServiceEvent| {
            let message = event.message.clone().unwrap();
            let words = message.split(' ').map(|word| {
                let bare = word.trim_end_matches([')', '.', ':']);
                if hex(bare) { word.replace(bare, "ID") } else { word.to_owned() }
            });
            words.collect::<Vec<_>>().join(" ")
        };
        self.service().events.unwrap().iter().rev().map(plain).collect()
    }

    /// Ids of the tasks whose desired status is RUNNING or STOPPED.
    pub fn tasks(&self, desired: &str) -> Vec<aws::Task> {
        let input = aws::ListTasksRequest {
            cluster: Some("demo".into()),
            desired_status: Some(desired.into()),
            ..Default::default()
        };
        let arns = self.world.call::<op::ListTasks>(input).unwrap().task_arns.unwrap();
        if arns.is_empty() {
            return Vec::new();
        }
        let input = aws::DescribeTasksRequest { cluster: Some("demo".into()), tasks: Some(arns), ..Default::default() };
        self.world.call::<op::DescribeTasks>(input).unwrap().tasks.unwrap()
    }

    pub fn targets(&self) -> Vec<Target> {
        self.world.platform.store.read(|tx| -> Result<_, StoreError> { tx.all::<Target>() }).unwrap()
    }
}

pub fn running(id: &str) -> ObservedTask {
    let state = ContainerState::Running { pid: 1, started_at_ms: 0 };
    ObservedTask {
        id: id.into(),
        phase: TaskPhase::Running,
        containers: vec![ObservedContainer { name: "api".into(), state, health: ContainerHealth::Unknown }],
        entry: Some(TaskEntry::Broker("/s".into())),
    }
}

pub fn id(task: &aws::Task) -> String {
    quarry_domain::arn::short_name(task.task_arn.as_deref().unwrap()).to_owned()
}

pub fn host_port(task: &aws::Task) -> u16 {
    let binding = &task.containers.as_ref().unwrap()[0].network_bindings.as_ref().unwrap()[0];
    binding.host_port.unwrap() as u16
}

#[test]
fn the_fake_runtime_is_what_the_reconciler_sees() {
    let stage = Stage::new();
    stage.world.runtime.show(running("x"));
    assert_eq!(stage.world.runtime.observe_one("x"), Some(running("x")));
}
