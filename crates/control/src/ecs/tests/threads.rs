//! The reconciler in its own threads: woken by signals alone, since the tests' clock stands still.

use super::{Stage, id, running};
use crate::ecs::reconcile;
use crate::ecs::records::{LastStatus, Task};
use quarry_aws::ecs::{self as aws, op};
use std::time::{Duration, Instant};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} does not happen");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn tasks_start_and_stop_without_a_timer_and_the_threads_end() {
    let stage = Stage::new();
    let definition = stage.define_with("api:v1", serde_json::json!({"cpu": 0, "memory": 6}));
    let (platform, operations) = (stage.world.platform.clone(), stage.world.operations.clone());
    let thread = std::thread::spawn(move || reconcile::run(platform, operations));
    let status = |id: &str| -> Option<LastStatus> {
        stage.world.platform.store.read(|tx| tx.get::<Task>(id)).unwrap().map(|task| task.status)
    };
    let mut took = Vec::new();
    for n in 1..=20 {
        let run = aws::RunTaskRequest {
            cluster: Some("demo".into()),
            task_definition: Some(definition.clone()),
            ..Default::default()
        };
        let begun = Instant::now();
        let task = id(&stage.world.call::<op::RunTask>(run).unwrap().tasks.unwrap()[0]);
        until("the launch", || stage.world.runtime.launched.lock().unwrap().len() == n);
        stage.world.runtime.show(running(&task));
        until("running", || status(&task) == Some(LastStatus::Running));
        took.push(begun.elapsed());
    }
    took.sort();
    println!("RunTask to RUNNING, fake runtime: median {:?}, longest {:?}", took[10], took[19]);

    for task in stage.tasks("RUNNING") {
        let stop = aws::StopTaskRequest { cluster: Some("demo".into()), task: task.task_arn, reason: None };
        stage.world.call::<op::StopTask>(stop).unwrap();
    }
    until("SIGTERM", || stage.world.runtime.signals.lock().unwrap().len() == 20);
    for (id, ..) in stage.world.runtime.signals.lock().unwrap().clone() {
        stage.ended(&id, Some(0));
    }
    until("stopping", || stage.world.platform.store.read(|tx| tx.all::<Task>()).unwrap().is_empty());
    stage.world.platform.store.stop();
    stage.world.platform.seen.stop();
    thread.join().unwrap();
}

/// `quarry stop` ends what runs after the reconciler has ended: nothing may be launched after that.
#[test]
fn nothing_is_launched_once_the_reconciler_has_ended() {
    let stage = Stage::new();
    let definition = stage.define_with("api:v1", serde_json::json!({"cpu": 0, "memory": 6}));
    for _ in 0..10 {
        let run = aws::RunTaskRequest {
            cluster: Some("demo".into()),
            task_definition: Some(definition.clone()),
            count: Some(10),
            ..Default::default()
        };
        stage.world.call::<op::RunTask>(run).unwrap();
    }
    let (platform, operations) = (stage.world.platform.clone(), stage.world.operations.clone());
    let thread = std::thread::spawn(move || reconcile::run(platform, operations));
    let launched = || stage.world.runtime.launched.lock().unwrap().len();
    until("a launch", || launched() > 0);
    stage.world.platform.store.stop();
    stage.world.platform.seen.stop();
    thread.join().unwrap();
    let then = launched();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(launched(), then, "of 100 tasks");
}
