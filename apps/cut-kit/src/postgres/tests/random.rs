//! Any order of writes, copies, moves, broken-off moves and requests of long ago, against a third database in which
//! the same was written without any cut.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Handle;

use super::*;
use crate::steps::{Step, step};

/// Whatever is written, repeated, reordered or broken off: whoever owns the scope has what a database without a cut
/// has, ids included, and there is one owner.
pub fn any_order_of_steps_keeps_every_write(server: &Server) {
    let config = Config { cases: 4, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let count = std::cell::Cell::new(0);
    let tried = TestRunner::new(config).run(&prop::collection::vec(step(), 10..30), |steps| {
        count.set(count.get() + 1);
        tokio::task::block_in_place(|| Handle::current().block_on(run(server, count.get(), &steps)))
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn run(server: &Server, case: u32, steps: &[Step]) -> std::result::Result<(), TestCaseError> {
    let name = |side: &str| format!("random_{case}_{side}");
    let mut sides = [Side::new(server, &name("a"), false).await, Side::new(server, &name("b"), true).await];
    let model = client(&server.database(&name("model"))).await;
    model.batch_execute(SCHEMA).await.unwrap();
    for app in [&sides[0].app, &model] {
        // One row stays: a comparison of nothing shows nothing.
        app.batch_execute("INSERT INTO posts (name) VALUES ('first'); INSERT INTO tags VALUES (100, 'kept')")
            .await
            .unwrap();
    }
    let (of_a, of_b) = prepare(&sides[0], &sides[1]).await;
    let feeds = [of_a, of_b];
    let mut owner = 0;
    let mut sent: Vec<(usize, ApplyRequest)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let (from, to) = (owner, 1 - owner);
        let copied = sides[to].scope().await.tables.iter().all(|table| table.copied);
        match step {
            Step::Write(what, x, y) => {
                let sql = sql(*what, *x, *y, number);
                let done = sides[from].app.batch_execute(&sql).await;
                prop_assert_eq!(done.is_ok(), model.batch_execute(&sql).await.is_ok(), "{}", sql);
                if done.is_err() {
                    for app in [&sides[from].app, &model] {
                        app.batch_execute("ROLLBACK").await.unwrap();
                    }
                }
                let elsewhere = sides[to].app.batch_execute("INSERT INTO tags VALUES (9, 'nowhere')").await;
                prop_assert!(elsewhere.is_err());
            }
            Step::Copy(limit) => {
                copy_one(&sides[from], &sides[to], &feeds[from], *limit).await;
            }
            Step::Follow(limit) => {
                if let Some(after) = position(&sides[to], &feeds[from]).await {
                    let query =
                        ChangesQuery { scope: "posts".into(), after, limit: Some(*limit), ..Default::default() };
                    let changes = sides[from].kit.changes_now(&query).await.unwrap();
                    let request = ApplyRequest {
                        scope: "posts".into(),
                        src: changes.src,
                        from: changes.from,
                        to: changes.to,
                        counted: changes.counted,
                        events: changes.events,
                        chunk: None,
                    };
                    sides[to].kit.apply(&request).await.unwrap();
                    sent.push((to, request));
                }
            }
            // Requests of long ago arrive again, perhaps at a side that has changed its part meanwhile.
            Step::Old(n) if !sent.is_empty() => {
                let (side, request) = &sent[usize::from(*n) % sent.len()];
                let before = sides[*side].rows().await;
                let _ = sides[*side].kit.apply(request).await;
                prop_assert_eq!(before, sides[*side].rows().await);
            }
            Step::Move if copied => {
                hand_over(&sides[from], &sides[to], &feeds[from]).await;
                owner = to;
            }
            Step::GiveUp if copied => {
                sides[from].verify(None).await.unwrap();
                let epoch = sides[from].scope().await.epoch;
                sides[from].fence(FenceAction::Release, epoch + 1, None).await.unwrap();
                follow(&sides[from], &sides[to], &feeds[from], 2, None).await;
                sides[from].fence(FenceAction::Acquire, epoch + 2, None).await.unwrap();
            }
            Step::Back => follow(&sides[to], &sides[from], &feeds[to], 5, None).await,
            Step::Reopen => {
                for side in &mut sides {
                    side.kit = Postgres::open(&side.url, scopes(), &[]).await.unwrap();
                }
            }
            Step::Old(_) | Step::Move | Step::GiveUp => {}
        }
        let owners = [sides[0].scope().await.owner, sides[1].scope().await.owner];
        prop_assert_eq!(owners, [owner == 0, owner == 1]);
    }
    let (from, to) = (&sides[owner], &sides[1 - owner]);
    copy(from, to, &feeds[owner], 5).await;
    follow(from, to, &feeds[owner], 5, None).await;
    same(from, to).await;
    from.verify(None).await.unwrap();
    prop_assert!(from.verify(None).await.unwrap().compared);
    let without_a_cut =
        Side { kit: Postgres::open(&from.url, scopes(), &[]).await.unwrap(), app: model, url: String::new() };
    prop_assert_eq!(from.rows().await, without_a_cut.rows().await);
    for side in &sides {
        // Slots are the server's, and few.
        let sql = "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots WHERE database = current_database()";
        side.app.query(sql, &[]).await.unwrap();
    }
    Ok(())
}

/// A write, whole or rolled back, of rows and of their keys.
fn sql(what: u8, x: u8, y: u8, number: usize) -> String {
    match what % 12 {
        0..=2 => format!("INSERT INTO posts (name, body) VALUES ('n{x}', '{y}') ON CONFLICT DO NOTHING"),
        3 => format!("UPDATE posts SET body = 'b{y}', score = {y} / 7.0 WHERE id % 4 = {x} % 4"),
        4 => "DELETE FROM posts WHERE id = (SELECT max(id) FROM posts)".to_owned(),
        5 => "UPDATE posts SET id = DEFAULT WHERE id = (SELECT min(id) FROM posts)".to_owned(),
        6 => format!("INSERT INTO tags VALUES ({x} % 5, 't{}') ON CONFLICT DO NOTHING", y % 5),
        7 => format!("UPDATE tags SET post = {x} % 7 WHERE tag = 't{}'", y % 5),
        8 => format!(
            "INSERT INTO keys VALUES ('posts', 'k{}', '{y}') ON CONFLICT (scope, key) DO UPDATE SET answer = excluded.answer",
            x % 8
        ),
        // It leaves the scope.
        9 => format!(
            "UPDATE keys SET scope = 'users', key = 'gone {number}' WHERE scope = 'posts' AND key = 'k{}'",
            x % 8
        ),
        10 => format!("BEGIN; INSERT INTO posts (name) VALUES ('never {number}'); DELETE FROM tags; ROLLBACK"),
        _ => format!(
            "BEGIN; INSERT INTO posts (name) VALUES ('t {number}'); UPDATE posts SET flag = true WHERE id % 3 = {x} % 3; \
             DELETE FROM tags WHERE post = {y} % 7; COMMIT"
        ),
    }
}
