//! What is stored of stacks.

use super::template::Resolved;
use crate::authorization::Acting;
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
    /// What it is made from.
    pub revision: Revision,
    pub on_failure: OnFailure,
    pub timeout_minutes: Option<i32>,
    pub role_arn: Option<String>,
    pub termination_protection: bool,
    pub created_ms: i64,
    #[serde(default)]
    pub updated_ms: Option<i64>,
    pub deleted_ms: Option<i64>,
    /// ClientRequestToken of the latest operation, shown in its events.
    pub token: Option<String>,
    /// The change set that it was last made or updated by.
    pub change_set_id: Option<String>,
    /// Resources that its deletion leaves.
    pub retained: BTreeSet<String>,
    /// RetainExceptOnCreate of the latest operation: what it makes is deleted when it is rolled back,
    /// whatever the deletion policy says.
    #[serde(default)]
    pub delete_new: bool,
    /// The stack policy: which updates of which resources are allowed.
    #[serde(default)]
    pub policy: Option<String>,
    /// The update that is in progress, or whose failure is not undone.
    #[serde(default)]
    pub update: Option<Update>,
    #[serde(default)]
    pub drift: Option<StackDrift>,
}

/// What a stack is made from, and what came of it: all that an update changes and a rollback restores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    pub description: Option<String>,
    /// The text, as it was given.
    pub template: String,
    pub parameters: BTreeMap<String, Resolved>,
    pub capabilities: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub notification_arns: Vec<String>,
    pub outputs: Vec<StackOutput>,
    /// Names of other stacks' exports that it uses.
    pub imports: BTreeSet<String>,
}

/// An update of a stack.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Update {
    /// What is restored when it fails; `None` if the stack's creation was never complete.
    pub before: Option<Revision>,
    /// A stack policy for this update alone.
    pub policy: Option<String>,
    /// A failure leaves everything as it is then.
    pub preserve: bool,
}

/// The outcome of the latest drift detection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackDrift {
    pub id: String,
    pub drifted: i32,
    pub checked: i32,
    pub at_ms: i64,
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
    pub state: ResourceState,
    /// As it was before the update that is in progress, if that changed it.
    pub before: Option<Box<ResourceState>>,
    /// What the update in progress does about it; `None` before it was looked at.
    pub phase: Option<Phase>,
    /// It was made by the update in progress.
    pub born: bool,
    /// It goes when the update, or its rollback, cleans up.
    pub doomed: bool,
    /// What was replaced and is to be deleted, oldest first.
    pub leftovers: Vec<Leftover>,
    pub awaited: Option<AwaitedSignals>,
    /// By UniqueId: whether it reported success.
    pub signals: BTreeMap<String, bool>,
    /// What its type keeps between the steps of an update.
    pub ongoing: Map<String, Value>,
    pub drift: Option<ResourceDrift>,
    pub updated_ms: i64,
}

/// A resource as it was made, or changed to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceState {
    /// `None` if it was never made.
    pub physical_id: Option<String>,
    /// What Ref gives, where it is not the physical id.
    pub reference: Option<String>,
    pub attributes: Map<String, Value>,
    /// Functions carried out, dynamic references not.
    pub properties: Map<String, Value>,
    /// The tags of the stack that it got.
    pub stack_tags: Vec<(String, String)>,
    /// The random end of its generated name.
    pub suffix: String,
    /// The resources that it was made after, and goes before.
    pub needs: BTreeSet<String>,
    pub deletion_policy: DeletionPolicy,
    pub replace_policy: DeletionPolicy,
    pub update_policy: Option<Value>,
    pub creation_policy: Option<Value>,
    pub metadata: Option<Value>,
}

/// A physical resource that another has taken the place of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leftover {
    pub state: ResourceState,
    /// It stays where it is, and is forgotten.
    pub retain: bool,
    /// `None` before its deletion begins.
    pub status: Option<ResourceStatus>,
}

/// What an update does about a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It is changed in place.
    Modify,
    /// Another is made that takes its place.
    Replace,
    /// Nothing is left to do.
    Done,
}

/// What the latest drift detection found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceDrift {
    /// `IN_SYNC`, `MODIFIED`, `DELETED` or `NOT_CHECKED`.
    pub status: String,
    pub expected: Map<String, Value>,
    pub actual: Option<Map<String, Value>>,
    /// Of properties: path, expected, actual.
    pub differences: Vec<(String, Option<Value>, Option<Value>)>,
    pub at_ms: i64,
}

/// A CreationPolicy's ResourceSignal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedSignals {
    pub count: u32,
    pub timeout_seconds: u64,
    /// How many of them must report success, in percent (AutoScalingCreationPolicy).
    pub percent: u32,
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
    /// Who asked for it, whose rights it has unless the stack has a role; absent for the root user.
    #[serde(default)]
    pub acting: Option<Acting>,
}

/// A change set.
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
    /// The stack was updated in between.
    pub obsolete: bool,
    /// Whether it makes the stack.
    pub creates: bool,
    /// What the stack is to be made from.
    pub revision: Revision,
    pub on_failure: OnFailure,
    pub changes: Vec<Change>,
    /// Logical ids of the resources that it removes.
    pub removed: BTreeSet<String>,
    /// ClientToken of the request.
    pub token: Option<String>,
    pub created_ms: i64,
}

/// What a change set does about a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `Add`, `Modify` or `Remove`.
    pub action: String,
    pub logical_id: String,
    pub physical_id: Option<String>,
    pub type_name: String,
    /// `True`, `False` or `Conditional`; only of what is modified.
    pub replacement: Option<String>,
    /// What becomes of the resource that goes: `Delete`, `Retain`, `ReplaceAndDelete`, `ReplaceAndRetain`.
    pub policy_action: Option<String>,
    pub scope: Vec<String>,
    pub details: Vec<ChangeDetail>,
    /// Its properties before and after, as far as they are known; not where a NoEcho parameter could show.
    pub before: Option<Map<String, Value>>,
    pub after: Option<Map<String, Value>>,
}

/// Why a change set changes a part of a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeDetail {
    /// A member of the scope.
    pub attribute: String,
    /// The property, where the attribute is `Properties`.
    pub name: Option<String>,
    /// `Never`, `Conditionally` or `Always`.
    pub recreation: String,
    /// Whether it is known now (`Static`) or only when it is carried out (`Dynamic`).
    pub evaluation: String,
    /// `DirectModification`, `ParameterReference`, `ResourceReference` or `ResourceAttribute`.
    pub source: String,
    /// Parameter, resource, or resource and attribute.
    pub cause: Option<String>,
}

macro_rules! status {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$note])* #[serde(rename = $text)] $variant),+ }

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
        UpdateInProgress = "UPDATE_IN_PROGRESS",
        UpdateCompleteCleanupInProgress = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        UpdateComplete = "UPDATE_COMPLETE",
        UpdateFailed = "UPDATE_FAILED",
        UpdateRollbackInProgress = "UPDATE_ROLLBACK_IN_PROGRESS",
        UpdateRollbackCompleteCleanupInProgress = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
        UpdateRollbackComplete = "UPDATE_ROLLBACK_COMPLETE",
        UpdateRollbackFailed = "UPDATE_ROLLBACK_FAILED",
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
        UpdateInProgress = "UPDATE_IN_PROGRESS",
        UpdateComplete = "UPDATE_COMPLETE",
        UpdateFailed = "UPDATE_FAILED",
    }
}

status! {
    /// What becomes of a physical resource that is not needed any more.
    #[derive(Default)]
    DeletionPolicy {
        #[default]
        Delete = "Delete",
        Retain = "Retain",
        /// Like Retain, but a creation that is rolled back deletes it.
        RetainExceptOnCreate = "RetainExceptOnCreate",
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

impl Stack {
    /// A stack that nothing was done about yet.
    pub fn new(id: String, name: String, revision: Revision, now_ms: i64) -> Self {
        Self {
            id,
            name,
            status: StackStatus::ReviewInProgress,
            status_reason: None,
            revision,
            on_failure: OnFailure::Rollback,
            timeout_minutes: None,
            role_arn: None,
            termination_protection: false,
            created_ms: now_ms,
            updated_ms: None,
            deleted_ms: None,
            token: None,
            change_set_id: None,
            retained: BTreeSet::new(),
            delete_new: false,
            policy: None,
            update: None,
            drift: None,
        }
    }
}

impl StackDrift {
    /// As the API shows it.
    pub fn status(&self) -> &'static str {
        if self.drifted > 0 { "DRIFTED" } else { "IN_SYNC" }
    }
}

impl Change {
    /// A resource that is added.
    pub fn add(logical_id: &str, type_name: &str) -> Self {
        Self {
            action: "Add".into(),
            logical_id: logical_id.to_owned(),
            physical_id: None,
            type_name: type_name.to_owned(),
            replacement: None,
            policy_action: None,
            scope: Vec::new(),
            details: Vec::new(),
            before: None,
            after: None,
        }
    }
}

impl DeletionPolicy {
    /// The policy of this name.
    pub fn parse(name: Option<&str>) -> Self {
        match name {
            Some("Retain") => Self::Retain,
            Some("RetainExceptOnCreate") => Self::RetainExceptOnCreate,
            _ => Self::Delete,
        }
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
