//! Any order of writes, copies, moves, broken-off moves and requests of long ago.

use proptest::prelude::*;

use super::*;
use crate::steps::{Step, step};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written, repeated, reordered or broken off: whoever owns the scope has every acknowledged write once,
    /// ids are never given twice, and there is one owner at most.
    #[test]
    fn any_order_of_steps_keeps_every_write(steps in prop::collection::vec(step(), 10..70)) {
        let dir = tempfile::tempdir().unwrap();
        let mut sides = [Side::new(dir.path(), "a", false), Side::new(dir.path(), "b", true)];
        write(&sides[0], "INSERT INTO posts (name) VALUES ('first')");
        let model = Connection::open_in_memory().unwrap();
        model.execute_batch(SCHEMA.trim_start_matches("\nPRAGMA journal_mode = WAL;")).unwrap();
        model.execute_batch("INSERT INTO posts (name) VALUES ('first')").unwrap();
        let (of_a, of_b) = prepare(&sides[0], &sides[1]);
        let feeds = [of_a, of_b];
        let mut owner = 0;
        let mut sent: Vec<(usize, ApplyRequest)> = Vec::new();
        let mut given = std::collections::HashSet::new();
        let mut marks: Vec<(FenceAction, usize, u64)> = Vec::new();
        for step in steps {
            let (from, to) = (owner, 1 - owner);
            let copied = sides[to].scope().tables.iter().all(|t| t.copied);
            match step {
                Step::Write(what, x, y) => {
                    let sql = match what % 9 {
                        0..=2 => format!("INSERT INTO posts (name, body) VALUES ('n{x}', {y}) ON CONFLICT DO NOTHING"),
                        3 => format!("UPDATE posts SET body = 'b{y}' WHERE id % 4 = {x} % 4"),
                        4 => format!("DELETE FROM posts WHERE id = (SELECT max(id) FROM posts) AND {x} % 2 = 0"),
                        5 => format!("REPLACE INTO posts (id, name) VALUES (1 + {x} % 6, 'n{y}')"),
                        6 => format!("INSERT OR REPLACE INTO tags VALUES ({x} % 5, 't{}')", y % 5),
                        7 => format!("REPLACE INTO keys VALUES ('posts', 'k{x}', '{y}')"),
                        _ => format!("DELETE FROM tags WHERE post = {x} % 5"),
                    };
                    let before: i64 = max_id(&sides[from].app);
                    write(&sides[from], &sql);
                    model.execute_batch(&sql).unwrap();
                    prop_assert!(sides[to].app.execute_batch("INSERT INTO posts (name) VALUES ('nowhere')").is_err());
                    // A row above every earlier one has an id that was never given.
                    if what % 9 <= 2 && max_id(&sides[from].app) > before {
                        prop_assert!(given.insert(max_id(&sides[from].app)));
                    }
                }
                Step::Copy(n) => { copy(&sides[from], &sides[to], &feeds[from], n); }
                Step::Follow(n) => {
                    if let Some(after) = position(&sides[to], &feeds[from]) {
                        let changes = sides[from].changes(after, None, Some(n)).unwrap();
                        sent.push((to, apply_of(&changes)));
                        follow(&sides[from], &sides[to], &feeds[from], n, None);
                    }
                }
                // Requests of long ago arrive again, perhaps at a side that has changed its part meanwhile.
                Step::Old(n) if !sent.is_empty() => {
                    let (side, request) = &sent[usize::from(n) % sent.len()];
                    let rows = sides[*side].rows();
                    let _ = sides[*side].kit.apply(request);
                    prop_assert_eq!(rows, sides[*side].rows());
                    if let Some((action, side, epoch)) = marks.get(usize::from(n) % marks.len().max(1)) {
                        let _ = sides[*side].fence(*action, *epoch, None);
                    }
                }
                Step::Move if copied => {
                    hand_over(&sides[from], &sides[to], &feeds[from]);
                    let epoch = sides[to].scope().epoch;
                    marks.push((FenceAction::Release, from, epoch - 1));
                    marks.push((FenceAction::Acquire, to, epoch));
                    owner = to;
                }
                Step::GiveUp if copied => {
                    verify_any(&sides[from]).unwrap();
                    let epoch = sides[from].scope().epoch;
                    sides[from].fence(FenceAction::Release, epoch + 1, None).unwrap();
                    follow(&sides[from], &sides[to], &feeds[from], 2, None);
                    sides[from].fence(FenceAction::Acquire, epoch + 2, None).unwrap();
                    marks.push((FenceAction::Release, from, epoch + 1));
                }
                Step::Back => { follow(&sides[to], &sides[from], &feeds[to], 5, None); }
                Step::Reopen => {
                    let path = sides[to].path.clone();
                    sides[to].kit = Sqlite::open(&path, scopes(), &["posts".into()]).unwrap();
                    let path = sides[from].path.clone();
                    sides[from].kit = Sqlite::open(&path, scopes(), &[]).unwrap();
                }
                Step::Old(_) | Step::Move | Step::GiveUp => {}
            }
            let owners = sides.iter().filter(|s| s.scope().owner).count();
            prop_assert_eq!(owners, 1);
            prop_assert!(sides[owner].scope().owner);
        }
        while copy(&sides[owner], &sides[1 - owner], &feeds[owner], 5) {}
        while follow(&sides[owner], &sides[1 - owner], &feeds[owner], 5, None) {}
        prop_assert_eq!(sides[0].rows(), sides[1].rows());
        let names = |c: &Connection| -> Vec<String> {
            let mut statement = c.prepare("SELECT quote(name) || quote(body) FROM posts ORDER BY name").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
        };
        prop_assert_eq!(names(&sides[owner].app).len(), names(&model).len());
        prop_assert!(verify_any(&sides[owner]).is_ok());
    }
}

fn max_id(app: &Connection) -> i64 {
    app.query_row("SELECT coalesce(max(id), 0) FROM posts", [], |row| row.get(0)).unwrap()
}
