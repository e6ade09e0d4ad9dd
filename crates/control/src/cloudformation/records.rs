//! What is stored of stacks.

use super::template::Resolved;
use crate::store::Item;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A stack, kept after its deletion.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stack {
    /// `arn:aws:cloudformation:<region>:<account>:stack/<name>/<uuid>`.
    pub id: String,
    pub name: String,
    pub status: StackStatus,
    pub status_reason: Option<String>,
    pub description: Option<String>,
    /// The text, as it was given.
    pub template: String,
    pub parameters: BTreeMap<String, Resolved>,
    pub capabilities: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub on_failure: OnFailure,
    pub timeout_minutes: Option<i32>,
    pub role_arn: Option<String>,
    pub notification_arns: Vec<String>,
    pub termination_protection: bool,
    pub created_ms: i64,
    pub deleted_ms: Option<i64>,
    pub outputs: Vec<StackOutput>,
    /// Names of other stacks' exports that it uses.
    pub imports: BTreeSet<String>,
    /// ClientRequestToken of the operation in progress, shown in its events.
    pub token: Option<String>,
    /// The change set that it was made by.
    pub change_set_id: Option<String>,
    /// Resources that its deletion leaves.
    pub retained: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StackOutput {
    pub key: String,
    pub value: String,
    pub description: Option<String>,
    pub export: Option<String>,
}

/// A resource of a stack, from the start of its creation on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackResource {
    pub stack_id: String,
    pub logical_id: String,
    pub type_name: String,
    pub status: ResourceStatus,
    pub status_reason: Option<String>,
    /// `None` if it was never made.
    pub physical_id: Option<String>,
    /// What Ref gives, where it is not the physical id.
    pub reference: Option<String>,
    pub attributes: Map<String, Value>,
    /// As it was made with.
    pub properties: Map<String, Value>,
    /// The resources that it was made after, and goes before.
    pub needs: BTreeSet<String>,
    /// Its deletion policy: a deleted stack leaves it.
    pub retain: bool,
    /// A stack that is rolled back leaves it too.
    pub retain_on_rollback: bool,
    pub awaited: Option<AwaitedSignals>,
    /// By UniqueId: whether it reported success.
    pub signals: BTreeMap<String, bool>,
    pub metadata: Option<Value>,
    pub updated_ms: i64,
}

/// A CreationPolicy's ResourceSignal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedSignals {
    pub count: u32,
    pub timeout_seconds: u64,
}

/// A line of a stack's history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    pub stack_id: String,
    pub stack_name: String,
    pub logical_id: String,
    pub physical_id: String,
    pub type_name: String,
    pub at_ms: i64,
    pub status: String,
    pub reason: Option<String>,
    pub properties: Option<String>,
    pub token: Option<String>,
}

/// A value that other stacks may import.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Export {
    pub name: String,
    pub value: String,
    pub stack_id: String,
}

/// A stack that the reconciler has to do with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    pub stack_id: String,
}

/// A change set that makes a stack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeSet {
    /// `arn:aws:cloudformation:<region>:<account>:changeSet/<name>/<uuid>`.
    pub id: String,
    pub name: String,
    pub stack_id: String,
    pub stack_name: String,
    pub description: Option<String>,
    pub status: ChangeSetStatus,
    pub status_reason: Option<String>,
    pub executed: bool,
    pub template: String,
    pub parameters: BTreeMap<String, Resolved>,
    pub capabilities: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub on_failure: OnFailure,
    pub imports: BTreeSet<String>,
    /// Logical id and type of what it adds.
    pub added: Vec<(String, String)>,
    pub created_ms: i64,
}

macro_rules! status {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $(#[serde(rename = $text)] $variant),+ }

        impl $name {
            /// As the API shows it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

status! {
    /// Where a stack is.
    StackStatus {
        ReviewInProgress = "REVIEW_IN_PROGRESS",
        CreateInProgress = "CREATE_IN_PROGRESS",
        CreateComplete = "CREATE_COMPLETE",
        CreateFailed = "CREATE_FAILED",
        RollbackInProgress = "ROLLBACK_IN_PROGRESS",
        RollbackComplete = "ROLLBACK_COMPLETE",
        RollbackFailed = "ROLLBACK_FAILED",
        DeleteInProgress = "DELETE_IN_PROGRESS",
        DeleteComplete = "DELETE_COMPLETE",
        DeleteFailed = "DELETE_FAILED",
    }
}

status! {
    /// Where a resource is.
    ResourceStatus {
        CreateInProgress = "CREATE_IN_PROGRESS",
        CreateComplete = "CREATE_COMPLETE",
        CreateFailed = "CREATE_FAILED",
        DeleteInProgress = "DELETE_IN_PROGRESS",
        DeleteComplete = "DELETE_COMPLETE",
        DeleteFailed = "DELETE_FAILED",
        DeleteSkipped = "DELETE_SKIPPED",
    }
}

status! {
    /// What a failed creation leads to.
    OnFailure { Rollback = "ROLLBACK", Delete = "DELETE", DoNothing = "DO_NOTHING" }
}

status! {
    /// Where a change set is. It is worked out at once, so there is no state before these.
    ChangeSetStatus { CreateComplete = "CREATE_COMPLETE", Failed = "FAILED" }
}

impl Item for Stack {
    const KIND: &'static str = "cloudformation.stack";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn parent(&self) -> String {
        self.name.clone()
    }
}

impl Item for StackResource {
    const KIND: &'static str = "cloudformation.resource";
    fn key(&self) -> String {
        Self::key_of(&self.stack_id, &self.logical_id)
    }
    fn parent(&self) -> String {
        self.stack_id.clone()
    }
}

impl StackResource {
    pub fn key_of(stack_id: &str, logical_id: &str) -> String {
        format!("{stack_id}#{logical_id}")
    }
}

impl Item for Event {
    const KIND: &'static str = "cloudformation.event";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn parent(&self) -> String {
        self.stack_id.clone()
    }
}

impl Item for Export {
    const KIND: &'static str = "cloudformation.export";
    fn key(&self) -> String {
        self.name.clone()
    }
    fn parent(&self) -> String {
        self.stack_id.clone()
    }
}

impl Item for Work {
    const KIND: &'static str = "cloudformation.work";
    fn key(&self) -> String {
        self.stack_id.clone()
    }
}

impl Item for ChangeSet {
    const KIND: &'static str = "cloudformation.change-set";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn parent(&self) -> String {
        self.stack_id.clone()
    }
}
