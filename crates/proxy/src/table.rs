//! The routing table: a snapshot compiled for the hot path, with each group's usable targets.
//! Immutable; a change of configuration or of health makes a new one.

use crate::connect::Speaks;
use crate::cut::entry::CutEntry;
use crate::cut::scope::Scope;
use crate::front::{Edits, Front};
use crate::hits::Slots;
use crate::http::answer;
use crate::logs::{Kind, Sink};
use crate::slow_start::{Ramp, SlowStart};
use crate::sticky::{GroupCookie, TargetCookie, hash};
use crate::target::{Balancer, Group, Target};
use crate::tls;
use quarry_domain::link::TargetState;
use quarry_domain::rule::Rules;
use quarry_domain::snapshot::{
    Action, Algorithm, Forward, Listener, ListenerAttributes, ListenerProtocol, LoadBalancer, LoadBalancerAttributes,
    MinimumHealthyTargets, ProtocolVersion, Redirect, Relay, RelayListen, Snapshot, Tls,
};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What workers route by.
pub struct Table {
    pub config: Arc<Config>,
    /// Parallel to `config.groups`.
    pub usable: Vec<Vec<Usable>>,
    /// Whether too few targets of the group are healthy, so that the others take requests too.
    pub fail_open: Vec<bool>,
}

/// A target that takes requests.
pub struct Usable {
    pub target: Arc<Target>,
    /// While it is in slow start.
    pub ramp: Option<Ramp>,
}

/// A compiled snapshot.
pub struct Config {
    pub snapshot: Arc<Snapshot>,
    pub listeners: Vec<ListenerEntry>,
    by_arn: HashMap<String, usize>,
    by_port: HashMap<u16, Vec<usize>>,
    pub groups: Vec<GroupEntry>,
    pub relays: HashMap<RelayListen, Relay>,
}

pub struct ListenerEntry {
    pub arn: String,
    pub port: u16,
    /// Its load balancer's own.
    pub address: Ipv4Addr,
    pub front: Arc<Front>,
    /// Lower case.
    pub dns_name: String,
    pub attributes: LoadBalancerAttributes,
    pub own: ListenerAttributes,
    pub rules: Rules,
    /// Of each rule.
    pub actions: Vec<RuleAction>,
    pub default_action: ActionEntry,
    /// Requests that the default rule took, by worker.
    pub default_hits: Slots,
    /// The TLS settings of an HTTPS listener; `Some(None)` where they cannot be used.
    pub tls: Option<Option<Arc<ServerConfig>>>,
    /// The names of its certificates.
    tls_names: Vec<String>,
}

pub struct RuleAction {
    pub action: ActionEntry,
    pub priority: u32,
    /// Requests that it took, by worker.
    pub hits: Slots,
    /// The cut that owns the rule.
    pub cut: Option<Arc<CutEntry>>,
}

pub enum ActionEntry {
    Forward(ForwardEntry),
    Redirect(Redirect),
    /// Status, and the answer's bytes from its Content-Type line on.
    Fixed {
        status: u16,
        rest: Vec<u8>,
    },
}

/// Groups by index, each with its weight.
pub struct ForwardEntry {
    groups: Vec<(usize, u32)>,
    total: u32,
    /// Coprime to `total`: stepping by it visits every residue once per period, well mixed.
    stride: u32,
    turn: AtomicUsize,
    sticky: Option<(GroupCookie, Vec<u64>)>,
}

pub struct GroupEntry {
    pub shared: Arc<Group>,
    pub algorithm: Algorithm,
    pub speaks: Speaks,
    pub cookie: Option<TargetCookie>,
    /// Zero where it is off.
    pub slow_start: Duration,
    pub minimum_healthy: MinimumHealthyTargets,
    /// Those that are not draining, with registrations as in the snapshot.
    pub open: Vec<Arc<Target>>,
}

/// Makes the settings of an HTTPS listener; `None` where they cannot be used.
pub type TlsOf<'a> = dyn FnMut(&LoadBalancer, &Listener, &Tls) -> Option<Arc<ServerConfig>> + 'a;

/// Where a connection came in, which decides what listeners may answer it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A listener's own address, or its hub address.
    Own(String),
    /// 127.0.0.1, shared by all listeners of this port.
    Shared(u16),
}

/// Which listener answers a request.
pub enum Found<'a> {
    Listener(&'a ListenerEntry),
    /// Several load balancers share the address and the Host header names none of them.
    NoSuchHost,
    /// The listener is gone.
    Gone,
}

impl Config {
    pub fn compile(
        snapshot: Arc<Snapshot>,
        balancer: &mut dyn FnMut(&str) -> Arc<Balancer>,
        group: &mut dyn FnMut(&str) -> Arc<Group>,
        target: &mut dyn FnMut(&str, &quarry_domain::snapshot::Target) -> Arc<Target>,
        tls_settings: &mut TlsOf<'_>,
        scope: &mut dyn FnMut(&str) -> Arc<Scope>,
    ) -> Self {
        let mut groups = Vec::with_capacity(snapshot.target_groups.len());
        let mut index = HashMap::new();
        for (arn, g) in &snapshot.target_groups {
            index.insert(arn.as_str(), groups.len());
            let open = g.targets.iter().filter(|t| !t.draining).map(|t| target(arn, t)).collect();
            groups.push(GroupEntry {
                shared: group(arn),
                algorithm: g.attributes.algorithm,
                speaks: Speaks {
                    tls: g.protocol == ListenerProtocol::Https,
                    http2: g.protocol_version != ProtocolVersion::Http1,
                },
                cookie: g.attributes.stickiness.as_ref().map(|stickiness| TargetCookie::new(arn, stickiness)),
                slow_start: Duration::from_secs(u64::from(g.attributes.slow_start)),
                minimum_healthy: g.attributes.minimum_healthy_targets,
                open,
            });
        }
        let mut listeners = Vec::new();
        let mut by_arn = HashMap::new();
        let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
        for lb in &snapshot.load_balancers {
            let shared = balancer(&lb.arn);
            let access_log = Sink::new(Kind::Access, lb.attributes.access_logs.as_ref(), lb, &shared);
            let connection_log = Sink::new(Kind::Connection, lb.attributes.connection_logs.as_ref(), lb, &shared);
            shared.hits.keep(&lb.listeners);
            for listener in &lb.listeners {
                by_arn.insert(listener.arn.clone(), listeners.len());
                by_port.entry(listener.port).or_default().push(listeners.len());
                let mut rules: Vec<_> = listener.rules.iter().collect();
                rules.sort_by_key(|rule| rule.priority);
                listeners.push(ListenerEntry {
                    arn: listener.arn.clone(),
                    tls_names: listener
                        .tls
                        .iter()
                        .flat_map(|t| &t.certificates)
                        .flat_map(|c| c.names.clone())
                        .collect(),
                    port: listener.port,
                    address: lb.address,
                    front: Arc::new(Front {
                        balancer: shared.clone(),
                        edits: Edits::new(&listener.attributes),
                        access_log: access_log.clone(),
                        connection_log: connection_log.clone(),
                        name: lb.name.clone(),
                        arn: lb.arn.clone(),
                        dns_name: lb.dns_name.to_ascii_lowercase(),
                        port: listener.port,
                    }),
                    dns_name: lb.dns_name.to_ascii_lowercase(),
                    attributes: lb.attributes.clone(),
                    own: listener.attributes.clone(),
                    rules: Rules::compile(rules.iter().map(|rule| rule.conditions.as_slice())),
                    actions: rules
                        .iter()
                        .map(|rule| RuleAction {
                            action: ActionEntry::compile(&rule.action, &index),
                            priority: rule.priority,
                            hits: shared.hits.of(&rule.arn),
                            cut: rule.cut.as_ref().map(|cut| CutEntry::compile(cut, scope(&cut.cut), &index).into()),
                        })
                        .collect(),
                    default_action: ActionEntry::compile(&listener.default_action, &index),
                    default_hits: shared.hits.of(&listener.arn),
                    tls: listener.tls.as_ref().map(|settings| tls_settings(lb, listener, settings)),
                });
            }
        }
        let relays = snapshot.relays.iter().map(|r| (r.listen.clone(), r.clone())).collect();
        Self { snapshot, listeners, by_arn, by_port, groups, relays }
    }

    /// The listeners that a connection at this place may be for.
    pub fn at<'a>(&'a self, place: &Place) -> impl Iterator<Item = &'a ListenerEntry> {
        let found: &[usize] = match place {
            Place::Own(arn) => self.by_arn.get(arn).map_or(&[], std::slice::from_ref),
            Place::Shared(port) => self.by_port.get(port).map_or(&[], Vec::as_slice),
        };
        found.iter().map(|n| &self.listeners[*n])
    }

    /// Whether security groups let a client connect here: to one listener at least, if several share the place.
    pub fn admits(&self, place: &Place, client: IpAddr) -> bool {
        let mut refused = false;
        for listener in self.at(place) {
            if self.admits_to(listener, client) {
                return true;
            }
            refused = true;
        }
        !refused
    }

    /// Whether security groups let a client connect to the load balancer of this listener.
    pub fn admits_to(&self, listener: &ListenerEntry, client: IpAddr) -> bool {
        match client.to_canonical() {
            IpAddr::V4(client) => self.snapshot.security.admits(client, listener.address, listener.port),
            // Nothing listens on IPv6.
            IpAddr::V6(_) => false,
        }
    }

    /// The HTTPS listener that a server name asks for, by its load balancer's name or by its certificates,
    /// else the first; and its settings.
    pub fn choose_tls(&self, place: &Place, name: Option<&str>) -> Option<(&str, Arc<ServerConfig>)> {
        let usable = || self.at(place).filter_map(|l| Some((l, l.tls.as_ref()?.as_ref()?)));
        let name = name.map(str::to_ascii_lowercase);
        let is_for = |l: &ListenerEntry| {
            name.as_ref().is_some_and(|name| l.dns_name == *name || l.tls_names.iter().any(|n| tls::covers(n, name)))
        };
        let (listener, config) = usable().find(|(l, _)| is_for(l)).or_else(|| usable().next())?;
        Some((&listener.arn, config.clone()))
    }

    /// A target of a group as the API knows it.
    pub fn shown(&self, group: usize, target: &Target) -> Option<(String, u16)> {
        let group = self.snapshot.target_groups.get(&self.groups[group].shared.arn)?;
        let known = group.targets.iter().find(|t| t.registration == target.registration)?;
        let id = known.address.map_or_else(|| known.id.clone(), |address| address.to_string());
        Some((id, known.port))
    }

    pub fn has_listener(&self, arn: &str) -> bool {
        self.by_arn.contains_key(arn)
    }

    /// `host` is lower case and without a port.
    pub fn find(&self, place: &Place, host: &str) -> Found<'_> {
        match place {
            Place::Own(arn) => match self.by_arn.get(arn) {
                Some(&n) => Found::Listener(&self.listeners[n]),
                None => Found::Gone,
            },
            // Of HTTPS listeners one was settled on with the handshake.
            Place::Shared(_) => {
                let mut plain = self.at(place).filter(|l| l.tls.is_none());
                match (plain.next(), plain.next()) {
                    (None, _) => Found::Gone,
                    (Some(only), None) => Found::Listener(only),
                    (Some(first), Some(second)) => [first, second]
                        .into_iter()
                        .chain(plain)
                        .find(|l| l.dns_name.eq_ignore_ascii_case(host))
                        .map_or(Found::NoSuchHost, Found::Listener),
                }
            }
        }
    }
}

impl Table {
    /// Each group's usable targets: the healthy ones; if they are fewer than the group's minimum, the
    /// unhealthy ones too, since some answer may be better than none (fail open); targets that were never
    /// probed take nothing.
    pub fn new(
        config: Arc<Config>,
        state: &dyn Fn(&Target) -> TargetState,
        slow_start: &SlowStart,
        now: Instant,
    ) -> Self {
        let (usable, fail_open) = config
            .groups
            .iter()
            .map(|group| {
                let in_state = |wanted: &[TargetState]| -> Vec<_> {
                    let found = group.open.iter().filter(|t| wanted.contains(&state(t)));
                    let ramp = |target: &Target| slow_start.ramp(target, group.slow_start, now);
                    found.map(|target| Usable { target: target.clone(), ramp: ramp(target) }).collect()
                };
                // Unavailable: health checks are off, so the target counts as able.
                let healthy = in_state(&[TargetState::Healthy, TargetState::Unavailable]);
                match group.minimum_healthy.are_met(healthy.len(), group.open.len()) {
                    true => (healthy, false),
                    false => {
                        let all = [TargetState::Healthy, TargetState::Unavailable, TargetState::Unhealthy];
                        (in_state(&all), true)
                    }
                }
            })
            .unzip();
        Self { config, usable, fail_open }
    }
}

impl ActionEntry {
    fn compile(action: &Action, groups: &HashMap<&str, usize>) -> Self {
        match action {
            Action::Forward(forward) => Self::Forward(ForwardEntry::compile(forward, groups)),
            Action::Redirect(redirect) => Self::Redirect(redirect.clone()),
            Action::FixedResponse(fixed) => Self::Fixed { status: fixed.status, rest: answer::fixed_response(fixed) },
        }
    }
}

impl ForwardEntry {
    fn compile(forward: &Forward, index: &HashMap<&str, usize>) -> Self {
        let known = || forward.groups.iter().filter(|g| index.contains_key(g.target_group_arn.as_str()));
        let mut entry = Self::new(known().map(|g| (index[g.target_group_arn.as_str()], g.weight)).collect());
        if let Some(seconds) = forward.stickiness_seconds.filter(|_| entry.groups.len() > 1) {
            let cookie = GroupCookie::new(known().map(|g| g.target_group_arn.as_str()), seconds);
            entry.sticky = Some((cookie, known().map(|g| hash(g.target_group_arn.as_bytes())).collect()));
        }
        entry
    }

    /// The cookie of a client that stays with its target group, and the group that its cookies name. A group
    /// of weight 0 keeps nobody.
    pub fn stay<'a>(&self, cookies: impl Iterator<Item = &'a [u8]>, now: i64) -> Option<(GroupCookie, Option<usize>)> {
        let (cookie, hashes) = self.sticky.as_ref()?;
        let wanted = cookie.find(cookies, now);
        let group = hashes.iter().zip(&self.groups).find(|(h, (_, weight))| Some(**h) == wanted && *weight > 0);
        Some((*cookie, group.map(|(_, (group, _))| *group)))
    }

    fn new(groups: Vec<(usize, u32)>) -> Self {
        // A single group needs no weight; among several a weight of 0 means nothing is sent there.
        let groups = match groups[..] {
            [(only, _)] => vec![(only, 1)],
            _ => groups,
        };
        let total: u32 = groups.iter().map(|g| g.1).sum();
        let gcd = |mut a: u32, mut b: u32| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let golden = (f64::from(total) * 0.618) as u32;
        let stride = (golden.max(1)..).find(|s| gcd(*s, total) == 1).unwrap_or(1);
        Self { groups, total, stride, turn: AtomicUsize::new(0), sticky: None }
    }

    /// The index of the group whose turn it is, exactly by weight over each period.
    /// `None` if there is no group, or all weights are 0.
    pub fn choose(&self) -> Option<usize> {
        if let [(only, _)] = self.groups[..] {
            return Some(only);
        }
        if self.total == 0 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as u64;
        let mut at = (turn % u64::from(self.total) * u64::from(self.stride) % u64::from(self.total)) as u32;
        for (group, weight) in &self.groups {
            if at < *weight {
                return Some(*group);
            }
            at -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_exact_over_each_period() {
        let forward = ForwardEntry::new(vec![(0, 70), (1, 20), (2, 10), (3, 0)]);
        let mut counts = [0; 4];
        for _ in 0..300 {
            counts[forward.choose().unwrap()] += 1;
        }
        assert_eq!(counts, [210, 60, 30, 0]);
    }

    #[test]
    fn small_shares_are_spread_out() {
        let forward = ForwardEntry::new(vec![(0, 50), (1, 50)]);
        let picks: Vec<_> = (0..100).map(|_| forward.choose().unwrap()).collect();
        let longest = picks.chunk_by(|a, b| a == b).map(<[usize]>::len).max().unwrap();
        assert!(longest <= 3, "{picks:?}");
    }

    #[test]
    fn no_weight_at_all_chooses_nothing_but_a_single_group_needs_none() {
        assert_eq!(ForwardEntry::new(vec![(0, 0), (1, 0)]).choose(), None);
        assert_eq!(ForwardEntry::new(vec![]).choose(), None);
        assert_eq!(ForwardEntry::new(vec![(7, 0)]).choose(), Some(7));
    }
}
