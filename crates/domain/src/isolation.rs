//! How far tasks are kept apart on this machine.

use serde::{Deserialize, Serialize};

/// The isolation in force, strongest first. Shown by `quarry doctor` and as the
/// attribute `quarry.isolation` of every container instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Root: own namespaces and an own uid range per task.
    UserNamespaces,
    /// An ordinary user: own namespaces inside one user namespace with a single uid.
    Rootless,
    /// Plain processes: namespaces are refused here. Tasks get a free `PORT`.
    None,
}

impl Isolation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserNamespaces => "user-namespaces",
            Self::Rootless => "rootless",
            Self::None => "none",
        }
    }
}

/// What a probe of the machine found, each gap with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationReport {
    pub isolation: Isolation,
    /// CPU and memory limits can be enforced by control groups.
    pub limits: bool,
    /// Ports below 1024 may be bound on loopback.
    pub low_ports: bool,
    /// One entry per thing that was probed.
    pub findings: Vec<Finding>,
}

/// One probed ability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Short name, for example `user namespaces`.
    pub name: String,
    pub available: bool,
    /// What was seen, for example the kernel's answer.
    pub detail: String,
    /// What to do about a gap; absent where there is none.
    pub remedy: Option<String>,
}
