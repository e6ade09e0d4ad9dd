//! The balancer's part of a cut: the writes of a scope are counted, parked while it is on hold, sent again
//! where the fence refused them, and carry the scope's epoch; a share of its reads goes to the other side.
//!
//! - [`scope`]: one cut's state, shared by all workers, across snapshots: counters, hold, the queue of
//!   parked writes.
//! - [`entry`]: what the routing table says of a rule's cut.
//! - [`era`]: which writes began before a cut was known.
//! - [`write`]: a write from its head to its answer.
//! - [`shadow`]: copies of reads, and what the other side's answers differ in.
//! - [`kept`]: the body of a write in flight, kept so that it can be sent again.
//!
//! A request of a rule without a cut meets none of this.

pub mod entry;
pub mod era;
pub mod kept;
pub mod scope;
pub mod shadow;
pub mod write;

use quarry_domain::link::CutReport;
use quarry_domain::snapshot::{CutScope, Rule, Snapshot};
use scope::{Scope, Timer};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The cuts of the snapshot in force, on the control thread.
pub struct Cuts {
    scopes: HashMap<String, Arc<Scope>>,
    workers: usize,
    wake: Arc<Notify>,
}

/// While parked writes are let out, twice as many may be under way after each of these times.
const WIDEN: Duration = Duration::from_millis(10);

impl Cuts {
    /// `wake` is rung when `serve` should hear of something at once.
    pub fn new(workers: usize, wake: Arc<Notify>) -> Self {
        Self { scopes: HashMap::new(), workers, wake }
    }

    /// Makes what a snapshot's rules need. The new scopes: each is to be handed to all workers, by
    /// [`era::Eras::turn`].
    pub fn prepare(&mut self, snapshot: &Snapshot) -> Vec<Arc<Scope>> {
        let mut new = Vec::new();
        for wanted in cuts(snapshot) {
            if !self.scopes.contains_key(&wanted.cut) {
                let scope = Scope::new(self.workers, self.wake.clone());
                self.scopes.insert(wanted.cut.clone(), scope.clone());
                new.push(scope);
            }
        }
        new
    }

    pub fn scope(&self, cut: &str) -> Arc<Scope> {
        self.scopes[cut].clone()
    }

    /// Puts the scopes of a snapshot in force whose table is published; those that are gone let their
    /// writes go. To be called on a local set: it leaves timers behind.
    pub fn enforce(&mut self, snapshot: &Snapshot) {
        let mut wanted: HashMap<&str, &CutScope> = HashMap::new();
        for cut in cuts(snapshot) {
            let newest = wanted.entry(&cut.cut).or_insert(cut);
            if newest.version < cut.version {
                *newest = cut;
            }
        }
        self.scopes.retain(|cut, scope| {
            let timer = match wanted.get(cut.as_str()) {
                Some(wanted) => scope.enforce(wanted),
                None => scope.end(),
            };
            if let Some(timer) = timer {
                tokio::task::spawn_local(run(scope.clone(), timer));
            }
            wanted.contains_key(cut.as_str())
        });
    }

    /// Whether the writes of any cut are parked. A proxy that ends then would take them along.
    pub fn holding(&self) -> bool {
        self.scopes.values().any(|scope| scope.is_held())
    }

    pub fn report(&self) -> BTreeMap<String, CutReport> {
        self.scopes.iter().map(|(cut, scope)| (cut.clone(), scope.report())).collect()
    }
}

/// Where `snapshot` has an older version of a scope than `in_force`, the one in force stays: scope and action.
pub fn keep_newer(in_force: &Snapshot, snapshot: &mut Snapshot) {
    let rules = in_force.load_balancers.iter().flat_map(|lb| &lb.listeners).flat_map(|l| &l.rules);
    let mut newer: HashMap<&str, Vec<(&CutScope, &Rule)>> = HashMap::new();
    for rule in rules {
        if let Some(cut) = &rule.cut {
            newer.entry(&cut.cut).or_default().push((cut, rule));
        }
    }
    if newer.is_empty() {
        return;
    }
    let listeners = snapshot.load_balancers.iter_mut().flat_map(|lb| &mut lb.listeners);
    for rule in listeners.flat_map(|l| &mut l.rules) {
        let Some(known) = rule.cut.as_ref().and_then(|cut| newer.get(cut.cut.as_str())) else { continue };
        let wanted = rule.cut.as_ref().map_or(0, |cut| cut.version);
        let Some((scope, same)) = known.iter().find(|(scope, r)| scope.version > wanted && r.arn == rule.arn) else {
            continue;
        };
        tracing::warn!(cut = scope.cut, version = wanted, in_force = scope.version, "an older scope is refused");
        rule.cut = Some((*scope).clone());
        rule.action = same.action.clone();
    }
}

/// Whether `next` differs from the snapshot in force by nothing but scopes of cuts whose applications have the contract:
/// a hold begins or ends, the target stays. A proxy that begins again without it lets writes through that the fence
/// refuses, or parks them until it hears more; it never reads old data.
pub fn only_holds(in_force: &Snapshot, next: &Snapshot) -> bool {
    fn rules(snapshot: &mut Snapshot) -> impl Iterator<Item = &mut Rule> {
        let listeners = snapshot.load_balancers.iter_mut().flat_map(|lb| &mut lb.listeners);
        listeners.flat_map(|listener| &mut listener.rules)
    }
    let (mut before, mut after) = (in_force.clone(), next.clone());
    before.version = after.version;
    let mut changed = false;
    for (old, new) in rules(&mut before).zip(rules(&mut after)) {
        if let (Some(was), Some(is)) = (&old.cut, &new.cut)
            && was != is
        {
            if was.cut != is.cut || !is.contract || was.epoch != is.epoch {
                return false;
            }
            changed = true;
            old.cut = new.cut.clone();
        }
    }
    changed && before == after
}

fn cuts(snapshot: &Snapshot) -> impl Iterator<Item = &CutScope> {
    let listeners = snapshot.load_balancers.iter().flat_map(|lb| &lb.listeners);
    listeners.flat_map(|l| &l.rules).filter_map(|rule| rule.cut.as_ref())
}

async fn run(scope: Arc<Scope>, timer: Timer) {
    if let Timer::Deadline { hold, within } = timer {
        tokio::time::sleep(within).await;
        if !scope.expire(hold) {
            return;
        }
    }
    loop {
        tokio::time::sleep(WIDEN).await;
        if !scope.widen() {
            return;
        }
    }
}

/// GET, HEAD and OPTIONS are reads; everything else may change something.
pub fn is_read(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::snapshot::*;

    fn snapshot(version: u64, status: u16) -> Snapshot {
        let cut = CutScope {
            cut: "cut-1".into(),
            version,
            epoch: version,
            hold: false,
            hold_deadline_ms: 1000,
            contract: true,
            shadow: None,
            canary: None,
        };
        let action = Action::FixedResponse(FixedResponse { status, content_type: None, body: None });
        let rule =
            |arn: &str, cut| Rule { arn: arn.into(), priority: 1, conditions: vec![], action: action.clone(), cut };
        let listener = Listener {
            arn: "l".into(),
            port: 80,
            protocol: ListenerProtocol::Http,
            tls: None,
            attributes: ListenerAttributes::default(),
            rules: vec![rule("of-the-cut", Some(cut)), rule("other", None)],
            default_action: action.clone(),
        };
        let balancer = LoadBalancer {
            arn: "lb".into(),
            name: "lb".into(),
            dns_name: "lb".into(),
            address: std::net::Ipv4Addr::LOCALHOST,
            hub_address: None,
            attributes: LoadBalancerAttributes::default(),
            listeners: vec![listener],
        };
        Snapshot { version, load_balancers: vec![balancer], ..Snapshot::default() }
    }

    #[test]
    fn an_older_scope_does_not_replace_a_newer_one_whatever_the_snapshot_says() {
        let in_force = snapshot(7, 207);
        let mut restored = snapshot(6, 206);
        restored.version = 9;
        keep_newer(&in_force, &mut restored);
        let rules = &restored.load_balancers[0].listeners[0].rules;
        let old = &in_force.load_balancers[0].listeners[0].rules;
        assert_eq!((&rules[0], restored.version), (&old[0], 9));
        assert_ne!(rules[1], old[1], "the rest of the snapshot is the new one");
        let mut newer = snapshot(8, 208);
        let expected = newer.clone();
        keep_newer(&in_force, &mut newer);
        assert_eq!(newer, expected);
    }

    #[test]
    fn a_hold_alone_need_not_be_on_disk_before_it_is_acknowledged() {
        let change = |f: &dyn Fn(&mut CutScope)| {
            let mut next = snapshot(8, 207);
            let scope = next.load_balancers[0].listeners[0].rules[0].cut.as_mut().unwrap();
            (scope.version, scope.epoch) = (8, 7);
            f(scope);
            next
        };
        let in_force = snapshot(7, 207);
        assert!(only_holds(&in_force, &change(&|scope| scope.hold = true)));
        assert!(!only_holds(&in_force, &change(&|scope| scope.contract = false)), "no fence would make it right");
        assert!(!only_holds(&in_force, &change(&|scope| scope.epoch = 9)), "another epoch");
        let mut moved = change(&|scope| scope.hold = true);
        moved.load_balancers[0].listeners[0].rules[0].action =
            snapshot(8, 208).load_balancers[0].listeners[0].rules[0].action.clone();
        assert!(!only_holds(&in_force, &moved), "reads go elsewhere");
        let mut other = change(&|scope| scope.hold = true);
        other.load_balancers[0].name = "other".into();
        assert!(!only_holds(&in_force, &other));
        assert!(!only_holds(&in_force, &Snapshot { version: 8, ..in_force.clone() }), "nothing of a cut changes");
    }
}
