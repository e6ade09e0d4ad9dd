//! A small world under virtual time: tasks come and go, hooks answer, alarms ring, hands interfere, and whoever carries
//! the plan out is killed after any action.

use super::super::plan::tests::step;
use super::super::{CircuitBreaker, Health};
use super::*;
use proptest::prelude::*;

const RUNNING: Phase = Phase::Running { since: Duration::ZERO };

#[derive(Clone)]
struct World {
    wanted: Wanted,
    shift: Shift,
    tasks: Vec<SeenTask>,
    now: Duration,
    made: u64,
    /// Hooks that each stage has, and what they answer.
    hooks: [u8; 10],
    answer: Hook,
    asked: Vec<(Goal, Stage)>,
    passed: Vec<Stage>,
    end: Option<Action>,
}

fn deployment(id: &str, primary: bool, rollout: Rollout) -> Deployment {
    Deployment { id: id.into(), primary, rollout, failed_tasks: 0, not_before: Duration::ZERO }
}

impl World {
    fn new(desired: u32, blue: bool, test: bool) -> Self {
        let mut deployments = vec![deployment("green", true, Rollout::InProgress)];
        if blue {
            deployments.insert(0, deployment("blue", false, Rollout::Completed));
        }
        let at = if blue { Color::Blue } else { Color::Green };
        let mut world = Self {
            wanted: Wanted {
                desired,
                minimum_healthy_percent: 100,
                maximum_percent: 200,
                circuit_breaker: Some(CircuitBreaker { rollback: true }),
                grace: Duration::ZERO,
                deployments,
                steady: false,
                blocked: false,
                watch: Watch::default(),
            },
            shift: Shift {
                stage: Stage::PreScaleUp,
                goal: Goal::Forward,
                blue: blue.then(|| "blue".into()),
                green: "green".into(),
                hooks: Vec::new(),
                production: Traffic::To(at),
                test: if test { Traffic::To(at) } else { Traffic::None },
                baked: false,
            },
            tasks: Vec::new(),
            now: Duration::ZERO,
            made: 0,
            hooks: [0; 10],
            answer: Hook::Succeeded,
            asked: Vec::new(),
            passed: vec![Stage::PreScaleUp],
            end: None,
        };
        for _ in 0..if blue { desired } else { 0 } {
            world.make("blue", RUNNING, Health::Healthy);
        }
        world
    }

    fn make(&mut self, deployment: &str, phase: Phase, health: Health) {
        let n = self.made;
        self.made += 1;
        self.tasks.push(SeenTask {
            id: format!("t{n}"),
            deployment: deployment.into(),
            phase,
            health,
            leave: false,
            protected: false,
            zone: String::new(),
            instance: String::new(),
            order: n,
        });
    }

    fn of(&self, deployment: &str) -> Vec<&SeenTask> {
        self.tasks.iter().filter(|task| task.deployment == deployment).collect()
    }

    fn healthy(&self, deployment: &str) -> u32 {
        self.of(deployment).into_iter().filter(|task| is_healthy(task)).count() as u32
    }

    fn serving(&self) -> Option<&'static str> {
        match &self.shift.production {
            Traffic::To(Color::Blue) => Some("blue"),
            Traffic::To(Color::Green) => Some("green"),
            Traffic::None | Traffic::Foreign { .. } => None,
        }
    }

    fn fresh_hooks(&mut self) {
        self.shift.hooks = vec![Hook::Due; self.hooks[self.shift.stage as usize].into()];
    }

    /// Plans, and carries out as many of the actions as somebody lives to.
    fn act(&mut self, lives: usize) -> usize {
        let actions = plan(&self.wanted, &self.shift, &self.tasks, self.now);
        let count = actions.len();
        for action in actions.into_iter().take(lives) {
            self.carry_out(action);
        }
        count
    }

    fn carry_out(&mut self, action: Action) {
        let serving = self.serving();
        let before = serving.map_or(0, |deployment| self.healthy(deployment));
        match action.clone() {
            Action::Start { deployment, count } => {
                for _ in 0..count {
                    self.make(&deployment, Phase::Starting, Health::Unknown);
                }
                let live = self.of(&deployment).iter().filter(|t| t.phase != Phase::Stopping).count() as u32;
                assert!(live <= self.wanted.maximum().max(self.wanted.desired), "{live} tasks of {deployment}");
            }
            Action::Stop { task, .. } => {
                let task = self.tasks.iter_mut().find(|t| t.id == task).expect("a known task");
                assert_ne!(task.phase, Phase::Stopping, "a stopping task is not stopped again");
                task.phase = Phase::Stopping;
            }
            Action::Enter(stage) => {
                if self.shift.goal == Goal::Forward {
                    assert!(stage > self.shift.stage, "{stage:?} after {:?}", self.shift.stage);
                    let all = Stage::ALL.iter().position(|one| *one == stage).unwrap();
                    assert_eq!(Stage::ALL[all - 1], self.shift.stage, "no stage is left out");
                    self.passed.push(stage);
                }
                assert!(!self.shift.hooks_pending() || self.shift.goal == Goal::Back, "hooks hold a stage");
                self.shift.stage = stage;
                self.fresh_hooks();
            }
            Action::Point { kind, to } => {
                let id = if to == Color::Blue { "blue" } else { "green" };
                let traffic = if kind == Kind::Production { &mut self.shift.production } else { &mut self.shift.test };
                assert_eq!(*traffic, Traffic::To(to.other()), "only what is ours and elsewhere is moved");
                *traffic = Traffic::To(to);
                let healthy = self.healthy(id);
                let fit = kind == Kind::Test || healthy > 0 || self.wanted.desired == 0;
                assert!(fit, "production traffic to {id} without a healthy task");
            }
            Action::Ask(index) => {
                assert_eq!(self.shift.hooks[index], Hook::Due, "asked twice");
                assert!(self.shift.stage.takes_hooks());
                self.shift.hooks[index] = Hook::Waiting;
                self.asked.push((self.shift.goal, self.shift.stage));
            }
            Action::GiveUp { rollback, .. } => {
                assert_eq!(self.shift.goal, Goal::Forward);
                let back = rollback && self.shift.blue.is_some();
                self.shift.goal = if back { Goal::Back } else { Goal::Halted };
                self.fresh_hooks();
                self.wanted.watch = Watch::default();
                for deployment in &mut self.wanted.deployments {
                    let green = deployment.id == "green";
                    deployment.primary = green != back;
                    deployment.rollout = if green { Rollout::Failed } else { Rollout::InProgress };
                }
                if !back {
                    self.end = Some(action.clone());
                }
            }
            Action::Finish | Action::RolledBack => {
                self.shift.goal = Goal::Done;
                self.end = Some(action.clone());
            }
            Action::CannotRollBack(_) => {
                self.shift.goal = Goal::Halted;
                self.end = Some(action.clone());
            }
        }
        if let (Some(old), Some(new)) = (serving, self.serving())
            && old == new
        {
            let least = self.wanted.minimum().min(before);
            assert!(self.healthy(new) >= least, "what serves lost healthy tasks: {action:?}");
        }
    }

    fn pass(&mut self, progress: &mut impl FnMut() -> bool) {
        self.now += Duration::from_secs(1);
        step(&mut self.tasks, self.now, progress);
        let answer = self.answer.clone();
        for hook in &mut self.shift.hooks {
            if *hook == Hook::Waiting && progress() {
                *hook = answer.clone();
            }
        }
        self.shift.baked |= self.shift.stage == Stage::BakeTime && progress();
    }

    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..600 {
            quiet = if self.act(usize::MAX) == 0 { quiet + 1 } else { 0 };
            if quiet > 3 && self.end.is_some() {
                return;
            }
            self.pass(&mut || true);
        }
        panic!("does not settle: {:?} {:?}", self.shift, self.tasks);
    }
}

#[test]
fn every_stage_is_passed_once_and_every_hook_asked_once() {
    let mut world = World::new(2, true, true);
    for stage in Stage::ALL {
        world.hooks[stage as usize] = u8::from(stage.takes_hooks()) * 2;
    }
    world.fresh_hooks();
    world.settle();
    assert_eq!(world.end, Some(Action::Finish));
    assert_eq!(world.passed, Stage::ALL[1..]);
    let asked: Vec<_> =
        world.passed.iter().filter(|s| s.takes_hooks()).flat_map(|s| [(Goal::Forward, *s); 2]).collect();
    assert_eq!(world.asked, asked);
    assert_eq!((world.of("blue").len(), world.healthy("green"), world.made), (0, 2, 4));
    assert_eq!((&world.shift.production, &world.shift.test), (&Traffic::To(Color::Green), &Traffic::To(Color::Green)));
}

#[test]
fn a_stop_at_every_stage_ends_as_it_was_before() {
    for stop_at in &Stage::ALL[1..] {
        let mut world = World::new(2, true, true);
        while world.shift.stage != *stop_at {
            world.act(usize::MAX);
            if world.shift.stage != *stop_at {
                world.pass(&mut || true);
            }
        }
        world.wanted.watch.stop = Some(true);
        world.settle();
        assert_eq!(world.end, Some(Action::RolledBack), "{stop_at:?}");
        assert_eq!((world.healthy("blue"), world.tasks.len()), (2, 2), "{stop_at:?}");
        assert_eq!(
            (&world.shift.production, &world.shift.test),
            (&Traffic::To(Color::Blue), &Traffic::To(Color::Blue))
        );
    }
}

#[test]
fn going_back_moves_the_requests_first_and_asks_the_hooks_of_both_shifts_then() {
    let mut world = World::new(1, true, true);
    while world.shift.stage != Stage::BakeTime {
        world.act(usize::MAX);
        world.pass(&mut || true);
    }
    for stage in Stage::ALL {
        world.hooks[stage as usize] = u8::from(stage.takes_hooks());
    }
    // No answer of theirs holds it up.
    world.answer = Hook::Failed("no".into());
    world.wanted.watch.alarm = Some(true);
    world.act(1);
    assert_eq!(world.shift.goal, Goal::Back);
    world.act(usize::MAX);
    assert_eq!(world.shift.production, Traffic::To(Color::Green));
    world.act(usize::MAX);
    assert_eq!((&world.shift.production, world.asked.len()), (&Traffic::To(Color::Blue), 0));
    world.settle();
    assert_eq!(world.end, Some(Action::RolledBack));
    assert_eq!(world.asked, [(Goal::Back, Stage::ProductionTrafficShift), (Goal::Back, Stage::TestTrafficShift)]);
}

#[test]
fn weights_that_another_hand_changed_are_left_alone() {
    for green in [false, true] {
        let mut world = World::new(1, true, false);
        while world.shift.stage != Stage::BakeTime {
            world.act(usize::MAX);
            world.pass(&mut || true);
        }
        let foreign = Traffic::Foreign { what: "rule".into(), blue: true, green };
        world.shift.production = foreign.clone();
        world.settle();
        assert_eq!(world.shift.production, foreign);
        let ended = world.end.clone().unwrap();
        match green {
            // Its tasks have requests to answer.
            true => assert_eq!((ended, world.healthy("green")), (Action::CannotRollBack("rule".into()), 1)),
            false => assert_eq!((ended, world.healthy("green")), (Action::RolledBack, 0)),
        }
        assert_eq!(world.healthy("blue"), 1);
    }
}

#[test]
fn a_first_deployment_has_nothing_to_go_back_to() {
    let mut world = World::new(1, false, true);
    world.hooks[Stage::PostScaleUp as usize] = 1;
    world.answer = Hook::Failed("no".into());
    world.settle();
    assert!(matches!(world.end, Some(Action::GiveUp { why: Why::Hook(_), rollback: true })));
    assert_eq!((world.shift.goal, world.healthy("green")), (Goal::Halted, 1));
}

#[test]
fn what_an_unfinished_deployment_left_ends_before_green_begins() {
    let mut world = World::new(1, true, true);
    world.shift.stage = Stage::ReconcileService;
    world.shift.test = Traffic::To(Color::Green);
    world.make("unfinished", RUNNING, Health::Healthy);
    world.act(usize::MAX);
    assert_eq!((world.shift.test.clone(), world.shift.stage), (Traffic::To(Color::Blue), Stage::ReconcileService));
    world.settle();
    assert_eq!(world.end, Some(Action::Finish));
    assert!(world.of("unfinished").is_empty());
}

#[derive(Clone, Debug)]
enum Event {
    Pass(u8),
    /// The executor is killed after so many actions.
    Act(usize),
    Kill(usize),
    Sicken(usize),
    Scale(u32),
    Alarm,
    Stop,
    Fails(u32),
    HookFails,
    Foreign(bool, bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        12 => any::<u8>().prop_map(Event::Pass),
        12 => (0usize..4).prop_map(Event::Act),
        2 => any::<usize>().prop_map(Event::Kill),
        2 => any::<usize>().prop_map(Event::Sicken),
        1 => (0u32..5).prop_map(Event::Scale),
        1 => Just(Event::Alarm),
        1 => Just(Event::Stop),
        1 => (1u32..4).prop_map(Event::Fails),
        1 => Just(Event::HookFails),
        1 => any::<(bool, bool)>().prop_map(|(blue, green)| Event::Foreign(blue, green)),
    ];
    prop::collection::vec(event, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens and wherever it is killed: requests go to one revision, which has healthy tasks when we send
    /// them there; and in the end the service is green, or what it was, or is left as another hand wants it.
    #[test]
    fn ends_well_or_as_before(
        desired in 0u32..5, blue in any::<bool>(), test in any::<bool>(), stages in any::<[bool; 10]>(), events in events(),
    ) {
        let mut world = World::new(desired, blue, test);
        for stage in Stage::ALL {
            world.hooks[stage as usize] = u8::from(stages[stage as usize] && stage.takes_hooks());
        }
        world.fresh_hooks();
        let mut foreign = false;
        for event in events {
            match event {
                Event::Pass(bits) => {
                    let mut n = 0u32;
                    world.pass(&mut || { n += 1; bits >> (n % 8) & 1 == 1 });
                }
                Event::Act(lives) => { world.act(lives); }
                Event::Kill(n) if !world.tasks.is_empty() => {
                    let n = n % world.tasks.len();
                    world.tasks[n].phase = Phase::Stopping;
                }
                Event::Sicken(n) if !world.tasks.is_empty() => {
                    let n = n % world.tasks.len();
                    world.tasks[n].health = Health::Unhealthy;
                }
                Event::Kill(_) | Event::Sicken(_) => {}
                Event::Scale(n) => world.wanted.desired = n,
                Event::Alarm if world.shift.goal == Goal::Forward && world.shift.stage != Stage::CleanUp => {
                    world.wanted.watch.alarm = Some(true);
                }
                Event::Stop if world.shift.goal == Goal::Forward => world.wanted.watch.stop = Some(true),
                Event::Alarm | Event::Stop => {}
                Event::Fails(n) => {
                    for deployment in &mut world.wanted.deployments {
                        deployment.failed_tasks += n;
                    }
                }
                Event::HookFails => world.answer = Hook::Failed("no".into()),
                Event::Foreign(blue, green) => {
                    foreign = true;
                    world.shift.production = Traffic::Foreign { what: "rule".into(), blue, green };
                }
            }
        }
        world.settle();
        let end = world.end.clone().unwrap();
        match end {
            Action::Finish => {
                prop_assert!(world.of("blue").is_empty());
                prop_assert!(foreign || world.shift.production == Traffic::To(Color::Green));
            }
            Action::RolledBack => {
                prop_assert!(world.of("green").is_empty());
                prop_assert!(foreign || world.shift.production == Traffic::To(Color::Blue));
                prop_assert!(!matches!(world.shift.test, Traffic::To(Color::Green)));
            }
            Action::CannotRollBack(_) => prop_assert!(foreign),
            Action::GiveUp { .. } => prop_assert!(!blue),
            other => prop_assert!(false, "{other:?} is no end"),
        }
        // And it stays so.
        let made = world.made;
        for _ in 0..5 {
            world.pass(&mut || true);
            prop_assert_eq!(world.act(usize::MAX), 0);
        }
        prop_assert_eq!(world.made, made);
    }
}
