//! Task roles: who may be assumed, and what a task is told at its metadata endpoint.

use super::{Stage, id};
use crate::ecs::metadata::{Asker, PATH, answer, environment};
use crate::ecs::records::Task;
use crate::sts;
use http::StatusCode;
use quarry_aws::ecs::{self as aws, op};
use quarry_aws::iam;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

const ROLE: &str = "arn:aws:iam::000000000000:role/shop/api";

fn role(stage: &Stage, name: &str, service: &str) {
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole",
    }]});
    let input = iam::CreateRoleRequest {
        role_name: Some(name.into()),
        path: Some("/shop/".into()),
        assume_role_policy_document: Some(trust.to_string()),
        ..Default::default()
    };
    stage.world.call::<iam::op::CreateRole>(input).unwrap();
}

fn define(stage: &Stage, role: &str) -> Result<aws::TaskDefinition, quarry_wire::ServiceError> {
    let input = json!({
        "family": "api", "taskRoleArn": role,
        "containerDefinitions": [{"name": "api", "image": "api:v1", "memory": 64, "dockerLabels": {"team": "shop"}}],
    });
    let registered = stage.world.call::<op::RegisterTaskDefinition>(serde_json::from_value(input).unwrap())?;
    Ok(registered.task_definition.unwrap())
}

fn run(stage: &Stage) -> Result<String, quarry_wire::ServiceError> {
    let input = json!({"cluster": "demo", "taskDefinition": "api"});
    let started = stage.world.call::<op::RunTask>(serde_json::from_value(input).unwrap())?;
    Ok(id(&started.tasks.unwrap()[0]))
}

fn record(stage: &Stage, id: &str) -> Task {
    stage.world.platform.store.read(|tx| tx.get::<Task>(id)).unwrap().unwrap()
}

fn ask(stage: &Stage, source: Option<Ipv4Addr>, path: &str) -> (StatusCode, Value) {
    let asker = source.map_or(Asker::Process, Asker::Task);
    let response = answer(&stage.world.platform, &stage.world.operations, asker, path, None);
    (response.status(), serde_json::from_slice(response.body()).unwrap())
}

#[test]
fn a_role_that_cannot_be_assumed_starts_no_task() {
    let mut stage = Stage::new();
    for wrong in ["arn:aws:iam::111111111111:role/api", "arn:aws:sns:us-east-1:1:x", "a b"] {
        let refused = define(&stage, wrong).unwrap_err();
        assert_eq!(
            (refused.code.as_str(), refused.message.as_str()),
            ("ClientException", "Role is not valid"),
            "{wrong}"
        );
    }
    // A name is completed, and need not be there yet.
    assert_eq!(define(&stage, "shop/api").unwrap().task_role_arn.as_deref(), Some(ROLE));
    let words = format!("ECS was unable to assume the role '{ROLE}' that was provided for this task.");
    assert!(run(&stage).unwrap_err().message.starts_with(&words));
    role(&stage, "api", "ec2.amazonaws.com");
    assert!(run(&stage).unwrap_err().message.starts_with(&words), "its trust policy lets nobody else in");
    stage.serve("api", 1, false);
    stage.settle();
    assert!(stage.events()[0].starts_with("(service api) failed to launch a task with (error "));
    assert!(stage.events()[0].contains(&words));
    assert!(stage.tasks("RUNNING").is_empty());
}

#[test]
fn a_task_gets_its_roles_credentials_and_no_other_does() {
    let mut stage = Stage::new();
    role(&stage, "api", "ecs-tasks.amazonaws.com");
    define(&stage, ROLE).unwrap();
    let (one, two) = (run(&stage).unwrap(), run(&stage).unwrap());
    stage.settle();
    let (one, two) = (record(&stage, &one), record(&stage, &two));
    let spec = stage.world.runtime.launched.lock().unwrap().iter().find(|spec| spec.id == one.id).unwrap().clone();
    let variable = |name: &str| {
        let entry = spec.containers[0].env.iter().find_map(|entry| entry.strip_prefix(&format!("{name}=")));
        entry.unwrap_or_else(|| panic!("{name} is not set")).to_owned()
    };
    let uri = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let (status, given) = ask(&stage, one.address, &uri);
    assert_eq!((status, &given["RoleArn"]), (StatusCode::OK, &json!(ROLE)));
    let key = given["AccessKeyId"].as_str().unwrap().to_owned();
    let session = stage.world.transact(|ctx| Ok(sts::credentials(ctx.tx, &key)?)).unwrap().unwrap();
    assert_eq!(session.arn, format!("arn:aws:sts::000000000000:assumed-role/api/{}", one.id));
    assert_eq!(given["SecretAccessKey"], session.secret_access_key);
    assert_eq!(given["Token"], session.session_token);
    assert_eq!(given["Expiration"], "2023-11-15T04:13:20Z");

    // The same while they are good for long, others then.
    assert_eq!(ask(&stage, one.address, &uri).1["AccessKeyId"], key.as_str());
    stage.world.door.advance(Duration::from_secs(5 * 3600 + 60));
    assert_ne!(ask(&stage, one.address, &uri).1["AccessKeyId"], key.as_str());

    // To nobody else, even one who knows the id.
    for other in [two.address, Some(Ipv4Addr::new(198, 18, 200, 1)), None] {
        let path = if other.is_some() { uri.clone() } else { format!("{PATH}{uri}") };
        let (status, refused) = ask(&stage, other, &path);
        assert_eq!((status, &refused["code"]), (StatusCode::BAD_REQUEST, &json!("InvalidIdInRequest")), "{other:?}");
    }
    assert_eq!(ask(&stage, one.address, "/v2/credentials/1").0, StatusCode::BAD_REQUEST);

    // Over with the task.
    let last = ask(&stage, one.address, &uri).1["AccessKeyId"].as_str().unwrap().to_owned();
    let input = aws::StopTaskRequest { cluster: Some("demo".into()), task: Some(one.id.clone()), ..Default::default() };
    stage.world.call::<op::StopTask>(input).unwrap();
    stage.settle();
    assert_eq!(ask(&stage, one.address, &uri).0, StatusCode::BAD_REQUEST);
    assert_eq!(stage.world.transact(|ctx| Ok(sts::credentials(ctx.tx, &last)?)).unwrap(), None);
    assert_eq!(ask(&stage, two.address, &environment_uri(&stage, &two)).0, StatusCode::OK);
}

fn environment_uri(stage: &Stage, task: &Task) -> String {
    let variables = environment(&stage.world.platform, task, &task.containers[0]);
    variables.into_iter().find(|(name, _)| name == "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").unwrap().1
}

#[test]
fn a_task_is_told_what_it_is() {
    let mut stage = Stage::new();
    role(&stage, "api", "ecs-tasks.amazonaws.com");
    define(&stage, ROLE).unwrap();
    stage.serve("api", 2, false);
    stage.settle();
    let tasks = stage.world.platform.store.read(|tx| tx.all::<Task>()).unwrap();
    let variables = environment(&stage.world.platform, &tasks[0], &tasks[0].containers[0]);
    let uri = &variables.iter().find(|(name, _)| name == "ECS_CONTAINER_METADATA_URI_V4").unwrap().1;
    let path = uri.strip_prefix("http://169.254.170.2").unwrap();
    let (status, container) = ask(&stage, tasks[0].address, path);
    assert_eq!(
        (status, &container["Name"], &container["KnownStatus"]),
        (StatusCode::OK, &json!("api"), &json!("RUNNING"))
    );
    assert_eq!(container["Labels"]["team"], "shop");
    assert_eq!(container["Labels"]["com.amazonaws.ecs.task-arn"], tasks[0].arn.as_str());
    assert_eq!(container["Networks"][0]["IPv4Addresses"][0], tasks[0].private_address.unwrap().to_string());
    let (_, task) = ask(&stage, tasks[0].address, &format!("{path}/task"));
    assert_eq!((&task["TaskARN"], &task["Family"]), (&json!(tasks[0].arn), &json!("api")));
    assert_eq!((&task["ServiceName"], &task["LaunchType"]), (&json!("api"), &json!("EC2")));
    assert_eq!(task["Containers"][0], container);
    assert_eq!(ask(&stage, tasks[1].address, path).0, StatusCode::NOT_FOUND, "another task's");
    assert_eq!(ask(&stage, tasks[0].address, "/v4/x/stats").0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&stage, tasks[0].address, &format!("{path}/other")).0, StatusCode::NOT_FOUND);

    // Statistics, as Docker's clients read them; the second time with what was before.
    let mut network = quarry_domain::task::NetworkStats { rx_bytes: 1_000, tx_bytes: 9, ..Default::default() };
    let mut use_of = |cpu_ns: u64, rx_bytes: u64| {
        network.rx_bytes = rx_bytes;
        let stats = quarry_domain::task::ContainerStats {
            name: "api".into(),
            cpu_ns,
            machine_cpu_ns: 10 * cpu_ns,
            processors: 2,
            memory: 4096,
            memory_limit: 1 << 28,
            memory_details: [("cache".to_owned(), 7)].into(),
            processes: Some(3),
            networks: [("eth0".to_owned(), network)].into(),
            ..Default::default()
        };
        stage.world.runtime.stats.lock().unwrap().insert(tasks[0].id.clone(), vec![stats]);
    };
    use_of(100, 1_000);
    let (status, first) = ask(&stage, tasks[0].address, &format!("{path}/stats"));
    assert_eq!((status, &first["cpu_stats"]["cpu_usage"]["total_usage"]), (StatusCode::OK, &json!(100)));
    assert_eq!(first["precpu_stats"]["cpu_usage"]["total_usage"], 0);
    assert_eq!((&first["preread"], &first["network_rate_stats"]), (&json!("0001-01-01T00:00:00Z"), &json!(null)));
    stage.world.door.advance(Duration::from_secs(2));
    use_of(300, 5_000);
    let (_, all) = ask(&stage, tasks[0].address, &format!("{path}/task/stats"));
    let second = &all[container["DockerId"].as_str().unwrap()];
    assert_eq!(second["cpu_stats"]["system_cpu_usage"], 3000);
    assert_eq!(second["precpu_stats"], first["cpu_stats"]);
    assert_eq!((&second["memory_stats"]["usage"], &second["memory_stats"]["limit"]), (&json!(4096), &json!(1 << 28)));
    assert_eq!((&second["pids_stats"]["current"], &second["memory_stats"]["stats"]["cache"]), (&json!(3), &json!(7)));
    assert_eq!(second["networks"]["eth0"]["rx_bytes"], 5_000);
    assert_eq!(second["network_rate_stats"]["rx_bytes_per_sec"], 2_000.0);
    assert_eq!(ask(&stage, tasks[1].address, &format!("{path}/stats")).0, StatusCode::NOT_FOUND, "another task's");
}
