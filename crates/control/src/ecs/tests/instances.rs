//! Container instances: what fits on them, their attributes, and tasks that are put on them by name.

use super::Stage;
use quarry_aws::ecs::{self as aws, op};
use quarry_wire::{Operation, ServiceError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

fn call<O: Operation>(stage: &Stage, mut input: Value) -> Result<O::Output, ServiceError>
where
    O::Input: DeserializeOwned,
{
    input["cluster"] = "demo".into();
    stage.world.call::<O>(serde_json::from_value(input).unwrap())
}

fn instances(stage: &Stage) -> Vec<String> {
    call::<op::ListContainerInstances>(stage, json!({})).unwrap().container_instance_arns.unwrap()
}

fn reasons(failures: Option<Vec<aws::Failure>>) -> Vec<String> {
    failures.unwrap().into_iter().map(|failure| failure.reason.unwrap()).collect()
}

#[test]
fn tasks_are_started_on_the_instances_that_are_named() {
    let mut stage = Stage::new();
    let definition = stage.define_with("api:v1", json!({"memory": 600}));
    let all = instances(&stage);
    let started = call::<op::StartTask>(
        &stage,
        json!({"containerInstances": [all[1], all[0].rsplit('/').next(), "nowhere"], "taskDefinition": definition,
            "startedBy": "me", "group": "night", "tags": [{"key": "a", "value": "b"}]}),
    )
    .unwrap();
    let tasks = started.tasks.unwrap();
    let on: Vec<_> = tasks.iter().map(|task| task.container_instance_arn.clone().unwrap()).collect();
    assert_eq!(on, [all[1].clone(), all[0].clone()]);
    assert_eq!((tasks[0].group.as_deref(), tasks[0].started_by.as_deref()), (Some("night"), Some("me")));
    assert_eq!(reasons(started.failures), ["MISSING"]);
    stage.settle();
    assert_eq!(stage.tasks("RUNNING").len(), 2);

    // What does not fit there is not put elsewhere.
    stage.join("i-0c", "us-east-1a");
    let again = json!({"containerInstances": [all[0]], "taskDefinition": definition});
    assert_eq!(reasons(call::<op::StartTask>(&stage, again.clone()).unwrap().failures), ["RESOURCE:MEMORY"]);
    call::<op::UpdateContainerInstancesState>(&stage, json!({"containerInstances": [all[0]], "status": "DRAINING"}))
        .unwrap();
    assert_eq!(reasons(call::<op::StartTask>(&stage, again).unwrap().failures), ["INACTIVE"]);
    // A drained instance lets tasks of nobody's service run on.
    stage.pass_time(Duration::from_secs(60));
    assert_eq!(stage.tasks("RUNNING").len(), 2);
    let wrong = [json!([]), json!(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"])];
    for ids in wrong {
        let input = json!({"containerInstances": ids, "taskDefinition": definition});
        assert_eq!(call::<op::StartTask>(&stage, input).unwrap_err().code, "InvalidParameterException");
    }
}

#[test]
fn capacity_bounds_tasks_of_every_kind() {
    let mut stage = Stage::new();
    // 983 MiB and 1024 units each.
    for (members, most) in [(json!({"memory": 400}), 4), (json!({"memory": 10, "cpu": 500}), 4)] {
        let definition = stage.define_with("api:v1", members);
        let mut tasks = Vec::new();
        let mut failures = Vec::new();
        for _ in 0..3 {
            let output = call::<op::RunTask>(&stage, json!({"taskDefinition": definition, "count": 3})).unwrap();
            tasks.extend(output.tasks.unwrap());
            failures.extend(reasons(output.failures));
        }
        assert_eq!((tasks.len(), failures.len()), (most, 9 - most));
        let expected = if failures[0].ends_with("CPU") { "RESOURCE:CPU" } else { "RESOURCE:MEMORY" };
        assert!(failures.iter().all(|reason| reason == expected), "{failures:?}");
        for shown in call::<op::DescribeContainerInstances>(&stage, json!({"containerInstances": instances(&stage)}))
            .unwrap()
            .container_instances
            .unwrap()
        {
            let left = |name: &str| {
                let all = shown.remaining_resources.as_ref().unwrap();
                all.iter().find(|resource| resource.name.as_deref() == Some(name)).unwrap().integer_value.unwrap()
            };
            assert!(left("MEMORY") >= 0 && left("CPU") >= 0);
        }
        // What has stopped makes room again.
        for task in tasks {
            call::<op::StopTask>(&stage, json!({"task": task.task_arn})).unwrap();
        }
        stage.settle();
    }
}

#[test]
fn attributes_are_put_found_and_deleted() {
    let stage = Stage::new();
    let all = instances(&stage);
    let short = all[1].rsplit('/').next().unwrap();
    let put = call::<op::PutAttributes>(
        &stage,
        json!({"attributes": [
            {"name": "stack", "value": "production", "targetId": all[0]},
            {"name": "stack", "value": "test", "targetType": "container-instance", "targetId": short},
            {"name": "ssd", "targetId": all[0]},
        ]}),
    )
    .unwrap();
    assert_eq!(put.attributes.unwrap()[1].target_id.as_ref(), Some(&all[1]));
    let list = |filter: Value| {
        let mut input = json!({"targetType": "container-instance"});
        for (name, value) in filter.as_object().unwrap() {
            input[name] = value.clone();
        }
        call::<op::ListAttributes>(&stage, input)
    };
    let stacks = list(json!({"attributeName": "stack"})).unwrap().attributes.unwrap();
    assert_eq!(stacks.len(), 2);
    let tests = list(json!({"attributeName": "stack", "attributeValue": "test"})).unwrap().attributes.unwrap();
    assert_eq!((tests.len(), tests[0].target_id.as_ref()), (1, Some(&all[1])));
    // Pages.
    let (mut seen, mut token) = (Vec::new(), Value::Null);
    loop {
        let page = list(json!({"maxResults": 3, "nextToken": token})).unwrap();
        seen.extend(page.attributes.unwrap());
        match page.next_token {
            Some(next) => token = next.into(),
            None => break,
        }
    }
    assert_eq!(seen.len(), list(json!({})).unwrap().attributes.unwrap().len());
    // They choose instances, as what runs there does.
    let filter = |text: &str| {
        call::<op::ListContainerInstances>(&stage, json!({"filter": text})).map(|o| o.container_instance_arns.unwrap())
    };
    assert_eq!(filter("attribute:stack == production").unwrap(), [all[0].clone()]);
    assert_eq!(filter("attribute:ssd exists and runningTasksCount == 0").unwrap(), [all[0].clone()]);
    assert_eq!(filter("ec2InstanceId == i-0b").unwrap().len(), 1);
    assert_eq!(filter("runningTasksCount > few").unwrap_err().code, "InvalidParameterException");

    let deleted = call::<op::DeleteAttributes>(
        &stage,
        json!({"attributes": [{"name": "stack", "targetId": all[0]}, {"name": "none", "targetId": all[0]},
            {"name": "stack", "value": "other", "targetId": all[1]}]}),
    )
    .unwrap();
    assert_eq!(deleted.attributes.unwrap().len(), 1);
    assert_eq!(list(json!({"attributeName": "stack"})).unwrap().attributes.unwrap().len(), 1);
}

#[test]
fn attributes_that_are_refused() {
    let stage = Stage::new();
    let all = instances(&stage);
    let put = |attributes: Value| call::<op::PutAttributes>(&stage, json!({"attributes": attributes}));
    for (attribute, code) in [
        (json!({"name": "a b", "targetId": all[0]}), "InvalidParameterException"),
        (json!({"name": "ecs.os-type", "value": "x", "targetId": all[0]}), "InvalidParameterException"),
        (json!({"name": "a", "value": " x", "targetId": all[0]}), "InvalidParameterException"),
        (json!({"name": "a", "value": "x".repeat(129), "targetId": all[0]}), "InvalidParameterException"),
        (json!({"name": "a", "targetId": "short"}), "InvalidParameterException"),
        (json!({"name": "a", "targetType": "container-instance", "targetId": "short"}), "TargetNotFoundException"),
    ] {
        assert_eq!(put(json!([attribute])).unwrap_err().code, code, "{attribute}");
    }
    for n in 0..10 {
        put(json!([{"name": format!("n{n}"), "targetId": all[0]}])).unwrap();
    }
    let one = json!([{"name": "n3", "value": "again", "targetId": all[0]}]);
    put(one).unwrap();
    let more = json!([{"name": "n10", "targetId": all[0]}]);
    assert_eq!(put(more).unwrap_err().code, "AttributeLimitExceededException");
    let list = json!({"targetType": "container-instance", "attributeValue": "again"});
    assert_eq!(call::<op::ListAttributes>(&stage, list).unwrap_err().code, "InvalidParameterException");
}

#[test]
fn placement_by_attributes_groups_and_strategies() {
    let mut stage = Stage::new();
    stage.join("i-0c", "us-east-1a");
    stage.join("i-0d", "us-east-1a");
    let all = instances(&stage);
    for (n, arn) in all.iter().enumerate() {
        let attribute = json!([{"name": "rack", "value": (n % 2).to_string(), "targetId": arn}]);
        call::<op::PutAttributes>(&stage, json!({"attributes": attribute})).unwrap();
    }
    let definition = stage.define_with("api:v1", json!({"memory": 200}));
    let run = |members: Value| {
        let mut input = json!({"taskDefinition": definition, "count": 4});
        for (name, value) in members.as_object().unwrap() {
            input[name] = value.clone();
        }
        let output = call::<op::RunTask>(&stage, input).unwrap();
        let on = |task: aws::Task| task.container_instance_arn.unwrap();
        (output.tasks.unwrap().into_iter().map(on).collect::<Vec<_>>(), reasons(output.failures))
    };
    let racks = |on: &[String]| on.iter().map(|arn| all.iter().position(|a| a == arn).unwrap() % 2).collect::<Vec<_>>();
    // Evenly over racks.
    let (on, _) = run(json!({"group": "spread", "placementStrategy": [{"type": "spread", "field": "attribute:rack"}]}));
    let mut by_rack = racks(&on);
    by_rack.sort_unstable();
    assert_eq!(by_rack, [0, 0, 1, 1]);
    // Each on an instance of its own; a fifth finds none.
    let distinct = json!({"group": "distinct", "placementConstraints": [{"type": "distinctInstance"}]});
    let (mut on, failures) = run(distinct.clone());
    on.sort();
    on.dedup();
    assert_eq!((on.len(), failures.len()), (4, 0));
    let (none, failures) = run(distinct);
    assert_eq!(none.len(), 0);
    assert!(failures.iter().all(|reason| reason == "DISTINCT_INSTANCE"), "{failures:?}");
    // Beside another group's task, and away from it.
    let member_of =
        |expression: &str| json!({"placementConstraints": [{"type": "memberOf", "expression": expression}]});
    let (on, _) = run(member_of("task:group == distinct and attribute:rack == 1"));
    assert_eq!(racks(&on), [1, 1, 1, 1]);
    let (on, failures) = run(member_of("not(task:group == distinct)"));
    assert!(on.is_empty() && failures.iter().all(|reason| reason == "ATTRIBUTE"), "{failures:?}");
    // Packed as tight as it goes.
    let (on, _) = run(json!({"group": "packed", "placementStrategy": [{"type": "binpack", "field": "memory"}]}));
    let first: Vec<_> = on.iter().collect();
    assert!(first.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 3, "{on:?}");

    let refused = |members: Value| {
        let mut input = json!({"taskDefinition": definition});
        for (name, value) in members.as_object().unwrap() {
            input[name] = value.clone();
        }
        call::<op::RunTask>(&stage, input).unwrap_err().code
    };
    let many = |n: usize, of: Value| Value::Array(vec![of; n]);
    for wrong in [
        json!({"placementStrategy": many(6, json!({"type": "random"}))}),
        json!({"placementConstraints": many(11, json!({"type": "distinctInstance"}))}),
        json!({"placementStrategy": [{"type": "spread", "field": "rack"}]}),
        json!({"placementStrategy": [{"type": "binpack", "field": "disk"}]}),
        json!({"placementConstraints": [{"type": "distinctInstance", "expression": "attribute:a exists"}]}),
        member_of("attribute:a = b"),
        member_of(&format!("attribute:a == {}", "b".repeat(2000))),
    ] {
        assert_eq!(refused(wrong.clone()), "InvalidParameterException", "{wrong}");
    }
}
