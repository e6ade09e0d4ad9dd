//! What cannot be seen is unknown, not gone.

use super::{Stage, id};
use std::time::Duration;

#[test]
fn tasks_that_cannot_be_looked_at_go_on() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 2, true);
    stage.settle();
    let before: Vec<String> = stage.tasks("RUNNING").iter().map(id).collect();
    assert_eq!(before.len(), 2);

    *stage.world.runtime.blind.lock().unwrap() = true;
    assert!(stage.reconciler.pass().is_some_and(|due| due <= Duration::from_secs(1)), "it is tried again soon");
    assert_eq!(stage.tasks("RUNNING").iter().map(id).collect::<Vec<_>>(), before);
    assert_eq!(stage.targets().len(), 2);
    assert!(stage.world.runtime.signals.lock().unwrap().is_empty());
    assert_eq!(stage.world.runtime.launched.lock().unwrap().len(), 2);

    *stage.world.runtime.blind.lock().unwrap() = false;
    stage.settle();
    assert_eq!(stage.tasks("RUNNING").iter().map(id).collect::<Vec<_>>(), before);
}
