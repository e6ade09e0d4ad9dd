use super::super::plan::tests::step;
use super::super::{Deployment, Health};
use super::*;
use proptest::prelude::*;

fn deployment(id: &str, primary: bool) -> Deployment {
    Deployment {
        id: id.into(),
        primary,
        rollout: if primary { Rollout::InProgress } else { Rollout::Completed },
        failed_tasks: 0,
        not_before: Duration::ZERO,
    }
}

fn wanted(desired: u32, minimum: u32) -> Wanted {
    Wanted {
        desired,
        minimum_healthy_percent: minimum,
        maximum_percent: 100,
        circuit_breaker: None,
        grace: Duration::ZERO,
        deployments: vec![deployment("new", true)],
        steady: false,
        blocked: false,
        watch: Default::default(),
    }
}

fn host(n: usize) -> Host {
    Host { id: format!("h{n}"), wanted: true, busy: false }
}

fn task(n: u64, host: usize, deployment: &str) -> SeenTask {
    SeenTask {
        id: format!("t{n}"),
        deployment: deployment.into(),
        phase: Phase::Running { since: Duration::ZERO },
        health: Health::Healthy,
        leave: false,
        protected: false,
        zone: String::new(),
        instance: format!("h{host}"),
        order: n,
    }
}

fn stopped(actions: &[Action]) -> Vec<&str> {
    actions.iter().filter_map(|a| if let Action::Stop { task, .. } = a { Some(task.as_str()) } else { None }).collect()
}

fn started(actions: &[Action]) -> Vec<&str> {
    let on = |a: &Action| if let Action::StartOn { instance, .. } = a { Some(instance.clone()) } else { None };
    actions
        .iter()
        .filter(|a| on(a).is_some())
        .map(|a| match a {
            Action::StartOn { instance, .. } => instance.as_str(),
            _ => unreachable!(),
        })
        .collect()
}

#[test]
fn one_task_on_each_host_and_one_more_for_a_new_host() {
    let w = wanted(2, 0);
    let hosts = [host(0), host(1)];
    assert_eq!(started(&plan_daemon(&w, &hosts, &[], Duration::ZERO)), ["h0", "h1"]);
    let tasks = [task(0, 0, "new"), task(1, 1, "new")];
    let done = [Action::Complete { deployment: "new".into() }, Action::Steady(true)];
    assert_eq!(plan_daemon(&w, &hosts, &tasks, Duration::ZERO), done);
    let more = [host(0), host(1), host(2)];
    assert_eq!(started(&plan_daemon(&wanted(3, 0), &more, &tasks, Duration::ZERO)), ["h2"]);
    // One that does not meet the constraints any more, and one too many.
    let other = [Host { wanted: false, ..host(0) }, host(1)];
    let two = [task(0, 0, "new"), task(1, 1, "new"), task(2, 1, "new")];
    assert_eq!(stopped(&plan_daemon(&wanted(1, 0), &other, &two, Duration::ZERO)), ["t0", "t2"]);
    // Deleted: nothing is left.
    assert_eq!(stopped(&plan_daemon(&wanted(0, 0), &[], &tasks, Duration::ZERO)), ["t0", "t1"]);
}

#[test]
fn a_deployment_stops_first_and_as_many_as_the_minimum_allows() {
    let hosts: Vec<Host> = (0..4).map(host).collect();
    let tasks: Vec<SeenTask> = (0..4).map(|n| task(n as u64, n, "old")).collect();
    let rolling =
        |minimum| Wanted { deployments: vec![deployment("old", false), deployment("new", true)], ..wanted(4, minimum) };
    let count = |minimum| stopped(&plan_daemon(&rolling(minimum), &hosts, &tasks, Duration::ZERO)).len();
    assert_eq!([0, 25, 50, 75].map(count), [4, 3, 2, 1]);
    assert_eq!(plan_daemon(&rolling(100), &hosts, &tasks, Duration::ZERO), [Action::Blocked]);
    // The place is taken when it is free.
    let mut going = tasks.clone();
    going[0].phase = Phase::Stopping;
    assert_eq!(plan_daemon(&rolling(75), &hosts, &going, Duration::ZERO), []);
    assert_eq!(started(&plan_daemon(&rolling(75), &hosts, &tasks[1..], Duration::ZERO)), ["h0"]);
    // Protected ones stay, and it is said.
    let kept: Vec<SeenTask> = tasks.iter().map(|task| SeenTask { protected: true, ..task.clone() }).collect();
    assert!(
        matches!(&plan_daemon(&rolling(0), &hosts, &kept, Duration::ZERO)[..], [Action::Protected(all)] if all.len() == 4)
    );
}

#[test]
fn a_daemon_leaves_a_draining_host_last() {
    let leaving = SeenTask { leave: true, ..task(0, 0, "new") };
    let draining = |busy| [Host { wanted: false, busy, ..host(0) }, host(1)];
    let tasks = [leaving.clone(), task(1, 1, "new")];
    assert_eq!(stopped(&plan_daemon(&wanted(1, 100), &draining(true), &tasks, Duration::ZERO)).len(), 0);
    let actions = plan_daemon(&wanted(1, 100), &draining(false), &tasks, Duration::ZERO);
    assert_eq!(actions, [Action::Stop { task: "t0".into(), why: StopWhy::Draining }]);
    // It never began.
    let begun = [SeenTask { phase: Phase::Starting, ..leaving }, task(1, 1, "new")];
    assert_eq!(stopped(&plan_daemon(&wanted(1, 100), &draining(true), &begun, Duration::ZERO)), ["t0"]);
}

#[test]
fn an_unhealthy_task_makes_place_for_another() {
    let sick = SeenTask { health: Health::Unhealthy, ..task(0, 0, "new") };
    let actions = plan_daemon(&wanted(1, 100), &[host(0)], std::slice::from_ref(&sick), Duration::ZERO);
    assert_eq!(actions, [Action::Stop { task: "t0".into(), why: StopWhy::Unhealthy }]);
    let patient = Wanted { grace: Duration::from_secs(9), ..wanted(1, 100) };
    assert_eq!(plan_daemon(&patient, &[host(0)], &[sick], Duration::from_secs(8)), []);
}

#[derive(Clone, Debug)]
enum Event {
    Pass(u8),
    Kill(usize),
    Sicken(usize),
    /// A host joins, drains or becomes active again, or is gone.
    Join,
    Drain(usize),
    Lose(usize),
    Busy(usize),
    Deploy,
    Protect(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => any::<u8>().prop_map(Event::Pass),
        2 => any::<usize>().prop_map(Event::Kill),
        2 => any::<usize>().prop_map(Event::Sicken),
        1 => Just(Event::Join),
        1 => any::<usize>().prop_map(Event::Drain),
        1 => any::<usize>().prop_map(Event::Lose),
        1 => any::<usize>().prop_map(Event::Busy),
        1 => Just(Event::Deploy),
        1 => any::<usize>().prop_map(Event::Protect),
    ];
    prop::collection::vec(event, 0..60)
}

struct World {
    wanted: Wanted,
    hosts: Vec<Host>,
    tasks: Vec<SeenTask>,
    now: Duration,
    made: u64,
}

impl World {
    fn healthy(&self) -> usize {
        let wanted = |task: &SeenTask| self.hosts.iter().any(|host| host.wanted && host.id == task.instance);
        self.tasks.iter().filter(|task| is_healthy(task) && wanted(task)).count()
    }

    fn act(&mut self) -> usize {
        self.wanted.desired = self.hosts.iter().filter(|host| host.wanted).count() as u32;
        for task in &mut self.tasks {
            // As far as the host is known, it is left by what drains.
            task.leave = self.hosts.iter().find(|host| host.id == task.instance).is_none_or(|host| !host.wanted);
        }
        let healthy = self.healthy();
        let actions = plan_daemon(&self.wanted, &self.hosts, &self.tasks, self.now);
        for action in &actions {
            match action {
                Action::StartOn { instance, deployment } => {
                    let index = self.hosts.iter().position(|host| host.id == *instance).expect("a known host");
                    assert!(self.hosts[index].wanted, "a task is started where none belongs");
                    assert!(self.tasks.iter().all(|task| task.instance != *instance), "the place is taken");
                    let mut made = task(self.made, 0, deployment);
                    (made.phase, made.health, made.instance) = (Phase::Starting, Health::Unknown, instance.clone());
                    self.tasks.push(made);
                    self.made += 1;
                }
                Action::Stop { task, .. } => {
                    let task = self.tasks.iter_mut().find(|t| t.id == *task).expect("a known task");
                    assert_ne!(task.phase, Phase::Stopping, "a stopping task is not stopped again");
                    assert!(!task.protected || task.health == Health::Unhealthy, "a protected task is not ended");
                    task.phase = Phase::Stopping;
                }
                Action::Complete { deployment } => {
                    self.wanted.deployments.retain(|d| d.id == *deployment);
                    self.wanted.deployments[0].rollout = Rollout::Completed;
                }
                Action::Steady(steady) => self.wanted.steady = *steady,
                Action::Blocked | Action::Protected(_) => self.wanted.blocked = true,
                Action::Start { .. } | Action::Fail { .. } | Action::Bake => unreachable!("not of a daemon"),
            }
        }
        let least = (self.wanted.minimum() as usize).min(healthy);
        assert!(self.healthy() >= least, "own decisions left {} healthy of {healthy}", self.healthy());
        actions.len()
    }

    fn pass(&mut self, mut progress: impl FnMut() -> bool) {
        self.now += Duration::from_secs(1);
        step(&mut self.tasks, self.now, &mut progress);
    }

    fn deploy(&mut self, id: &str) {
        self.wanted.deployments.iter_mut().for_each(|d| d.primary = false);
        self.wanted.deployments.push(deployment(id, true));
        self.wanted.blocked = false;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens: never two tasks on a host or one where none belongs, never below the minimum by
    /// own decision; when things calm down there is one healthy task of the newest deployment on each host
    /// that wants one, none elsewhere, and it stays so.
    #[test]
    fn one_task_on_each_host_in_the_end(first in 0usize..5, minimum in 0u32..=100, events in events()) {
        let hosts: Vec<Host> = (0..first).map(host).collect();
        let mut world =
            World { wanted: wanted(0, minimum), hosts, tasks: Vec::new(), now: Duration::ZERO, made: 0 };
        let (mut deployments, mut joined) = (0, first);
        for event in events {
            let (hosts, tasks) = (world.hosts.len(), world.tasks.len());
            match event {
                Event::Pass(bits) => {
                    let mut n = 0u32;
                    world.pass(|| { n += 1; bits >> (n % 8) & 1 == 1 });
                }
                Event::Kill(n) if tasks > 0 => world.tasks[n % tasks].phase = Phase::Stopping,
                Event::Sicken(n) if tasks > 0 => world.tasks[n % tasks].health = Health::Unhealthy,
                Event::Protect(n) if tasks > 0 => world.tasks[n % tasks].protected = true,
                Event::Join => {
                    world.hosts.push(host(joined));
                    joined += 1;
                }
                Event::Drain(n) if hosts > 0 => world.hosts[n % hosts].wanted ^= true,
                Event::Busy(n) if hosts > 0 => world.hosts[n % hosts].busy ^= true,
                Event::Lose(n) if hosts > 0 => drop(world.hosts.remove(n % hosts)),
                Event::Deploy => {
                    deployments += 1;
                    world.deploy(&format!("d{deployments}"));
                }
                Event::Kill(_) | Event::Sicken(_) | Event::Protect(_) => {}
                Event::Drain(_) | Event::Lose(_) | Event::Busy(_) => {}
            }
            world.act();
        }
        world.tasks.iter_mut().for_each(|task| task.protected = false);
        world.hosts.iter_mut().for_each(|host| host.busy = false);
        world.wanted.minimum_healthy_percent = world.wanted.minimum_healthy_percent.min(50);
        if world.wanted.desired <= 1 {
            world.wanted.minimum_healthy_percent = 0;
        }
        world.act();
        if world.wanted.desired <= 1 {
            world.wanted.minimum_healthy_percent = 0;
        }
        for _ in 0..100 {
            world.act();
            world.pass(|| true);
        }
        world.act();
        let newest = world.wanted.deployments[0].id.clone();
        prop_assert_eq!(world.wanted.deployments.len(), 1);
        let mut where_they_are: Vec<&str> = world.tasks.iter().map(|task| task.instance.as_str()).collect();
        where_they_are.sort_unstable();
        let mut wanted: Vec<&str> =
            world.hosts.iter().filter(|host| host.wanted).map(|host| host.id.as_str()).collect();
        wanted.sort_unstable();
        prop_assert_eq!(where_they_are, wanted);
        prop_assert!(world.tasks.iter().all(|task| is_healthy(task) && task.deployment == newest));
        for _ in 0..10 {
            world.pass(|| true);
            prop_assert_eq!(world.act(), 0);
        }
    }
}
