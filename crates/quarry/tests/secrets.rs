//! Secrets as a person uses them with the aws CLI: from the CLI into a task's environment, and nowhere
//! in the data directory in clear.

#[path = "clients/shell.rs"]
mod shell;
mod stage;

use quarry_testkit::{Platform, image, wait_for};
use serde_json::{Value, json};
use shell::Shell;
use stage::EXE;
use std::path::Path;

const PASSWORD: &str = "correct-horse-battery-staple";
const KEY: &str = "tr0ub4dor-and-3-more-words";

/// As the container's program counts it.
fn fingerprint(text: &str) -> String {
    let hash =
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{} {hash:016x}", text.len())
}

/// Every file below that holds one of the texts.
fn holding(directory: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(holding(&path, texts)),
            Ok(kind) if kind.is_file() => {
                let bytes = std::fs::read(&path).unwrap_or_default();
                let holds = |text: &&&str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
                found.extend(texts.iter().find(holds).map(|text| format!("{}: {text}", path.display())));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn a_secret_and_a_parameter_reach_the_task_and_nothing_else() {
    let Some(_) = quarry_testkit::client_program("aws") else { return };
    let mut platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let dir = tempfile::tempdir().unwrap();

    let value = json!({"user": "board", "password": PASSWORD});
    let secret =
        shell.aws_text(&format!("secretsmanager create-secret --name board/db --secret-string '{value}' --query ARN"));
    shell.aws_ok(&format!("ssm put-parameter --name /board/key --type SecureString --value {KEY}"));
    let read = format!("secretsmanager get-secret-value --secret-id {secret} --query SecretString");
    assert_eq!(shell.aws_text(&read), value.to_string());
    let read = "ssm get-parameter --name /board/key --query Parameter.Value";
    assert_ne!(shell.aws_text(read), KEY);
    assert_eq!(shell.aws_text(&format!("{read} --with-decryption")), KEY);
    shell.aws_refused("secretsmanager get-secret-value --secret-id board", "ResourceNotFoundException");

    let program = dir.path().join("show");
    image::compile(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/secrets/show.rs")), &program).unwrap();
    let image = platform.push("show", "v1", image::of_program(&program).unwrap()).unwrap();
    shell.aws_ok("logs create-log-group --log-group-name show");
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let role = shell.aws_text(&format!(
        "iam create-role --role-name execution --assume-role-policy-document '{trust}' --query Role.Arn"
    ));
    let definition = |secrets: Value| {
        let container = json!({
            "name": "show",
            "image": image,
            "environment": [{"name": "PLAIN", "value": "plain"}],
            "secrets": secrets,
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "show", "awslogs-region": shell.var("AWS_REGION"), "awslogs-stream-prefix": "s"}},
        });
        shell.aws_text(&format!(
            "ecs register-task-definition --family show --network-mode awsvpc --requires-compatibilities FARGATE \
             --cpu 256 --memory 512 --execution-role-arn {role} --container-definitions '{}' \
             --query taskDefinition.taskDefinitionArn",
            json!([container])
        ))
    };
    let vpc = shell.aws_text("ec2 create-vpc --cidr-block 10.9.0.0/16 --query Vpc.VpcId");
    let subnet =
        shell.aws_text(&format!("ec2 create-subnet --vpc-id {vpc} --cidr-block 10.9.1.0/24 --query Subnet.SubnetId"));
    shell.aws_ok("ecs create-cluster --cluster-name demo");
    let run = |definition: &str| {
        shell.aws_text(&format!(
            "ecs run-task --cluster demo --launch-type FARGATE --task-definition {definition} \
             --network-configuration 'awsvpcConfiguration={{subnets=[{subnet}]}}' --query tasks[0].taskArn"
        ))
    };
    let stopped = |task: &str| {
        let reason = format!("ecs describe-tasks --cluster demo --tasks {task} --query tasks[0].stoppedReason");
        wait_for("it stops", || shell.aws(&reason).ok()?.as_str().map(str::to_owned))
    };
    // Without rights the execution role neither writes logs nor pulls nor reads; each is said when the one before is given.
    let key = json!([{"name": "KEY", "valueFrom": "/board/key"}]);
    let attach = |policy: &str| {
        shell.aws_ok(&format!(
            "iam attach-role-policy --role-name execution --policy-arn arn:aws:iam::aws:policy/{policy}"
        ));
    };
    let not_allowed = |action: &str| {
        let reason = stopped(&run(&definition(key.clone())));
        assert!(reason.contains("AccessDeniedException: User: arn:aws:sts::"), "{reason}");
        assert!(reason.contains(&format!("is not authorized to perform: {action} on resource: ")), "{reason}");
        reason
    };
    assert!(
        not_allowed("logs:CreateLogStream").starts_with("ResourceInitializationError: failed to validate logger args")
    );
    attach("CloudWatchLogsFullAccess");
    not_allowed("ecr:GetAuthorizationToken");
    attach("service-role/AmazonECSTaskExecutionRolePolicy");
    let refused = not_allowed("ssm:GetParameters");
    assert!(refused.contains("parameter/board/key because no identity-based policy allows"), "{refused}");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["ssm:GetParameters", "secretsmanager:GetSecretValue"], "Resource": "*"}]});
    shell.aws_ok(&format!(
        "iam put-role-policy --role-name execution --policy-name secrets --policy-document '{policy}'"
    ));
    let task = run(&definition(json!([
        {"name": "PASSWORD", "valueFrom": format!("{secret}:password::")},
        {"name": "USER_NAME", "valueFrom": format!("{secret}:user::")},
        {"name": "KEY", "valueFrom": "/board/key"},
    ])));
    let id = task.rsplit('/').next().unwrap().to_owned();
    let printed = wait_for("the container has said what it sees", || {
        let stream = format!("logs get-log-events --log-group-name show --log-stream-name s/show/{id}");
        let lines = shell.aws(&format!("{stream} --query events[].message")).ok()?;
        let lines: Vec<String> = serde_json::from_value(lines).ok()?;
        lines.contains(&"done".to_owned()).then_some(lines)
    });
    let expected = [("PASSWORD", PASSWORD), ("USER_NAME", "board"), ("KEY", KEY), ("PLAIN", "plain")];
    for (name, value) in expected {
        assert!(printed.contains(&format!("{name} {}", fingerprint(value))), "{name}: {printed:?}");
    }

    // Neither an answer nor a file shows a value; the next serve adopts the task without them.
    let described = shell.aws_ok(&format!("ecs describe-tasks --cluster demo --tasks {task}")).to_string()
        + &shell.aws_ok("ecs describe-task-definition --task-definition show").to_string();
    assert!(!described.contains(PASSWORD) && !described.contains(KEY), "{described}");
    let plain = holding(&platform.data_dir().join("tasks").join(&id), &["PLAIN=plain"]);
    assert_eq!(plain.len(), 1, "what is no secret is in the task's specification: {plain:?}");
    assert_eq!(holding(platform.data_dir(), &[PASSWORD, KEY]), Vec::<String>::new());
    platform.kill_serve().unwrap();
    platform.restart_serve().unwrap();
    let status = format!("ecs describe-tasks --cluster demo --tasks {task} --query tasks[0].lastStatus");
    wait_for("the task is adopted", || (shell.aws(&status).ok()? == "RUNNING").then_some(()));
    assert_eq!(shell.aws_ok(&format!("{read} --with-decryption")), KEY);
    assert_eq!(holding(platform.data_dir(), &[PASSWORD, KEY]), Vec::<String>::new());

    // What is missing is said.
    let task = run(&definition(json!([{"name": "KEY", "valueFrom": "/board/gone"}])));
    let reason = stopped(&task);
    assert!(reason.starts_with("ResourceInitializationError: unable to pull secrets"), "{reason}");
    assert!(reason.contains("ParameterNotFound"), "{reason}");
}
