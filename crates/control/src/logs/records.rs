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

/// The key of a stream, also in the table of events. Neither name can hold a colon.
pub fn stream_key(group: &str, stream: &str) -> String {
    format!("{group}:{stream}")
}
