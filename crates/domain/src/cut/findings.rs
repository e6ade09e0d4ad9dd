//! What stands in the way of a cut, and what a plan shows before it begins.

use super::{BadScope, Data, Side, check_scope};
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Not there yet; the cut waits for it, or makes it at PREPARE.
    Missing,
    /// It cannot be done safely: the cut is refused.
    Refusal,
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// A word for machines, such as `contract`.
    pub what: String,
    /// One sentence: what is the matter, and what to do.
    pub message: String,
}

/// What is known of one side's service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// As it was named.
    pub name: String,
    pub exists: bool,
    /// It has a target group, in the VPC of the load balancer.
    pub target_group: Option<String>,
    pub running: u32,
    /// Targets that probes found healthy.
    pub healthy: u32,
    /// It is a target group alone: its application runs elsewhere, and `running` are its targets.
    pub group: bool,
    /// Its task definition says `CUT_ADMIN_PORT`.
    pub contract: bool,
    /// What its admin listener or its database answered, or why it did not.
    pub answer: Option<Result<SideFacts, String>>,
}

/// What a side's application says of the scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideFacts {
    /// It knows the scope at all.
    pub known: bool,
    pub prepared: bool,
    pub owner: bool,
    pub epoch: u64,
    pub rows: u64,
    /// What it says is missing: keys, a schema, writers that go round the fence.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// Everything a plan is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub scope: String,
    pub paths: Vec<String>,
    pub tables: Vec<String>,
    pub data: Data,
    pub source: ServiceFacts,
    pub destination: ServiceFacts,
    /// Cuts that have not ended and whose paths or name overlap, by id.
    pub overlapping: Vec<String>,
    /// The listener that has the rule, or why there is none.
    pub listener: Result<String, String>,
    /// Rules before the cut's own that take some of its requests away, by ARN.
    pub shadowed_by: Vec<String>,
    /// A rule with just these paths exists and is taken over.
    pub takes_over: Option<String>,
    /// Why the rule cannot be made or taken over.
    pub rule_problem: Option<String>,
}

/// All findings, refusals first.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |severity, side, what: &str, message: String| {
        found.push(Finding { severity, side, what: what.to_owned(), message });
    };
    use Severity::{Missing, Note, Refusal};

    if let Err(BadScope(message)) = check_scope(&facts.scope, &facts.paths, &facts.tables) {
        say(Refusal, None, "scope", message);
    }
    for id in &facts.overlapping {
        say(Refusal, None, "overlap", format!("{id} has a scope that overlaps and has not ended: finish or abort it"));
    }
    match &facts.listener {
        Err(message) => say(Refusal, None, "listener", message.clone()),
        Ok(arn) => say(Note, None, "listener", format!("the rule is on {arn}")),
    }
    if let Some(arn) = &facts.takes_over {
        say(Note, None, "rule", format!("{arn} has these paths and is taken over"));
    }
    if let Some(problem) = &facts.rule_problem {
        say(Refusal, None, "rule", problem.clone());
    }
    for arn in &facts.shadowed_by {
        let message = format!("{arn} comes before and takes some of these paths away");
        say(Refusal, None, "rule", message);
    }
    if facts.source.name == facts.destination.name {
        say(Refusal, None, "service", "source and destination are the same service".to_owned());
    }
    if facts.source.target_group.is_some() && facts.source.target_group == facts.destination.target_group {
        say(Refusal, None, "target-group", "both services have the same target group".to_owned());
    }
    for (side, service) in [(Side::Source, &facts.source), (Side::Destination, &facts.destination)] {
        let name = &service.name;
        if !service.exists {
            let or_group = if facts.data == Data::Contract { "" } else { ", nor a target group of that name" };
            say(Refusal, Some(side), "service", format!("there is no active service {name}{or_group}"));
            continue;
        }
        if service.target_group.is_none() {
            say(Refusal, Some(side), "target-group", format!("service {name} has no load balancer's target group"));
        }
        let (what, of) =
            if service.group { ("target group", "registered target") } else { ("service", "running task") };
        if service.running == 0 {
            say(Refusal, Some(side), "tasks", format!("{what} {name} has no {of}"));
        } else if service.healthy == 0 {
            say(Missing, Some(side), "health", format!("{what} {name} has no healthy target yet"));
        }
        let database = match facts.data {
            Data::None => continue,
            Data::Contract => false,
            Data::Database => true,
        };
        if !database && !service.contract {
            let message = format!(
                "the task definition of {name} has no CUT_ADMIN_PORT in a container's environment: its application does not offer the contract"
            );
            say(Refusal, Some(side), "contract", message);
            continue;
        }
        let (word, who) = match database {
            true => ("database", format!("the database of {name}")),
            false => ("contract", name.clone()),
        };
        match &service.answer {
            None if service.running == 0 => {}
            None => say(Missing, Some(side), word, format!("{who} was not asked yet")),
            Some(Err(why)) => say(Refusal, Some(side), word, format!("{who} does not answer: {why}")),
            Some(Ok(facts)) => of_application(side, name, database, facts, &mut say),
        }
    }
    if facts.data == Data::Database && facts.tables.is_empty() {
        say(Refusal, None, "tables", "the tables behind the paths must be named".to_owned());
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn of_application(
    side: Side,
    name: &str,
    database: bool,
    facts: &SideFacts,
    say: &mut impl FnMut(Severity, Option<Side>, &str, String),
) {
    use Severity::{Missing, Note, Refusal};
    if !facts.known {
        say(Refusal, Some(side), "scope", format!("the application of {name} does not know this scope"));
        return;
    }
    for problem in &facts.problems {
        let word = if database { "database" } else { "application" };
        say(Refusal, Some(side), word, format!("{name}: {problem}"));
    }
    for note in &facts.notes {
        say(Note, Some(side), "database", format!("{name}: {note}"));
    }
    if !facts.prepared {
        say(Missing, Some(side), "fence", format!("{name} has no feed, fence and keys yet: PREPARE makes them"));
        if side == Side::Destination && facts.rows > 0 {
            let message = format!("{name} has {} rows already: the new side must be empty", facts.rows);
            say(Refusal, Some(side), "rows", message);
        }
        return;
    }
    match (side, facts.owner) {
        (Side::Source, false) => {
            say(Refusal, Some(side), "owner", format!("the database of {name} says that it does not own the scope"));
        }
        (Side::Destination, true) if facts.epoch > 0 => {
            say(Refusal, Some(side), "owner", format!("the database of {name} says that it owns the scope already"));
        }
        (Side::Destination, true) => {
            say(Missing, Some(side), "owner", format!("{name} owns the scope of its own: PREPARE fences it"));
        }
        (Side::Source, true) | (Side::Destination, false) => {
            let owner = if facts.owner { "owns" } else { "does not own" };
            say(Note, Some(side), "owner", format!("{name} {owner} the scope, epoch {}", facts.epoch));
        }
    }
}
