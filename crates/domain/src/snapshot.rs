//! The routing snapshot: everything the proxy needs to serve, as one immutable value with a version.
//!
//! `control` makes it from the stored resources, the proxy writes it down, puts it in force and
//! acknowledges its version. Names follow the Elastic Load Balancing API; durations are in seconds
//! unless a name says otherwise.

use crate::sealed::Sealed;
use crate::security_group::Security;
use crate::task::TaskEntry;
use crate::trace::sampling::SamplingRule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// One whole routing state. A receiver refuses a version older than the one it has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Grows with every change, also across restarts of `serve`.
    pub version: u64,
    pub load_balancers: Vec<LoadBalancer>,
    /// By ARN.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// Names the tasks' DNS answers.
    pub names: Vec<NameRecord>,
    /// The private hosted zones in which [`names`](Self::names) lie.
    #[serde(default)]
    pub zones: Vec<Zone>,
    /// The VPC of each task, by the address that its questions come from: it sees the names of that VPC.
    #[serde(default)]
    pub networks: BTreeMap<Ipv4Addr, String>,
    /// Who may connect to whom.
    #[serde(default)]
    pub security: Security,
    /// By which load balancers sample requests for traces; empty: they record none and say nothing of it.
    #[serde(default)]
    pub traces: Vec<SamplingRule>,
    /// Plain TCP forwarding: published host ports, and the AWS endpoint on the hub.
    pub relays: Vec<Relay>,
    /// The hub network, absent where tasks have no namespaces.
    pub hub: Option<Hub>,
}

/// The network on which tasks reach load balancers, the name server and the AWS endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hub {
    /// The holder's broker socket: it makes listening sockets inside the hub's network namespace.
    pub broker: std::path::PathBuf,
    /// The hub's own address: name server (UDP and TCP port 53) and AWS endpoint.
    pub address: Ipv4Addr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    pub arn: String,
    pub name: String,
    /// `<name>-<id>.<region>.elb.localhost`.
    pub dns_name: String,
    /// An address of its own in 127.0.0.0/8.
    pub address: Ipv4Addr,
    /// An address of its own on the hub, where tasks reach it.
    pub hub_address: Option<Ipv4Addr>,
    pub attributes: LoadBalancerAttributes,
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerAttributes {
    /// `idle_timeout.timeout_seconds`, 1–4000, default 60.
    pub idle_timeout: u32,
    /// `client_keep_alive.seconds`, 60–604800, default 3600.
    pub client_keep_alive: u32,
    /// `routing.http.xff_header_processing.mode`.
    pub xff_mode: XffMode,
    /// `routing.http.xff_client_port.enabled`.
    pub xff_client_port: bool,
    /// `routing.http.preserve_host_header.enabled`.
    pub preserve_host_header: bool,
    /// `routing.http.drop_invalid_header_fields.enabled`.
    pub drop_invalid_header_fields: bool,
    /// `routing.http.desync_mitigation_mode`.
    pub desync_mode: DesyncMode,
    /// `routing.http2.enabled`: HTTP/2 is offered to clients of HTTPS listeners.
    #[serde(default = "yes")]
    pub http2: bool,
    /// `routing.http.x_amzn_tls_version_and_cipher_suite.enabled`.
    #[serde(default)]
    pub tls_headers: bool,
    /// `access_logs.s3.*`: a line per request, while enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_logs: Option<LogDestination>,
    /// `connection_logs.s3.*`: a line per connection, while enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_logs: Option<LogDestination>,
}

/// Where log files go: `s3/<bucket>/<prefix>` in the data directory stands for the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogDestination {
    pub bucket: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XffMode {
    Append,
    Preserve,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DesyncMode {
    Monitor,
    Defensive,
    Strictest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    pub arn: String,
    /// As the API knows it. Where it may not be bound, the proxy takes 8000 more or the next free
    /// one and reports what it took.
    pub port: u16,
    pub protocol: ListenerProtocol,
    /// Present where the protocol is HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Ascending priority.
    pub rules: Vec<Rule>,
    pub default_action: Action,
    #[serde(default)]
    pub attributes: ListenerAttributes,
}

/// What a listener changes in messages (`routing.http.request.*`, `routing.http.response.*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerAttributes {
    /// `routing.http.response.server.enabled`: the balancer's own answers say `Server: awselb/2.0`.
    pub server: bool,
    /// `routing.http.response.<name>.header_value`: header name and value that each answer gets, in place of what
    /// the target says under that name.
    pub response_headers: Vec<(String, String)>,
    /// `routing.http.request.x_amzn_tls_version.header_name`.
    pub tls_version_header: String,
    /// `routing.http.request.x_amzn_tls_cipher_suite.header_name`.
    pub tls_cipher_header: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerProtocol {
    Http,
    Https,
}

/// How an HTTPS listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// `ELBSecurityPolicy-…`, for logs.
    pub policy: String,
    /// What the policy allows: `TLSv1`, `TLSv1.1`, `TLSv1.2`, `TLSv1.3`. TLS 1.0 and 1.1 are not spoken.
    pub protocols: Vec<String>,
    /// What the policy allows, by OpenSSL's names, best first. Those that the library lacks are left out.
    pub ciphers: Vec<String>,
    /// The default certificate, then those chosen by the client's server name. Never empty.
    pub certificates: Vec<TlsCertificate>,
}

/// A certificate as the proxy needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsCertificate {
    pub arn: String,
    /// The names that it is for, lower case, with `*.` where it is a wildcard.
    pub names: Vec<String>,
    /// PEM, its own certificate first.
    pub chain: String,
    /// The private key in PEM (PKCS #8, PKCS #1 or SEC1), sealed with the installation's key
    /// (`vault.key`) under [`key_context`](Self::key_context). Never in clear on disk.
    pub key: Sealed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub arn: String,
    pub priority: u32,
    /// All must hold.
    pub conditions: Vec<Condition>,
    pub action: Action,
    /// A cut owns this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<CutScope>,
}

/// What a cut asks of the balancer for the requests of one rule. A write is every method but GET, HEAD
/// and OPTIONS. Rules of one cut, also on several listeners, carry the same value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutScope {
    /// The cut's id. State in the proxy (parked writes, counters) belongs to it.
    pub cut: String,
    /// Grows with every change of this scope or of its rule's action. A proxy never puts a lower one in
    /// force after a higher one of the same cut: it keeps scope and action that it has.
    pub version: u64,
    /// Sent as `X-Cut-Epoch` with every write.
    pub epoch: u64,
    /// Writes are parked, their bodies unread; reads go by the rule's action. Versions that hold one after
    /// another are one hold.
    pub hold: bool,
    /// Milliseconds from the beginning of a hold (or the start of a proxy that finds one in its files)
    /// after which parked writes go by the rule's action all the same. The fence keeps that safe.
    pub hold_deadline_ms: u32,
    /// The application answers 421 with `X-Cut-Fenced` for "not executed", and stores `Idempotency-Key`.
    pub contract: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// Copies of GETs for another target group; its answers are compared with those that clients got. Copies
/// carry `X-Cut-Shadow: 1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    pub target_group_arn: String,
    /// 0–100 of the scope's GETs.
    pub share_percent: u8,
    /// 0–100 of those that are copied: for them the rule's own group is asked a second time, and what
    /// differs between its two answers is noise.
    pub baseline_percent: u8,
    /// Not compared: JSON pointers (`/posts/*/views`, where `*` is any key or index) and names of header
    /// fields.
    #[serde(default)]
    pub ignore: Vec<String>,
}

/// A share of reads for another target group, never of a client that has just written in the scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    pub target_group_arn: String,
    /// 0–100.
    pub percent: u8,
}

/// Values within a condition are alternatives. `*` matches any run of characters, `?` exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Case-sensitive, on the path without the query.
    PathPattern(Vec<String>),
    /// Case-insensitive.
    HostHeader(Vec<String>),
    /// Case-insensitive, name and value.
    HttpHeader { name: String, values: Vec<String> },
    /// Exact, case-sensitive, no wildcards.
    HttpRequestMethod(Vec<String>),
    /// Case-insensitive; a missing key matches the value under any key.
    QueryString(Vec<(Option<String>, String)>),
    /// CIDR blocks, matched against the connection's address.
    SourceIp(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    FixedResponse(FixedResponse),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    pub groups: Vec<WeightedGroup>,
    /// Group stickiness: how long a client stays with the group it was given.
    pub stickiness_seconds: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedGroup {
    pub target_group_arn: String,
    /// 0–999.
    pub weight: u32,
}

/// Each field may hold the placeholders `#{protocol} #{host} #{port} #{path} #{query}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    pub protocol: String,
    pub host: String,
    pub port: String,
    pub path: String,
    pub query: String,
    /// 301 or 302.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedResponse {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetGroup {
    pub arn: String,
    pub name: String,
    pub protocol: ListenerProtocol,
    pub protocol_version: ProtocolVersion,
    pub health_check: HealthCheck,
    pub attributes: TargetGroupAttributes,
    pub targets: Vec<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtocolVersion {
    Http1,
    Http2,
    Grpc,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub enabled: bool,
    /// `HealthCheckProtocol`.
    #[serde(default = "plain")]
    pub protocol: ListenerProtocol,
    pub path: String,
    /// `None`: the target's own port (`traffic-port`).
    pub port: Option<u16>,
    pub interval: u32,
    pub timeout: u32,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
    /// Such as `200`, `200,202` or `200-299`.
    pub matcher: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupAttributes {
    /// `deregistration_delay.timeout_seconds`, 0–3600, default 300.
    pub deregistration_delay: u32,
    /// `slow_start.duration_seconds`, 0 or 30–900.
    pub slow_start: u32,
    pub algorithm: Algorithm,
    /// `None` unless `stickiness.enabled`.
    pub stickiness: Option<Stickiness>,
    #[serde(default)]
    pub minimum_healthy_targets: MinimumHealthyTargets,
}

fn plain() -> ListenerProtocol {
    ListenerProtocol::Http
}

/// `target_group_health.unhealthy_state_routing.minimum_healthy_targets`: with fewer healthy targets, requests go
/// to the unhealthy ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinimumHealthyTargets {
    /// At least 1.
    pub count: u32,
    /// 1–100, of all targets.
    pub percentage: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    RoundRobin,
    LeastOutstandingRequests,
    WeightedRandom,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stickiness {
    /// `lb_cookie` with its duration in seconds.
    LoadBalancerCookie { seconds: u32 },
    /// `app_cookie`: the application's cookie name and the duration in seconds.
    AppCookie { name: String, seconds: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Unique to this registration: a target that is registered again is another target.
    pub registration: u64,
    /// Instance id or address, as the API knows it.
    pub id: String,
    /// An instance's private address, for access logs; `None`: the id is an address, or no log is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    pub port: u16,
    pub endpoint: Endpoint,
    /// Deregistered: takes no new request, those in flight may finish.
    pub draining: bool,
    /// No load balancer needs it (`unused`): it is not probed.
    pub probe: bool,
}

/// Where a target really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    Tcp(SocketAddr),
    /// A port inside a task.
    Task {
        task: String,
        entry: TaskEntry,
        container_port: u16,
    },
    /// A program outside, by a name that this machine resolves.
    Host {
        name: String,
        port: u16,
    },
    /// Security groups let nothing through: connecting comes to no end.
    Barred,
    /// Nothing listens there: an instance port no task holds. Probes fail with this reason.
    Nowhere {
        reason: String,
    },
}

/// Records of one type under a name of the tasks' DNS; records of several types under one name may have
/// several of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Lower case, without the final dot.
    pub name: String,
    /// A records.
    pub addresses: Vec<Ipv4Addr>,
    /// Seconds.
    pub ttl: u32,
    /// Only tasks of this VPC see it; `None`: all do.
    #[serde(default)]
    pub vpc: Option<String>,
    /// AAAA records.
    #[serde(default)]
    pub addresses6: Vec<Ipv6Addr>,
    /// SRV records.
    #[serde(default)]
    pub services: Vec<ServiceAddress>,
    /// CNAME records: names in lower case, without the final dot.
    #[serde(default)]
    pub canonical: Vec<String>,
    /// At most so many of each type in one answer, chosen anew each time; `None`: all.
    #[serde(default)]
    pub most: Option<usize>,
}

/// Port and host of an SRV record; priority and weight are 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAddress {
    pub port: u16,
    /// Lower case, without the final dot.
    pub target: String,
}

/// A private hosted zone: a namespace, as the DNS of its VPC sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Lower case, without the final dot.
    pub name: String,
    pub vpc: String,
    /// Seconds for which "there is no such name" may be kept.
    pub soa_ttl: u32,
}

/// Accept TCP at one place and forward it to another, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    pub listen: RelayListen,
    pub to: Endpoint,
    /// Connections to `to`, which is on this machine, come from an address that tells which task they
    /// are from: see [`crate::address::told`] for [`crate::address::METADATA`] and [`crate::address::calling`]
    /// elsewhere. Others are refused.
    #[serde(default)]
    pub tells_source: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RelayListen {
    /// On the host's loopback.
    Host(SocketAddr),
    /// Inside the hub's network namespace.
    Hub(SocketAddr),
}

impl TlsCertificate {
    /// The context in which the private key of this certificate is sealed.
    pub fn key_context(arn: &str) -> String {
        format!("acm {arn} private-key")
    }
}

impl Default for LoadBalancerAttributes {
    fn default() -> Self {
        Self {
            idle_timeout: 60,
            client_keep_alive: 3600,
            xff_mode: XffMode::Append,
            xff_client_port: false,
            preserve_host_header: false,
            drop_invalid_header_fields: false,
            desync_mode: DesyncMode::Defensive,
            http2: true,
            tls_headers: false,
            access_logs: None,
            connection_logs: None,
        }
    }
}

impl Default for ListenerAttributes {
    fn default() -> Self {
        Self {
            server: true,
            response_headers: Vec::new(),
            tls_version_header: "X-Amzn-Tls-Version".into(),
            tls_cipher_header: "X-Amzn-Tls-Cipher-Suite".into(),
        }
    }
}

impl Default for TargetGroupAttributes {
    fn default() -> Self {
        Self {
            deregistration_delay: 300,
            slow_start: 0,
            algorithm: Algorithm::RoundRobin,
            stickiness: None,
            minimum_healthy_targets: MinimumHealthyTargets::default(),
        }
    }
}

impl Default for MinimumHealthyTargets {
    fn default() -> Self {
        Self { count: 1, percentage: None }
    }
}

impl MinimumHealthyTargets {
    /// Whether `healthy` of `all` targets are enough.
    pub fn are_met(&self, healthy: usize, all: usize) -> bool {
        let share = self.percentage.is_none_or(|percentage| healthy as u64 * 100 >= all as u64 * u64::from(percentage));
        healthy as u64 >= u64::from(self.count) && share
    }
}
