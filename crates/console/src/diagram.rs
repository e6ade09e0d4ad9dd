//! The architecture as a drawing: clients → load balancers → rules → target groups → tasks. Pure.

use crate::chart::number;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Everything that is drawn.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    pub balancers: Vec<Balancer>,
    /// By ARN.
    pub groups: BTreeMap<String, Group>,
}

#[derive(Clone, Debug, Default)]
pub struct Balancer {
    pub name: String,
    /// Protocols and ports of its listeners.
    pub listeners: String,
    pub rules: Vec<Rule>,
    /// Requests in a minute, where some were counted.
    pub rate: Option<f64>,
}

#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Where it is in its listener's order.
    pub priority: String,
    /// `path /api*`.
    pub when: String,
    /// What it does where it does not forward.
    pub answers: String,
    /// ARNs of target groups, and their weights.
    pub groups: Vec<(String, i64)>,
    /// Requests in a minute, where some were counted.
    pub rate: Option<f64>,
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    pub name: String,
    /// The service whose tasks are behind it: name and path of its page.
    pub service: Option<(String, String)>,
    /// The states of its targets.
    pub targets: Vec<String>,
    pub rate: Option<f64>,
}

/// The columns' left edges and widths.
const CLIENTS: (f64, f64) = (1.0, 74.0);
const BALANCERS: (f64, f64) = (155.0, 140.0);
const RULES: (f64, f64) = (375.0, 178.0);
const GROUPS: (f64, f64) = (623.0, 140.0);
const TASKS: (f64, f64) = (843.0, 155.0);
const WIDTH: f64 = 1000.0;
/// Height of a box, and from one to the next.
const BOX: f64 = 44.0;
const STEP: f64 = 60.0;
const TOP: f64 = 34.0;
/// Characters that fit into a box.
const FITS: usize = 25;
/// Targets drawn one by one.
const DOTS: usize = 12;

pub fn draw(drawing: &Drawing) -> Markup {
    let rules: usize = drawing.balancers.iter().map(|b| b.rules.len().max(1)).sum();
    // Groups in the order in which rules name them; those that none names come last.
    let mut order: Vec<&String> = Vec::new();
    let named = drawing.balancers.iter().flat_map(|b| &b.rules).flat_map(|r| &r.groups).map(|(arn, _)| arn);
    for arn in named.chain(drawing.groups.keys()).filter(|arn| drawing.groups.contains_key(*arn)) {
        if !order.contains(&arn) {
            order.push(arn);
        }
    }
    let rows = rules.max(order.len()).max(1);
    let height = TOP + rows as f64 * STEP;
    let spread = |i: usize, of: usize| TOP + (i as f64 + 0.5) * (rows as f64 / of.max(1) as f64) * STEP - STEP / 2.0;
    let group_y: BTreeMap<&String, f64> =
        order.iter().enumerate().map(|(i, arn)| (*arn, spread(i, order.len()))).collect();
    let clients_y = spread(0, 1);
    let mut row = 0;
    let mut drawn = Vec::new();
    for balancer in &drawing.balancers {
        let count = balancer.rules.len().max(1);
        let scale = rows as f64 / rules.max(1) as f64;
        let y = |i: usize| TOP + ((row + i) as f64 + 0.5) * scale * STEP - STEP / 2.0;
        let rule_ys: Vec<f64> = (0..balancer.rules.len()).map(y).collect();
        let own = (y(0) + y(count - 1)) / 2.0;
        drawn.push((balancer, own, rule_ys));
        row += count;
    }
    html! {
        div.drawing tabindex="0" role="group" aria-label="Drawing of the architecture" {
            svg width=(WIDTH) height=(height) viewBox=(format!("0 0 {WIDTH} {height}")) role="group" aria-label="Clients, load balancers, rules, target groups and tasks" {
                @for ((x, _), name) in [(CLIENTS, "Clients"), (BALANCERS, "Load balancers"), (RULES, "Rules"), (GROUPS, "Target groups"), (TASKS, "Tasks")] {
                    text.head x=(x) y="16" { (name) }
                }
                (boxed(CLIENTS, clients_y, None, "Clients", None, ""))
                @for (balancer, y, rule_ys) in &drawn {
                    (arrow(CLIENTS, clients_y, BALANCERS, *y, balancer.rate, per_minute(balancer.rate)))
                    (boxed(BALANCERS, *y, Some(&path("/load-balancers", &balancer.name)), &balancer.name, Some(&balancer.listeners), "balancer"))
                    @for (rule, rule_y) in balancer.rules.iter().zip(rule_ys) {
                        (arrow(BALANCERS, *y, RULES, *rule_y, rule.rate, per_minute(rule.rate)))
                        @let total: i64 = rule.groups.iter().map(|(_, weight)| weight).sum();
                        @for (arn, weight) in &rule.groups {
                            @if let Some(group_y) = group_y.get(arn) {
                                @let share = (rule.groups.len() > 1 && total > 0).then(|| format!("{} %", weight * 100 / total.max(1)));
                                @let rate = rule.rate.map(|rate| rate * *weight as f64 / total.max(1) as f64);
                                (arrow(RULES, *rule_y, GROUPS, *group_y, rate, share))
                            }
                        }
                        @let page = format!("{}#rules", path("/load-balancers", &balancer.name));
                        @let below = format!("{} {}", rule.priority, rule.answers);
                        (boxed(RULES, *rule_y, Some(&page), &rule.when, Some(below.trim()), "rule"))
                    }
                }
                @for arn in &order {
                    @let (group, y) = (&drawing.groups[*arn], group_y[arn]);
                    (arrow(GROUPS, y, TASKS, y, group.rate, per_minute(group.rate)))
                    (boxed(GROUPS, y, Some(&path("/target-groups", &group.name)), &group.name, Some(&health(group)), well(group)))
                    @let page = group.service.as_ref().map(|(_, page)| page.as_str());
                    (boxed(TASKS, y, page, group.service.as_ref().map_or("", |(name, _)| name), Some(""), "tasks"))
                    @for (i, state) in group.targets.iter().take(DOTS).enumerate() {
                        circle class=(dot(state)) cx=(TASKS.0 + 18.5 + i as f64 * 11.5) cy=(y + 31.0) r="4.5" { title { (state) } }
                    }
                    @if group.targets.len() > DOTS {
                        text.small x=(TASKS.0 + TASKS.1 - 4.0) y=(y + 14.0) text-anchor="end" { "+" (group.targets.len() - DOTS) }
                    }
                }
            }
        }
    }
}

fn path(folder: &str, name: &str) -> String {
    format!("{folder}/{}", crate::form::encoded(name))
}

fn health(group: &Group) -> String {
    let healthy = group.targets.iter().filter(|state| *state == "healthy").count();
    match group.targets.len() {
        0 => "no targets".into(),
        all => format!("{healthy} of {all} healthy"),
    }
}

fn dot(state: &str) -> &'static str {
    match state {
        "healthy" => "dot-good",
        "unhealthy" | "unavailable" => "dot-bad",
        "unused" => "dot-quiet",
        _ => "dot-wait",
    }
}

/// How a group is, as the class of its box.
fn well(group: &Group) -> &'static str {
    let healthy = group.targets.iter().filter(|state| *state == "healthy").count();
    match (healthy, group.targets.len()) {
        (_, 0) => "quiet",
        (0, _) => "bad",
        (some, all) if some < all => "wait",
        _ => "good",
    }
}

/// A box of one line or two, with a mark of its kind at the left; with a page it is a link.
fn boxed((x, width): (f64, f64), y: f64, page: Option<&str>, name: &str, below: Option<&str>, kind: &str) -> Markup {
    let left = x + if kind.is_empty() { 10.0 } else { 14.0 };
    let inside = html! {
        rect.box x=(x) y=(y) width=(width) height=(BOX) rx="8" {}
        @if !kind.is_empty() { rect class={ "mark " (kind) } x=(x + 5.0) y=(y + 9.0) width="3" height=(BOX - 18.0) rx="1.5" {} }
        text.name x=(left) y=(y + if below.is_some() { 19.0 } else { 26.5 }) { (fitted(name, FITS)) }
        @if let Some(below) = below { text.small x=(left) y=(y + 34.5) { (fitted(below, FITS)) } }
    };
    html! {
        @if let Some(page) = page { a href=(page) { (inside) } } @else { g { (inside) } }
    }
}

/// From the right edge of one box to the left edge of another, with what passes on it: the more a minute, the wider.
fn arrow(from: (f64, f64), from_y: f64, to: (f64, f64), to_y: f64, rate: Option<f64>, said: Option<String>) -> Markup {
    let (x1, y1, x2, y2) = (from.0 + from.1, from_y + BOX / 2.0, to.0 - 7.0, to_y + BOX / 2.0);
    let middle = (x1 + x2) / 2.0;
    html! {
        path class={ "arrow " (busy(rate)) } d=(format!("M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}")) {}
        path class={ "tip " (busy(rate)) } d=(format!("M{},{} l-8,-4.5 v9 z", x2 + 7.0, y2)) {}
        @if let Some(said) = said {
            text.rate x=(middle) y=((y1 + y2) / 2.0 - 6.0) text-anchor="middle" { (said) }
        }
    }
}

fn per_minute(rate: Option<f64>) -> Option<String> {
    match rate? {
        rate if rate <= 0.0 => None,
        rate if rate < 1.0 => Some("<1/min".into()),
        rate => Some(format!("{}/min", number(rate))),
    }
}

/// A text in so many characters: a longer one is cut, and says so.
pub fn fitted(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters - 1).chain(['…']).collect()
}

/// The class of an arrow by its requests a minute.
pub fn busy(rate: Option<f64>) -> &'static str {
    match rate.unwrap_or_default() {
        rate if rate >= 6000.0 => "busy most",
        rate if rate >= 300.0 => "busy more",
        rate if rate > 0.0 => "busy",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_on_the_drawing_and_linked() {
        let rule = |priority: &str, when: &str, groups: &[(&str, i64)]| Rule {
            priority: priority.into(),
            when: when.into(),
            answers: String::new(),
            groups: groups.iter().map(|(arn, w)| ((*arn).to_owned(), *w)).collect(),
            rate: Some(40.0),
        };
        let balancer = Balancer {
            name: "demo".into(),
            listeners: "HTTP 80".into(),
            rules: vec![rule("1", "path /api*", &[("users", 9), ("api", 1)]), rule("default", "always", &[("api", 1)])],
            rate: Some(120.0),
        };
        let group = |name: &str, targets: &[&str]| Group {
            name: name.into(),
            service: Some((name.into(), format!("/clusters/demo/services/{name}"))),
            targets: targets.iter().map(|t| (*t).to_owned()).collect(),
            rate: Some(60.0),
        };
        let groups = BTreeMap::from([
            ("users".to_owned(), group("users", &["healthy", "unhealthy"])),
            ("api".to_owned(), group("api", &["healthy"; 20])),
            ("spare".to_owned(), group("spare", &[])),
        ]);
        let html = draw(&Drawing { balancers: vec![balancer], groups }).into_string();
        for expected in [
            "href=\"/load-balancers/demo\"",
            "href=\"/target-groups/users\"",
            "href=\"/clusters/demo/services/api\"",
            "120/min",
            "40/min",
            "60/min",
            "90 %",
            "10 %",
            "1 of 2 healthy",
            "no targets",
            "+8",
        ] {
            assert!(html.contains(expected), "{expected}: {html}");
        }
        assert_eq!(html.matches("class=\"dot-good\"").count(), 1 + DOTS);
    }

    #[test]
    fn nothing_is_a_drawing_too() {
        assert!(draw(&Drawing::default()).into_string().contains("Clients"));
    }
}
