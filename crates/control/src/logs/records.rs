//! What is stored of log groups and log streams. The events are rows of the table `log_event`.

use crate::store::Item;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroup {
    pub name: String,
    pub created_ms: i64,
    /// Events older than this are deleted; kept for ever if absent.
    pub retention_days: Option<i32>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStream {
    pub group: String,
    pub name: String,
    pub created_ms: i64,
}

/// How far the output of a container was delivered to its stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follower {
    pub task: String,
    pub container: String,
    pub group: String,
    pub stream: String,
    /// Bytes of the container's log file that are delivered.
    pub offset: u64,
}

/// What is made into a metric of the events of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricFilter {
    pub group: String,
    pub name: String,
    pub pattern: String,
    pub namespace: String,
    pub metric: String,
    /// A number, or what an event has at a `$field` or `$.selector`.
    pub value: String,
    /// Reported for a minute with events of which none matches.
    pub default_value: Option<f64>,
    /// By name, each a `$field` or `$.selector`.
    pub dimensions: BTreeMap<String, String>,
    pub unit: Option<String>,
    /// As it was given; events are never transformed here.
    pub on_transformed: Option<bool>,
    pub created_ms: i64,
    /// The last event before it was there.
    pub after: i64,
}

/// The last event that metric filters have seen; there is one such record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtered {
    pub seq: i64,
}

impl Item for MetricFilter {
    const KIND: &'static str = "logs.metricfilter";
    fn key(&self) -> String {
        stream_key(&self.group, &self.name)
    }
    fn parent(&self) -> String {
        self.group.clone()
    }
}

impl Item for Filtered {
    const KIND: &'static str = "logs.filtered";
    fn key(&self) -> String {
        String::new()
    }
}

impl Item for LogGroup {
    const KIND: &'static str = "logs.group";
    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Item for LogStream {
    const KIND: &'static str = "logs.stream";
    fn key(&self) -> String {
        stream_key(&self.group, &self.name)
    }
    fn parent(&self) -> String {
        self.group.clone()
    }
}

impl Item for Follower {
    const KIND: &'static str = "logs.follower";
    fn key(&self) -> String {
        format!("{}/{}", self.task, self.container)
    }
    fn parent(&self) -> String {
        self.task.clone()
    }
}

/// The key of a stream, also in the table of events, and of a metric filter. Neither name can hold a colon.
pub fn stream_key(group: &str, stream: &str) -> String {
    format!("{group}:{stream}")
}
