//! How much is taken on at once, so that overload is turned away early and one part takes nothing from the others.

use rustix::process::{Resource, getrlimit};

/// Shares of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients' connections. One more is closed at once.
    pub connections: usize,
    /// Requests in flight to one target group. One more is answered with 503.
    pub group_requests: u64,
}

/// What a target group may hold at most, however many descriptors there are: each request has its buffers.
const MOST_GROUP_REQUESTS: u64 = 16_384;

impl Limits {
    /// By the descriptors that this process may have open: half of them for clients, and for each target group so
    /// many requests that a few groups whose targets hang leave room for all others.
    pub fn of_process(workers: usize) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
        Self::new(descriptors, workers as u64)
    }

    fn new(descriptors: u64, workers: u64) -> Self {
        let group = (descriptors / 8).min(MOST_GROUP_REQUESTS);
        let share = |all: u64| (all / workers.max(1)).max(4);
        Self { connections: share(descriptors / 2) as usize, group_requests: share(group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hanging_group_leaves_most_descriptors_to_others() {
        for descriptors in [64, 256, 1024, 20_000, 1 << 20] {
            for workers in [1, 2, 8] {
                let limits = Limits::new(descriptors, workers);
                // Each of its requests has a client and a target.
                let held = limits.group_requests * workers * 2;
                assert!(held <= (descriptors / 3).max(8 * workers), "{descriptors} {workers}: {limits:?}");
            }
        }
        assert_eq!(Limits::new(1 << 20, 2), Limits { connections: 1 << 18, group_requests: 8192 });
    }
}
