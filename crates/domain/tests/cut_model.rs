//! The protocol of the cut, explored whole within bounds: clients, a balancer that crashes, two databases, a feed,
//! a writer that goes round the balancer, commands that are delivered any number of times in any order, and the
//! real planner as the controller, which crashes between any two of its steps (it has no memory but its journal,
//! and what it saw last may be old).
//!
//! Each safeguard taken away gives a counter-example.

#[path = "cut_model/world.rs"]
mod world;

use stateright::{Checker, Expectation, Model};
use std::collections::BTreeSet;
use world::{Bounds, Fence, SAFE, SMALL};

/// Explores at most so many states; the names of what is violated, and of what was not reached.
fn explore(bounds: Bounds, most: usize) -> (BTreeSet<&'static str>, BTreeSet<&'static str>, usize) {
    let checker = bounds.checker().target_state_count(most).spawn_bfs().join();
    let found = checker.discoveries();
    let (mut violated, mut unreached) = (BTreeSet::new(), BTreeSet::new());
    for property in bounds.properties() {
        match (&property.expectation, found.get(property.name)) {
            (Expectation::Sometimes, None) => {
                unreached.insert(property.name);
            }
            (Expectation::Always, Some(_)) => {
                violated.insert(property.name);
            }
            _ => {}
        }
    }
    println!("{} states", checker.unique_state_count());
    (violated, unreached, checker.unique_state_count())
}

/// More states than any of the quick explorations has.
const ALL: usize = 2_000_000;

fn holds(bounds: Bounds) {
    let (violated, unreached, states) = explore(bounds, ALL);
    assert!(states < ALL, "not explored whole");
    assert_eq!((violated, unreached), (BTreeSet::new(), BTreeSet::new()));
}

fn breaks(bounds: Bounds, what: &[&str]) {
    let (violated, ..) = explore(bounds, ALL);
    assert!(what.iter().any(|what| violated.contains(what)), "{violated:?}");
}

#[test]
fn the_protocol_holds() {
    holds(Bounds { lates: 0, timeouts: 0, ..SAFE });
}

#[test]
fn the_protocol_holds_with_a_stale_eye() {
    holds(Bounds { stale: true, crashes: 0, timeouts: 0, lates: 0, ..SAFE });
}

#[test]
fn the_protocol_holds_when_holds_are_late() {
    holds(Bounds { crashes: 0, rollback: false, lates: 2, ..SAFE });
}

#[test]
fn the_protocol_holds_with_a_writer_that_goes_round_the_balancer() {
    holds(Bounds { outsider: true, crashes: 0, timeouts: 0, lates: 0, rollback: false, ..SAFE });
}

#[test]
fn the_protocol_holds_without_the_epoch_token_where_it_waits_for_the_drain() {
    holds(Bounds { token: false, impatient: false, crashes: 0, timeouts: 0, lates: 1, ..SAFE });
}

#[test]
fn a_feed_that_skips_a_change_is_caught() {
    let (violated, ..) = explore(Bounds { skips: 1, crashes: 0, timeouts: 0, lates: 0, ..SAFE }, ALL);
    assert_eq!(violated, BTreeSet::new());
}

#[test]
#[ignore = "minutes: cargo test --release -p quarry-domain --test cut_model -- --ignored"]
fn the_protocol_holds_within_larger_bounds() {
    for bounds in [
        Bounds { writes: 2, crashes: 1, timeouts: 0, lates: 1, rollback: false, ..SAFE },
        Bounds { writes: 2, crashes: 0, timeouts: 0, lates: 0, outsider: true, ..SAFE },
        SAFE,
        Bounds { lates: 2, outsider: true, ..SAFE },
        Bounds { stale: true, crashes: 0, ..SAFE },
    ] {
        let (violated, unreached, states) = explore(bounds, 60_000_000);
        println!("{states} states: {bounds:?}");
        assert_eq!((violated, unreached), (BTreeSet::new(), BTreeSet::new()), "{bounds:?}");
    }
}

const LOST: &str = "acknowledged writes are in the owner";
const TWICE: &str = "no write twice";
const STALE: &str = "a client reads its own writes";

#[test]
fn without_the_fence_in_the_database_writes_are_lost() {
    breaks(Bounds { fence: Fence::None, token: false, ..SMALL }, &[LOST, TWICE]);
}

#[test]
fn with_the_fence_in_the_handler_an_outside_write_is_lost() {
    let bounds = Bounds { fence: Fence::Handler, outsider: true, crashes: 0, timeouts: 0, ..SAFE };
    breaks(bounds, &[LOST]);
}

#[test]
fn without_compare_and_set_there_are_two_owners() {
    breaks(Bounds { compare_and_set: false, crashes: 0, timeouts: 0, ..SAFE }, &["at most one owner"]);
}

#[test]
fn without_idempotency_keys_a_retry_makes_a_duplicate() {
    breaks(Bounds { keys: false, ..SMALL }, &[TWICE]);
}

#[test]
fn with_keys_that_do_not_move_a_retry_makes_a_duplicate() {
    breaks(Bounds { keys_move: false, ..SMALL }, &[TWICE]);
}

#[test]
fn without_catch_up_writes_are_lost() {
    breaks(Bounds { catch_up: false, digest: false, crashes: 0, timeouts: 0, ..SAFE }, &[LOST, STALE]);
}

#[test]
fn without_the_digest_a_skipped_change_is_lost() {
    breaks(Bounds { digest: false, skips: 1, crashes: 0, timeouts: 0, ..SAFE }, &[LOST]);
}

#[test]
fn without_a_durable_route_old_data_is_read() {
    breaks(Bounds { durable_route: false, timeouts: 0, ..SMALL }, &[STALE]);
}

#[test]
fn without_the_reverse_feed_no_rollback_with_new_writes_comes_to_an_end() {
    let bounds = Bounds { reverse_feed: false, crashes: 0, timeouts: 0, ..SAFE };
    let (violated, unreached, _) = explore(bounds, ALL);
    assert_eq!(violated, BTreeSet::new(), "the checks keep it from losing anything");
    assert_eq!(unreached, BTreeSet::from(["rolled back with a write of the new side"]));
    // And without the checks the rollback loses the new writes.
    breaks(Bounds { catch_up: false, digest: false, ..bounds }, &[LOST]);
}

#[test]
fn a_drain_that_does_not_wait_without_the_epoch_token_reads_old_data() {
    breaks(Bounds { token: false, impatient: true, crashes: 0, lates: 2, ..SAFE }, &[STALE]);
}
