//! What is stored of namespaces, services, instances and operations.

use crate::store::Item;
use quarry_aws::servicediscovery as aws;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// `ns-` and 16 letters and digits.
    pub id: String,
    pub arn: String,
    pub name: String,
    pub kind: NamespaceKind,
    /// What DiscoverInstances calls it; differs from the name where that was taken.
    pub http_name: String,
    pub description: Option<String>,
    pub creator_request_id: Option<String>,
    pub created_ms: i64,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NamespaceKind {
    Http,
    DnsPrivate {
        vpc: String,
        hosted_zone_id: String,
        /// Seconds.
        soa_ttl: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `srv-` and 16 letters and digits.
    pub id: String,
    pub arn: String,
    pub name: String,
    pub namespace_id: String,
    pub description: Option<String>,
    /// `None`: instances are found by DiscoverInstances alone.
    pub dns: Option<Dns>,
    /// HealthCheckCustomConfig: who registers instances says how they are.
    pub custom_health: bool,
    pub creator_request_id: Option<String>,
    pub created_ms: i64,
    pub attributes: BTreeMap<String, String>,
    pub tags: Tags,
    /// Grows with every change of its instances.
    pub revision: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dns {
    pub policy: RoutingPolicy,
    pub records: Vec<DnsRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    pub kind: RecordType,
    /// Seconds.
    pub ttl: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RecordType {
    A,
    Aaaa,
    Srv,
    Cname,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutingPolicy {
    Multivalue,
    Weighted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub service_id: String,
    pub id: String,
    pub attributes: BTreeMap<String, String>,
    pub creator_request_id: Option<String>,
    /// What was said last of its health; also kept where the service has no health check and an ECS
    /// service knows better.
    pub healthy: bool,
    /// The ECS task that it is.
    pub task: Option<String>,
}

/// An asynchronous operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    pub id: String,
    pub kind: OperationType,
    pub status: OperationStatus,
    /// What is to be done; nothing once it is finished.
    pub change: Option<Change>,
    /// Code and message of a failure.
    pub error: Option<(String, String)>,
    pub creator_request_id: Option<String>,
    /// The kind of resource and its id.
    pub targets: BTreeMap<String, String>,
    pub created_ms: i64,
    pub updated_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    CreateNamespace(Box<Namespace>),
    UpdateNamespace { id: String, description: Option<String>, soa_ttl: Option<i64> },
    DeleteNamespace { id: String },
    UpdateService { id: String, change: Box<aws::ServiceChange> },
    RegisterInstance(Box<Instance>),
    DeregisterInstance { service_id: String, instance_id: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperationType {
    CreateNamespace,
    DeleteNamespace,
    UpdateNamespace,
    UpdateService,
    RegisterInstance,
    DeregisterInstance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperationStatus {
    Submitted,
    Pending,
    Success,
    Fail,
}

/// The parent of operations that are not finished.
pub const UNFINISHED: &str = "unfinished";

impl Item for Namespace {
    const KIND: &'static str = "servicediscovery.namespace";
    fn key(&self) -> String {
        self.id.clone()
    }
}

impl Item for Service {
    const KIND: &'static str = "servicediscovery.service";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn parent(&self) -> String {
        self.namespace_id.clone()
    }
}

impl Item for Instance {
    const KIND: &'static str = "servicediscovery.instance";
    fn key(&self) -> String {
        instance_key(&self.service_id, &self.id)
    }
    fn parent(&self) -> String {
        self.service_id.clone()
    }
}

impl Item for Operation {
    const KIND: &'static str = "servicediscovery.operation";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn parent(&self) -> String {
        match self.status {
            OperationStatus::Submitted | OperationStatus::Pending => UNFINISHED.to_owned(),
            OperationStatus::Success | OperationStatus::Fail => "finished".to_owned(),
        }
    }
}

/// The key of an [`Instance`].
pub fn instance_key(service_id: &str, id: &str) -> String {
    format!("{service_id} {id}")
}

impl Namespace {
    /// The VPC whose tasks see its names, if it has any.
    pub fn vpc(&self) -> Option<&str> {
        match &self.kind {
            NamespaceKind::Http => None,
            NamespaceKind::DnsPrivate { vpc, .. } => Some(vpc),
        }
    }
}

impl NamespaceKind {
    /// As `NamespaceType`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::DnsPrivate { .. } => "DNS_PRIVATE",
        }
    }
}

impl Service {
    pub fn record(&self, kind: RecordType) -> Option<DnsRecord> {
        self.dns.as_ref()?.records.iter().copied().find(|record| record.kind == kind)
    }
}

impl RecordType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
            Self::Cname => "CNAME",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::A, Self::Aaaa, Self::Srv, Self::Cname].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl RoutingPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Multivalue => "MULTIVALUE",
            Self::Weighted => "WEIGHTED",
        }
    }
}

impl OperationType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateNamespace => "CREATE_NAMESPACE",
            Self::DeleteNamespace => "DELETE_NAMESPACE",
            Self::UpdateNamespace => "UPDATE_NAMESPACE",
            Self::UpdateService => "UPDATE_SERVICE",
            Self::RegisterInstance => "REGISTER_INSTANCE",
            Self::DeregisterInstance => "DEREGISTER_INSTANCE",
        }
    }
}

impl OperationStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Pending => "PENDING",
            Self::Success => "SUCCESS",
            Self::Fail => "FAIL",
        }
    }
}
