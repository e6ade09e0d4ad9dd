//! Services with the scheduling strategy DAEMON.

use super::{Stage, id};
use crate::ecs::container_instances;
use quarry_aws::ecs::{self as aws, op};
use quarry_wire::ServiceError;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn create(stage: &Stage, definition: &str, members: Value) -> Result<aws::Service, ServiceError> {
    let mut input = json!({"cluster": "demo", "serviceName": "api", "taskDefinition": definition,
        "schedulingStrategy": "DAEMON"});
    for (name, value) in members.as_object().unwrap() {
        input[name] = value.clone();
    }
    Ok(stage.world.call::<op::CreateService>(serde_json::from_value(input).unwrap())?.service.unwrap())
}

/// EC2 instance ids of where tasks run, one for each task.
fn places(stage: &Stage) -> Vec<String> {
    let shown = stage.world.call::<op::ListContainerInstances>(aws::ListContainerInstancesRequest {
        cluster: Some("demo".into()),
        ..Default::default()
    });
    let input = aws::DescribeContainerInstancesRequest {
        cluster: Some("demo".into()),
        container_instances: shown.unwrap().container_instance_arns,
        ..Default::default()
    };
    let instances = stage.world.call::<op::DescribeContainerInstances>(input).unwrap().container_instances.unwrap();
    let of = |task: &aws::Task| {
        let own = instances.iter().find(|i| i.container_instance_arn == task.container_instance_arn);
        own.map_or_else(|| "gone".to_owned(), |instance| instance.ec2_instance_id.clone().unwrap())
    };
    let mut all: Vec<String> = stage.tasks("RUNNING").iter().map(of).collect();
    all.sort();
    all
}

fn set_state(stage: &Stage, arn: &str, status: &str) {
    let input = aws::UpdateContainerInstancesStateRequest {
        cluster: Some("demo".into()),
        container_instances: Some(vec![arn.into()]),
        status: Some(status.into()),
    };
    stage.world.call::<op::UpdateContainerInstancesState>(input).unwrap();
}

#[test]
fn services_are_listed_by_strategy_and_launch_type() {
    let stage = Stage::new();
    let definition = stage.define("api:v1");
    let arn = create(&stage, &definition, json!({})).unwrap().service_arn.unwrap();
    let listed = |members: Value| {
        let mut input = json!({"cluster": "demo"});
        input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let answer = stage.world.call::<op::ListServices>(serde_json::from_value(input).unwrap());
        answer.map(|listed| listed.service_arns.unwrap())
    };
    assert_eq!(listed(json!({"schedulingStrategy": "DAEMON", "launchType": "EC2"})).unwrap(), [arn]);
    assert_eq!(listed(json!({"schedulingStrategy": "REPLICA"})).unwrap(), [""; 0]);
    assert_eq!(listed(json!({"launchType": "FARGATE"})).unwrap(), [""; 0]);
    assert_eq!(listed(json!({"launchType": "LAMBDA"})).unwrap_err().code, "InvalidParameterException");
}

#[test]
fn one_task_runs_on_each_instance_and_on_each_that_joins() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    let service = create(&stage, &definition, json!({})).unwrap();
    assert_eq!(service.scheduling_strategy.as_deref(), Some("DAEMON"));
    let configuration = service.deployment_configuration.unwrap();
    assert_eq!((configuration.minimum_healthy_percent, configuration.maximum_percent), (Some(0), Some(100)));
    stage.settle();
    assert_eq!(places(&stage), ["i-0a", "i-0b"]);
    let shown = stage.service();
    assert_eq!((shown.desired_count, shown.running_count), (Some(2), Some(2)));
    assert!(stage.events().contains(&"(service api) has started 2 tasks: (task ID) (task ID).".to_owned()));
    assert_eq!(stage.events().last().unwrap(), "(service api) has reached a steady state.");

    let third = stage.join("i-0c", "us-east-1a");
    stage.settle();
    assert_eq!(places(&stage), ["i-0a", "i-0b", "i-0c"]);
    assert_eq!(stage.service().desired_count, Some(3));
    // A killed one is replaced where it was.
    let killed = stage.tasks("RUNNING").into_iter().find(|t| t.container_instance_arn.as_ref() == Some(&third));
    stage.ended(&id(&killed.unwrap()), Some(137));
    stage.settle();
    assert_eq!(places(&stage), ["i-0a", "i-0b", "i-0c"]);
    // An instance that is gone takes its task along.
    stage.world.transact(|ctx| container_instances::deregister(ctx, "i-0c")).unwrap();
    stage.settle();
    assert_eq!((places(&stage), stage.service().desired_count), (vec!["i-0a".into(), "i-0b".into()], Some(2)));

    // Deleted without being scaled down first, as it cannot be.
    let delete = |force| aws::DeleteServiceRequest {
        cluster: Some("demo".into()),
        service: Some("api".into()),
        force: Some(force),
    };
    stage.world.call::<op::DeleteService>(delete(true)).unwrap();
    stage.settle();
    assert_eq!((places(&stage).len(), stage.service().status.as_deref()), (0, Some("INACTIVE")));
}

#[test]
fn constraints_say_where_and_hold_for_running_tasks() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    let only = json!([{"type": "memberOf", "expression": "attribute:role == web"}]);
    create(&stage, &definition, json!({"placementConstraints": only})).unwrap();
    stage.settle();
    assert!(places(&stage).is_empty());
    let instance = stage.join("i-0c", "us-east-1a");
    let attribute = json!({"cluster": "demo", "attributes": [{"name": "role", "value": "web", "targetId": instance}]});
    stage.world.call::<op::PutAttributes>(serde_json::from_value(attribute.clone()).unwrap()).unwrap();
    stage.settle();
    assert_eq!(places(&stage), ["i-0c"]);
    stage.world.call::<op::DeleteAttributes>(serde_json::from_value(attribute).unwrap()).unwrap();
    stage.settle();
    assert!(places(&stage).is_empty(), "what does not meet the constraints any more is stopped");
}

#[test]
fn a_deployment_goes_instance_by_instance() {
    let mut stage = Stage::new();
    stage.join("i-0c", "us-east-1a");
    let v1 = stage.define("api:v1");
    create(&stage, &v1, json!({"deploymentConfiguration": {"minimumHealthyPercent": 60}})).unwrap();
    stage.settle();
    let before: BTreeSet<String> = stage.tasks("RUNNING").iter().map(id).collect();
    let v2 = stage.define("api:v2");
    stage.update(|input| input.task_definition = Some(v2.clone()));
    // 60 percent of three round up to two.
    for _ in 0..12 {
        stage.reconciler.pass();
        assert!(stage.tasks("RUNNING").len() >= 2 && stage.tasks("RUNNING").len() <= 3);
        let mut seen = places(&stage);
        seen.dedup();
        assert_eq!(seen.len(), stage.tasks("RUNNING").len(), "never two on one instance");
        stage.runtime();
    }
    stage.settle();
    assert_eq!(places(&stage), ["i-0a", "i-0b", "i-0c"]);
    assert!(stage.tasks("RUNNING").iter().all(|task| !before.contains(&id(task))));
    assert_eq!(stage.service().deployments.unwrap()[0].rollout_state.as_deref(), Some("COMPLETED"));
}

#[test]
fn a_daemon_leaves_a_draining_instance_last_and_comes_first_to_a_new_one() {
    let mut stage = Stage::new();
    let replica = stage.define_with("api:v2", json!({"memory": 650}));
    let daemon = stage.define_with("api:v1", json!({"memory": 300}));
    create(&stage, &daemon, json!({})).unwrap();
    // Room is kept for the daemon, also where it has not begun: 983 MiB hold one task of each.
    let web = json!({"cluster": "demo", "serviceName": "web", "taskDefinition": replica, "desiredCount": 3});
    stage.world.call::<op::CreateService>(serde_json::from_value(web).unwrap()).unwrap();
    stage.settle();
    assert_eq!(places(&stage), ["i-0a", "i-0a", "i-0b", "i-0b"]);
    let drained = stage.tasks("RUNNING").remove(0).container_instance_arn.unwrap();
    set_state(&stage, &drained, "DRAINING");
    stage.settle();
    let on = |stage: &Stage| -> Vec<String> {
        let all = stage.tasks("RUNNING");
        let on = all.iter().filter(|task| task.container_instance_arn.as_ref() == Some(&drained));
        on.map(|task| task.group.clone().unwrap()).collect()
    };
    assert_eq!(on(&stage).len(), 2, "the replica has nowhere to go yet, and the daemon waits for it");
    // With room elsewhere the replica moves, and the daemon goes after it.
    stage.join("i-0c", "us-east-1a");
    stage.join("i-0d", "us-east-1a");
    stage.settle();
    stage.pass_time(std::time::Duration::from_secs(6));
    assert!(on(&stage).is_empty());
    let stopped = stage.tasks("STOPPED");
    let when = |group: &str| {
        let on = stopped.iter().filter(|task| task.container_instance_arn.as_ref() == Some(&drained));
        on.filter(|task| task.group.as_deref() == Some(group)).count()
    };
    assert_eq!((when("service:api"), when("service:web")), (1, 1));
    // Active again, the daemon is back.
    set_state(&stage, &drained, "ACTIVE");
    stage.settle();
    assert!(on(&stage).contains(&"service:api".to_owned()));
}

#[test]
fn what_daemons_cannot_have_is_refused() {
    let stage = Stage::new();
    let definition = stage.define("api:v1");
    for (members, words) in [
        (json!({"desiredCount": 1}), "The daemon scheduling strategy does not support a desired count for services."),
        (
            json!({"placementStrategy": [{"type": "random"}]}),
            "The daemon scheduling strategy does not support placement strategies.",
        ),
        (
            json!({"deploymentConfiguration": {"maximumPercent": 200}}),
            "The daemon scheduling strategy does not support values above 100 for maximumPercent",
        ),
        (
            json!({"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}),
            "The daemon scheduling strategy does not support deployment strategies other than ROLLING.",
        ),
        (json!({"schedulingStrategy": "ONE"}), "Invalid schedulingStrategy 'ONE'."),
    ] {
        let refused = create(&stage, &definition, members).unwrap_err();
        assert_eq!(refused.code, "InvalidParameterException");
        assert!(refused.message.starts_with(words), "{}", refused.message);
    }
    create(&stage, &definition, json!({})).unwrap();
    let input = json!({"cluster": "demo", "service": "api", "desiredCount": 2});
    let refused = stage.world.call::<op::UpdateService>(serde_json::from_value(input).unwrap()).unwrap_err();
    assert!(refused.message.contains("does not support a desired count"), "{}", refused.message);
}
