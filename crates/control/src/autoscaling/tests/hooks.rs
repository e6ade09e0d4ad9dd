//! Lifecycle hooks, processes and health.

use super::*;

fn hook(stage: &Stage, name: &str, transition: &str, change: impl FnOnce(&mut PutLifecycleHookType)) -> Result<()> {
    let mut input = PutLifecycleHookType {
        auto_scaling_group_name: Some("hosts".into()),
        lifecycle_hook_name: Some(name.into()),
        lifecycle_transition: Some(format!("autoscaling:EC2_INSTANCE_{transition}")),
        heartbeat_timeout: Some(60),
        ..Default::default()
    };
    change(&mut input);
    stage.world.call::<PutLifecycleHook>(input).map(|_| ())
}

fn complete(stage: &Stage, name: &str, instance: &str, result: &str) -> Result<()> {
    let input = CompleteLifecycleActionType {
        auto_scaling_group_name: Some("hosts".into()),
        lifecycle_hook_name: Some(name.into()),
        instance_id: Some(instance.into()),
        lifecycle_action_result: Some(result.into()),
        ..Default::default()
    };
    stage.world.call::<CompleteLifecycleAction>(input).map(|_| ())
}

fn states(stage: &Stage) -> Vec<String> {
    stage.group().instances.unwrap().into_iter().map(|i| i.lifecycle_state.unwrap()).collect()
}

fn processes(suspend: bool, stage: &Stage, names: &[&str]) -> Result<()> {
    let input = ScalingProcessQuery {
        auto_scaling_group_name: Some("hosts".into()),
        scaling_processes: Some(names.iter().map(|n| n.to_string()).collect()),
    };
    let world = &stage.world;
    if suspend { world.call::<SuspendProcesses>(input) } else { world.call::<ResumeProcesses>(input) }.map(|_| ())
}

#[test]
fn a_launch_hook_holds_an_instance_until_it_is_completed() {
    let mut stage = Stage::new();
    stage.create(|i| i.desired_capacity = Some(0)).unwrap();
    hook(&stage, "ready", "LAUNCHING", |_| ()).unwrap();
    hook(&stage, "checked", "LAUNCHING", |_| ()).unwrap();
    stage.update(|i| i.desired_capacity = Some(1)).unwrap();
    stage.pass();
    let [id] = <[String; 1]>::try_from(stage.instances()).unwrap();
    assert_eq!(states(&stage), ["Pending:Wait"]);
    complete(&stage, "ready", &id, "CONTINUE").unwrap();
    stage.pass();
    assert_eq!(states(&stage), ["Pending:Wait"], "the other hook still holds it");
    assert!(complete(&stage, "ready", &id, "CONTINUE").unwrap_err().message.contains("No active Lifecycle Action"));
    complete(&stage, "checked", &id, "CONTINUE").unwrap();
    stage.pass();
    assert_eq!((states(&stage), stage.instances()), (vec!["InService".to_owned()], vec![id]));
}

#[test]
fn an_abandoned_launch_is_ended_and_tried_again() {
    let mut stage = Stage::new();
    stage.create(|i| i.desired_capacity = Some(0)).unwrap();
    hook(&stage, "ready", "LAUNCHING", |_| ()).unwrap();
    hook(&stage, "checked", "LAUNCHING", |_| ()).unwrap();
    stage.update(|i| i.desired_capacity = Some(1)).unwrap();
    stage.pass();
    let first = stage.instances();
    complete(&stage, "ready", &first[0], "ABANDON").unwrap();
    stage.pass();
    let second = stage.instances();
    assert!(second.len() == 1 && second != first);
    assert_eq!(stage.running().len(), 1);
}

#[test]
fn a_hook_that_nobody_completes_takes_its_default_unless_a_heartbeat_comes() {
    let mut stage = Stage::new();
    stage.create(|i| i.desired_capacity = Some(0)).unwrap();
    hook(&stage, "ready", "LAUNCHING", |i| i.default_result = Some("CONTINUE".into())).unwrap();
    stage.update(|i| i.desired_capacity = Some(1)).unwrap();
    stage.pass();
    stage.world.door.advance(Duration::from_secs(50));
    let beat = RecordLifecycleActionHeartbeatType {
        auto_scaling_group_name: Some("hosts".into()),
        lifecycle_hook_name: Some("ready".into()),
        instance_id: stage.instances().pop(),
        ..Default::default()
    };
    stage.world.call::<RecordLifecycleActionHeartbeat>(beat).unwrap();
    stage.world.door.advance(Duration::from_secs(50));
    stage.pass();
    assert_eq!(states(&stage), ["Pending:Wait"]);
    stage.world.door.advance(Duration::from_secs(20));
    stage.pass();
    assert_eq!(states(&stage), ["InService"]);
}

#[test]
fn a_termination_hook_keeps_the_instance_alive_but_not_counted() {
    let mut stage = Stage::new();
    stage.create(|i| i.desired_capacity = Some(1)).unwrap();
    hook(&stage, "drained", "TERMINATING", |_| ()).unwrap();
    stage.pass();
    let old = stage.instances().remove(0);
    let input = TerminateInstanceInAutoScalingGroupType {
        instance_id: Some(old.clone()),
        should_decrement_desired_capacity: Some(false),
    };
    let activity = stage.world.call::<TerminateInstanceInAutoScalingGroup>(input.clone()).unwrap().activity.unwrap();
    assert_eq!(activity.status_code.as_deref(), Some("MidTerminatingLifecycleAction"));
    assert!(stage.world.call::<TerminateInstanceInAutoScalingGroup>(input).is_err());
    stage.pass();
    assert_eq!((states(&stage).len(), stage.running().len()), (2, 2), "its replacement is there already");
    // Deleting the hook lets go of what it holds.
    let input = DeleteLifecycleHookType {
        auto_scaling_group_name: Some("hosts".into()),
        lifecycle_hook_name: Some("drained".into()),
    };
    stage.world.call::<DeleteLifecycleHook>(input.clone()).unwrap();
    stage.pass();
    assert!(!stage.instances().contains(&old) && stage.running().len() == 1);
    assert!(stage.world.call::<DeleteLifecycleHook>(input).unwrap_err().message.contains("No Lifecycle Hook found"));
    // A group that is deleted by force asks no hook.
    hook(&stage, "drained", "TERMINATING", |_| ()).unwrap();
    stage.delete(Some(true)).unwrap();
    stage.pass();
    assert!(stage.groups().is_empty() && stage.running().is_empty());
}

#[test]
fn hooks_that_cannot_be_are_refused() {
    let stage = Stage::new();
    stage.create(|_| ()).unwrap();
    let target = "arn:aws:sqs:us-east-1:000000000000:queue";
    let refused = hook(&stage, "h", "LAUNCHING", |i| i.notification_target_arn = Some(target.into())).unwrap_err();
    assert!(refused.message.starts_with("Unable to publish test message to notification target"), "{refused}");
    assert_eq!(hook(&stage, "h", "SLEEPING", |_| ()).unwrap_err().code, "ValidationError");
    assert_eq!(hook(&stage, "h", "LAUNCHING", |i| i.heartbeat_timeout = Some(1)).unwrap_err().code, "ValidationError");
    assert!(hook(&stage, "h", "LAUNCHING", |i| i.default_result = Some("MAYBE".into())).is_err());
    let input = DescribeLifecycleHooksType { auto_scaling_group_name: Some("hosts".into()), ..Default::default() };
    assert_eq!(stage.world.call::<DescribeLifecycleHooks>(input).unwrap().lifecycle_hooks, Some(Vec::new()));
}

#[test]
fn suspended_processes_stand_still() {
    let mut stage = Stage::new();
    stage.create(|i| i.desired_capacity = Some(1)).unwrap();
    stage.pass();
    processes(true, &stage, &["Launch"]).unwrap();
    stage.update(|i| i.desired_capacity = Some(2)).unwrap();
    stage.pass();
    assert_eq!(stage.instances().len(), 1);
    processes(false, &stage, &["Launch"]).unwrap();
    stage.pass();
    assert_eq!(stage.instances().len(), 2);
    processes(true, &stage, &["Terminate"]).unwrap();
    stage.update(|i| i.desired_capacity = Some(0)).unwrap();
    stage.pass();
    assert_eq!(stage.instances().len(), 2);
    let suspended = stage.group().suspended_processes.unwrap();
    assert!(suspended[0].suspension_reason.as_ref().unwrap().starts_with("User suspended at "));
    processes(false, &stage, &[]).unwrap();
    stage.pass();
    assert_eq!((stage.instances().len(), stage.group().suspended_processes), (0, Some(Vec::new())));
    assert_eq!(processes(true, &stage, &["Dream"]).unwrap_err().code, "ValidationError");
}

#[test]
fn an_unhealthy_instance_is_replaced_but_not_in_its_grace_period() {
    let mut stage = Stage::new();
    stage
        .create(|i| {
            i.desired_capacity = Some(1);
            i.health_check_grace_period = Some(300);
        })
        .unwrap();
    stage.pass();
    let old = stage.instances().remove(0);
    let report = |respect: Option<bool>| {
        let input = SetInstanceHealthQuery {
            instance_id: Some(old.clone()),
            health_status: Some("Unhealthy".into()),
            should_respect_grace_period: respect,
        };
        stage.world.call::<SetInstanceHealth>(input).unwrap()
    };
    report(None);
    stage.reconciler.pass().unwrap();
    assert_eq!(stage.instances(), std::slice::from_ref(&old));
    let input = SetInstanceHealthQuery {
        instance_id: Some(old.clone()),
        health_status: Some("Unhealthy".into()),
        should_respect_grace_period: Some(false),
    };
    stage.world.call::<SetInstanceHealth>(input).unwrap();
    stage.pass();
    assert!(stage.instances().len() == 1 && stage.instances()[0] != old);
    let cause = stage.activities().into_iter().find(|a| a.description.as_ref().unwrap().contains(&old)).unwrap();
    assert!(cause.cause.unwrap().contains("health-check"));
}
