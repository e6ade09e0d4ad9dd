//! What workers share about load balancers, target groups and targets, across snapshots.

use crate::hits::Hits;
use quarry_domain::link::{LoadBalancerCounters, TIME_BUCKETS, TargetGroupCounters, time_bucket};
use quarry_domain::snapshot::Endpoint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// One registration of a target. Survives snapshot changes for as long as the registration does,
/// and beyond while requests to it are in flight.
pub struct Target {
    /// Unique within this process: the key of connection pools.
    pub uid: u64,
    pub group_arn: String,
    pub registration: u64,
    pub endpoint: Endpoint,
    in_flight: AtomicU32,
    /// Takes no new request: draining, or gone from the snapshot.
    closed: AtomicBool,
    /// Its time to drain is over.
    ended: AtomicBool,
    wake: Arc<Notify>,
}

/// A target group's parts that survive snapshot changes.
pub struct Group {
    pub arn: String,
    /// Round-robin position, shared by all workers.
    pub turn: AtomicUsize,
    /// One slot per worker, so that counting never contends.
    counters: Box<[GroupCounters]>,
}

/// A load balancer's parts that survive snapshot changes.
pub struct Balancer {
    counters: Box<[BalancerCounters]>,
    /// Counted by every thread, and rarely.
    log_lines_dropped: AtomicU64,
    /// Of its rules.
    pub hits: Hits,
}

/// A request in flight to a target; dropping it ends the flight.
pub struct Flight {
    pub target: Arc<Target>,
}

#[repr(align(128))]
pub struct GroupCounters {
    pub requests: AtomicU64,
    /// Of targets' answers: 2xx, 3xx, 4xx, 5xx.
    pub classes: [AtomicU64; 4],
    pub connection_errors: AtomicU64,
    pub tls_errors: AtomicU64,
    pub non_sticky: AtomicU64,
    pub unhealthy_routing: AtomicU64,
    /// Requests that this worker has with the group now.
    pub in_flight: AtomicU64,
    pub response_micros: AtomicU64,
    /// By bucket of `domain::link::time_bucket`.
    pub response_times: [AtomicU64; TIME_BUCKETS],
}

#[derive(Default)]
#[repr(align(128))]
pub struct BalancerCounters {
    pub requests: AtomicU64,
    pub connections: AtomicU64,
    pub active: AtomicU64,
    pub bytes: AtomicU64,
    pub elb_3xx: AtomicU64,
    pub elb_4xx: AtomicU64,
    pub elb_5xx: AtomicU64,
    pub elb_502: AtomicU64,
    pub elb_503: AtomicU64,
    pub elb_504: AtomicU64,
    /// Requests that depart from the standard.
    pub desync_non_compliant: AtomicU64,
    pub rule_evaluations: AtomicU64,
    pub fixed_responses: AtomicU64,
    pub redirects: AtomicU64,
    pub redirect_url_limit_exceeded: AtomicU64,
    pub client_tls_errors: AtomicU64,
    pub rejected_connections: AtomicU64,
    pub dropped_invalid_headers: AtomicU64,
    pub elb_500: AtomicU64,
}

impl Target {
    pub fn new(uid: u64, group_arn: String, registration: u64, endpoint: Endpoint, wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            uid,
            group_arn,
            registration,
            endpoint,
            in_flight: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            wake,
        })
    }

    /// Begins a request, unless the target is closed. The counter is raised before the flag is read,
    /// and [`close`](Self::close) sets the flag before anyone reads the counter: so a reader who sees
    /// zero in flight after closing knows that no request will follow.
    pub fn begin(self: &Arc<Self>) -> Option<Flight> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let flight = Flight { target: self.clone() };
        (!self.closed.load(Ordering::SeqCst)).then_some(flight)
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    /// Requests that are still in flight are cut off.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let last = self.target.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.target.is_closed() {
            self.target.wake.notify_one();
        }
    }
}

impl Group {
    pub fn new(arn: String, workers: usize) -> Arc<Self> {
        let counters = (0..workers).map(|_| GroupCounters::default()).collect();
        Arc::new(Self { arn, turn: AtomicUsize::new(0), counters })
    }

    /// The slot of one worker.
    pub fn counters(&self, worker: usize) -> &GroupCounters {
        &self.counters[worker]
    }

    pub fn total(&self) -> TargetGroupCounters {
        let sum = |field: fn(&GroupCounters) -> &AtomicU64| self.counters.iter().map(|c| get(field(c))).sum();
        TargetGroupCounters {
            request_count: sum(|c| &c.requests),
            target_2xx: sum(|c| &c.classes[0]),
            target_3xx: sum(|c| &c.classes[1]),
            target_4xx: sum(|c| &c.classes[2]),
            target_5xx: sum(|c| &c.classes[3]),
            connection_errors: sum(|c| &c.connection_errors),
            tls_errors: sum(|c| &c.tls_errors),
            non_sticky: sum(|c| &c.non_sticky),
            unhealthy_routing: sum(|c| &c.unhealthy_routing),
            response_time_micros: sum(|c| &c.response_micros),
            response_times: (0..TIME_BUCKETS)
                .map(|bucket| (bucket as u16, self.counters.iter().map(|c| get(&c.response_times[bucket])).sum()))
                .filter(|(_, n)| *n > 0)
                .collect(),
        }
    }
}

impl Balancer {
    pub fn new(workers: usize) -> Arc<Self> {
        let counters = (0..workers).map(|_| BalancerCounters::default()).collect();
        Arc::new(Self { counters, log_lines_dropped: AtomicU64::new(0), hits: Hits::new(workers) })
    }

    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// The slot of one worker.
    pub fn counters(&self, worker: usize) -> &BalancerCounters {
        &self.counters[worker]
    }

    pub fn total(&self) -> LoadBalancerCounters {
        let sum = |field: fn(&BalancerCounters) -> &AtomicU64| self.counters.iter().map(|c| get(field(c))).sum();
        LoadBalancerCounters {
            request_count: sum(|c| &c.requests),
            new_connection_count: sum(|c| &c.connections),
            active_connection_count: sum(|c| &c.active),
            processed_bytes: sum(|c| &c.bytes),
            elb_3xx: sum(|c| &c.elb_3xx),
            elb_4xx: sum(|c| &c.elb_4xx),
            elb_5xx: sum(|c| &c.elb_5xx),
            elb_502: sum(|c| &c.elb_502),
            elb_503: sum(|c| &c.elb_503),
            elb_504: sum(|c| &c.elb_504),
            desync_non_compliant: sum(|c| &c.desync_non_compliant),
            rule_evaluations: sum(|c| &c.rule_evaluations),
            fixed_responses: sum(|c| &c.fixed_responses),
            redirects: sum(|c| &c.redirects),
            redirect_url_limit_exceeded: sum(|c| &c.redirect_url_limit_exceeded),
            client_tls_errors: sum(|c| &c.client_tls_errors),
            rejected_connections: sum(|c| &c.rejected_connections),
            dropped_invalid_headers: sum(|c| &c.dropped_invalid_headers),
            elb_500: sum(|c| &c.elb_500),
            log_lines_dropped: get(&self.log_lines_dropped),
        }
    }
}

impl BalancerCounters {
    /// Counts an answer that the balancer made itself.
    pub fn answered(&self, status: u16) {
        match status {
            300..=399 => add(&self.elb_3xx, 1),
            400..=499 => add(&self.elb_4xx, 1),
            500..=599 => add(&self.elb_5xx, 1),
            _ => {}
        }
        match status {
            500 => add(&self.elb_500, 1),
            502 => add(&self.elb_502, 1),
            503 => add(&self.elb_503, 1),
            504 => add(&self.elb_504, 1),
            _ => {}
        }
    }
}

impl GroupCounters {
    /// Counts a target's answer.
    pub fn answered(&self, status: u16, micros: u64) {
        if let Some(class) = (status / 100).checked_sub(2).and_then(|n| self.classes.get(usize::from(n))) {
            add(class, 1);
        }
        add(&self.response_micros, micros);
        add(&self.response_times[usize::from(time_bucket(micros))], 1);
    }
}

impl Default for GroupCounters {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            classes: Default::default(),
            connection_errors: AtomicU64::new(0),
            tls_errors: AtomicU64::new(0),
            non_sticky: AtomicU64::new(0),
            unhealthy_routing: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            response_micros: AtomicU64::new(0),
            response_times: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// Adds to a counter that only this thread writes: no locked instruction is needed.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Takes from a counter that only this thread writes.
pub fn sub(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
}

/// Reads a counter.
pub fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Arc<Target> {
        let endpoint = Endpoint::Nowhere { reason: String::new() };
        Target::new(1, "g".into(), 1, endpoint, Arc::new(Notify::new()))
    }

    #[test]
    fn a_closed_target_takes_no_request_and_ends_at_zero() {
        let target = target();
        let flight = target.begin().unwrap();
        target.close();
        assert!(target.begin().is_none());
        assert_eq!(target.in_flight(), 1);
        drop(flight);
        assert_eq!(target.in_flight(), 0);
    }

    /// Whoever closes a target and then sees zero in flight must never see a request afterwards.
    #[test]
    fn zero_after_closing_is_final() {
        for _ in 0..200 {
            let target = target();
            let racer = target.clone();
            let thread = std::thread::spawn(move || racer.begin().map(std::mem::forget).is_some());
            target.close();
            let seen = target.in_flight();
            let began = thread.join().unwrap();
            assert!(!(seen == 0 && began), "a request began after zero was seen");
        }
    }
}
