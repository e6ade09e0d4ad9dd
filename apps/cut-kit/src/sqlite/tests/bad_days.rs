//! A disk that is full on either side, and a program that writes without a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::*;

/// No page more than there are now; `false`: as many as there may be.
fn full(side: &Side, is: bool) {
    let writer = lock(&side.kit.writer);
    let pages: i64 = writer.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let most = if is { pages } else { 1 << 30 };
    writer.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(())).unwrap();
}

#[test]
fn a_full_disk_on_either_side_changes_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Side::new(dir.path(), "a", false), Side::new(dir.path(), "b", true));
    write(&a, "INSERT INTO posts (name) VALUES ('first')");
    let (out, _) = prepare(&a, &b);
    while copy(&a, &b, &out, 10) {}
    verify_any(&a).unwrap();

    // At the new side: what is applied is applied whole, or not at all, and can be sent again.
    full(&b, true);
    let large = "x".repeat(200_000);
    write(&a, &format!("INSERT INTO posts (name, body) VALUES ('large', '{large}')"));
    let changes = a.changes(position(&b, &out).unwrap(), None, None).unwrap();
    let before = b.scope();
    for _ in 0..2 {
        assert_eq!(b.kit.apply(&apply_of(&changes)).unwrap_err().code, Code::Full);
        assert_eq!(b.scope(), before);
    }
    full(&b, false);
    assert!(!follow(&a, &b, &out, 100, None));
    assert_eq!(a.rows(), b.rows());

    // At the old side: the fence falls with its mark, or not at all.
    let mut free: i64 = 1;
    while free > 0 {
        // What the file has left over is used up first.
        write(&a, "INSERT INTO other (text) SELECT hex(zeroblob(1500)) FROM posts");
        free = lock(&a.kit.writer).query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    }
    full(&a, true);
    let mut refused = false;
    while !refused {
        let epoch = a.scope().epoch;
        match a.fence(FenceAction::Release, epoch + 1, None) {
            Err(problem) => {
                assert_eq!(problem.code, Code::Full);
                let state = a.scope();
                assert!(state.owner && state.epoch == epoch, "{state:?}");
                refused = true;
            }
            // A page had room for one more mark.
            Ok(_) => {
                a.fence(FenceAction::Acquire, epoch + 2, None).unwrap();
            }
        }
    }
    full(&a, false);
    while follow(&a, &b, &out, 100, None) {}
    hand_over(&a, &b, &out);
    assert_eq!(a.rows(), b.rows());
}

#[test]
fn commands_do_not_wait_for_a_program_that_writes_without_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let side = Side::new(dir.path(), "busy", false);
    side.prepare(Role::Source, None);
    verify_any(&side).unwrap();
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (stop, written, path) = (stop.clone(), written.clone(), side.path.clone());
        std::thread::spawn(move || {
            let app = Connection::open(&path).unwrap();
            app.busy_timeout(Duration::from_secs(10)).unwrap();
            app.execute_batch("PRAGMA synchronous = OFF").unwrap();
            let turns = Turns::of(&path);
            while !stop.load(Ordering::Relaxed) {
                turns.give_way();
                app.execute_batch("BEGIN IMMEDIATE").unwrap();
                // The lock is held nearly all of the time.
                std::thread::sleep(Duration::from_millis(10));
                app.execute_batch("INSERT INTO other (text) VALUES ('busy'); COMMIT").unwrap();
                written.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    while written.load(Ordering::Relaxed) < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // None of them may wait for more than a few transactions of the other one, on a slow machine, too.
    let begun = (Instant::now(), written.load(Ordering::Relaxed));
    for epoch in (2..12).step_by(2) {
        side.fence(FenceAction::Release, epoch, None).unwrap();
        side.fence(FenceAction::Acquire, epoch + 1, None).unwrap();
    }
    let others = written.load(Ordering::Relaxed) - begun.1;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(others <= 40, "{others} transactions went before 10 commands, in {:?}", begun.0.elapsed());
}
