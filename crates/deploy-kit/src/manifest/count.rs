//! `count`: how many tasks, and what moves their number.

use super::section::{Section, seconds};
use super::yaml::Kind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    Fixed(u64),
    /// All tasks on FARGATE_SPOT.
    Spot(u64),
    Scaled(Scaling),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaling {
    pub range: Range,
    pub cpu: Option<Goal>,
    pub memory: Option<Goal>,
    /// Requests a task and minute.
    pub requests: Option<Goal>,
    /// Milliseconds.
    pub response_time: Option<Goal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
    /// From this task on they are on FARGATE_SPOT.
    pub spot_from: Option<u64>,
}

/// What a metric is kept at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    pub value: u64,
    pub cooldown: Cooldown,
}

/// Seconds after a change in which no other one of that direction follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooldown {
    pub scale_in: u64,
    pub scale_out: u64,
}

impl Count {
    pub(super) fn read(parent: &Section<'_>) -> Self {
        let Some(node) = parent.node("count") else { return Self::Fixed(1) };
        if !matches!(node.kind, Kind::Map(_)) {
            return Self::Fixed(parent.number("count", 0..=10_000).unwrap_or(1));
        }
        let Some(section) = parent.section("count") else { return Self::Fixed(1) };
        section.refuse(&[("queue_delay", "it belongs to worker services, which are not supported")]);
        let spot = section.number("spot", 0..=10_000);
        let range = range(&section);
        let default = cooldown(&section, Cooldown { scale_in: 120, scale_out: 60 });
        let scaling = Scaling {
            range: range.unwrap_or(Range { min: 1, max: 1, spot_from: None }),
            cpu: goal(&section, "cpu_percentage", default, |s, name| s.number(name, 1..=100)),
            memory: goal(&section, "memory_percentage", default, |s, name| s.number(name, 1..=100)),
            requests: goal(&section, "requests", default, |s, name| s.number(name, 1..=1_000_000_000)),
            response_time: goal(&section, "response_time", default, milliseconds),
        };
        let metrics = ["cpu_percentage", "memory_percentage", "requests", "response_time"];
        let any = metrics.iter().any(|name| section.node(name).is_some());
        let faulty = match (section.node("spot").is_some(), section.node("range").is_some(), any) {
            (true, false, false) | (false, true, true) => None,
            (true, ..) => Some("spot stands for itself: keep it, or range with its metrics"),
            (_, true, _) => {
                Some("nothing to scale by: add cpu_percentage, memory_percentage, requests or response_time")
            }
            (_, _, true) => Some("range is missing: between which numbers of tasks, as 1-10"),
            (_, _, false) => Some("say how many tasks: a number, spot, or range with a metric"),
        };
        if let Some(message) = faulty {
            section.faults.add(section.line, "count", message);
        }
        section.finish();
        match spot {
            Some(number) => Self::Spot(number),
            None => Self::Scaled(scaling),
        }
    }

    /// What the load balancer's metrics are needed for.
    pub fn needs_load_balancer(&self) -> bool {
        matches!(self, Self::Scaled(scaling) if scaling.requests.is_some() || scaling.response_time.is_some())
    }
}

/// `1-10`, or a map of `min`, `max`, `spot_from`.
pub(super) fn range(parent: &Section<'_>) -> Option<Range> {
    let node = parent.node("range")?;
    let range = match &node.kind {
        Kind::Scalar { text, .. } => {
            let parts = text.split_once('-');
            let parts = parts.and_then(|(min, max)| Some((min.trim().parse().ok()?, max.trim().parse().ok()?)));
            let Some((min, max)) = parts else {
                parent.fault("range", format!("{text:?} is not a range like 1-10"));
                return None;
            };
            Range { min, max, spot_from: None }
        }
        _ => {
            let section = parent.section("range")?;
            let range = (section.number("min", 0..=10_000), section.number("max", 1..=10_000));
            let spot_from = section.number("spot_from", 1..=10_000);
            if range.0.is_none() || range.1.is_none() {
                section.faults.add(section.line, &section.path, "min and max are both needed");
            }
            section.finish();
            Range { min: range.0?, max: range.1?, spot_from }
        }
    };
    if range.min > range.max || range.spot_from.is_some_and(|from| from < range.min || from > range.max) {
        parent.fault("range", "min, spot_from and max must be in this order");
        return None;
    }
    Some(range)
}

/// The value itself, or a map of it and a cooldown.
fn goal(
    parent: &Section<'_>,
    name: &'static str,
    default: Cooldown,
    value: impl Fn(&Section<'_>, &'static str) -> Option<u64>,
) -> Option<Goal> {
    let node = parent.node(name)?;
    if !matches!(node.kind, Kind::Map(_)) {
        return Some(Goal { value: value(parent, name)?, cooldown: default });
    }
    let section = parent.section(name)?;
    let goal = value(&section, "value").map(|value| Goal { value, cooldown: cooldown(&section, default) });
    if section.node("value").is_none() {
        section.faults.add(section.line, &section.at("value"), "is missing");
    }
    section.finish();
    goal
}

fn cooldown(parent: &Section<'_>, default: Cooldown) -> Cooldown {
    let Some(section) = parent.section("cooldown") else { return default };
    let cooldown = Cooldown {
        scale_in: section.seconds("in", 0..=86_400).unwrap_or(default.scale_in),
        scale_out: section.seconds("out", 0..=86_400).unwrap_or(default.scale_out),
    };
    section.finish();
    cooldown
}

/// A duration in milliseconds.
fn milliseconds(section: &Section<'_>, name: &'static str) -> Option<u64> {
    let text = section.text(name)?;
    let exact = text.strip_suffix("ms").and_then(|number| number.parse::<u64>().ok());
    let found = exact.or_else(|| Some(seconds(&text)? * 1000)).filter(|millis| (1..=3_600_000).contains(millis));
    if found.is_none() {
        section.fault(name, format!("{text:?} is not a duration like 2s or 500ms"));
    }
    found
}
