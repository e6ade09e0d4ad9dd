//! The life of tasks and services.

use super::{Stage, host_port, id, operations, running};
use crate::ecs::tasks::endpoint_of;
use crate::testing::World;
use quarry_aws::ecs::{self as aws, op};
use quarry_aws::logs;
use quarry_domain::snapshot::Endpoint;
use quarry_domain::task::{ContainerHealth, Signal, TaskPhase, TaskRuntime};
use quarry_wire::ServiceError;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn from_cluster_to_a_registered_task_and_steady_state() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    let group = stage.serve(&definition, 1, true).unwrap();
    stage.settle();

    let service = stage.service();
    assert_eq!((service.running_count, service.pending_count), (Some(1), Some(0)));
    let deployments = service.deployments.clone().unwrap();
    assert_eq!(deployments.len(), 1);
    assert_eq!(deployments[0].status.as_deref(), Some("PRIMARY"));
    assert_eq!(deployments[0].rollout_state.as_deref(), Some("COMPLETED"));
    let deployment = deployments[0].id.clone().unwrap();
    assert_eq!(
        stage.events(),
        [
            "(service api) has started 1 tasks: (task ID).".to_owned(),
            format!("(service api) registered 1 targets in (target-group {group})"),
            format!("(service api) (deployment {deployment}) deployment completed."),
            "(service api) has reached a steady state.".to_owned(),
        ]
    );
    let task = stage.tasks("RUNNING").remove(0);
    assert_eq!(task.last_status.as_deref(), Some("RUNNING"));
    assert_eq!(task.started_by.as_deref(), Some(deployment.as_str()));
    assert_eq!(task.group.as_deref(), Some("service:api"));
    let port = host_port(&task);
    assert!((32_768..=60_999).contains(&port));
    let targets = stage.targets();
    assert_eq!((targets.len(), targets[0].port), (1, port));
    let endpoint = stage.world.platform.store.read(|tx| endpoint_of(tx, &targets[0].id, port)).unwrap();
    assert!(matches!(endpoint, Some(Endpoint::Task { task: of, container_port: 3000, .. }) if of == id(&task)));
    // The runtime got what the task definition says.
    let spec = stage.world.runtime.launched.lock().unwrap()[0].clone();
    assert!(spec.containers[0].env.contains(&"AWS_ENDPOINT_URL=http://198.19.0.1:4566".to_owned()));
    assert_eq!(spec.address.map(|a| a.octets()[..2].to_vec()), Some(vec![198, 18]));
    assert_eq!(spec.containers[0].limits.memory, Some(256));
}

#[test]
fn a_killed_task_is_replaced_at_once_and_its_target_is_gone() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, true);
    stage.settle();
    let killed = stage.tasks("RUNNING").remove(0);
    stage.ended(&id(&killed), Some(137));
    // One look is enough: no timer is involved.
    stage.reconciler.pass();
    assert!(stage.targets().is_empty(), "what is dead takes no request");
    assert_eq!(stage.world.runtime.launched.lock().unwrap().len(), 2);
    stage.settle();
    let replacement = stage.tasks("RUNNING").remove(0);
    assert_ne!(id(&replacement), id(&killed));
    assert_ne!(host_port(&replacement), host_port(&killed));
    assert_eq!(stage.targets().len(), 1);
    let stopped = stage.tasks("STOPPED").remove(0);
    assert_eq!(stopped.last_status.as_deref(), Some("STOPPED"));
    assert_eq!(stopped.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert_eq!(stopped.stopped_reason.as_deref(), Some("Essential container in task exited"));
    assert_eq!(stopped.containers.unwrap()[0].exit_code, Some(137));
    assert!(stage.world.runtime.removed.lock().unwrap().contains(&id(&killed)));
    // An hour later it is forgotten.
    stage.pass_time(Duration::from_secs(3601));
    let last = id(&stage.tasks("RUNNING")[0]);
    stage.ended(&last, Some(1));
    stage.settle();
    assert_eq!(stage.tasks("STOPPED").len(), 1);
}

#[test]
fn scaling_in_drains_first_and_then_terminates() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    let group = stage.serve(&definition, 3, true).unwrap();
    stage.settle();
    assert_eq!(stage.targets().len(), 3);
    stage.update(|input| input.desired_count = Some(1));
    stage.reconciler.pass();
    let draining = stage.tasks("STOPPED");
    assert_eq!(draining.len(), 2);
    assert!(draining.iter().all(|task| task.last_status.as_deref() == Some("DEACTIVATING")));
    assert_eq!(stage.targets().iter().filter(|target| target.draining).count(), 2);
    assert!(stage.world.runtime.signals.lock().unwrap().is_empty(), "nothing is ended before it is drained");
    stage.settle();
    assert_eq!(stage.world.runtime.signals.lock().unwrap().len(), 2);
    assert_eq!(stage.service().running_count, Some(1));
    let deployment = stage.service().deployments.unwrap()[0].id.clone().unwrap();
    let stopped = stage.tasks("STOPPED").remove(0);
    let reason = format!("Scaling activity initiated by (deployment {deployment})");
    assert_eq!(stopped.stopped_reason, Some(reason));
    let events = stage.events();
    for message in [
        "(service api) has stopped 2 running tasks: (task ID) (task ID).".to_owned(),
        "(service api) has begun draining connections on 1 tasks.".to_owned(),
        format!("(service api) deregistered 1 targets in (target-group {group})"),
    ] {
        assert!(events.contains(&message), "{message} in {events:#?}");
    }
    assert_eq!(events.last().unwrap(), "(service api) has reached a steady state.");
}

#[test]
fn a_task_that_ignores_sigterm_is_killed_after_its_stop_timeout() {
    let mut stage = Stage::new();
    let definition = stage.define_with("api:v1", serde_json::json!({"stopTimeout": 7}));
    stage.serve(&definition, 1, false);
    stage.settle();
    let task = id(&stage.tasks("RUNNING")[0]);
    stage.update(|input| input.desired_count = Some(0));
    for _ in 0..4 {
        stage.reconciler.pass();
    }
    let signals = |stage: &Stage| stage.world.runtime.signals.lock().unwrap().clone();
    assert_eq!(signals(&stage), [(task.clone(), None, Signal::Term)]);
    stage.world.door.advance(Duration::from_secs(6));
    stage.reconciler.pass();
    assert_eq!(signals(&stage).len(), 1);
    stage.world.door.advance(Duration::from_secs(1));
    stage.reconciler.pass();
    assert_eq!(signals(&stage)[1], (task, None, Signal::Kill));
}

#[test]
fn an_image_with_its_own_stop_signal_gets_that() {
    let mut stage = Stage::new();
    let quit = |image: &mut quarry_domain::image::ResolvedImage| image.config.stop_signal = Some("SIGQUIT".into());
    stage.world.images.images.lock().unwrap().get_mut("api:v1").map(quit).unwrap();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, false);
    stage.settle();
    let task = id(&stage.tasks("RUNNING")[0]);
    stage.update(|input| input.desired_count = Some(0));
    stage.settle();
    let expected = (task, Some("api".to_owned()), Signal::Other(3));
    assert_eq!(stage.world.runtime.signals.lock().unwrap()[..], [expected]);
}

#[test]
fn a_missing_image_is_said_and_tried_again_ever_more_slowly() {
    let mut stage = Stage::new();
    let definition = stage.define("nowhere:v1");
    stage.serve(&definition, 1, false);
    stage.settle();
    let stopped = stage.tasks("STOPPED");
    assert!(stopped.len() <= 2, "{} attempts at once", stopped.len());
    assert_eq!(stopped[0].stop_code.as_deref(), Some("TaskFailedToStart"));
    let reason = stopped[0].stopped_reason.clone().unwrap();
    assert!(reason.starts_with("CannotPullContainerError: repository nowhere:v1 does not exist"), "{reason}");
    assert!(stage.events().iter().any(|event| event.contains("CannotPullContainerError")));
    for _ in 0..60 {
        stage.pass_time(Duration::from_secs(1));
    }
    let attempts = stage.tasks("STOPPED").len();
    assert!((6..=8).contains(&attempts), "{attempts} attempts in a minute");
    let inconsistent = "(service api) is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";
    assert!(stage.events().iter().any(|event| event == inconsistent));
    assert!(stage.service().deployments.unwrap()[0].failed_tasks.unwrap() >= 6);
    // A new deployment with an image that is there starts without delay.
    let fixed = stage.define("api:v1");
    stage.update(|input| input.task_definition = Some(fixed));
    stage.settle();
    assert_eq!(stage.service().running_count, Some(1));
    assert_eq!(stage.service().deployments.unwrap().len(), 1);
}

#[test]
fn what_fits_nowhere_is_said_once_and_placed_when_there_is_room() {
    let mut stage = Stage::new();
    let definition = stage.define_with("api:v1", serde_json::json!({"memory": 900}));
    stage.serve(&definition, 3, false);
    stage.settle();
    assert_eq!(stage.service().running_count, Some(2));
    let unable = |stage: &Stage| {
        let events = stage.events();
        events.into_iter().filter(|event| event.contains("was unable to place a task")).collect::<Vec<_>>()
    };
    let said = unable(&stage);
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("has insufficient memory available."), "{}", said[0]);
    stage.pass_time(Duration::from_secs(10));
    assert_eq!(unable(&stage).len(), 1);
    stage.join("i-0c", "us-east-1a");
    stage.settle();
    assert_eq!(stage.service().running_count, Some(3));
}

#[test]
fn after_a_restart_running_tasks_are_adopted_lost_ones_replaced_and_orphans_removed() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 2, true);
    stage.settle();
    let before: Vec<String> = stage.tasks("RUNNING").iter().map(id).collect();

    let mut again = Stage::on(World::open(stage.world.dir(), operations));
    again.world.images.add("api:v1");
    again.world.runtime.show(super::running(&before[0]));
    again.world.runtime.show(super::running("0123456789abcdef0123456789abcdef"));
    again.reconciler.pass();
    let lost = again.tasks("STOPPED");
    assert_eq!((lost.len(), id(&lost[0])), (1, before[1].clone()));
    again.settle();
    let now: Vec<String> = again.tasks("RUNNING").iter().map(id).collect();
    assert_eq!(now.len(), 2);
    assert!(now.contains(&before[0]), "an adopted task goes on");
    assert_eq!(again.world.runtime.launched.lock().unwrap().len(), 1);
    assert!(again.world.runtime.removed.lock().unwrap().contains(&"0123456789abcdef0123456789abcdef".to_owned()));
    assert_eq!(again.targets().len(), 2);
}

#[test]
fn run_task_and_stop_task() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    let run = aws::RunTaskRequest {
        cluster: Some("demo".into()),
        task_definition: Some(definition),
        count: Some(2),
        ..Default::default()
    };
    let output = stage.world.call::<op::RunTask>(run).unwrap();
    let tasks = output.tasks.unwrap();
    assert_eq!((tasks.len(), output.failures.unwrap().len()), (2, 0));
    assert_eq!(tasks[0].last_status.as_deref(), Some("PENDING"));
    stage.settle();
    let stop = aws::StopTaskRequest {
        cluster: Some("demo".into()),
        task: tasks[0].task_arn.clone(),
        reason: Some("enough".into()),
    };
    stage.world.call::<op::StopTask>(stop).unwrap();
    // The other one ends by itself.
    stage.ended(&id(&tasks[1]), Some(3));
    stage.settle();
    let mut stopped = stage.tasks("STOPPED");
    stopped.sort_by_key(|task| task.stop_code.clone());
    assert_eq!(stopped[0].containers.as_ref().unwrap()[0].exit_code, Some(3));
    assert_eq!(stopped[1].stop_code.as_deref(), Some("UserInitiated"));
    assert_eq!(stopped[1].stopped_reason.as_deref(), Some("enough"));
    assert!(stage.tasks("RUNNING").is_empty());
}

#[test]
fn tasks_are_listed_by_pages_that_leave_nothing_out_while_tasks_stop() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    let mut started = BTreeSet::new();
    for (count, by) in [(5, "here"), (2, "there")] {
        let run = json!({"cluster": "demo", "taskDefinition": definition, "count": count, "startedBy": by});
        let output = stage.world.call::<op::RunTask>(serde_json::from_value(run).unwrap()).unwrap();
        started.extend(output.tasks.unwrap().into_iter().map(|task| (task.task_arn.unwrap(), by)));
    }
    let list = |stage: &Stage, input: serde_json::Value| {
        let mut request: aws::ListTasksRequest = serde_json::from_value(input).unwrap();
        request.cluster = Some("demo".into());
        let output = stage.world.call::<op::ListTasks>(request)?;
        Ok::<_, ServiceError>((output.task_arns.unwrap(), output.next_token))
    };
    let all: Vec<String> = started.iter().map(|(arn, _)| arn.clone()).collect();
    assert_eq!(list(&stage, json!({})).unwrap(), (all.clone(), None));
    let there = started.iter().filter(|(_, by)| *by == "there").map(|(arn, _)| arn.clone()).collect();
    assert_eq!(list(&stage, json!({"startedBy": "there", "maxResults": 2})).unwrap(), (there, None));
    let (first, token) = list(&stage, json!({"maxResults": 3})).unwrap();
    assert_eq!((&first[..], token.as_deref()), (&all[..3], Some(all[2].as_str())));
    let stop = json!({"cluster": "demo", "task": all[2]});
    stage.world.call::<op::StopTask>(serde_json::from_value(stop).unwrap()).unwrap();
    stage.settle();
    assert_eq!(list(&stage, json!({"nextToken": token})).unwrap(), (all[3..].to_vec(), None));
    assert_eq!(list(&stage, json!({"desiredStatus": "STOPPED"})).unwrap(), (vec![all[2].clone()], None));
    let refused = list(&stage, json!({"nextToken": "arn:aws:ecs:us-east-1:1:task/other/0"})).unwrap_err();
    assert_eq!(refused.message, "Invalid token in the request.");
}

#[test]
fn run_task_with_a_client_token_runs_once() {
    let mut stage = Stage::new();
    let mut run = aws::RunTaskRequest {
        cluster: Some("demo".into()),
        task_definition: Some(stage.define("api:v1")),
        client_token: Some("once".into()),
        count: Some(2),
        ..Default::default()
    };
    let call = |stage: &Stage, run: &aws::RunTaskRequest| stage.world.call::<op::RunTask>(run.clone());
    let ids = |output: aws::RunTaskResponse| output.tasks.unwrap().iter().map(id).collect::<Vec<_>>();
    let first = ids(call(&stage, &run).unwrap());
    assert_eq!(ids(call(&stage, &run).unwrap()), first);
    assert_eq!(stage.tasks("RUNNING").len(), 2);
    run.count = Some(1);
    let conflict = call(&stage, &run).unwrap_err();
    assert_eq!(conflict.code, "ConflictException");
    assert!(conflict.details["resourceIds"][0].as_str().unwrap().ends_with(&first[0]), "{conflict:?}");
    run.client_token = Some("no spaces".into());
    assert_eq!(call(&stage, &run).unwrap_err().code, "InvalidParameterException");
    // Once its tasks cannot be described any more, the token is new again.
    stage.settle();
    stage.ended(&first[0], Some(0));
    stage.ended(&first[1], Some(0));
    stage.settle();
    run.client_token = Some("once".into());
    assert!(call(&stage, &run).is_err());
    stage.pass_time(Duration::from_secs(2 * 3600));
    // Old tasks are forgotten when another one stops.
    run.client_token = Some("another".into());
    let other = ids(call(&stage, &run).unwrap()).remove(0);
    stage.settle();
    stage.ended(&other, Some(0));
    stage.settle();
    run.client_token = Some("once".into());
    assert_ne!(ids(call(&stage, &run).unwrap()), first);
}

#[test]
fn the_last_words_of_a_task_that_was_never_seen_running_are_delivered() {
    let mut stage = Stage::new();
    let group = logs::CreateLogGroupRequest { log_group_name: Some("tasks".into()), ..Default::default() };
    stage.world.call::<logs::op::CreateLogGroup>(group).unwrap();
    let options = json!({"awslogs-group": "tasks", "awslogs-stream-prefix": "short"});
    let members = json!({"logConfiguration": {"logDriver": "awslogs", "options": options}});
    let definition = stage.define_with("api:v1", members);
    stage.exits.insert("api:v1".into(), 3);
    let run =
        aws::RunTaskRequest { cluster: Some("demo".into()), task_definition: Some(definition), ..Default::default() };
    let task = stage.world.call::<op::RunTask>(run).unwrap().tasks.unwrap().remove(0);
    std::fs::write(stage.world.runtime.log_path(&id(&task), "api"), "farewell").unwrap();
    stage.settle();
    assert_eq!(stage.tasks("STOPPED")[0].stop_code.as_deref(), Some("EssentialContainerExited"));
    let said = logs::GetLogEventsRequest {
        log_group_name: Some("tasks".into()),
        log_stream_name: Some(format!("short/api/{}", id(&task))),
        ..Default::default()
    };
    let events = stage.world.call::<logs::op::GetLogEvents>(said).unwrap().events.unwrap();
    assert_eq!(events.iter().map(|e| e.message.as_deref().unwrap()).collect::<Vec<_>>(), ["farewell"]);
}

#[test]
fn a_deleted_service_drains_and_its_cluster_can_go_then() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, true);
    stage.settle();
    let delete = |force| aws::DeleteServiceRequest {
        cluster: Some("demo".into()),
        service: Some("api".into()),
        force: Some(force),
    };
    let refused = stage.world.call::<op::DeleteService>(delete(false)).unwrap_err();
    assert_eq!(refused.message, "The service cannot be stopped while it is scaled above 0.");
    let deleted = stage.world.call::<op::DeleteService>(delete(true)).unwrap();
    assert_eq!(deleted.service.unwrap().status.as_deref(), Some("DRAINING"));
    stage.settle();
    assert_eq!(stage.service().status.as_deref(), Some("INACTIVE"));
    assert!(stage.targets().is_empty());
    stage
        .world
        .transact(|ctx| {
            crate::ecs::container_instances::deregister(ctx, "i-0a")?;
            crate::ecs::container_instances::deregister(ctx, "i-0b")
        })
        .unwrap();
    let input = aws::DeleteClusterRequest { cluster: Some("demo".into()) };
    let deleted = stage.world.call::<op::DeleteCluster>(input).unwrap();
    assert_eq!(deleted.cluster.unwrap().status.as_deref(), Some("INACTIVE"));
}

#[test]
fn a_terminated_instance_takes_its_tasks_with_it_and_they_run_elsewhere() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 2, true);
    stage.settle();
    stage.world.transact(|ctx| crate::ecs::container_instances::deregister(ctx, "i-0a")).unwrap();
    stage.settle();
    let tasks = stage.tasks("RUNNING");
    assert_eq!(tasks.len(), 2);
    assert!(tasks.iter().all(|task| task.availability_zone.as_deref() == Some("us-east-1b")));
    let stopped = stage.tasks("STOPPED").remove(0);
    assert_eq!(stopped.stopped_reason.as_deref(), Some("Host EC2 (instance i-0a) terminated."));
}

#[test]
fn a_task_that_is_stopped_while_it_starts_never_runs_on() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    let run =
        aws::RunTaskRequest { cluster: Some("demo".into()), task_definition: Some(definition), ..Default::default() };
    let task = stage.world.call::<op::RunTask>(run).unwrap().tasks.unwrap().remove(0);
    stage.reconciler.pass();
    let mut seen = super::running(&id(&task));
    seen.phase = TaskPhase::Starting;
    stage.world.runtime.show(seen);
    let stop = aws::StopTaskRequest { cluster: Some("demo".into()), task: task.task_arn.clone(), reason: None };
    stage.world.call::<op::StopTask>(stop).unwrap();
    stage.settle();
    let stopped = stage.tasks("STOPPED").remove(0);
    assert_eq!(stopped.last_status.as_deref(), Some("STOPPED"));
    assert_eq!(stopped.stop_code.as_deref(), Some("UserInitiated"));
}

#[test]
fn a_task_whose_container_is_unhealthy_is_replaced() {
    let mut stage = Stage::new();
    let check = json!({"command": ["CMD", "/check"], "interval": 5});
    let definition = stage.define_with("api:v1", json!({"healthCheck": check}));
    stage.serve(&definition, 1, false);
    stage.settle();
    let spec = stage.world.runtime.launched.lock().unwrap()[0].clone();
    let lowered = spec.containers[0].health_check.clone().unwrap();
    assert_eq!((lowered.interval, lowered.timeout, lowered.retries, lowered.start_period), (5, 5, 3, 0));
    let task = stage.tasks("RUNNING").remove(0);
    assert_eq!(task.health_status.as_deref(), Some("UNKNOWN"));
    assert!(!stage.events().iter().any(|event| event.contains("steady")), "it is not known to be healthy");

    let show = |stage: &Stage, health| {
        let mut seen = running(&id(&task));
        seen.containers[0].health = health;
        stage.world.runtime.show(seen);
    };
    show(&stage, ContainerHealth::Healthy);
    stage.settle();
    let shown = stage.tasks("RUNNING").remove(0);
    assert_eq!(shown.health_status.as_deref(), Some("HEALTHY"));
    assert_eq!(shown.containers.unwrap()[0].health_status.as_deref(), Some("HEALTHY"));
    assert!(stage.events().last().unwrap().contains("has reached a steady state"));

    show(&stage, ContainerHealth::Unhealthy);
    stage.settle();
    let other = stage.tasks("RUNNING").into_iter().find(|other| other.task_arn != task.task_arn);
    let now = other.expect("another is started first");
    // The old one goes when the new one is known to be well.
    let mut seen = running(&id(&now));
    seen.containers[0].health = ContainerHealth::Healthy;
    stage.world.runtime.show(seen);
    stage.settle();
    let stopped = stage.tasks("STOPPED").remove(0);
    assert_eq!(stopped.stopped_reason.as_deref(), Some("Task failed container health checks"));
    assert!(stage.events().iter().any(|event| event == "(service api) (task ID) failed container health checks."));
}

/// Whoever writes too much is ended, with the reason, and the others are not.
#[test]
fn a_task_that_writes_too_much_is_ended() {
    use crate::ecs::reconcile::storage::pass;
    use crate::ecs::records::Task;
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 2, false);
    stage.settle();
    let tasks = || stage.world.platform.store.read(|tx| tx.all::<Task>()).unwrap();
    let all = tasks();
    let write = |id: &str, mib: u64| {
        stage.world.runtime.written.lock().unwrap().insert(id.to_owned(), mib << 20);
    };
    let look = |free: Option<u64>| pass(&stage.world.platform, &stage.world.operations, free).unwrap();
    let wanted = || tasks().into_iter().filter(|task| task.wanted).map(|task| task.id).collect::<Vec<_>>();
    write(&all[0].id, 20 << 10);
    write(&all[1].id, 300);
    look(Some(1 << 40));
    look(None);
    assert_eq!(wanted().len(), 2, "as much as it may");
    write(&all[0].id, (20 << 10) + 1);
    look(None);
    assert_eq!(wanted(), [all[1].id.clone()]);
    let ended = tasks().into_iter().find(|task| task.id == all[0].id).unwrap();
    let reason = "The task has written 20481 MiB, more than its ephemeral storage of 20 GiB.";
    assert_eq!(ended.stop.unwrap().reason, reason);
    assert_eq!(ended.containers[0].reason.as_deref(), Some(reason));
    assert!(stage.world.runtime.signals.lock().unwrap().contains(&(all[0].id.clone(), None, Signal::Kill)));
    // A full disk ends whoever has filled it most, if that is much.
    write(&all[1].id, 200);
    look(Some(100 << 20));
    assert_eq!(wanted().len(), 1);
    write(&all[1].id, 300);
    look(Some(100 << 20));
    assert_eq!(wanted().len(), 0);
}
