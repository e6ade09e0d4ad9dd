//! `serve` crashes at every point between a decision and its last effect: what was acknowledged holds, no task is
//! there twice or left over, and all comes to be as wanted. With a fake runtime, whose tasks survive.

use super::{Stage, operations};
use crate::ecs::records::{HostPort, LastStatus, Task};
use crate::elbv2::records::Target;
use crate::store::StoreError;
use crate::testing::World;
use quarry_domain::failpoint::{self, Crash};
use quarry_domain::task::TaskPhase;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Those that the scheduler passes.
const POINTS: [&str; 9] = [
    "service.decided",
    "service.committed",
    "task.launch",
    "task.launched",
    "task.registered",
    "task.committed",
    "task.signalled",
    "task.remove",
    "task.removed",
];

#[test]
fn a_crash_at_any_point_leaves_nothing_undone_or_done_twice() {
    // The panics are the crashes.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Crash>() {
            hook(info);
        }
    }));
    let mut crashes = 0;
    for point in POINTS {
        for nth in 1..=4 {
            crashes += u32::from(history(point, nth));
        }
        assert!(crashes > 0, "{point} is never come to");
    }
    println!("{crashes} crashes survived");
    assert!(crashes >= 30, "{crashes}");
}

/// A service is made, grows, is deployed anew, shrinks and goes, with one crash. Whether it came to it.
fn history(point: &'static str, nth: u32) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let when = format!("{point}, the {nth}. time");
    let mut stage = Stage::furnished(World::open(dir.path(), operations));
    let [first, second] = ["api:v1", "api:v2"].map(|image| stage.define(image));
    failpoint::arm(point, nth);
    stage.serve(&first, 2, true);
    stage = settle(stage);
    stage.update(|input| input.desired_count = Some(3));
    stage = settle(stage);
    check(&stage, 3, &first, &when);
    stage.update(|input| input.task_definition = Some(second.clone()));
    stage = settle(stage);
    check(&stage, 3, &second, &when);
    let id = super::id(&stage.tasks("RUNNING")[0]);
    stage.ended(&id, Some(1));
    stage = settle(stage);
    check(&stage, 3, &second, &when);
    stage.update(|input| input.desired_count = Some(0));
    stage = settle(stage);
    check(&stage, 0, &second, &when);
    !failpoint::disarm()
}

/// As [`Stage::settle`], over a crash.
fn settle(mut stage: Stage) -> Stage {
    match catch_unwind(AssertUnwindSafe(|| stage.settle())) {
        Ok(()) => stage,
        Err(crash) => {
            assert!(crash.is::<Crash>(), "not a crash but a fault");
            let mut again = Stage::on(stage.world.crashed());
            (again.launched, again.signalled) = (stage.launched, stage.signalled);
            // What was sent to a task reached it.
            again.runtime();
            again.settle();
            again
        }
    }
}

/// The API, the runtime, the target group and the held ports tell of the same tasks, each once.
fn check(stage: &Stage, wanted: usize, definition: &str, when: &str) {
    let (tasks, ports, targets) = stage
        .world
        .platform
        .store
        .read(|tx| Ok::<_, StoreError>((tx.all::<Task>()?, tx.all::<HostPort>()?, tx.all::<Target>()?)))
        .unwrap();
    let ids: BTreeSet<&String> = tasks.iter().map(|task| &task.id).collect();
    assert_eq!(tasks.len(), wanted, "{when}: tasks {tasks:#?}");
    for task in &tasks {
        assert_eq!((task.status, task.task_definition_arn.as_str()), (LastStatus::Running, definition), "{when}");
    }
    let seen = stage.world.runtime.seen.lock().unwrap();
    assert_eq!(seen.iter().map(|task| &task.id).collect::<BTreeSet<_>>(), ids, "{when}: what runs");
    assert_eq!(seen.len(), wanted, "{when}: what runs twice");
    assert!(seen.iter().all(|task| task.phase == TaskPhase::Running), "{when}");
    assert_eq!(ports.iter().map(|port| &port.task).collect::<BTreeSet<_>>(), ids, "{when}: ports");
    assert_eq!((ports.len(), targets.len()), (wanted, wanted), "{when}: ports and targets");
}
