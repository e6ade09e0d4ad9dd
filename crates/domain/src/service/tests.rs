use super::super::{CircuitBreaker, FailWhy, Throttle, Watch};
use super::*;
use proptest::prelude::*;

fn deployment(id: &str, primary: bool, rollout: Rollout) -> Deployment {
    Deployment { id: id.into(), primary, rollout, failed_tasks: 0, not_before: Duration::ZERO }
}

fn wanted(desired: u32) -> Wanted {
    Wanted {
        desired,
        minimum_healthy_percent: 100,
        maximum_percent: 200,
        circuit_breaker: None,
        grace: Duration::ZERO,
        deployments: vec![deployment("new", true, Rollout::InProgress)],
        steady: false,
        blocked: false,
        watch: Watch::default(),
    }
}

fn task(n: u64, deployment: &str, phase: Phase, health: Health) -> SeenTask {
    SeenTask {
        id: format!("t{n}"),
        deployment: deployment.into(),
        phase,
        health,
        leave: false,
        protected: false,
        zone: format!("z{}", n % 2),
        instance: format!("i{}", n % 2),
        order: n,
    }
}

const RUNNING: Phase = Phase::Running { since: Duration::ZERO };

fn stopped(actions: &[Action]) -> Vec<&str> {
    actions.iter().filter_map(|a| if let Action::Stop { task, .. } = a { Some(task.as_str()) } else { None }).collect()
}

fn started(actions: &[Action]) -> u32 {
    actions.iter().map(|a| if let Action::Start { count, .. } = a { *count } else { 0 }).sum()
}

#[test]
fn percentages_round_as_documented() {
    let w = Wanted { minimum_healthy_percent: 50, maximum_percent: 150, ..wanted(3) };
    assert_eq!((w.minimum(), w.maximum()), (2, 4));
    let thresholds: Vec<u32> = [0, 1, 6, 25, 400, 800].map(|n| wanted(n).failure_threshold()).into();
    assert_eq!(thresholds, [3, 3, 3, 13, 200, 200]);
}

#[test]
fn first_tasks_then_completion_and_steady_state() {
    let mut w = wanted(2);
    let first = Action::Start { deployment: "new".into(), count: 2 };
    assert_eq!(plan(&w, &[], Duration::ZERO), [first]);
    let mut tasks = [task(0, "new", Phase::Starting, Health::Unknown), task(1, "new", RUNNING, Health::Unknown)];
    assert_eq!(plan(&w, &tasks, Duration::ZERO), []);
    for task in &mut tasks {
        (task.phase, task.health) = (RUNNING, Health::Healthy);
    }
    let done = [Action::Complete { deployment: "new".into() }, Action::Steady(true)];
    assert_eq!(plan(&w, &tasks, Duration::ZERO), done);
    w.deployments[0].rollout = Rollout::Completed;
    w.steady = true;
    assert_eq!(plan(&w, &tasks, Duration::ZERO), []);
    // After a restart nothing is known yet: no verdict is no reason to act.
    for task in &mut tasks {
        task.health = Health::Unknown;
    }
    assert_eq!(plan(&w, &tasks, Duration::ZERO), []);
}

#[test]
fn an_unhealthy_task_gets_its_replacement_first_where_the_maximum_allows() {
    let mut w = Wanted { steady: true, ..wanted(1) };
    w.deployments[0].rollout = Rollout::Completed;
    let sick = task(0, "new", RUNNING, Health::Unhealthy);
    let actions = plan(&w, std::slice::from_ref(&sick), Duration::ZERO);
    assert_eq!((started(&actions), stopped(&actions).len()), (1, 0));
    let both = [sick.clone(), task(1, "new", RUNNING, Health::Healthy)];
    assert_eq!(stopped(&plan(&w, &both, Duration::ZERO)), ["t0"]);
    // No room: it goes first.
    w.maximum_percent = 100;
    let actions = plan(&w, std::slice::from_ref(&sick), Duration::ZERO);
    assert_eq!((started(&actions), stopped(&actions)), (0, vec!["t0"]));
    // Within its grace period nothing is held against it.
    w.grace = Duration::from_secs(30);
    assert_eq!(stopped(&plan(&w, &[sick], Duration::from_secs(29))).len(), 0);
}

#[test]
fn scaling_in_keeps_the_zones_balanced() {
    let w = wanted(2);
    let tasks: Vec<_> = [0, 1, 3, 5].map(|n| task(n, "new", RUNNING, Health::Healthy)).into();
    assert_eq!(stopped(&plan(&w, &tasks, Duration::ZERO)), ["t5", "t3"]);
}

#[test]
fn a_draining_instance_is_left_after_the_replacement_is_healthy() {
    let w = wanted(1);
    let leaving = SeenTask { leave: true, ..task(0, "new", RUNNING, Health::Healthy) };
    let actions = plan(&w, std::slice::from_ref(&leaving), Duration::ZERO);
    assert_eq!((started(&actions), stopped(&actions).len()), (1, 0));
    let both = [leaving, task(1, "new", RUNNING, Health::Healthy)];
    let stop = Action::Stop { task: "t0".into(), why: StopWhy::Draining };
    assert_eq!(plan(&w, &both, Duration::ZERO), [stop]);
}

#[test]
fn what_has_not_begun_to_run_on_a_draining_instance_is_stopped_at_once() {
    let w = wanted(2);
    let leaving = SeenTask { leave: true, ..task(0, "new", Phase::Starting, Health::Unknown) };
    let actions = plan(&w, &[leaving, task(1, "new", RUNNING, Health::Healthy)], Duration::ZERO);
    assert_eq!((started(&actions), stopped(&actions)), (1, vec!["t0"]));
}

#[test]
fn protected_tasks_outlive_scaling_deployments_and_draining_but_not_their_health() {
    let mut w = Wanted { steady: true, ..wanted(1) };
    w.deployments[0].rollout = Rollout::Completed;
    let protected = |n| SeenTask { protected: true, ..task(n, "new", RUNNING, Health::Healthy) };
    // Scaled in from three: the one that is not protected goes, the others are announced and stay.
    let tasks = [protected(0), task(1, "new", RUNNING, Health::Healthy), protected(2)];
    assert_eq!(stopped(&plan(&w, &tasks, Duration::ZERO)), ["t1"]);
    let rest = [protected(0), protected(2)];
    assert_eq!(plan(&w, &rest, Duration::ZERO), [Action::Protected(vec!["t2".into()])]);
    w.blocked = true;
    assert_eq!(stopped(&plan(&w, &rest, Duration::ZERO)).len(), 0);

    // A new deployment comes beside the old task, which stays until its protection ends.
    let mut w = Wanted { deployments: vec![deployment("old", false, Rollout::Completed)], ..wanted(1) };
    w.deployments.push(deployment("new", true, Rollout::InProgress));
    let old = SeenTask { protected: true, ..task(0, "old", RUNNING, Health::Healthy) };
    assert_eq!(started(&plan(&w, std::slice::from_ref(&old), Duration::ZERO)), 1);
    let both = [old.clone(), task(1, "new", RUNNING, Health::Healthy)];
    assert_eq!(plan(&w, &both, Duration::ZERO), [Action::Protected(vec!["t0".into()])]);
    let free = [SeenTask { protected: false, ..old.clone() }, both[1].clone()];
    assert_eq!(stopped(&plan(&w, &free, Duration::ZERO)), ["t0"]);
    // Where there is no room beside it, the new one waits.
    let narrow = Wanted { minimum_healthy_percent: 0, maximum_percent: 100, ..w };
    let actions = plan(&narrow, std::slice::from_ref(&old), Duration::ZERO);
    assert_eq!((started(&actions), stopped(&actions).len()), (0, 0));

    let leaving = [SeenTask { leave: true, ..protected(0) }, task(1, "new", RUNNING, Health::Healthy)];
    assert_eq!(stopped(&plan(&wanted(1), &leaving, Duration::ZERO)).len(), 0);
    let sick = [SeenTask { health: Health::Unhealthy, ..protected(0) }, task(1, "new", RUNNING, Health::Healthy)];
    assert_eq!(stopped(&plan(&wanted(1), &sick, Duration::ZERO)), ["t0"]);
}

#[test]
fn a_configuration_that_lets_nothing_move_is_announced_once() {
    let mut w = Wanted { minimum_healthy_percent: 60, maximum_percent: 150, ..wanted(1) };
    w.deployments = vec![deployment("old", false, Rollout::Completed), deployment("new", true, Rollout::InProgress)];
    let old = [task(0, "old", RUNNING, Health::Healthy)];
    assert_eq!(plan(&w, &old, Duration::ZERO), [Action::Blocked]);
    w.blocked = true;
    assert_eq!(plan(&w, &old, Duration::ZERO), []);
}

#[test]
fn the_circuit_breaker_goes_back_to_the_last_completed_deployment() {
    let mut w = wanted(2);
    w.circuit_breaker = Some(CircuitBreaker { rollback: true });
    w.deployments = vec![deployment("old", false, Rollout::Completed), deployment("new", true, Rollout::InProgress)];
    w.deployments[1].failed_tasks = 2;
    assert!(!matches!(plan(&w, &[], Duration::ZERO)[0], Action::Fail { .. }));
    w.deployments[1].failed_tasks = 3;
    let fail = |back_to: Option<&str>| {
        [Action::Fail {
            deployment: "new".into(),
            why: FailWhy::CircuitBreaker,
            rollback: back_to.is_some(),
            back_to: back_to.map(Into::into),
        }]
    };
    assert_eq!(plan(&w, &[], Duration::ZERO), fail(Some("old")));
    w.circuit_breaker = Some(CircuitBreaker { rollback: false });
    assert_eq!(plan(&w, &[], Duration::ZERO), fail(None));
    // Given up: nothing more is started for it, and what serves is left alone.
    w.deployments[1].rollout = Rollout::Failed;
    assert_eq!(plan(&w, &[task(0, "old", RUNNING, Health::Healthy)], Duration::ZERO), []);
}

#[test]
fn an_alarm_or_a_stop_gives_a_deployment_up_and_alarms_are_watched_to_the_end_of_the_bake_time() {
    let mut w = wanted(1);
    w.deployments = vec![deployment("old", false, Rollout::Completed), deployment("new", true, Rollout::InProgress)];
    let new = [task(1, "new", RUNNING, Health::Healthy)];
    w.watch.bake = Bake::NotBegun;
    assert_eq!(plan(&w, &new, Duration::ZERO), [Action::Bake, Action::Steady(true)]);
    (w.watch.bake, w.steady) = (Bake::Running, true);
    assert_eq!(plan(&w, &new, Duration::ZERO), []);
    let fail = |why, rollback: bool| {
        let back_to = rollback.then(|| "old".to_owned());
        [Action::Fail { deployment: "new".into(), why, rollback, back_to }]
    };
    w.watch.alarm = Some(true);
    assert_eq!(plan(&w, &new, Duration::ZERO), fail(FailWhy::Alarm, true));
    w.watch.stop = Some(false);
    assert_eq!(plan(&w, &new, Duration::ZERO), fail(FailWhy::Stopped, false));
    w.watch = Watch { bake: Bake::Over, ..Watch::default() };
    assert_eq!(plan(&w, &new, Duration::ZERO), [Action::Complete { deployment: "new".into() }]);
    // Once completed, an alarm says nothing any more.
    w.deployments[1].rollout = Rollout::Completed;
    w.watch.alarm = Some(true);
    assert_eq!(plan(&w, &new, Duration::ZERO), []);
}

#[test]
fn a_throttled_deployment_waits_and_leaves_the_old_one_alone() {
    let mut w = Wanted { minimum_healthy_percent: 0, maximum_percent: 100, ..wanted(1) };
    w.deployments = vec![deployment("old", false, Rollout::Completed), deployment("new", true, Rollout::InProgress)];
    w.deployments[1].not_before = Duration::from_secs(8);
    let old = [task(0, "old", RUNNING, Health::Healthy)];
    assert_eq!(plan(&w, &old, Duration::from_secs(7)), []);
    assert_eq!(stopped(&plan(&w, &old, Duration::from_secs(8))), ["t0"]);
}

/// A small world under virtual time: tasks start, become healthy, fail and stop as the world says.
struct World {
    wanted: Wanted,
    tasks: Vec<SeenTask>,
    now: Duration,
    made: u64,
    throttle: Throttle,
}

/// Each task takes its next step if `progress` says so.
pub(in crate::service) fn step(tasks: &mut Vec<SeenTask>, now: Duration, progress: &mut impl FnMut() -> bool) {
    tasks.retain(|task| task.phase != Phase::Stopping || !progress());
    for task in tasks {
        match (task.phase, task.health) {
            (Phase::Starting, _) if progress() => task.phase = Phase::Running { since: now },
            (Phase::Running { .. }, Health::Unknown | Health::Unhealthy) if progress() => {
                task.health = Health::Healthy;
            }
            _ => {}
        }
    }
}

impl World {
    fn new(desired: u32, minimum: u32, maximum: u32) -> Self {
        let wanted = Wanted { minimum_healthy_percent: minimum, maximum_percent: maximum, ..wanted(desired) };
        Self { wanted, tasks: Vec::new(), now: Duration::ZERO, made: 0, throttle: Throttle::default() }
    }

    fn healthy(&self) -> u32 {
        self.tasks.iter().filter(|t| is_healthy(t)).count() as u32
    }

    fn live(&self) -> u32 {
        self.tasks.iter().filter(|t| t.phase != Phase::Stopping).count() as u32
    }

    /// Plans and carries out, checking what must never happen. Returns how many actions there were.
    fn act(&mut self) -> usize {
        let (healthy, live) = (self.healthy(), self.live());
        let actions = plan(&self.wanted, &self.tasks, self.now);
        for action in &actions {
            match action {
                Action::Start { deployment, count } => {
                    for _ in 0..*count {
                        self.tasks.push(task(self.made, deployment, Phase::Starting, Health::Unknown));
                        self.made += 1;
                    }
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
                Action::Fail { .. } | Action::Bake | Action::StartOn { .. } => {
                    unreachable!("nothing to be given up for here")
                }
                Action::Protected(_) => self.wanted.blocked = true,
                Action::Steady(steady) => self.wanted.steady = *steady,
                Action::Blocked => self.wanted.blocked = true,
            }
        }
        let least = self.wanted.minimum().min(healthy);
        assert!(self.healthy() >= least, "own decisions left {} healthy of {healthy}", self.healthy());
        let most = self.wanted.maximum().max(live);
        assert!(self.live() <= most, "{} live, at most {most}", self.live());
        actions.len()
    }

    /// Time passes: each task takes its next step if `progress` says so.
    fn pass(&mut self, progress: &mut impl FnMut() -> bool) {
        self.now += Duration::from_secs(1);
        step(&mut self.tasks, self.now, progress);
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            if self.act() == 0 && self.wanted.steady {
                return;
            }
            self.pass(&mut || true);
        }
        panic!("does not settle: {:?} {:?}", self.wanted, self.tasks);
    }

    fn deploy(&mut self, id: &str) {
        for d in &mut self.wanted.deployments {
            d.primary = false;
        }
        self.wanted.deployments.push(deployment(id, true, Rollout::InProgress));
    }
}

#[derive(Clone, Debug)]
enum Event {
    Pass(u8),
    Kill(usize),
    Sicken(usize),
    Scale(u32),
    Deploy,
    Protect(usize),
    /// Everything on one of the two instances is to leave it.
    Drain(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => any::<u8>().prop_map(Event::Pass),
        2 => any::<usize>().prop_map(Event::Kill),
        2 => any::<usize>().prop_map(Event::Sicken),
        1 => (0u32..8).prop_map(Event::Scale),
        1 => Just(Event::Deploy),
        1 => any::<usize>().prop_map(Event::Protect),
        1 => (0u64..2).prop_map(Event::Drain),
    ];
    prop::collection::vec(event, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens: never below the minimum or above the maximum by own decision, and when
    /// things calm down exactly the desired tasks of the newest deployment run, and it stays so.
    #[test]
    fn converges_within_its_bounds(
        desired in 0u32..8, minimum in 0u32..=100, extra in 0u32..=100, events in events(),
    ) {
        let mut world = World::new(desired, minimum, 100 + extra);
        let mut deployments = 0;
        for event in events {
            match event {
                Event::Pass(bits) => {
                    let mut n = 0u32;
                    world.pass(&mut || { n += 1; bits >> (n % 8) & 1 == 1 });
                }
                Event::Kill(n) if !world.tasks.is_empty() => {
                    let n = n % world.tasks.len();
                    world.tasks[n].phase = Phase::Stopping;
                }
                Event::Sicken(n) if !world.tasks.is_empty() => {
                    let n = n % world.tasks.len();
                    world.tasks[n].health = Health::Unhealthy;
                }
                Event::Protect(n) if !world.tasks.is_empty() => {
                    let n = n % world.tasks.len();
                    world.tasks[n].protected = true;
                }
                Event::Drain(instance) => {
                    let instance = format!("i{instance}");
                    for task in world.tasks.iter_mut().filter(|task| task.instance == instance) {
                        task.leave = true;
                    }
                }
                Event::Kill(_) | Event::Sicken(_) | Event::Protect(_) => {}
                Event::Scale(n) => world.wanted.desired = n,
                Event::Deploy => {
                    deployments += 1;
                    world.deploy(&format!("d{deployments}"));
                }
            }
            world.act();
        }
        // Protection lasts for a while only.
        world.tasks.iter_mut().for_each(|task| task.protected = false);
        // Where not one task may be exchanged a deployment is stuck until its configuration is changed.
        if world.wanted.minimum() == world.wanted.maximum() {
            world.wanted.maximum_percent = 200;
        }
        world.settle();
        let newest = world.wanted.deployments[0].id.clone();
        prop_assert_eq!(world.wanted.deployments.len(), 1);
        prop_assert_eq!(world.tasks.len() as u32, world.wanted.desired);
        prop_assert!(world.tasks.iter().all(|t| is_healthy(t) && t.deployment == newest));
        let made = world.made;
        for _ in 0..20 {
            world.pass(&mut || true);
            prop_assert_eq!(world.act(), 0);
        }
        prop_assert_eq!(world.made, made);
    }

    /// Tasks that never run are tried a bounded number of times in an hour.
    #[test]
    fn starts_that_fail_are_throttled(desired in 1u32..20) {
        let mut world = World::new(desired, 100, 200);
        while world.now < Duration::from_secs(3600) {
            world.now += Duration::from_secs(1);
            let now_ms = world.now.as_millis() as i64;
            for task in std::mem::take(&mut world.tasks) {
                if world.throttle.failed(now_ms - 1000 + (task.order % 2) as i64, now_ms) {
                    world.wanted.deployments[0].not_before = world.now + world.throttle.delay();
                }
            }
            world.act();
        }
        prop_assert!(world.made <= u64::from(desired) * 16, "{} starts", world.made);
        prop_assert!(world.made >= u64::from(desired) * 10, "{} starts", world.made);
    }
}
