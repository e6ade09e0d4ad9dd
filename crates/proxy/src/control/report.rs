//! What `serve` is told.

use super::Control;
use quarry_domain::health::Verdict;
use quarry_domain::link::{Counters, TargetReport, Up};

impl Control {
    pub(super) fn acknowledge(&mut self) {
        let listeners = self.listening.statuses(&self.snapshot, &self.tls_errors);
        self.send(Up::Applied { proxy: self.id.clone(), version: self.snapshot.version, listeners });
    }

    pub(super) fn report(&mut self) {
        if self.serve.is_none() {
            return;
        }
        let mut targets = Vec::new();
        for (arn, group) in &self.snapshot.target_groups {
            for target in &group.targets {
                let verdict = match (target.draining, target.probe) {
                    (true, _) => Verdict::draining(),
                    (false, false) => Verdict::unused(),
                    (false, true) => {
                        let Some(verdict) = self.prober.verdict(arn, target.registration) else { continue };
                        verdict
                    }
                };
                let known = self.registry.targets.get(&(arn.clone(), target.registration));
                targets.push(TargetReport {
                    target_group_arn: arn.clone(),
                    registration: target.registration,
                    state: verdict.state,
                    reason: verdict.reason,
                    description: verdict.description,
                    in_flight: known.map_or(0, |t| t.in_flight()),
                });
            }
        }
        let counters = Counters {
            load_balancers: self.registry.balancers.iter().map(|(arn, b)| (arn.clone(), b.total())).collect(),
            target_groups: self.registry.groups.iter().map(|(arn, g)| (arn.clone(), g.total())).collect(),
        };
        if self.serve.is_some() {
            // All that can wait, and what comes meanwhile.
            for _ in 0..8 {
                let documents = self.shared.traces.waiting(&self.segments);
                if documents.is_empty() {
                    break;
                }
                self.send(Up::Segments { documents });
            }
        }
        let rules = self.registry.hits(!self.told_hits);
        if !rules.is_empty() || !self.told_hits {
            self.told_hits = true;
            self.send(Up::Hits { proxy: self.id.clone(), rules });
        }
        self.send(Up::Report {
            proxy: self.id.clone(),
            version: self.snapshot.version,
            targets,
            counters,
            cuts: self.cuts.report(),
        });
    }

    pub(super) fn send(&mut self, message: Up) {
        // A `serve` that does not read for so long is not there: it will connect again.
        if self.serve.as_ref().is_some_and(|serve| serve.try_send(message).is_err()) {
            self.serve = None;
        }
    }
}
