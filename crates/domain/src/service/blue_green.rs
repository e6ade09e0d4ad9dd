//! Blue/green deployments: the new service revision (green) is scaled up beside the one that serves (blue), takes the
//! test traffic, then all of the production traffic, and is watched for the bake time before blue ends. Pure; the
//! stages and what may happen in each follow the ECS developer guide's chapter on blue/green deployments.
//!
//! Traffic is moved whole, and only to a revision whose tasks are healthy. Whoever else changes the weights is never
//! overwritten: the deployment is given up.

use super::plan::is_healthy;
use super::{Action as Rolling, Deployment, FailWhy, Phase, Rollout, SeenTask, StopWhy, Wanted, Watch};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `lifecycleStage`, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// What an unfinished deployment left ends first.
    ReconcileService,
    PreScaleUp,
    ScaleUp,
    PostScaleUp,
    TestTrafficShift,
    PostTestTrafficShift,
    ProductionTrafficShift,
    PostProductionTrafficShift,
    BakeTime,
    CleanUp,
}

/// Where the deployment is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Goal {
    Forward,
    /// To blue.
    Back,
    /// Given up and left as it is.
    Halted,
    /// Forward or back, it has ended.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Color {
    Blue,
    Green,
}

/// Where rules send requests of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// There is no rule.
    None,
    /// All of them, as the deployment left it.
    To(Color),
    /// Another hand changed it; whether blue and green get any.
    Foreign { what: String, blue: bool, green: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Production,
    Test,
}

/// A lifecycle hook of the present stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// It is to be asked.
    Due,
    /// It is being asked, or is not to be asked before some time.
    Waiting,
    Succeeded,
    Failed(String),
}

/// A blue/green deployment as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    pub stage: Stage,
    pub goal: Goal,
    /// Deployment ids. There is no blue one when the service is new.
    pub blue: Option<String>,
    pub green: String,
    pub hooks: Vec<Hook>,
    pub production: Traffic,
    pub test: Traffic,
    /// The bake time is over; of stage BAKE_TIME.
    pub baked: bool,
}

/// Why a blue/green deployment is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Failed(FailWhy),
    Hook(String),
    /// Another hand changed a rule.
    Foreign(String),
}

/// What to do. Each can be carried out alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Start {
        deployment: String,
        count: u32,
    },
    Stop {
        task: String,
        why: StopWhy,
    },
    Enter(Stage),
    /// All requests of the kind go to this revision.
    Point {
        kind: Kind,
        to: Color,
    },
    /// Ask the hook with this index.
    Ask(usize),
    /// `rollback`: one is wanted; it begins where there is a blue revision.
    GiveUp {
        why: Why,
        rollback: bool,
    },
    /// Green is what the service is.
    Finish,
    /// Blue is what the service is.
    RolledBack,
    /// Another hand sends production traffic to green: nothing more can be done.
    CannotRollBack(String),
}

/// Decides what to do now. `now` is monotonic. Carrying out the actions and asking again converges.
pub fn plan(wanted: &Wanted, shift: &Shift, tasks: &[SeenTask], now: Duration) -> Vec<Action> {
    let view = View { wanted, shift, tasks, now };
    match shift.goal {
        Goal::Forward => match view.failure() {
            Some((why, rollback)) => vec![Action::GiveUp { why, rollback }],
            None => view.forward(),
        },
        Goal::Back => view.back(),
        Goal::Halted => view.keep_serving(),
        Goal::Done => Vec::new(),
    }
}

struct View<'a> {
    wanted: &'a Wanted,
    shift: &'a Shift,
    tasks: &'a [SeenTask],
    now: Duration,
}

impl View<'_> {
    fn failure(&self) -> Option<(Why, bool)> {
        let foreign = [&self.shift.production, &self.shift.test].into_iter().find_map(|traffic| match traffic {
            Traffic::Foreign { what, .. } => Some(what.clone()),
            Traffic::None | Traffic::To(_) => None,
        });
        if let Some(what) = foreign {
            return Some((Why::Foreign(what), true));
        }
        let green = self.wanted.deployments.iter().find(|deployment| deployment.id == self.shift.green)?;
        if let Some((why, rollback)) = self.wanted.failure(green) {
            // Blue may be gone by now: what serves is not given up for an alarm or for tasks that fail later.
            let late = self.shift.stage == Stage::CleanUp && why != FailWhy::Stopped;
            return (!late).then_some((Why::Failed(why), rollback));
        }
        let failed = self.shift.hooks.iter().find_map(|hook| match hook {
            Hook::Failed(why) => Some(why.clone()),
            Hook::Due | Hook::Waiting | Hook::Succeeded => None,
        });
        failed.map(|why| (Why::Hook(why), true))
    }

    fn forward(&self) -> Vec<Action> {
        let stage = self.shift.stage;
        let mut actions = Vec::new();
        if stage != Stage::CleanUp {
            actions.extend(self.keep(Color::Blue));
        }
        if stage >= Stage::ScaleUp {
            actions.extend(self.keep(Color::Green));
        }
        match stage {
            Stage::ReconcileService => {
                if self.shift.test == Traffic::To(Color::Green) && self.shift.blue.is_some() {
                    actions.push(Action::Point { kind: Kind::Test, to: Color::Blue });
                }
                let left = |task: &&SeenTask| !self.is(task, Color::Blue) && !self.is(task, Color::Green);
                let left: Vec<&SeenTask> = self.tasks.iter().filter(left).collect();
                if left.is_empty() {
                    actions.extend(self.past_hooks(Stage::PreScaleUp));
                }
                actions.extend(end(&left));
            }
            Stage::PreScaleUp => actions.extend(self.past_hooks(Stage::ScaleUp)),
            Stage::ScaleUp => {
                if self.healthy(Color::Green) >= self.wanted.desired {
                    actions.push(Action::Enter(Stage::PostScaleUp));
                }
            }
            Stage::PostScaleUp => actions.extend(self.past_hooks(Stage::TestTrafficShift)),
            Stage::TestTrafficShift => {
                actions.extend(self.shifted(&self.shift.test, Kind::Test, Stage::PostTestTrafficShift));
            }
            Stage::PostTestTrafficShift => actions.extend(self.past_hooks(Stage::ProductionTrafficShift)),
            Stage::ProductionTrafficShift => {
                let next = Stage::PostProductionTrafficShift;
                actions.extend(self.shifted(&self.shift.production, Kind::Production, next));
            }
            Stage::PostProductionTrafficShift => actions.extend(self.past_hooks(Stage::BakeTime)),
            Stage::BakeTime => actions.extend(self.shift.baked.then_some(Action::Enter(Stage::CleanUp))),
            Stage::CleanUp => {
                let blue = self.of(Color::Blue);
                actions.extend(end(&blue));
                actions.extend(blue.is_empty().then_some(Action::Finish));
            }
        }
        actions
    }

    /// The hooks are asked before requests are moved, so that what one refuses costs nobody a request.
    fn shifted(&self, traffic: &Traffic, kind: Kind, next: Stage) -> Vec<Action> {
        let hooks = self.hooks();
        if !hooks.is_empty() || self.hooks_wait() {
            return hooks;
        }
        match traffic {
            Traffic::To(Color::Blue) if self.healthy(Color::Green) >= self.wanted.desired => {
                vec![Action::Point { kind, to: Color::Green }]
            }
            Traffic::To(Color::Blue) => Vec::new(),
            Traffic::To(Color::Green) | Traffic::None | Traffic::Foreign { .. } => vec![Action::Enter(next)],
        }
    }

    fn back(&self) -> Vec<Action> {
        let stage = self.shift.stage;
        let mut actions = self.keep(Color::Blue);
        // What carries production traffic is kept as well as it can be until it does no more.
        if self.shift.production == Traffic::To(Color::Green) {
            actions.extend(self.keep(Color::Green));
            if stage != Stage::ProductionTrafficShift {
                actions.push(Action::Enter(Stage::ProductionTrafficShift));
            } else if self.may_take_over() {
                actions.push(Action::Point { kind: Kind::Production, to: Color::Blue });
            }
            return actions;
        }
        if let Traffic::Foreign { what, green: true, .. } = &self.shift.production {
            return vec![Action::CannotRollBack(what.clone())];
        }
        if matches!(stage, Stage::ProductionTrafficShift | Stage::TestTrafficShift) && self.shift.hooks_pending() {
            actions.extend(self.hooks());
            return actions;
        }
        match &self.shift.test {
            Traffic::To(Color::Green) if stage != Stage::TestTrafficShift => {
                actions.push(Action::Enter(Stage::TestTrafficShift));
                return actions;
            }
            Traffic::To(Color::Green) => {
                actions.push(Action::Point { kind: Kind::Test, to: Color::Blue });
                return actions;
            }
            Traffic::To(Color::Blue) | Traffic::None | Traffic::Foreign { .. } => {}
        }
        if stage != Stage::CleanUp {
            actions.push(Action::Enter(Stage::CleanUp));
            return actions;
        }
        let rest: Vec<&SeenTask> = self.tasks.iter().filter(|task| !self.is(task, Color::Blue)).collect();
        actions.extend(end(&rest));
        if rest.is_empty() && self.healthy(Color::Blue) >= self.wanted.desired {
            actions.push(Action::RolledBack);
        }
        actions
    }

    /// Given up: what serves goes on serving, the rest is left alone.
    fn keep_serving(&self) -> Vec<Action> {
        let serves = |color: Color| match &self.shift.production {
            Traffic::To(to) => *to == color,
            Traffic::Foreign { blue, green, .. } => {
                if color == Color::Blue {
                    *blue
                } else {
                    *green
                }
            }
            Traffic::None => color == Color::Blue,
        };
        let mut actions = Vec::new();
        for color in [Color::Blue, Color::Green] {
            if serves(color) && !self.of(color).is_empty() {
                actions.extend(self.keep(color));
            }
        }
        actions
    }

    /// The rolling planner, for one revision alone: as many tasks as desired, and well ones.
    fn keep(&self, color: Color) -> Vec<Action> {
        let Some(id) = self.id(color) else { return Vec::new() };
        let Some(known) = self.wanted.deployments.iter().find(|deployment| deployment.id == id) else {
            return Vec::new();
        };
        let alone = Wanted {
            deployments: vec![Deployment { primary: true, rollout: Rollout::Completed, ..known.clone() }],
            circuit_breaker: None,
            watch: Watch::default(),
            blocked: true,
            ..self.wanted.clone()
        };
        let own: Vec<SeenTask> = self.tasks.iter().filter(|task| task.deployment == id).cloned().collect();
        let actions = super::plan(&alone, &own, self.now).into_iter();
        let told = actions.filter_map(|action| match action {
            Rolling::Start { deployment, count } => Some(Action::Start { deployment, count }),
            Rolling::Stop { task, why } => Some(Action::Stop { task, why }),
            Rolling::StartOn { .. } | Rolling::Complete { .. } | Rolling::Bake | Rolling::Fail { .. } => None,
            Rolling::Steady(_) | Rolling::Blocked | Rolling::Protected(_) => None,
        });
        told.collect()
    }

    /// Asks what is to be asked, and goes on when all have answered well.
    fn past_hooks(&self, next: Stage) -> Vec<Action> {
        let hooks = self.hooks();
        match hooks.is_empty() && !self.hooks_wait() {
            true => vec![Action::Enter(next)],
            false => hooks,
        }
    }

    fn hooks(&self) -> Vec<Action> {
        let due = self.shift.hooks.iter().enumerate().filter(|(_, hook)| **hook == Hook::Due);
        due.map(|(index, _)| Action::Ask(index)).collect()
    }

    fn hooks_wait(&self) -> bool {
        self.shift.hooks_pending()
    }

    /// Blue is fit to serve, or at least fitter than green.
    fn may_take_over(&self) -> bool {
        let (blue, green) = (self.healthy(Color::Blue), self.healthy(Color::Green));
        self.wanted.desired == 0 || blue >= self.wanted.minimum().max(1) || (blue > 0 && green == 0)
    }

    fn id(&self, color: Color) -> Option<&str> {
        match color {
            Color::Blue => self.shift.blue.as_deref(),
            Color::Green => Some(&self.shift.green),
        }
    }

    fn is(&self, task: &SeenTask, color: Color) -> bool {
        Some(task.deployment.as_str()) == self.id(color)
    }

    fn of(&self, color: Color) -> Vec<&SeenTask> {
        self.tasks.iter().filter(|task| self.is(task, color)).collect()
    }

    fn healthy(&self, color: Color) -> u32 {
        self.of(color).into_iter().filter(|task| is_healthy(task)).count() as u32
    }
}

/// Ends all of them that are not protected from scale-in; those are waited for.
fn end(tasks: &[&SeenTask]) -> Vec<Action> {
    let live = tasks.iter().filter(|task| task.phase != Phase::Stopping && !task.protected);
    live.map(|task| Action::Stop { task: task.id.clone(), why: StopWhy::Scaling }).collect()
}

impl Shift {
    /// Some hook is to be asked or has not answered for good.
    fn hooks_pending(&self) -> bool {
        self.hooks.iter().any(|hook| matches!(hook, Hook::Due | Hook::Waiting))
    }
}

impl Stage {
    pub const ALL: [Self; 10] = [
        Self::ReconcileService,
        Self::PreScaleUp,
        Self::ScaleUp,
        Self::PostScaleUp,
        Self::TestTrafficShift,
        Self::PostTestTrafficShift,
        Self::ProductionTrafficShift,
        Self::PostProductionTrafficShift,
        Self::BakeTime,
        Self::CleanUp,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReconcileService => "RECONCILE_SERVICE",
            Self::PreScaleUp => "PRE_SCALE_UP",
            Self::ScaleUp => "SCALE_UP",
            Self::PostScaleUp => "POST_SCALE_UP",
            Self::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            Self::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            Self::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            Self::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Self::BakeTime => "BAKE_TIME",
            Self::CleanUp => "CLEAN_UP",
        }
    }

    /// Whether a lifecycle hook may be for it.
    pub fn takes_hooks(self) -> bool {
        match self {
            Self::ScaleUp | Self::BakeTime | Self::CleanUp => false,
            Self::ReconcileService
            | Self::PreScaleUp
            | Self::PostScaleUp
            | Self::TestTrafficShift
            | Self::PostTestTrafficShift
            | Self::ProductionTrafficShift
            | Self::PostProductionTrafficShift => true,
        }
    }
}

impl Color {
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

#[cfg(test)]
#[path = "blue_green_tests.rs"]
mod tests;
