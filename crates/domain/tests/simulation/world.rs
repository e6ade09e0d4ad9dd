//! The simulated cluster: what happens to it, the fake runtime, the rules.

#[path = "service.rs"]
mod service;

use quarry_domain::placement::{About, Constraint, Demand, Instance, Strategy, default_strategies, place};
use quarry_domain::service::{Action, Phase, StopWhy, Wanted, plan, plan_daemon};
use service::{Deployment, Service, Status, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Rounds of decisions at one moment after which it is taken to go round in circles.
const ROUNDS: u32 = 40;
/// How long a history is left in peace at most: longer than the longest delay of the throttle.
const PEACE: Duration = Duration::from_secs(40 * 60);

/// A container instance.
struct Host {
    cpu: u32,
    memory: u32,
    zone: &'static str,
    draining: bool,
}

/// What happened, so that a test that tests nothing is seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

/// splitmix64.
pub struct Dice(u64);

pub struct World {
    seed: u64,
    tells: bool,
    dice: Dice,
    now: Duration,
    hosts: BTreeMap<String, Host>,
    services: Vec<Service>,
    next: u64,
    /// Until then nothing is known of any task's health.
    blind: Duration,
    tally: Tally,
}

impl Tally {
    fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, n) in &other.counts {
            *self.counts.entry(what).or_default() += n;
        }
    }

    /// Everything that a sound set of histories has some of.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let all = [
            "start",
            "no place",
            "slow start",
            "failed start",
            "crash",
            "illness",
            "loss",
            "drain",
            "terminated instance",
            "new instance",
            "resize",
            "deployment",
            "bad deployment",
            "protection",
            "blindness",
            "restart",
            "completed",
            "circuit breaker",
            "rollback",
            "steady",
            "stop for scaling",
            "stop for health",
            "stop for draining",
            "blocked",
            "spared",
            "throttled",
            "converged",
        ];
        all.map(|what| (what, self.counts.get(what).copied().unwrap_or(0))).into()
    }
}

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

impl World {
    pub fn new(seed: u64, tells: bool) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1));
        let mut world = Self {
            seed,
            tells,
            now: Duration::from_secs(1_000_000),
            hosts: BTreeMap::new(),
            services: Vec::new(),
            next: 0,
            blind: Duration::ZERO,
            tally: Tally::default(),
            dice: Dice(0),
        };
        let (hosts, services) = (1 + dice.below(5), 1 + dice.below(3));
        world.dice = dice;
        for _ in 0..hosts {
            world.new_host();
        }
        for n in 0..services {
            let service = Service::random(&mut world.dice, n);
            world.services.push(service);
        }
        world
    }

    /// Lives through so many moments and then through peace.
    pub fn run(mut self, moments: u32) -> Tally {
        for _ in 0..moments {
            for _ in 0..=self.dice.below(2) {
                self.something_happens();
            }
            let step = Duration::from_millis(*self.dice.of(&[0, 20, 300, 1_000, 2_000, 5_000, 12_000, 60_000]));
            self.pass_time(step);
            self.schedule();
        }
        self.peace();
        self.tally
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{:>9.3} {}", (self.now - Duration::from_secs(1_000_000)).as_secs_f64(), what());
        }
    }

    fn new_host(&mut self) {
        self.next += 1;
        let host = Host {
            cpu: 1024 * (1 + self.dice.below(4) as u32),
            memory: 2048 * (1 + self.dice.below(4) as u32),
            zone: ["a", "b", "c"][self.dice.below(3) as usize],
            draining: false,
        };
        self.hosts.insert(format!("host-{}", self.next), host);
    }

    fn something_happens(&mut self) {
        let index = self.dice.below(self.services.len() as u64) as usize;
        let now = self.now;
        let what = match self.dice.below(16) {
            0 | 1 => self.services[index].any_task(&mut self.dice, Status::is_running).map(|task| {
                task.end();
                "crash"
            }),
            2 => self.services[index].any_task(&mut self.dice, Status::is_running).map(|task| {
                task.ill = true;
                "illness"
            }),
            3 => self.services[index].any_task(&mut self.dice, Status::is_running).map(|task| {
                task.ill = false;
                "recovery"
            }),
            4 => self.services[index].any_task(&mut self.dice, |_| true).map(|task| {
                task.end();
                "loss"
            }),
            5 => self.any_host().map(|id| {
                let host = self.hosts.get_mut(&id).expect("it is there");
                host.draining = !host.draining;
                "drain"
            }),
            6 if self.hosts.len() > 1 => self.any_host().map(|id| {
                self.hosts.remove(&id);
                for task in self.services.iter_mut().flat_map(|service| &mut service.tasks).filter(|t| t.host == id) {
                    task.end();
                }
                "terminated instance"
            }),
            7 if self.hosts.len() < 8 => {
                self.new_host();
                Some("new instance")
            }
            8 => {
                self.services[index].desired = self.dice.below(9) as u32;
                Some("resize")
            }
            9 | 10 => {
                let sound = self.dice.percent(60);
                self.services[index].deploy(sound);
                Some(if sound { "deployment" } else { "bad deployment" })
            }
            11 => self.services[index].any_task(&mut self.dice, |_| true).map(|task| {
                task.protected_until = now + Duration::from_secs(90);
                "protection"
            }),
            12 => {
                self.blind = now + Duration::from_secs(3);
                Some("blindness")
            }
            13 => {
                self.services.iter_mut().for_each(|service| service.forget(now));
                Some("restart")
            }
            _ => None,
        };
        if let Some(what) = what {
            self.tell(|| format!("! {what} (service {index})"));
            self.tally.note(what);
        }
    }

    fn any_host(&mut self) -> Option<String> {
        let ids: Vec<String> = self.hosts.keys().cloned().collect();
        (!ids.is_empty()).then(|| self.dice.of(&ids).clone())
    }

    /// Everything that takes its time goes on.
    fn pass_time(&mut self, step: Duration) {
        // In small steps, so that probes are made when they are due.
        let end = self.now + step;
        loop {
            self.now = end.min(self.now + Duration::from_secs(1));
            for service in &mut self.services {
                service.go_on(self.now, self.now < self.blind, &mut self.tally, &mut self.dice);
            }
            if self.now >= end {
                return;
            }
        }
    }

    /// The scheduler's passes, until it finds nothing to do.
    fn schedule(&mut self) {
        for index in 0..self.services.len() {
            for round in 0.. {
                assert!(round < ROUNDS, "seed {}: service {index} goes round in circles", self.seed);
                if !self.decide(index) {
                    break;
                }
            }
        }
    }

    /// One decision for one service, carried out. Whether there was anything.
    fn decide(&mut self, index: usize) -> bool {
        let leave: BTreeSet<String> = self.services[index]
            .tasks
            .iter()
            .filter(|task| self.hosts.get(&task.host).is_none_or(|host| host.draining))
            .map(|task| task.host.clone())
            .collect();
        let hosts: Vec<quarry_domain::service::Host> = self
            .hosts
            .iter()
            .map(|(id, host)| quarry_domain::service::Host {
                id: id.clone(),
                wanted: !host.draining,
                busy: self
                    .services
                    .iter()
                    .filter(|service| !service.daemon)
                    .any(|s| s.tasks.iter().any(|t| t.host == *id)),
            })
            .collect();
        let zones: BTreeMap<String, &str> = self.hosts.iter().map(|(id, host)| (id.clone(), host.zone)).collect();
        let (now, blind) = (self.now, self.now < self.blind);
        let service = &mut self.services[index];
        service.note_health(blind);
        let seen = service.seen(now, blind, &leave, &zones);
        let mut wanted = service.wanted();
        if service.daemon {
            wanted.desired = hosts.iter().filter(|host| host.wanted).count() as u32;
        }
        let decide =
            || if service.daemon { plan_daemon(&wanted, &hosts, &seen, now) } else { plan(&wanted, &seen, now) };
        let actions = decide();
        assert_eq!(actions, decide(), "seed {}: the same facts, another decision", self.seed);
        self.check(index, &wanted, &seen, &actions);
        let mut moved = false;
        for action in actions {
            self.tell(|| format!("  service {index}: {action:?}"));
            moved |= self.carry_out(index, action);
        }
        self.check_hosts();
        moved
    }

    /// The rules for what is decided at once.
    fn check(&self, index: usize, wanted: &Wanted, seen: &[quarry_domain::service::SeenTask], actions: &[Action]) {
        let rule = |holds: bool, what: &str| {
            assert!(holds, "seed {}, service {index}: {what}: {wanted:#?} {seen:#?} {actions:#?}", self.seed);
        };
        let service = &self.services[index];
        let primaries: Vec<_> = wanted.deployments.iter().filter(|d| d.primary).collect();
        rule(primaries.len() == 1, "one deployment is the primary one");
        let live = seen.iter().filter(|task| task.phase != Phase::Stopping).count();
        let is_healthy = |task: &quarry_domain::service::SeenTask| {
            matches!(task.phase, Phase::Running { .. }) && task.health == quarry_domain::service::Health::Healthy
        };
        let healthy = seen.iter().filter(|task| is_healthy(task)).count();
        let second = |task: &quarry_domain::service::SeenTask| {
            seen.iter().any(|other| other.id != task.id && other.instance == task.instance)
        };
        let (mut stopped, mut healthy_left, mut started) = (BTreeSet::new(), healthy, 0);
        for action in actions {
            match action {
                Action::Start { deployment, count } => {
                    started += *count as usize;
                    rule(*deployment == primaries[0].id, "what is started is of the primary deployment");
                    rule(primaries[0].not_before <= self.now, "the throttle is heeded");
                    rule(live + started <= wanted.maximum() as usize, "never more than the maximum percent");
                }
                Action::StartOn { deployment, instance } => {
                    rule(*deployment == primaries[0].id, "what is started is of the primary deployment");
                    rule(primaries[0].not_before <= self.now, "the throttle is heeded");
                    rule(
                        self.hosts.get(instance).is_some_and(|host| !host.draining),
                        "a daemon starts where it belongs",
                    );
                    rule(!seen.iter().any(|task| task.instance == *instance), "a daemon is on an instance once");
                }
                Action::Stop { task, why } => {
                    let task = seen.iter().find(|seen| seen.id == *task);
                    rule(task.is_some_and(|task| task.phase != Phase::Stopping), "only what lives is stopped");
                    let Some(task) = task else { continue };
                    rule(stopped.insert(task.id.clone()), "each is stopped once");
                    let ill = task.health == quarry_domain::service::Health::Unhealthy;
                    rule(!task.protected || ill, "protected tasks are spared");
                    rule(*why != StopWhy::Unhealthy || ill, "only what was found ill is stopped for it");
                    if is_healthy(task) {
                        healthy_left -= 1;
                        // A daemon leaves an instance that is given up, however few there are.
                        let given_up = service.daemon && (task.leave || second(task));
                        rule(
                            given_up || healthy_left >= wanted.minimum() as usize,
                            "never fewer healthy ones than the minimum percent",
                        );
                    }
                }
                Action::Complete { .. } | Action::Steady(true) => {
                    let good = |task: &&quarry_domain::service::SeenTask| {
                        is_healthy(task) && task.deployment == primaries[0].id
                    };
                    let all = seen.iter().filter(good).count() == wanted.desired as usize;
                    rule(all && seen.len() == wanted.desired as usize, "what is announced as steady is so");
                }
                Action::Fail { .. } | Action::Bake | Action::Steady(false) | Action::Blocked | Action::Protected(_) => {
                }
            }
        }
    }

    /// No instance is given away twice.
    fn check_hosts(&self) {
        for (id, host) in &self.hosts {
            let on: Vec<(&Service, &Task)> = self.tasks().filter(|(_, task)| task.host == *id).collect();
            let cpu: u32 = on.iter().map(|(service, _)| service.demand.cpu).sum();
            let memory: u32 = on.iter().map(|(service, _)| service.demand.memory).sum();
            assert!(cpu <= host.cpu && memory <= host.memory, "seed {}: {id} is overbooked", self.seed);
            let mut ports = BTreeSet::new();
            for port in on.iter().flat_map(|(service, _)| &service.demand.ports) {
                assert!(ports.insert(port), "seed {}: port {port} of {id} is given away twice", self.seed);
            }
            for service in self.services.iter().filter(|service| service.distinct) {
                let own = service.tasks.iter().filter(|task| task.host == *id).count();
                let counted = service.tasks.iter().filter(|task| task.host == *id && task.wanted()).count();
                assert!(counted <= 1, "seed {}: {own} tasks on {id}, which are to be distinct", self.seed);
            }
        }
    }

    fn tasks(&self) -> impl Iterator<Item = (&Service, &Task)> {
        self.services.iter().flat_map(|service| service.tasks.iter().map(move |task| (service, task)))
    }

    /// What is left on the instances, as the control part counts it.
    fn room(&self, group: usize) -> Vec<Instance> {
        let mut room = Vec::new();
        for (id, host) in self.hosts.iter().filter(|(_, host)| !host.draining) {
            let mut left = Instance {
                id: id.clone(),
                attributes: BTreeMap::from([("ecs.availability-zone".into(), host.zone.into())]),
                cpu: host.cpu,
                memory: host.memory,
                ports: Default::default(),
                tasks_of_group: 0,
                tasks: 0,
                about: About::default(),
            };
            for (index, service) in self.services.iter().enumerate() {
                for task in service.tasks.iter().filter(|task| task.host == *id) {
                    left.take(&service.demand);
                    left.tasks_of_group -= u32::from(index != group || !task.wanted());
                }
            }
            room.push(left);
        }
        room
    }

    fn carry_out(&mut self, index: usize, action: Action) -> bool {
        let now = self.now;
        match action {
            Action::Start { deployment, count } => {
                let mut any = false;
                for _ in 0..count {
                    any |= self.start(index, &deployment, None);
                }
                return any;
            }
            Action::StartOn { deployment, instance } => return self.start(index, &deployment, Some(&instance)),
            Action::Stop { task, why } => {
                self.tally.note(match why {
                    StopWhy::Scaling => "stop for scaling",
                    StopWhy::Unhealthy => "stop for health",
                    StopWhy::Draining => "stop for draining",
                });
                let takes = Duration::from_millis(self.dice.below(4_000));
                self.services[index].stop(&task, why, now + takes);
            }
            Action::Complete { deployment } => {
                self.tally.note("completed");
                self.services[index].complete(&deployment);
            }
            Action::Fail { deployment, back_to, .. } => {
                self.tally.note("circuit breaker");
                if back_to.is_some() {
                    self.tally.note("rollback");
                }
                self.services[index].fail(&deployment, back_to.as_deref());
            }
            Action::Steady(steady) => {
                self.services[index].steady = steady;
                if steady {
                    self.services[index].blocked = false;
                    self.tally.note("steady");
                }
            }
            Action::Blocked => {
                self.services[index].blocked = true;
                self.tally.note("blocked");
            }
            Action::Protected(_) => {
                self.services[index].blocked = true;
                self.tally.note("spared");
            }
            // No alarms here.
            Action::Bake => panic!("seed {}: a bake time without alarms", self.seed),
        }
        true
    }

    /// Places and begins a task.
    fn start(&mut self, index: usize, deployment: &str, on: Option<&str>) -> bool {
        let mut room = self.room(index);
        room.retain(|instance| on.is_none_or(|id| instance.id == id));
        let service = &self.services[index];
        let constraints: &[Constraint] = if service.distinct { &[Constraint::DistinctInstance] } else { &[] };
        let strategies: Vec<Strategy> = match &service.strategy {
            Some(strategy) => vec![strategy.clone()],
            None => default_strategies(),
        };
        let demand: &Demand = &service.demand;
        let random = self.dice.below(u64::MAX);
        match place(&room, demand, &strategies, constraints, random) {
            Ok(chosen) => {
                let host = &room[chosen];
                assert!(host.lacks(demand, constraints).is_none(), "seed {}: placed where it does not fit", self.seed);
                let id = host.id.clone();
                self.next += 1;
                self.tally.note("start");
                let takes = Duration::from_millis(self.dice.below(3_000));
                self.services[index].begin(self.next, deployment, &id, self.now, takes);
                true
            }
            Err(_) => {
                self.tally.note("no place");
                false
            }
        }
    }

    /// Nothing bad happens any more, and there is room for all.
    fn peace(&mut self) {
        self.blind = Duration::ZERO;
        for host in self.hosts.values_mut() {
            (host.draining, host.cpu, host.memory) = (false, 16 * 1024, 64 * 1024);
        }
        for n in 0..12 {
            let host = Host { cpu: 16 * 1024, memory: 64 * 1024, zone: ["a", "b", "c"][n % 3], draining: false };
            self.next += 1;
            self.hosts.insert(format!("host-{}", self.next), host);
        }
        for service in &mut self.services {
            service.heal();
        }
        self.tell(|| "peace".to_owned());
        let end = self.now + PEACE;
        while self.now < end {
            self.services.iter_mut().for_each(Service::deploy_again);
            self.pass_time(Duration::from_secs(5));
            self.schedule();
            if (0..self.services.len()).all(|index| self.is_as_wanted(index)) {
                self.tally.note("converged");
                // And stays so.
                let before = self.next;
                self.pass_time(Duration::from_secs(30));
                self.schedule();
                assert!(
                    (0..self.services.len()).all(|index| self.is_as_wanted(index)),
                    "seed {}: it did not stay",
                    self.seed
                );
                assert_eq!(before, self.next, "seed {}: a task was started for nothing", self.seed);
                return;
            }
        }
        let services: Vec<_> = self.services.iter().map(|service| format!("{service:#?}")).collect();
        panic!("seed {}: not as wanted after {PEACE:?} of peace: {}", self.seed, services.join("\n"));
    }

    fn is_as_wanted(&self, index: usize) -> bool {
        let service = &self.services[index];
        let desired = if service.daemon { self.hosts.len() } else { service.desired as usize };
        let primary: Vec<&Deployment> = service.deployments.iter().filter(|d| d.primary).collect();
        service.steady
            && service.deployments.len() == 1
            && service.tasks.len() == desired
            && service
                .tasks
                .iter()
                .all(|task| task.deployment == primary[0].id && task.status.is_running() && !task.ill)
    }
}
