//! Scale-in protection of tasks, by the operations and by the agent's endpoint.

use super::{Stage, id};
use crate::ecs::metadata::{Asker, answer, environment};
use crate::ecs::records::Task;
use quarry_aws::ecs::{self as aws, op};
use quarry_aws::iam;
use quarry_wire::ServiceError;
use serde_json::{Value, json};
use std::time::Duration;

fn protect(stage: &Stage, members: Value) -> Result<aws::UpdateTaskProtectionResponse, ServiceError> {
    let mut input = json!({"cluster": "demo", "protectionEnabled": true});
    for (name, value) in members.as_object().unwrap() {
        input[name] = value.clone();
    }
    stage.world.call::<op::UpdateTaskProtection>(serde_json::from_value(input).unwrap())
}

fn protected(stage: &Stage, tasks: &[String]) -> Vec<bool> {
    let input = json!({"cluster": "demo", "tasks": tasks});
    let shown = stage.world.call::<op::GetTaskProtection>(serde_json::from_value(input).unwrap()).unwrap();
    shown.protected_tasks.unwrap().iter().map(|task| task.protection_enabled.unwrap()).collect()
}

fn ids(stage: &Stage) -> Vec<String> {
    stage.tasks("RUNNING").iter().map(id).collect()
}

#[test]
fn scaling_in_spares_protected_tasks_until_the_time_is_over() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 3, true);
    stage.settle();
    let all = ids(&stage);
    let answered = protect(&stage, json!({"tasks": [all[0], all[2]], "expiresInMinutes": 30})).unwrap();
    let until = answered.protected_tasks.unwrap()[0].expiration_date.unwrap();
    assert_eq!(until.to_string(), "2023-11-14T22:43:20.000Z");
    assert_eq!(protected(&stage, &all), [true, false, true]);

    stage.update(|input| input.desired_count = Some(1));
    stage.settle();
    let mut left = ids(&stage);
    left.sort();
    let mut expected = vec![all[0].clone(), all[2].clone()];
    expected.sort();
    assert_eq!(left, expected, "the one that is not protected went");
    let said = "(service api) was unable to stop tasks that are protected from scale-in: (task ID).";
    assert_eq!(stage.events().iter().filter(|event| *event == said).count(), 1, "{:#?}", stage.events());
    stage.pass_time(Duration::from_secs(29 * 60));
    assert_eq!(ids(&stage).len(), 2);
    stage.pass_time(Duration::from_secs(61));
    assert_eq!(ids(&stage).len(), 1);
    assert_eq!(stage.events().last().unwrap(), "(service api) has reached a steady state.");
}

#[test]
fn the_reconciler_wakes_when_protection_ends() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, false);
    stage.settle();
    protect(&stage, json!({"tasks": ids(&stage), "expiresInMinutes": 1})).unwrap();
    stage.update(|input| input.desired_count = Some(0));
    let due = stage.reconciler.pass().unwrap();
    assert!(due <= Duration::from_secs(60), "{due:?}");
}

#[test]
fn a_deployment_waits_for_protected_tasks_and_goes_on_without_protection() {
    let mut stage = Stage::new();
    let v1 = stage.define("api:v1");
    stage.serve(&v1, 2, true);
    stage.settle();
    let old = ids(&stage);
    protect(&stage, json!({"tasks": [old[0]]})).unwrap();
    let v2 = stage.define("api:v2");
    stage.update(|input| input.task_definition = Some(v2));
    stage.settle();
    let now = ids(&stage);
    assert_eq!(now.len(), 3, "two new ones beside the protected one");
    assert!(now.contains(&old[0]) && !now.contains(&old[1]));
    let states = |stage: &Stage| -> Vec<String> {
        stage.service().deployments.unwrap().iter().map(|d| d.rollout_state.clone().unwrap()).collect()
    };
    assert_eq!(states(&stage), ["IN_PROGRESS", "COMPLETED"]);
    // Unhealthy or stopped by hand it would go all the same; its protection is taken away.
    let answered = protect(&stage, json!({"tasks": [old[0]], "protectionEnabled": false})).unwrap();
    assert_eq!(answered.protected_tasks.unwrap()[0].protection_enabled, Some(false));
    stage.settle();
    assert_eq!((ids(&stage).len(), states(&stage)), (2, vec!["COMPLETED".to_owned()]));
}

#[test]
fn who_cannot_be_protected() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, false);
    let run =
        aws::RunTaskRequest { cluster: Some("demo".into()), task_definition: Some(definition), ..Default::default() };
    let alone = id(&stage.world.call::<op::RunTask>(run).unwrap().tasks.unwrap()[0]);
    stage.settle();
    let reasons = |answered: aws::UpdateTaskProtectionResponse| -> Vec<String> {
        answered.failures.unwrap().into_iter().map(|failure| failure.reason.unwrap()).collect()
    };
    assert_eq!(reasons(protect(&stage, json!({"tasks": [alone, "nobody"]})).unwrap()), ["MISSING", "TASK_NOT_VALID"]);
    // More protected tasks than are wanted would hold up every deployment.
    let own: Vec<String> = ids(&stage).into_iter().filter(|id| *id != alone).collect();
    stage.update(|input| input.desired_count = Some(0));
    assert_eq!(reasons(protect(&stage, json!({"tasks": own})).unwrap()), ["DEPLOYMENT_BLOCKED"]);
    for wrong in [json!({"tasks": []}), json!({"tasks": own, "expiresInMinutes": 2881})] {
        assert_eq!(protect(&stage, wrong).unwrap_err().code, "InvalidParameterException");
    }
}

#[test]
fn a_task_protects_itself_by_its_agent() {
    let mut stage = Stage::new();
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole",
    }]});
    let input = json!({"RoleName": "api", "AssumeRolePolicyDocument": trust.to_string()});
    stage.world.call::<iam::op::CreateRole>(serde_json::from_value(input).unwrap()).unwrap();
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "ecs:*TaskProtection", "Resource": "*",
    }]});
    let input = json!({"RoleName": "api", "PolicyName": "protect", "PolicyDocument": policy.to_string()});
    stage.world.call::<iam::op::PutRolePolicy>(serde_json::from_value(input).unwrap()).unwrap();
    let input = json!({"family": "api", "taskRoleArn": "api", "containerDefinitions": [
        {"name": "api", "image": "api:v1", "memory": 64}]});
    stage.world.call::<op::RegisterTaskDefinition>(serde_json::from_value(input).unwrap()).unwrap();
    stage.serve("api", 2, false);
    stage.settle();
    let tasks = stage.world.platform.store.read(|tx| tx.all::<Task>()).unwrap();
    let uri = |task: &Task| {
        let variables = environment(&stage.world.platform, task, &task.containers[0]);
        let uri = variables.into_iter().find(|(name, _)| name == "ECS_AGENT_URI").unwrap().1;
        format!("{}/task-protection/v1/state", uri.strip_prefix("http://169.254.170.2").unwrap())
    };
    let ask = |by: &Task, path: &str, body: Option<&str>| {
        let asker = Asker::Task(by.address.unwrap());
        let body = body.map(str::as_bytes);
        let response = answer(&stage.world.platform, &stage.world.operations, asker, path, body);
        (response.status().as_u16(), serde_json::from_slice::<Value>(response.body()).unwrap())
    };
    let own = uri(&tasks[0]);
    let state = |enabled, until: Value| json!({"protection": {"ExpirationDate": until, "ProtectionEnabled": enabled, "TaskArn": tasks[0].arn}});
    assert_eq!(ask(&tasks[0], &own, None), (200, state(false, Value::Null)));
    let body = r#"{"ProtectionEnabled":true,"ExpiresInMinutes":60}"#;
    assert_eq!(ask(&tasks[0], &own, Some(body)), (200, state(true, "2023-11-14T23:13:22Z".into())));
    assert_eq!(protected(&stage, &[tasks[0].id.clone(), tasks[1].id.clone()]), [true, false]);
    for wrong in ["", "{}", r#"{"ExpiresInMinutes":60}"#, r#"{"ProtectionEnabled":true,"ExpiresInMinutes":0}"#] {
        let (status, refused) = ask(&tasks[0], &own, Some(wrong));
        assert_eq!((status, &refused["error"]["Code"]), (400, &json!("InvalidParameterException")), "{wrong}");
        assert_eq!(refused["error"]["Arn"], tasks[0].arn.as_str());
    }
    assert_eq!(ask(&tasks[1], &own, Some(body)).0, 404, "another task's");
    // It may do what its role may.
    let input = json!({"RoleName": "api", "PolicyName": "protect"});
    stage.world.call::<iam::op::DeleteRolePolicy>(serde_json::from_value(input).unwrap()).unwrap();
    let (status, refused) = ask(&tasks[0], &own, Some(r#"{"ProtectionEnabled":false}"#));
    assert_eq!((status, &refused["error"]["Code"]), (400, &json!("AccessDeniedException")), "{refused}");
    assert_eq!(protected(&stage, std::slice::from_ref(&tasks[0].id)), [true]);
    assert_eq!(ask(&tasks[0], "/v4/x", Some(body)).0, 405);
}

#[test]
fn without_a_role_the_agent_refuses() {
    let mut stage = Stage::new();
    let definition = stage.define("api:v1");
    stage.serve(&definition, 1, false);
    stage.settle();
    let task = stage.world.platform.store.read(|tx| tx.all::<Task>()).unwrap().remove(0);
    let path = format!("/api/{}/task-protection/v1/state", task.containers[0].id);
    let asker = Asker::Task(task.address.unwrap());
    let response = answer(&stage.world.platform, &stage.world.operations, asker, &path, None);
    let refused: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!((response.status().as_u16(), &refused["error"]["Code"]), (403, &json!("AccessDeniedException")));
}
