//! Secrets of containers: where they come from, who may read them, and where they never show.

use super::Stage;
use quarry_aws::ecs::{self as aws, op};
use quarry_aws::{iam, secretsmanager, ssm};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";
const ROLE: &str = "arn:aws:iam::000000000000:role/execution";

fn role(stage: &Stage, service: &str) {
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
    let input = iam::CreateRoleRequest {
        role_name: Some("execution".into()),
        assume_role_policy_document: Some(trust.to_string()),
        ..Default::default()
    };
    stage.world.call::<iam::op::CreateRole>(input).unwrap();
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["ssm:GetParameters", "secretsmanager:GetSecretValue"], "Resource": "*"}]});
    let input = iam::PutRolePolicyRequest {
        role_name: Some("execution".into()),
        policy_name: Some("secrets".into()),
        policy_document: Some(policy.to_string()),
    };
    stage.world.call::<iam::op::PutRolePolicy>(input).unwrap();
}

/// A secret `db` of two versions, and a parameter; returns the secret's ARN.
fn values(stage: &Stage) -> String {
    let create = secretsmanager::CreateSecretRequest {
        name: Some("db".into()),
        secret_string: Some(r#"{"password":"old"}"#.into()),
        ..Default::default()
    };
    let arn = stage.world.call::<secretsmanager::op::CreateSecret>(create).unwrap().arn.unwrap();
    let put = secretsmanager::PutSecretValueRequest {
        secret_id: Some("db".into()),
        secret_string: Some(json!({"password": PASSWORD, "port": 5432}).to_string()),
        ..Default::default()
    };
    stage.world.call::<secretsmanager::op::PutSecretValue>(put).unwrap();
    let parameter = ssm::PutParameterRequest {
        name: Some("/board/key".into()),
        r#type: Some("SecureString".into()),
        value: Some(PASSWORD.into()),
        ..Default::default()
    };
    stage.world.call::<ssm::op::PutParameter>(parameter).unwrap();
    arn
}

fn define(stage: &Stage, members: Value, role: Option<&str>) -> Result<String, quarry_wire::ServiceError> {
    let mut container = json!({"name": "api", "image": "api:v1", "memory": 64});
    container.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let mut input = json!({"family": "api", "containerDefinitions": [container]});
    if let Some(role) = role {
        input["executionRoleArn"] = role.into();
    }
    let input = serde_json::from_value(input).unwrap();
    let output = stage.world.call::<op::RegisterTaskDefinition>(input)?;
    Ok(output.task_definition.unwrap().task_definition_arn.unwrap())
}

/// Starts a task, or says why ECS does not.
fn run(stage: &mut Stage, definition: &str) -> Result<(), String> {
    let input = aws::RunTaskRequest {
        cluster: Some("demo".into()),
        task_definition: Some(definition.into()),
        ..Default::default()
    };
    let started = stage.world.call::<op::RunTask>(input).map_err(|refused| refused.message)?;
    assert_eq!(started.failures, Some(Vec::new()));
    for _ in 0..4 {
        stage.reconciler.pass();
    }
    Ok(())
}

/// Why a task with these secrets was not started, or stopped.
fn stopped_reason(stage: &mut Stage, secrets: Value) -> String {
    let definition = define(stage, json!({ "secrets": secrets }), Some(ROLE)).unwrap();
    let before = stage.tasks("STOPPED").len();
    if let Err(refused) = run(stage, &definition) {
        return refused;
    }
    let mut stopped = stage.tasks("STOPPED");
    assert_eq!(stopped.len(), before + 1, "it does not start");
    stopped.sort_by_key(|task| task.created_at.map(|at| at.millis()));
    let own = |task: &aws::Task| task.task_definition_arn.as_deref() == Some(definition.as_str());
    stopped.into_iter().find(own).unwrap().stopped_reason.unwrap()
}

#[test]
fn values_reach_the_container_and_show_nowhere_else() {
    let mut stage = Stage::new();
    role(&stage, "ecs-tasks.amazonaws.com");
    let secret = values(&stage);
    let definition = define(
        &stage,
        json!({
            "environment": [{"name": "PLAIN", "value": "shown"}],
            "secrets": [
                {"name": "WHOLE", "valueFrom": secret},
                {"name": "PASSWORD", "valueFrom": format!("{secret}:password::")},
                {"name": "PORT_NUMBER", "valueFrom": format!("{secret}:port::")},
                {"name": "OLD", "valueFrom": format!("{secret}:password:AWSPREVIOUS:")},
                {"name": "KEY", "valueFrom": "/board/key"},
                {"name": "KEY2", "valueFrom": "arn:aws:ssm:us-east-1:000000000000:parameter/board/key"},
            ],
        }),
        Some(ROLE),
    )
    .unwrap();
    run(&mut stage, &definition).unwrap();
    let spec = stage.world.runtime.launched.lock().unwrap()[0].clone();
    let container = &spec.containers[0];
    let mut expected = vec![
        format!("WHOLE={}", json!({"password": PASSWORD, "port": 5432})),
        format!("PASSWORD={PASSWORD}"),
        "PORT_NUMBER=5432".to_owned(),
        "OLD=old".to_owned(),
        format!("KEY={PASSWORD}"),
        format!("KEY2={PASSWORD}"),
    ];
    let mut seen = container.secrets.0.clone();
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
    assert!(container.env.contains(&"PLAIN=shown".to_owned()));
    let written = serde_json::to_string(&spec).unwrap();
    let shown = format!("{spec:?} {:?} {}", stage.tasks("RUNNING"), written);
    assert!(!shown.contains(PASSWORD), "what is written and printed holds no value");
    for file in std::fs::read_dir(stage.world.dir()).unwrap() {
        let path = file.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        assert!(!bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()), "{}", path.display());
    }
}

#[test]
fn a_task_without_its_secrets_stops_and_says_why() {
    let mut stage = Stage::new();
    let one = |value_from: &str| json!([{"name": "X", "valueFrom": value_from}]);
    let reason = stopped_reason(&mut stage, one("/board/key"));
    assert!(reason.contains("unable to assume the role"), "{reason}");
    role(&stage, "ecs-tasks.amazonaws.com");
    let secret = values(&stage);
    let cases = [
        ("/gone".to_owned(), "ParameterNotFound"),
        ("arn:aws:secretsmanager:us-east-1:000000000000:secret:gone-AbCdEf".into(), "ResourceNotFoundException"),
        (format!("{secret}:user::"), "did not contain json key user"),
        (format!("{secret}::AWSPENDING:"), "staging label: AWSPENDING"),
    ];
    for (value_from, words) in cases {
        let reason = stopped_reason(&mut stage, one(&value_from));
        assert!(reason.starts_with("ResourceInitializationError: unable to pull secrets"), "{reason}");
        assert!(reason.contains(words) && !reason.contains(PASSWORD), "{reason}");
    }
    assert!(stage.world.runtime.launched.lock().unwrap().is_empty());
}

#[test]
fn a_role_that_ecs_may_not_assume_reads_nothing() {
    let mut stage = Stage::new();
    role(&stage, "ec2.amazonaws.com");
    values(&stage);
    let reason = stopped_reason(&mut stage, json!([{"name": "X", "valueFrom": "/board/key"}]));
    assert!(reason.contains("unable to assume the role"), "{reason}");
}

#[test]
fn what_is_not_offered_is_refused_when_it_is_registered() {
    let stage = Stage::new();
    let secret = json!({"name": "X", "valueFrom": "/board/key"});
    let cases = [
        (json!({"secrets": [secret]}), None, "must also specify a value for 'executionRoleArn'"),
        (json!({"secrets": [{"name": "", "valueFrom": "x"}]}), Some(ROLE), "Invalid secret name"),
        (json!({"secrets": [{"name": "X", "valueFrom": ""}]}), Some(ROLE), "must not be empty"),
        (json!({"secrets": [{"name": "X", "valueFrom": "arn:aws:s3:::b/k"}]}), Some(ROLE), "Invalid secret valueFrom"),
        (json!({"secrets": [secret, secret]}), Some(ROLE), "must be unique"),
        (json!({"secrets": [secret], "environment": [{"name": "X", "value": "1"}]}), Some(ROLE), "must be unique"),
        (json!({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/k"}]}), Some(ROLE), "Amazon S3"),
        (json!({"repositoryCredentials": {"credentialsParameter": "x"}}), Some(ROLE), "repositoryCredentials"),
        (
            json!({"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g"}, "secretOptions": [secret]}}),
            Some(ROLE),
            "secretOptions",
        ),
    ];
    for (members, role, words) in cases {
        let error = define(&stage, members, role).unwrap_err();
        assert_eq!(error.code, "ClientException");
        assert!(error.message.contains(words), "{}", error.message);
    }
}
