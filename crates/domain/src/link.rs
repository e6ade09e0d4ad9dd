//! What `serve`, `proxy`, `holder` and `shim` say to each other.
//!
//! Between `serve` and `proxy`: one Unix stream socket at `<data>/control.sock` that `serve` listens
//! on and every proxy connects to, again and again. Each message is one line of JSON. `serve` sends
//! [`Down`], the proxy [`Up`].
//!
//! Between the proxy and a broker (a task's shim, or the hub's holder): one Unix `SOCK_SEQPACKET`
//! socket, one packet of JSON per [`BrokerRequest`], one packet of JSON per [`BrokerReply`], with the
//! descriptor attached (`SCM_RIGHTS`) where the reply is `Descriptor`. A connection serves any number
//! of requests, one at a time.

use crate::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// From `serve` to every proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Down {
    Snapshot(Box<Snapshot>),
    /// Finish what is in flight, then exit.
    Stop,
}

/// From a proxy to `serve`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Up {
    /// First on every connection.
    Hello { proxy: String, pid: u32, version: u64 },
    /// Another proxy has taken over: this one listens nowhere any more and ends with its last connection. What it
    /// says of listeners from now on does not count.
    Retiring { proxy: String },
    /// The snapshot of this version is on disk and in force.
    Applied { proxy: String, version: u64, listeners: Vec<ListenerStatus> },
    /// Sent at once when a target's health changes, a draining target's last request ends, the last write
    /// in flight of a scope on hold ends, its park overflows, its hold runs out, or the last write that it
    /// had parked is let out; and otherwise every second: all targets and counters, as of snapshot
    /// `version`; by cut id, the cuts in it.
    Report {
        proxy: String,
        version: u64,
        targets: Vec<TargetReport>,
        counters: Counters,
        #[serde(default)]
        cuts: BTreeMap<String, CutReport>,
    },
    /// How many requests rules took since this proxy started, by rule ARN; the default rule's by its listener's ARN.
    /// First on a connection all that took any (or none, if none did), then those whose count changed.
    Hits { proxy: String, rules: BTreeMap<String, u64> },
    /// Segment documents of requests that were sampled.
    Segments { documents: Vec<String> },
}

/// The state of a cut's scope in one proxy. Counts are since this proxy first saw the cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CutReport {
    /// Of the scope in force.
    pub version: u64,
    /// Writes are parked now: the scope says hold, and its deadline has not passed.
    pub holding: bool,
    /// The hold's deadline passed: parked writes were let go by the rule's action. Until the next hold.
    pub expired: bool,
    /// Writes that wait now.
    pub parked: u64,
    /// Writes that were let through and whose answers have not come whole, and one for each worker thread that
    /// still has a write, of any rule, from before this proxy knew of the cut. During a hold it only falls.
    pub in_flight_writes: u64,
    /// Of [`in_flight_writes`](Self::in_flight_writes), those of a scope with the contract that cannot be
    /// sent again if the fence refuses them: their bodies are too large to be kept.
    pub unrepeatable: u64,
    /// More writes are (or were, in this hold) parked than there should be. They wait all the same.
    pub overflow: bool,
    /// Requests of the scope, answered or not.
    pub reads: u64,
    pub writes: u64,
    /// Reads of the canary's share.
    pub canary_reads: u64,
    /// Answers 421 with `X-Cut-Fenced` after which the write was parked again.
    pub fenced_again: u64,
    /// Writes sent, of which no whole answer head came: they may or may not have been executed.
    pub unknown_outcomes: u64,
    /// Writes whose clients left while they were parked, also again after the fence had refused them: not executed.
    pub left_while_parked: u64,
    /// Of the last hold that ended: from its beginning until the last parked write was let out.
    pub hold_micros_last: u64,
    /// Of the last hold: the most writes that were parked at once.
    pub parked_most: u64,
    pub shadow: ShadowReport,
}

/// What came of the copies of reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Sent to the other group.
    pub copied: u64,
    /// Not sent, because too many were waiting.
    pub dropped: u64,
    /// Both answers came whole: the sum of the next three.
    pub compared: u64,
    pub equal: u64,
    /// Also when asked again a little later.
    pub different: u64,
    /// Different only where the source differs from itself, or no longer when asked again.
    pub noisy: u64,
    /// No answer came, or one of more than 1 MiB.
    pub failed: u64,
    /// Different for some time now, and still to be asked again: a row may be on its way.
    #[serde(default)]
    pub doubtful: u64,
    /// The newest of those that were different, newest last, at most [`SHADOW_EXAMPLES`].
    pub examples: Vec<ShadowExample>,
}

/// Examples kept.
pub const SHADOW_EXAMPLES: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowExample {
    pub method: String,
    /// With its query.
    pub path: String,
    pub source: ShadowAnswer,
    pub destination: ShadowAnswer,
    /// What differs first, in words: `status 200 and 404`, `header content-type: …`, `/posts/0/title: …`.
    pub difference: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowAnswer {
    pub status: u16,
    /// The body's first 1024 characters.
    pub body: String,
}

/// Where a listener really listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub listener_arn: String,
    /// The load balancer's own address first, then the shared 127.0.0.1.
    pub bound: Vec<SocketAddr>,
    /// One sentence on what went wrong and what to do, if an address could not be bound.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetReport {
    pub target_group_arn: String,
    pub registration: u64,
    pub state: TargetState,
    pub reason: Option<TargetReason>,
    /// AWS's description, such as `Health checks failed with these codes: [500]`.
    pub description: Option<String>,
    pub in_flight: u32,
}

/// `TargetHealth.State`. `Unused` and `Draining` are decided by control and echoed by the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    Initial,
    Healthy,
    Unhealthy,
    Unused,
    Draining,
    Unavailable,
}

/// `TargetHealth.Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TargetReason {
    #[serde(rename = "Elb.RegistrationInProgress")]
    RegistrationInProgress,
    #[serde(rename = "Elb.InitialHealthChecking")]
    InitialHealthChecking,
    #[serde(rename = "Target.ResponseCodeMismatch")]
    ResponseCodeMismatch,
    #[serde(rename = "Target.Timeout")]
    Timeout,
    #[serde(rename = "Target.FailedHealthChecks")]
    FailedHealthChecks,
    #[serde(rename = "Target.NotRegistered")]
    NotRegistered,
    #[serde(rename = "Target.NotInUse")]
    NotInUse,
    #[serde(rename = "Target.DeregistrationInProgress")]
    DeregistrationInProgress,
    #[serde(rename = "Target.InvalidState")]
    InvalidState,
    #[serde(rename = "Target.HealthCheckDisabled")]
    HealthCheckDisabled,
}

/// Counted since the proxy started; names follow CloudWatch's for Application Load Balancers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// By load balancer ARN.
    pub load_balancers: BTreeMap<String, LoadBalancerCounters>,
    /// By target group ARN.
    pub target_groups: BTreeMap<String, TargetGroupCounters>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancerCounters {
    pub request_count: u64,
    pub new_connection_count: u64,
    pub active_connection_count: u64,
    pub processed_bytes: u64,
    pub elb_3xx: u64,
    pub elb_4xx: u64,
    pub elb_5xx: u64,
    pub elb_502: u64,
    pub elb_503: u64,
    pub elb_504: u64,
    /// Requests that depart from RFC 9112, served or not.
    #[serde(default)]
    pub desync_non_compliant: u64,
    /// Rules that were looked at before one matched, in their order; the default rule is not counted.
    #[serde(default)]
    pub rule_evaluations: u64,
    #[serde(default)]
    pub fixed_responses: u64,
    #[serde(default)]
    pub redirects: u64,
    /// Redirects whose URL would have been longer than 8 KiB.
    #[serde(default)]
    pub redirect_url_limit_exceeded: u64,
    /// Handshakes that clients began and that failed.
    #[serde(default)]
    pub client_tls_errors: u64,
    /// Connections over the proxy's limit.
    #[serde(default)]
    pub rejected_connections: u64,
    /// Requests of which header fields were dropped.
    #[serde(default)]
    pub dropped_invalid_headers: u64,
    #[serde(default)]
    pub elb_500: u64,
    /// Lines of access and connection logs that could not be written.
    #[serde(default)]
    pub log_lines_dropped: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetGroupCounters {
    pub request_count: u64,
    pub target_2xx: u64,
    pub target_3xx: u64,
    pub target_4xx: u64,
    pub target_5xx: u64,
    pub connection_errors: u64,
    /// Of these, handshakes that failed.
    #[serde(default)]
    pub tls_errors: u64,
    /// Requests with stickiness that came without a usable cookie.
    #[serde(default)]
    pub non_sticky: u64,
    /// Requests that went to targets although too few were healthy (fail open).
    #[serde(default)]
    pub unhealthy_routing: u64,
    /// Sum of times from the request leaving to the response's head arriving, in microseconds.
    pub response_time_micros: u64,
    /// How many of these times fell into which bucket ([`time_bucket`]); empty buckets are left out.
    #[serde(default)]
    pub response_times: Vec<(u16, u64)>,
}

/// Buckets of [`time_bucket`].
pub const TIME_BUCKETS: usize = 256;

/// The bucket of a time in microseconds: eight to each doubling, so that a bucket is at most an eighth
/// wide. No logarithm, no division: it is counted on the proxy's hot path.
pub fn time_bucket(micros: u64) -> u16 {
    if micros < 8 {
        return micros as u16;
    }
    let power = 63 - micros.leading_zeros();
    let eighth = (micros >> (power - 3)) & 7;
    ((power as usize - 2) * 8 + eighth as usize).min(TIME_BUCKETS - 1) as u16
}

/// The middle of a bucket, in microseconds.
pub fn bucket_micros(bucket: u16) -> f64 {
    let bucket = u32::from(bucket);
    if bucket < 8 {
        return f64::from(bucket);
    }
    let (power, eighth) = (bucket / 8 + 2, bucket % 8);
    (f64::from(8 + eighth) + 0.5) * f64::from(power - 3).exp2()
}

/// Asked of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum BrokerRequest {
    /// A new unconnected, non-blocking IPv4 TCP socket made inside the broker's network namespace.
    Stream,
    /// A bound and listening TCP socket (holder only). The address is added to the hub if it is missing;
    /// tasks' private addresses are there already, all of them.
    Listen { address: SocketAddr },
    /// A bound UDP socket (holder only). The address is added to the hub if it is missing.
    Datagram { address: SocketAddr },
    /// The broker's network namespace.
    NetworkNamespace,
    /// The user namespace of the holder; a shim answers if it is in it.
    UserNamespace,
    /// To a shim: the hub's network namespace, as it got it from the holder. By this a new holder takes
    /// on the hub of one that died.
    HubNamespace,
    /// Takes an address off the hub again (holder only).
    Release { address: Ipv4Addr },
    /// To a shim: pass a signal on to a container, or to all of them.
    Signal { container: Option<String>, signal: i32 },
    /// To a shim: run a command in a container, as its user and with its rights. The descriptor is a socket of
    /// packets, on which [`ExecReply`]s come; the command is killed when it is closed.
    Exec { container: String, command: Vec<String>, terminal: bool },
    /// To the holder: end, and take the hub away.
    Stop,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokerReply {
    /// The descriptor comes with this packet.
    Descriptor,
    Done,
    /// What went wrong, in words.
    Failed(String),
}

/// What is told of a command in a container: that it begins, then how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecReply {
    /// The descriptors come with this packet: the terminal, or else pipes for input, output and errors.
    Started,
    /// Why it does not run.
    Failed(String),
    /// With this code, 128 + signal where a signal ended it.
    Ended(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_rise_and_their_middles_lie_in_them() {
        let mut last = 0;
        for micros in (0..5_000).chain((5_000..100_000_000).step_by(9_973)) {
            let bucket = time_bucket(micros);
            assert!(bucket >= last && usize::from(bucket) < TIME_BUCKETS, "{micros}");
            last = bucket;
            let middle = bucket_micros(bucket);
            assert!((middle - micros as f64).abs() <= micros as f64 / 8.0, "{micros} in {middle}");
        }
        assert_eq!(usize::from(time_bucket(u64::MAX)), TIME_BUCKETS - 1);
    }
}
