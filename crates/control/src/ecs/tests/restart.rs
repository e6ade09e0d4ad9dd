//! Clocks that go on over a restart of the control process.

use super::{Stage, id, operations, running};
use crate::testing::World;
use quarry_domain::task::{ContainerHealth, Signal};
use serde_json::json;
use std::time::Duration;

/// The same store with another process, so much later.
fn restarted(stage: &Stage, later: Duration) -> Stage {
    let again = Stage::on(World::open(stage.world.dir(), operations));
    let before = stage.world.platform.now_ms() - again.world.platform.now_ms();
    again.world.door.advance(later + Duration::from_millis(before.unsigned_abs()));
    again.world.images.add("api:v1");
    again
}

#[test]
fn the_grace_period_goes_on() {
    let mut stage = Stage::new();
    let check = json!({"command": ["CMD", "/check"], "interval": 5});
    let definition = stage.define_with("api:v1", json!({"healthCheck": check}));
    stage.serve(&definition, 1, true);
    stage.update(|input| input.health_check_grace_period_seconds = Some(60));
    stage.settle();
    let task = id(&stage.tasks("RUNNING")[0]);
    let mut sick = running(&task);
    sick.containers[0].health = ContainerHealth::Unhealthy;
    for (later, expected) in [(50, 1), (61, 2)] {
        let mut again = restarted(&stage, Duration::from_secs(later));
        again.world.runtime.show(sick.clone());
        for _ in 0..3 {
            again.reconciler.pass();
        }
        assert_eq!(again.tasks("RUNNING").len(), expected, "{later} s after it started");
    }
}

#[test]
fn the_delay_between_attempts_goes_on() {
    let mut stage = Stage::new();
    let definition = stage.define("nowhere:v1");
    stage.serve(&definition, 1, false);
    stage.settle();
    for _ in 0..30 {
        stage.pass_time(Duration::from_secs(1));
    }
    let tried = stage.tasks("STOPPED").len();
    // The sixth attempt was after 15 s, and the seventh is due 16 s later.
    let mut soon = restarted(&stage, Duration::ZERO);
    soon.settle();
    assert_eq!(soon.tasks("STOPPED").len(), tried, "it waits on");
    let mut later = restarted(&soon, Duration::from_secs(3));
    later.settle();
    assert_eq!(later.tasks("STOPPED").len(), tried + 1, "it waited while nobody looked");
}

#[test]
fn a_stop_timeout_goes_on_but_leaves_half_of_itself() {
    let mut stage = Stage::new();
    let definition = stage.define_with("api:v1", json!({"stopTimeout": 20}));
    stage.serve(&definition, 1, false);
    stage.settle();
    let task = id(&stage.tasks("RUNNING")[0]);
    stage.update(|input| input.desired_count = Some(0));
    for _ in 0..4 {
        stage.reconciler.pass();
    }
    assert_eq!(stage.world.runtime.signals.lock().unwrap().len(), 1);
    for (away, left) in [(5, 15), (18, 10)] {
        let mut again = restarted(&stage, Duration::from_secs(away));
        again.world.runtime.show(running(&task));
        again.reconciler.pass();
        let signals = |stage: &Stage| stage.world.runtime.signals.lock().unwrap().clone();
        assert_eq!(signals(&again), [(task.clone(), None, Signal::Term)]);
        again.world.door.advance(Duration::from_secs(left - 1));
        again.reconciler.pass();
        assert_eq!(signals(&again).len(), 1, "{away} s away");
        again.world.door.advance(Duration::from_secs(1));
        again.reconciler.pass();
        assert_eq!(signals(&again)[1], (task.clone(), None, Signal::Kill), "{away} s away");
    }
}

#[test]
fn a_task_that_was_healthy_is_no_failed_start() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, true);
    stage.settle();
    let task = id(&stage.tasks("RUNNING")[0]);
    let force = |stage: &Stage| stage.update(|input| input.force_new_deployment = Some(true));
    let mut again = restarted(&stage, Duration::from_secs(2));
    force(&again);
    again.ended(&task, Some(1));
    again.reconciler.pass();
    let failed: i32 = again.service().deployments.unwrap().iter().filter_map(|d| d.failed_tasks).sum();
    assert_eq!(failed, 0);
}
