//! `deployment`: how new tasks take the old ones' place, and what calls it off.

use super::section::Section;
use super::yaml::Kind;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// All old tasks are stopped before new ones start.
    pub recreate: bool,
    pub alarms: Alarms,
}

/// Alarms that roll a deployment back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Names of alarms that are there.
    pub names: Vec<String>,
    /// Percent of the service's CPU and memory, for alarms that are made.
    pub cpu: Option<u64>,
    pub memory: Option<u64>,
}

impl Deployment {
    pub(super) fn read(parent: &Section<'_>) -> Self {
        let Some(section) = parent.section("deployment") else { return Self::default() };
        let recreate = section.word("rolling", &["default", "recreate"]) == Some("recreate");
        let mut alarms = Alarms::default();
        match section.node("rollback_alarms").map(|node| &node.kind) {
            None => {}
            Some(Kind::List(_)) => alarms.names = section.texts("rollback_alarms").unwrap_or_default(),
            Some(_) => {
                if let Some(inner) = section.section("rollback_alarms") {
                    alarms.cpu = inner.number("cpu_utilization", 1..=100);
                    alarms.memory = inner.number("memory_utilization", 1..=100);
                    inner.refuse(&[("messages_delayed", "it belongs to worker services, which are not supported")]);
                    inner.finish();
                }
            }
        }
        section.finish();
        Self { recreate, alarms }
    }

    pub fn has_alarms(&self) -> bool {
        !self.alarms.names.is_empty() || self.alarms.cpu.is_some() || self.alarms.memory.is_some()
    }
}
