//! There, back and there again; and the same with the controller killed at every call that it makes.

use super::{Stage, is, lock, play, quick};
use crate::cut::records::Entry;
use quarry_domain::cut::{Side, State, StopCode, Wish};

#[test]
fn there_and_back_and_there_again_with_writes_all_the_time() {
    play(async {
        let mut stage = Stage::new(quick());
        let mut next = 0;
        for _ in 0..20 {
            stage.moment(&mut next).await;
        }
        stage.start();
        stage.until(&mut next, "the cut", |cut, _| is(cut, State::Watch)).await;
        assert_eq!(stage.weights(), [0, 1]);
        stage.check_ledger();
        let before = next;
        stage.until(&mut next, "writes on the new side", |_, all| all.sides[1].feed.len() > 20).await;
        stage.ask(Wish::Rollback);
        stage.until(&mut next, "the rollback", |cut, _| cut.progress.stopped.is_some()).await;
        let cut = stage.cut();
        assert_eq!(cut.progress.stopped.as_ref().unwrap().code, StopCode::RolledBack);
        assert_eq!((cut.progress.owner(), stage.weights()), (Side::Source, vec![1, 0]));
        assert!(lock(&stage.databases).sides[0].rows.contains(&before), "what the new side wrote is kept");
        stage.check_ledger();
        stage.ask(Wish::Resume { accept: false, until: None });
        stage.until(&mut next, "the second cut", |cut, _| is(cut, State::Watch)).await;
        stage.check_ledger();
        stage.ask(Wish::Finish);
        stage.until(&mut next, "the end", |cut, _| is(cut, State::Finished)).await;
        stage.check_ledger();
        let cut = stage.cut();
        let moves: Vec<_> = cut.moves.iter().map(|one| one.from.unwrap()).collect();
        assert_eq!(moves, [Side::Source, Side::Destination, Side::Source]);
        for one in &cut.moves {
            assert!(one.digest_from.is_some() && one.digest_from == one.digest_to, "{one:?}");
            assert!(one.hold_micros.is_some() && one.total_ms.is_some());
        }
        let journal: Vec<Entry> = stage.world.platform.store.read(|tx| tx.children(&stage.id)).unwrap();
        let states: Vec<_> = journal.iter().map(|entry| entry.state.as_str()).collect();
        let first = ["PREPARE", "BACKFILL", "FOLLOW", "HOLD", "DRAIN", "FENCE"];
        assert_eq!(states[..6], first);
        assert_eq!(states.iter().filter(|state| **state == "SWITCH").count(), 3);
        assert!(journal.iter().zip(1..).all(|(entry, number)| entry.number == number));
        let owners: Vec<_> = lock(&stage.databases).fences.clone();
        assert_eq!(
            owners,
            [
                (Side::Source, false, 2),
                (Side::Destination, true, 3),
                (Side::Destination, false, 4),
                (Side::Source, true, 5),
                (Side::Source, false, 6),
                (Side::Destination, true, 7)
            ]
        );
    });
}

/// Cut, then rollback; the controller dies at the n-th call, before it is done or before its answer comes. Returns
/// whether it lived so long.
fn killed_at(call: usize, after: bool, back: bool) -> bool {
    let died = std::rc::Rc::new(std::cell::Cell::new(false));
    let seen = died.clone();
    play(async move {
        let mut stage = Stage::new(quick());
        let mut next = 0;
        for _ in 0..5 {
            stage.moment(&mut next).await;
        }
        stage.start();
        if back {
            stage.until(&mut next, "the cut", |cut, _| is(cut, State::Watch)).await;
            let mut all = lock(&stage.databases);
            all.dies_at = Some((all.calls + call, after));
            drop(all);
            stage.ask(Wish::Rollback);
        } else {
            lock(&stage.databases).dies_at = Some((call, after));
        }
        let done = move |cut: &crate::cut::records::Cut| match back {
            false => is(cut, State::Watch),
            true => cut.progress.stopped.is_some(),
        };
        stage.until(&mut next, "an end or a death", |cut, all| all.dead || done(cut)).await;
        if !done(&stage.cut()) {
            seen.set(true);
            stage.kill().await;
            // The balancer goes on alone.
            for _ in 0..5 {
                stage.moment(&mut next).await;
            }
            stage.start();
            stage.until(&mut next, "the end after a death", |cut, _| done(cut)).await;
        }
        let written = next + 3;
        for _ in 0..1000 {
            if next >= written {
                break;
            }
            stage.moment(&mut next).await;
        }
        assert!(next >= written, "writes go on");
        stage.check_ledger();
        let owner = if back { Side::Source } else { Side::Destination };
        assert!(lock(&stage.databases).sides[owner as usize].owner);
        assert_eq!(stage.weights(), if back { [1, 0] } else { [0, 1] });
    });
    died.get()
}

#[test]
fn killed_at_every_call_it_goes_on_and_loses_nothing() {
    for back in [false, true] {
        let mut deaths = 0;
        // In turn before a call is done and before its answer comes; followers call as often as they like.
        for call in 1..=24 {
            if !killed_at(call, (call % 2 == 0) != back, back) {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 4, "{deaths} calls of the way {}", if back { "back" } else { "there" });
    }
}

#[test]
fn a_side_that_does_not_answer_aborts_the_hold_and_the_owner_goes_on() {
    play(async {
        let mut stage = Stage::new(quick());
        let mut next = 0;
        stage.start();
        // From the hold on no answer comes, though what is asked is done.
        stage.until(&mut next, "the hold", |cut, _| cut.progress.state.holds()).await;
        lock(&stage.databases).lost = true;
        stage.until(&mut next, "the abort", |cut, _| is(cut, State::Abort)).await;
        lock(&stage.databases).lost = false;
        // It is tried again, and then goes well.
        stage.until(&mut next, "the cut", |cut, _| is(cut, State::Watch)).await;
        stage.check_ledger();
        assert!(stage.cut().moves[0].aborted_holds >= 1);
    });
}

#[test]
fn an_abort_gives_the_rule_back() {
    play(async {
        let mut stage = Stage::new(quick());
        let mut next = 0;
        stage.ask(Wish::Resume { accept: false, until: Some(State::Follow) });
        stage.start();
        stage.until(&mut next, "the stop", |cut, _| cut.progress.stopped.is_some()).await;
        let rule = stage.cut().rule.arn;
        stage.ask(Wish::Abort);
        stage.until(&mut next, "the end", |cut, _| is(cut, State::Aborted)).await;
        stage.check_ledger();
        let gone: Option<crate::elbv2::records::Rule> = stage.world.platform.store.read(|tx| tx.get(&rule)).unwrap();
        assert_eq!(gone, None, "the cut had made it");
        assert!(lock(&stage.databases).sides[1].rows.is_empty(), "the copy is cleared away");
    });
}
