//! Which of a group's usable targets takes a request.

use crate::target::{Flight, Group, Target};
use quarry_domain::snapshot::Algorithm;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What picking came to.
pub enum Pick {
    Target(Flight),
    /// No usable target is left that has not been tried.
    Exhausted,
    /// A usable target closed in the meantime: the table is out of date, load it again.
    Stale,
}

/// Picks a target that is not among `tried` and begins a request on it. `random` is asked for at
/// most two numbers.
pub fn pick(
    algorithm: Algorithm,
    group: &Group,
    usable: &[Arc<Target>],
    tried: &[u64],
    random: &mut dyn FnMut() -> u64,
) -> Pick {
    let candidates = usable.len();
    if candidates == 0 {
        return Pick::Exhausted;
    }
    let start = match algorithm {
        Algorithm::RoundRobin => group.turn.fetch_add(1, Ordering::Relaxed) % candidates,
        Algorithm::LeastOutstandingRequests | Algorithm::WeightedRandom => (random() % candidates as u64) as usize,
    };
    let in_turn = (0..candidates).map(|n| &usable[(start + n) % candidates]).filter(|t| !tried.contains(&t.uid));
    let chosen = match algorithm {
        Algorithm::RoundRobin | Algorithm::WeightedRandom => in_turn.into_iter().next(),
        // A random start breaks ties evenly.
        Algorithm::LeastOutstandingRequests => in_turn.min_by_key(|t| t.in_flight()),
    };
    match chosen {
        None => Pick::Exhausted,
        Some(target) => target.begin().map_or(Pick::Stale, Pick::Target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::snapshot::Endpoint;
    use tokio::sync::Notify;

    fn targets(n: u64) -> Vec<Arc<Target>> {
        let wake = Arc::new(Notify::new());
        let nowhere = || Endpoint::Nowhere { reason: String::new() };
        (0..n).map(|uid| Target::new(uid, "g".into(), uid, nowhere(), wake.clone())).collect()
    }

    fn picked(pick: Pick) -> u64 {
        let Pick::Target(flight) = pick else { panic!("no target") };
        flight.target.uid
    }

    #[test]
    fn round_robin_takes_turns_and_skips_what_was_tried() {
        let (group, usable) = (Group::new("g".into(), 1), targets(3));
        let go = |tried: &[u64]| pick(Algorithm::RoundRobin, &group, &usable, tried, &mut || 0);
        let turns: Vec<_> = (0..6).map(|_| picked(go(&[]))).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
        assert_eq!(picked(go(&[0, 1])), 2);
        assert!(matches!(go(&[0, 1, 2]), Pick::Exhausted));
    }

    #[test]
    fn least_outstanding_takes_the_idlest() {
        let (group, usable) = (Group::new("g".into(), 1), targets(3));
        let _busy = (usable[0].begin(), usable[0].begin(), usable[2].begin());
        let go = || pick(Algorithm::LeastOutstandingRequests, &group, &usable, &[], &mut || 2);
        assert_eq!(picked(go()), 1);
    }

    #[test]
    fn a_target_that_closed_meanwhile_makes_the_table_stale() {
        let (group, usable) = (Group::new("g".into(), 1), targets(1));
        usable[0].close();
        assert!(matches!(pick(Algorithm::RoundRobin, &group, &usable, &[], &mut || 0), Pick::Stale));
        assert_eq!(usable[0].in_flight(), 0);
    }
}
