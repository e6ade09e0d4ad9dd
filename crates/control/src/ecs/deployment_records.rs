//! What is stored of service deployments and service revisions.

use crate::elbv2::weights::Weights;
use crate::store::Item;
use quarry_aws::ecs as aws;
use quarry_domain::service::blue_green::{Color, Goal, Stage};
use quarry_wire::Document;
use serde::{Deserialize, Serialize};

/// A service as one deployment made it. Its id is the number of its deployment's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRevision {
    pub arn: String,
    pub service_arn: String,
    /// As DescribeServiceRevisions shows it.
    pub shown: aws::ServiceRevision,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDeployment {
    pub arn: String,
    pub service_arn: String,
    pub cluster_arn: String,
    /// Grows with every one.
    pub order: u64,
    pub status: DeploymentStatus,
    pub reason: Option<String>,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub started_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    pub stopped_ms: Option<i64>,
    /// Deployment ids (`ecs-svc/…`) of the service revisions that it replaces.
    pub sources: Vec<String>,
    /// The deployment id of the service revision that it brings.
    pub target: String,
    /// As it was when the deployment was made.
    pub configuration: aws::DeploymentConfiguration,
    /// What the circuit breaker counted last.
    pub failed_tasks: u32,
    pub threshold: u32,
    pub broken: bool,
    /// None where no alarms are set.
    pub alarms: Option<AlarmWatch>,
    /// When the rolling deployment was through and only its alarms were watched.
    pub baking_since_ms: Option<i64>,
    pub rollback: Option<RolledBack>,
    pub shift: Option<BlueGreen>,
    /// Tasks by deployment id (wanted, running, pending), when it ended.
    pub counts: Vec<(String, [i32; 3])>,
}

/// `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeploymentStatus {
    Pending,
    Successful,
    Stopped,
    StopRequested,
    InProgress,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmWatch {
    /// One was in ALARM when the deployment began, which may be to mend just that.
    Ignored,
    Watched,
    Triggered(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    pub reason: String,
    pub started_ms: i64,
    /// A deployment id.
    pub to: String,
}

/// How far a blue/green deployment is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlueGreen {
    pub stage: Stage,
    pub stage_since_ms: i64,
    pub goal: Goal,
    /// Deployment ids.
    pub blue: Option<String>,
    pub green: String,
    /// Of the present stage.
    pub hooks: Vec<HookRun>,
    pub rules: Vec<ShiftRule>,
}

/// A lifecycle hook in one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// A UUID.
    pub id: String,
    /// Into the configuration's hooks.
    pub index: usize,
    pub status: HookStatus,
    /// Why it failed.
    pub reason: Option<String>,
    pub not_before_ms: i64,
    pub expires_ms: i64,
    /// What its last answer gave for the next time.
    pub details: Option<Document>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HookStatus {
    InProgress,
    Succeeded,
    Failed,
    TimedOut,
}

/// A rule whose weights a blue/green deployment moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftRule {
    pub rule: String,
    pub test: bool,
    pub blue_group: String,
    pub green_group: String,
    pub at: Color,
    /// As we left them: others are another hand's.
    pub weights: Weights,
}

impl Item for ServiceRevision {
    const KIND: &'static str = "ecs.service-revision";
    fn key(&self) -> String {
        self.arn.clone()
    }
    fn parent(&self) -> String {
        self.service_arn.clone()
    }
}

impl Item for ServiceDeployment {
    const KIND: &'static str = "ecs.service-deployment";
    fn key(&self) -> String {
        self.arn.clone()
    }
    fn parent(&self) -> String {
        self.service_arn.clone()
    }
}

impl DeploymentStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Successful => "SUCCESSFUL",
            Self::Stopped => "STOPPED",
            Self::StopRequested => "STOP_REQUESTED",
            Self::InProgress => "IN_PROGRESS",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            Self::RollbackFailed => "ROLLBACK_FAILED",
        }
    }

    pub fn has_ended(self) -> bool {
        match self {
            Self::Successful | Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed => true,
            Self::Pending
            | Self::StopRequested
            | Self::InProgress
            | Self::RollbackRequested
            | Self::RollbackInProgress => false,
        }
    }
}

impl HookStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
        }
    }
}

impl ServiceDeployment {
    /// The blue/green deployment that the service's tasks go by: one that goes on, or was given up and left as it was.
    pub fn shifting(&self) -> Option<&BlueGreen> {
        self.shift.as_ref().filter(|shift| shift.goal != Goal::Done)
    }
}

impl ShiftRule {
    /// The weights with which everything goes to one revision.
    pub fn to(&self, color: Color) -> Weights {
        let weight = |of: Color| if of == color { 100 } else { 0 };
        let groups = [(Color::Blue, &self.blue_group), (Color::Green, &self.green_group)];
        groups.into_iter().map(|(of, group)| (group.clone(), weight(of))).collect()
    }
}
