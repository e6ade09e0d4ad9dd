//! What is stored of cuts: the cut itself with the protocol's progress, and its journal.

use super::database::Databases;
use super::figures::Move;
use crate::elbv2::records::RuleAction;
use crate::store::Item;
use quarry_domain::cut::{Progress, Spec};
use serde::{Deserialize, Serialize};

/// One cut. It is written before anything is done in its new state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// `cut-` and 8 hexadecimal digits.
    pub id: String,
    pub scope: String,
    /// Path patterns.
    pub paths: Vec<String>,
    /// Where they were named; all of the scope's otherwise.
    pub tables: Vec<String>,
    pub from: Part,
    pub to: Part,
    /// Where the platform drives the sides' databases itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<Databases>,
    pub listener_arn: String,
    pub rule: OwnedRule,
    pub spec: Spec,
    /// What shadowing does not compare: JSON pointers and header names.
    pub ignore: Vec<String>,
    /// What becomes of the tables of the old side at the end.
    pub fate: super::pair::Fate,
    /// Percent of 5xx answers of the new side that move the scope back.
    pub max_5xx_percent: u32,
    pub progress: Progress,
    pub created_ms: i64,
    /// When the state was entered, or the route last changed in it.
    pub entered_ms: i64,
    /// When the hold that lasts began.
    pub hold_began_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    /// Each completed move, there and back.
    pub moves: Vec<Move>,
    /// The move under way.
    pub current: Move,
    /// Number of the last journal entry.
    pub entries: u64,
}

/// One side's service, or its target group where its application runs elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// As it was named: the service's name.
    pub service: String,
    pub service_arn: String,
    pub cluster: String,
    pub target_group_arn: String,
    /// Where its application offers the contract, inside its tasks.
    pub admin_port: Option<u16>,
    /// Where the platform drives its database itself: the URL without its password.
    #[serde(default)]
    pub database: Option<String>,
}

/// The rule that the cut owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnedRule {
    pub arn: String,
    /// What it did before the cut took it over; `None`: the cut made it.
    pub before: Option<RuleAction>,
}

/// One line of a cut's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub cut: String,
    /// From 1.
    pub number: u64,
    pub at_ms: i64,
    /// The state entered, or that in which something changed.
    pub state: String,
    pub owner: String,
    pub epoch: u64,
    /// Of the route.
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Item for Cut {
    const KIND: &'static str = "cut.cut";
    fn key(&self) -> String {
        self.id.clone()
    }
}

impl Item for Entry {
    const KIND: &'static str = "cut.entry";
    fn key(&self) -> String {
        format!("{} {:08}", self.cut, self.number)
    }
    fn parent(&self) -> String {
        self.cut.clone()
    }
}

impl Cut {
    pub fn has_ended(&self) -> bool {
        self.progress.state.is_end()
    }

    pub fn part(&self, side: quarry_domain::cut::Side) -> &Part {
        match side {
            quarry_domain::cut::Side::Source => &self.from,
            quarry_domain::cut::Side::Destination => &self.to,
        }
    }

    /// The next line of the journal.
    pub fn entry(&mut self, at_ms: i64, state: &str, message: Option<String>) -> Entry {
        self.entries += 1;
        Entry {
            cut: self.id.clone(),
            number: self.entries,
            at_ms,
            state: state.to_owned(),
            owner: self.progress.owner().name().to_owned(),
            epoch: self.progress.top,
            version: self.progress.route.version,
            message,
        }
    }
}
