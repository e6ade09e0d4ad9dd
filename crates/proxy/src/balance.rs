//! Which of a group's usable targets takes a request.

use crate::table::Usable;
use crate::target::{Flight, Group};
use quarry_domain::snapshot::Algorithm;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What picking came to.
pub enum Pick {
    Target(Flight),
    /// No usable target is left that has not been tried.
    Exhausted,
    /// A usable target closed in the meantime: the table is out of date, load it again.
    Stale,
}

/// Picks a target that is not among `tried` and begins a request on it.
pub fn pick(
    algorithm: Algorithm,
    group: &Group,
    usable: &[Usable],
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
    let mut in_turn =
        (0..candidates).map(|n| &usable[(start + n) % candidates]).filter(|t| !tried.contains(&t.target.uid));
    let chosen = match algorithm {
        Algorithm::RoundRobin => match in_turn.next() {
            // Who is in slow start passes on most of its turns at first.
            Some(first) if first.ramp.is_some() => {
                let now = Instant::now();
                let mut takes = |t: &&Usable| t.ramp.is_none_or(|r| (random() & 0xffff) < u64::from(r.share(now)));
                if takes(&first) { Some(first) } else { in_turn.find(takes).or(Some(first)) }
            }
            first => first,
        },
        Algorithm::WeightedRandom => in_turn.next(),
        // A random start breaks ties evenly.
        Algorithm::LeastOutstandingRequests => in_turn.min_by_key(|t| t.target.in_flight()),
    };
    match chosen {
        None => Pick::Exhausted,
        Some(usable) => usable.target.begin().map_or(Pick::Stale, Pick::Target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slow_start::Ramp;
    use crate::target::Target;
    use quarry_domain::snapshot::Endpoint;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::Notify;

    fn targets(n: u64) -> Vec<Usable> {
        let wake = Arc::new(Notify::new());
        let nowhere = || Endpoint::Nowhere { reason: String::new() };
        let target = |uid| Target::new(uid, "g".into(), uid, nowhere(), wake.clone());
        (0..n).map(|uid| Usable { target: target(uid), ramp: None }).collect()
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
        let _busy = (usable[0].target.begin(), usable[0].target.begin(), usable[2].target.begin());
        let go = || pick(Algorithm::LeastOutstandingRequests, &group, &usable, &[], &mut || 2);
        assert_eq!(picked(go()), 1);
    }

    #[test]
    fn a_target_that_closed_meanwhile_makes_the_table_stale() {
        let (group, usable) = (Group::new("g".into(), 1), targets(1));
        usable[0].target.close();
        assert!(matches!(pick(Algorithm::RoundRobin, &group, &usable, &[], &mut || 0), Pick::Stale));
        assert_eq!(usable[0].target.in_flight(), 0);
    }

    #[test]
    fn slow_start_gives_a_share_that_grows_with_time() {
        let group = Group::new("g".into(), 1);
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for (gone, share) in [(3, 0.05), (30, 0.5), (57, 0.95), (90, 1.0)] {
            let mut usable = targets(2);
            let began = Instant::now() - Duration::from_secs(gone);
            usable[1].ramp = Some(Ramp { began, duration: Duration::from_secs(60) });
            let picks =
                (0..4000).filter(|_| picked(pick(Algorithm::RoundRobin, &group, &usable, &[], &mut random)) == 1);
            // Of every two turns one is its own, of which it takes its share.
            let expected = 2000.0 * share;
            let found = picks.count() as f64;
            assert!((found - expected).abs() < 120.0, "{gone} s: {found} of {expected}");
        }
    }

    #[test]
    fn a_target_in_slow_start_takes_what_nobody_else_can() {
        let (group, mut usable) = (Group::new("g".into(), 1), targets(2));
        usable[1].ramp = Some(Ramp { began: Instant::now(), duration: Duration::from_secs(60) });
        let random = &mut || u64::MAX;
        assert_eq!(picked(pick(Algorithm::RoundRobin, &group, &usable, &[0], random)), 1);
        assert!(matches!(pick(Algorithm::RoundRobin, &group, &usable, &[0, 1], random), Pick::Exhausted));
    }
}
