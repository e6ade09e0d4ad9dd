//! What is stored of load balancers, listeners, rules, target groups and targets.

use crate::store::Item;
use quarry_domain::snapshot::{
    Action, Condition, Forward, HealthCheck, ListenerAttributes, ListenerProtocol, LoadBalancerAttributes,
    ProtocolVersion, TargetGroupAttributes,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    pub arn: String,
    pub name: String,
    pub dns_name: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
    pub vpc_id: String,
    pub zones: Vec<Zone>,
    pub security_groups: Vec<String>,
    pub created_ms: i64,
    /// Its own loopback address.
    pub address: Ipv4Addr,
    /// Its own address on the hub network.
    pub hub_address: Ipv4Addr,
    pub attributes: LoadBalancerAttributes,
    /// `*_logs.s3.*` as set, so that disabling a log keeps its other settings.
    #[serde(default)]
    pub logs: BTreeMap<String, String>,
    pub deletion_protection: bool,
}

/// An availability zone that a load balancer is in, by one subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    pub name: String,
    pub subnet_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    pub arn: String,
    pub load_balancer_arn: String,
    pub port: u16,
    pub protocol: ListenerProtocol,
    /// Of an HTTPS listener.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    pub default_rule_arn: String,
    pub default_action: RuleAction,
    #[serde(default)]
    pub attributes: ListenerAttributes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerTls {
    pub policy: String,
    /// ARN of the certificate for clients that name no server that another is for.
    pub default_certificate: String,
    /// ARNs of those added, in their order; the default one may be among them.
    pub certificates: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub arn: String,
    pub listener_arn: String,
    pub priority: u32,
    pub conditions: Vec<Condition>,
    pub action: RuleAction,
}

/// What a rule does, with what the API echoes beyond it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleAction {
    pub action: Action,
    pub order: Option<i32>,
    /// `DurationSeconds` as given, also where group stickiness is not enabled.
    pub stickiness_duration: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetGroup {
    pub arn: String,
    pub name: String,
    pub protocol: ListenerProtocol,
    #[serde(default = "http1")]
    pub protocol_version: ProtocolVersion,
    /// Where targets receive traffic unless they are registered with a port of their own.
    pub port: u16,
    pub vpc_id: String,
    pub target_type: TargetType,
    pub health_check: HealthCheck,
    pub attributes: TargetGroupAttributes,
    /// `stickiness.*` as set, so that disabling stickiness keeps its other settings.
    pub stickiness: BTreeMap<String, String>,
    /// Attributes whose values mean the same here, as set.
    #[serde(default)]
    pub equal: BTreeMap<String, String>,
    pub created_ms: i64,
}

fn http1() -> ProtocolVersion {
    ProtocolVersion::Http1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    Instance,
    Ip,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub target_group_arn: String,
    /// Unique to this registration.
    pub registration: u64,
    pub id: String,
    pub port: u16,
    pub availability_zone: Option<String>,
    /// Deregistered and not yet drained.
    pub draining: bool,
}

/// The tags of any resource of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    pub arn: String,
    pub tags: BTreeMap<String, String>,
}

impl Item for LoadBalancer {
    const KIND: &'static str = "elbv2.load-balancer";
    fn key(&self) -> String {
        self.arn.clone()
    }
}

impl Item for Listener {
    const KIND: &'static str = "elbv2.listener";
    fn key(&self) -> String {
        self.arn.clone()
    }
    fn parent(&self) -> String {
        self.load_balancer_arn.clone()
    }
}

impl Item for Rule {
    const KIND: &'static str = "elbv2.rule";
    fn key(&self) -> String {
        self.arn.clone()
    }
    fn parent(&self) -> String {
        self.listener_arn.clone()
    }
}

impl Item for TargetGroup {
    const KIND: &'static str = "elbv2.target-group";
    fn key(&self) -> String {
        self.arn.clone()
    }
}

impl Item for Target {
    const KIND: &'static str = "elbv2.target";
    fn key(&self) -> String {
        format!("{}#{}", self.target_group_arn, self.registration)
    }
    fn parent(&self) -> String {
        self.target_group_arn.clone()
    }
}

impl Item for Tags {
    const KIND: &'static str = "elbv2.tags";
    fn key(&self) -> String {
        self.arn.clone()
    }
}

impl TargetType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
        }
    }
}

impl Listener {
    /// Whether the certificate is one of its own.
    pub fn holds(&self, certificate: &str) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.all().any(|arn| arn == certificate))
    }
}

impl ListenerTls {
    /// ARNs of all certificates, each once, the default one first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let others = self.certificates.iter().filter(|arn| **arn != self.default_certificate);
        std::iter::once(&self.default_certificate).chain(others).map(String::as_str)
    }
}

impl RuleAction {
    /// The target groups that it forwards to.
    pub fn target_groups(&self) -> impl Iterator<Item = &str> {
        let groups = match &self.action {
            Action::Forward(Forward { groups, .. }) => groups.as_slice(),
            Action::Redirect(_) | Action::FixedResponse(_) => &[],
        };
        groups.iter().map(|group| group.target_group_arn.as_str())
    }
}
