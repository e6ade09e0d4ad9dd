//! Bad days, each at every place of the way there and back: who does not answer, whose disk is full, what was changed
//! behind the cut's back, whose clock was set. The invariants hold, it goes on when the day is over, and meanwhile
//! `quarry cut status` says what is wrong.

use super::{Condition, Fault, Stage, is, lock, play, quick};
use crate::cut::records::Cut;
use quarry_domain::cut::{Limits, Side, State, StopCode, Wish};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Goes on after a stop as a person would.
fn push(stage: &Stage, back: bool) {
    let Some(stop) = stage.cut().progress.stopped else { return };
    match (back, stop.code) {
        (true, StopCode::RolledBack) => {}
        (true, _) if stage.cut().progress.state == State::Watch => stage.ask(Wish::Rollback),
        _ => stage.ask(Wish::Resume { accept: false, until: None }),
    }
}

fn arrived(cut: &Cut, back: bool) -> bool {
    match back {
        false => is(cut, State::Watch) && cut.progress.stopped.is_none(),
        true => cut.progress.stopped.as_ref().is_some_and(|stop| stop.code == StopCode::RolledBack),
    }
}

async fn arrive(stage: &Stage, next: &mut u32, back: bool) {
    for _ in 0..60 {
        stage.until(next, "an end or a stop", |cut, _| cut.progress.stopped.is_some() || arrived(cut, back)).await;
        if arrived(&stage.cut(), back) {
            break;
        }
        push(stage, back);
    }
    assert!(arrived(&stage.cut(), back), "{}", stage.status());
    let written = *next + 3;
    for _ in 0..2000 {
        if *next >= written {
            break;
        }
        stage.moment(next).await;
    }
    assert!(*next >= written, "writes go on: {}", stage.status());
    stage.check_ledger();
    let owner = if back { Side::Source } else { Side::Destination };
    assert!(lock(&stage.databases).sides[owner as usize].owner);
    assert_eq!(stage.weights(), if back { [1, 0] } else { [0, 1] });
}

/// The way there, or back after it; at the n-th call of the driver the fault begins and lasts for so many moments.
/// Returns the state in which it began and what the status said before it ended; `None`: there were not so many calls.
fn day(call: usize, fault: Fault, moments: u32, back: bool) -> Option<(State, String)> {
    let told = Rc::new(RefCell::new(None));
    let tell = told.clone();
    play(async move {
        let mut stage = Stage::new(quick());
        let mut next = 0;
        stage.start();
        if back {
            stage.until(&mut next, "the cut", |cut, _| is(cut, State::Watch)).await;
            stage.ask(Wish::Rollback);
        }
        let calls = lock(&stage.databases).calls;
        lock(&stage.databases).fault_at = Some((calls + call, fault));
        stage.until(&mut next, "the fault or the end", |cut, all| all.fault.is_some() || arrived(cut, back)).await;
        if lock(&stage.databases).fault.is_some() && !arrived(&stage.cut(), back) {
            let state = stage.cut().progress.state;
            for _ in 0..moments {
                stage.moment(&mut next).await;
                let all = lock(&stage.databases);
                assert!(!(all.sides[0].owner && all.sides[1].owner), "two owners");
            }
            *tell.borrow_mut() = Some((state, stage.status()));
        }
        {
            let mut all = lock(&stage.databases);
            (all.fault, all.fault_at) = (None, None);
        }
        arrive(&stage, &mut next, back).await;
    });
    told.take()
}

/// Some of the calls, so that there is time for both ways and all faults.
fn days(fault: fn(Side) -> Fault, moments: u32, reason: &str) {
    let mut hit = BTreeSet::new();
    for (back, side) in
        [(false, Side::Source), (false, Side::Destination), (true, Side::Source), (true, Side::Destination)]
    {
        for call in (1..=26).step_by(4) {
            let Some((state, said)) = day(call + usize::from(back), fault(side), moments, back) else { break };
            hit.insert(state);
            let explained = said.contains(reason)
                // It may have been noticed after the last call to this side, or not at all.
                || said.contains("took too long")
                || ["is on api", "is on posts", "are held", "is decided", "owns"].iter().any(|part| said.contains(part));
            assert!(explained, "{state:?} with {:?}: {said}", fault(side));
        }
    }
    assert!(hit.len() >= 4, "in {hit:?}");
}

#[test]
fn a_side_that_is_away_for_a_moment_at_any_place_costs_nothing_but_time() {
    days(Fault::Down, 8, "no answer");
}

#[test]
fn a_side_that_is_away_for_longer_than_a_hold_may_last_is_waited_for() {
    days(Fault::Down, 260, "no answer");
}

#[test]
fn a_disk_that_is_full_on_either_side_stops_nothing_for_good() {
    days(Fault::Full, 30, "disk is full");
}

/// The status names the reason, at the places where it must be noticed.
#[test]
fn the_status_says_what_is_wrong_while_it_lasts() {
    for (fault, reason) in [
        (Fault::Down(Side::Source), "no answer"),
        (Fault::Down(Side::Destination), "no answer"),
        (Fault::Full(Side::Destination), "disk is full"),
        (Fault::Changed(Side::Source), "the tables of posts changed since the cut was prepared"),
        (Fault::Changed(Side::Destination), "the tables of posts changed since the cut was prepared"),
    ] {
        play(async {
            let mut stage = Stage::new(Limits { lag: 2_000, ..quick() });
            let mut next = 0;
            stage.ask(Wish::Resume { accept: false, until: Some(State::Follow) });
            stage.start();
            stage.until(&mut next, "the stop", |cut, _| cut.progress.stopped.is_some()).await;
            lock(&stage.databases).fault = Some(fault);
            let mut said = String::new();
            for _ in 0..400 {
                stage.moment(&mut next).await;
                said = stage.status();
                if said.contains(reason) {
                    break;
                }
            }
            assert!(said.contains(reason), "{fault:?}: {said}");
            // And it does not go on with it: the lag does not close, which is told with the same reason.
            stage.ask(Wish::Resume { accept: false, until: None });
            stage.until(&mut next, "the stop", |cut, _| cut.progress.stopped.is_some()).await;
            let (cut, said) = (stage.cut(), stage.status());
            assert_eq!(cut.progress.stopped.as_ref().unwrap().code, StopCode::LagNeverCloses, "{said}");
            assert!(said.contains("the lag did not close") && said.contains(reason), "{said}");
            assert_eq!(cut.progress.owner(), Side::Source);
            lock(&stage.databases).fault = None;
            arrive(&stage, &mut next, false).await;
        });
    }
}

/// The balancer ends, is not reached, or does not reach the new side, from the moment in which a state is entered.
fn balancer(state: State, condition: Condition, moments: u32, back: bool) {
    play(async {
        let mut stage = Stage::new(quick());
        let mut next = 0;
        stage.start();
        if back {
            stage.until(&mut next, "the cut", |cut, _| is(cut, State::Watch)).await;
            stage.ask(Wish::Rollback);
        }
        // In the hold and at the release the driver waits for the balancer, so both are seen.
        stage.until(&mut next, "the state", |cut, _| is(cut, state) || arrived(cut, back)).await;
        assert!(is(&stage.cut(), state), "{state:?} was not seen");
        stage.proxy.borrow_mut().is = condition;
        for _ in 0..moments {
            stage.moment(&mut next).await;
            let all = lock(&stage.databases);
            assert!(!(all.sides[0].owner && all.sides[1].owner), "two owners");
        }
        let said = stage.status();
        let expected: &[&str] = match condition {
            Condition::WithoutDestination => &["no healthy target", "is on", "owns", "held", "decided"],
            _ => &["not every load balancer", "not every proxy acknowledged", "is on"],
        };
        // It is not yet trouble in the first moments.
        let told = moments < 100 || expected.iter().any(|part| said.contains(part));
        assert!(told, "{state:?} {condition:?}: {said}");
        stage.proxy.borrow_mut().is = Condition::Well;
        arrive(&stage, &mut next, back).await;
    });
}

#[test]
fn a_balancer_that_dies_or_is_not_reached_in_any_state_loses_nothing() {
    for back in [false, true] {
        for condition in [Condition::Dead, Condition::Unreached, Condition::WithoutDestination] {
            for state in [State::Follow, State::Hold] {
                for moments in [10, 320] {
                    balancer(state, condition, moments, back);
                }
            }
        }
    }
}

/// The decision is journaled; the balancer hears nothing of it, or of the route that follows.
#[test]
fn a_balancer_that_is_not_reached_after_the_decision_gets_the_route_later() {
    for condition in [Condition::Dead, Condition::Unreached] {
        for moments in [20, 400] {
            play(async {
                let mut stage = Stage::new(quick());
                let mut next = 0;
                stage.start();
                stage.until(&mut next, "the hold", |cut, _| is(cut, State::Hold)).await;
                let mut decided = false;
                for _ in 0..2000 {
                    if stage.cut().progress.state.is_switched() && !decided {
                        decided = true;
                        stage.proxy.borrow_mut().is = condition;
                        break;
                    }
                    stage.moment(&mut next).await;
                }
                assert!(decided);
                for _ in 0..moments {
                    stage.moment(&mut next).await;
                }
                let (cut, said) = (stage.cut(), stage.status());
                if !is(&cut, State::Watch) {
                    assert!(moments < 100 || said.contains("not every load balancer"), "{said}");
                    assert_eq!(cut.progress.owner(), Side::Destination, "there is no way back");
                }
                stage.proxy.borrow_mut().is = Condition::Well;
                arrive(&stage, &mut next, false).await;
            });
        }
    }
}

#[test]
fn a_clock_that_is_set_forward_or_back_changes_nothing() {
    const HOUR: i64 = 3_600_000;
    for by in [HOUR, -HOUR] {
        play(async {
            let mut stage = Stage::new(Limits { calm: 50, ..quick() });
            let mut next = 0;
            stage.start();
            let seen = RefCell::new(State::Prepare);
            for back in [false, true] {
                // In every state that is seen.
                for _ in 0..20_000 {
                    stage.moment(&mut next).await;
                    let cut = stage.cut();
                    if *seen.borrow() != cut.progress.state {
                        *seen.borrow_mut() = cut.progress.state;
                        stage.world.door.set_clock(by);
                    }
                    if arrived(&cut, back) {
                        break;
                    }
                }
                let cut = stage.cut();
                assert!(arrived(&cut, back), "{}", stage.status());
                let one = cut.moves.last().unwrap();
                assert_eq!(one.aborted_holds, 0, "no hold was given up");
                assert!(one.hold_micros.unwrap() < 1_000_000 && one.total_ms.unwrap() >= 0, "{one:?}");
                assert!(one.states_ms.values().all(|ms| *ms >= 0), "{one:?}");
                stage.check_ledger();
                if !back {
                    stage.ask(Wish::Rollback);
                }
            }
        });
    }
}

/// After a crash the wall clock is all there is. Set forward, the hold counts as too long and is given up before the
/// decision; set back, it may last a little longer. After the decision neither matters.
#[test]
fn a_clock_that_is_set_while_the_controller_is_dead_in_a_hold_is_survived() {
    for by in [3_600_000, -3_600_000] {
        for state in [State::Hold, State::Activate] {
            play(async {
                let mut stage = Stage::new(quick());
                let mut next = 0;
                stage.start();
                stage.until(&mut next, "the follow", |cut, _| is(cut, State::Follow)).await;
                if state == State::Hold {
                    stage.until(&mut next, "the hold", |cut, _| is(cut, State::Hold)).await;
                } else {
                    stage.until(&mut next, "the decision", |cut, _| cut.progress.state.is_switched()).await;
                }
                stage.kill().await;
                stage.world.door.set_clock(by);
                stage.start();
                arrive(&stage, &mut next, false).await;
            });
        }
    }
}
