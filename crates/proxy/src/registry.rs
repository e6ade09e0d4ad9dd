//! Load balancers, target groups and targets as they go on from one snapshot to the next.

use crate::target::{Balancer, Group, Target};
use quarry_domain::snapshot::Snapshot;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// What survives snapshot changes, by ARN and registration.
pub struct Registry {
    pub balancers: HashMap<String, Arc<Balancer>>,
    pub groups: HashMap<String, Arc<Group>>,
    pub targets: HashMap<(String, u64), Arc<Target>>,
    next_uid: u64,
    workers: usize,
    wake: Arc<Notify>,
}

impl Registry {
    pub fn new(workers: usize, wake: Arc<Notify>) -> Self {
        Self { balancers: HashMap::new(), groups: HashMap::new(), targets: HashMap::new(), next_uid: 0, workers, wake }
    }

    /// How often rules were taken since they were told last, or with `all` since the start: totals by ARN.
    pub fn hits(&self, all: bool) -> BTreeMap<String, u64> {
        let mut hits = BTreeMap::new();
        self.balancers.values().for_each(|balancer| balancer.hits.tell(all, &mut hits));
        hits
    }

    /// Takes a snapshot's things in, forgets those that are gone, and closes every target that takes
    /// no new request. Returns the closed ones, whose idle connections are to be closed too.
    pub fn enter(&mut self, snapshot: &Snapshot) -> Vec<u64> {
        let workers = self.workers;
        let arns: HashSet<&str> = snapshot.load_balancers.iter().map(|lb| lb.arn.as_str()).collect();
        self.balancers.retain(|arn, _| arns.contains(arn.as_str()));
        self.groups.retain(|arn, _| snapshot.target_groups.contains_key(arn));
        for arn in arns {
            self.balancers.entry(arn.to_owned()).or_insert_with(|| Balancer::new(workers));
        }
        let mut before = std::mem::take(&mut self.targets);
        let mut closed = Vec::new();
        for (arn, group) in &snapshot.target_groups {
            self.groups.entry(arn.clone()).or_insert_with(|| Group::new(arn.clone(), workers));
            for wanted in &group.targets {
                let key = (arn.clone(), wanted.registration);
                let kept = match before.remove(&key) {
                    Some(target) if target.endpoint == wanted.endpoint => Some(target),
                    Some(moved) => {
                        moved.close();
                        closed.push(moved.uid);
                        None
                    }
                    None => None,
                };
                let target = kept.unwrap_or_else(|| {
                    self.next_uid += 1;
                    let (endpoint, wake) = (wanted.endpoint.clone(), self.wake.clone());
                    Target::new(self.next_uid, arn.clone(), wanted.registration, endpoint, wake)
                });
                if wanted.draining {
                    target.close();
                    closed.push(target.uid);
                } else {
                    target.open();
                }
                self.targets.insert(key, target);
            }
        }
        for gone in before.into_values() {
            // A target that drained was kept for as long as it had requests, or until its deregistration delay
            // ran out.
            if gone.is_closed() {
                gone.end();
            }
            gone.close();
            closed.push(gone.uid);
        }
        closed
    }
}
