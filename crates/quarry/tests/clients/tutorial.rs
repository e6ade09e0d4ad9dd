//! The tutorial, as its reader types it: a stack, a repository, a target group, a listener with a rule,
//! a task definition, a service, and the cleaning up.

use crate::EXE;
use crate::raw::{Raw, json};
use crate::shell::{Shell, said};
use quarry_testkit::{Platform, client_program, wait_for};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;

const STACK: &str = "BreakTheMonolith-Demo";
const DEPLOY: &str = "aws cloudformation deploy --template-file deploy/cloudformation/ecs.yml \
                      --stack-name BreakTheMonolith-Demo";

/// The document's task definition, numbers as texts.
fn task_definition(account: &str, region: &str) -> Value {
    json!({
        "containerDefinitions": [{
            "name": "api",
            "image": format!("{account}.dkr.ecr.{region}.amazonaws.com/api:v1"),
            "memoryReservation": "256",
            "cpu": "256",
            "essential": true,
            "portMappings": [{"hostPort": "0", "containerPort": "3000", "protocol": "tcp"}],
        }],
        "volumes": [],
        "networkMode": "bridge",
        "placementConstraints": [],
        "family": "api",
    })
}

#[test]
fn the_tutorial_as_it_is_typed() {
    let Some(_) = client_program("aws") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let raw = Raw::new(&shell);
    let before = raw.inventory();

    // Without the capabilities, nothing is made but an empty stack's review.
    let refused = shell.run(DEPLOY).unwrap_err();
    assert!(refused.contains("(InsufficientCapabilitiesException)"), "{refused}");
    assert!(refused.contains("Requires capabilities : [CAPABILITY_IAM]"), "{refused}");
    assert_eq!(raw.inventory(), before);

    // `deploy` looks again only after half a minute; the reader goes on in another terminal.
    let mut deploy = shell.command(Path::new("bash"));
    deploy.args(["-c", &format!("{DEPLOY} --capabilities CAPABILITY_NAMED_IAM")]);
    let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = || {
        shell.aws(&format!("cloudformation describe-stacks --stack-name {STACK} --query Stacks[0].StackStatus")).ok()
    };
    wait_for("the stack is made", || (status()? == "CREATE_COMPLETE").then_some(()));
    let outputs =
        shell.aws_ok(&format!("cloudformation describe-stacks --stack-name {STACK} --query Stacks[0].Outputs"));
    let output = |key: &str| {
        let found = outputs.as_array().unwrap().iter().find(|o| o["OutputKey"] == key);
        found.unwrap_or_else(|| panic!("no output {key} in {outputs:#}"))["OutputValue"].as_str().unwrap().to_owned()
    };
    assert_eq!(output("ClusterName"), STACK);
    assert!(output("ECSRole").contains(":role/BreakTheMonolith-Demo-ECSServiceRole-"), "{outputs:#}");
    let (balancer, region) = (output("ALBArn"), shell.var("AWS_REGION").to_owned());
    let instances = shell.aws_ok(&format!("ecs list-container-instances --cluster {STACK}"));
    assert_eq!(instances["containerInstanceArns"].as_array().unwrap().len(), 2);

    // The repository.
    let repository = shell.aws_ok("ecr create-repository --repository-name api")["repository"].clone();
    let account = repository["registryId"].as_str().unwrap().to_owned();
    assert!(repository["repositoryUri"].as_str().unwrap().ends_with("/api"), "{repository:#}");
    shell.aws_refused("ecr create-repository --repository-name api", "RepositoryAlreadyExistsException");
    let password = shell.run("aws ecr get-login-password").unwrap();
    assert!(password.trim().len() >= 32, "a short password");

    // Target group, listener, rule.
    let group = shell.aws_text(&format!(
        "elbv2 create-target-group --region {region} --name api --protocol HTTP --port 80 --vpc-id {} \
         --healthy-threshold-count 2 --unhealthy-threshold-count 2 --health-check-timeout-seconds 5 \
         --health-check-interval-seconds 6 --query TargetGroups[0].TargetGroupArn",
        output("VPCId")
    ));
    let listener = shell.aws_text(&format!(
        "elbv2 create-listener --load-balancer-arn {balancer} --protocol HTTP --port 80 \
         --default-actions Type=forward,TargetGroupArn={group} --query Listeners[0].ListenerArn"
    ));
    let rule = format!(
        "elbv2 create-rule --listener-arn {listener} --priority 1 \
         --conditions 'Field=path-pattern,Values=/api*' --actions Type=forward,TargetGroupArn={group}"
    );
    assert_eq!(shell.aws_ok(&rule)["Rules"][0]["Conditions"][0]["Values"], json!(["/api*"]));
    shell.aws_refused(&rule, "PriorityInUse");
    shell.aws_refused(&format!("elbv2 delete-target-group --target-group-arn {group}"), "ResourceInUse");

    // The task definition: the CLI would refuse texts for numbers, the endpoint takes them as AWS does.
    let definition = task_definition(&account, &region);
    let registered = raw.send(&json("ecs", "RegisterTaskDefinition", definition.to_string()));
    assert_eq!(registered.status, 200, "{registered:?}");
    let container = shell.aws_ok("ecs describe-task-definition --task-definition api")["taskDefinition"].clone();
    let container = &container["containerDefinitions"][0];
    assert_eq!((&container["cpu"], &container["memoryReservation"]), (&json!(256), &json!(256)));
    assert_eq!(container["portMappings"], json!([{"containerPort": 3000, "hostPort": 0, "protocol": "tcp"}]));

    // A service whose image nobody has pushed says so.
    shell.aws_ok(&format!(
        "ecs create-service --cluster {STACK} --service-name api --task-definition api --desired-count 1 \
         --launch-type EC2 --role {} --load-balancers targetGroupArn={group},containerName=api,containerPort=3000",
        output("ECSRole")
    ));
    let stopped = wait_for("a task fails to start", || {
        let list = format!("ecs list-tasks --cluster {STACK} --desired-status STOPPED --query taskArns[0]");
        shell.aws_ok(&list).as_str().map(str::to_owned)
    });
    let task = shell.aws_ok(&format!("ecs describe-tasks --cluster {STACK} --tasks {stopped} --query tasks[0]"));
    let reason = task["stoppedReason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("CannotPullContainerError: "), "{task:#}");
    assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
    let describe = format!("ecs describe-services --cluster {STACK} --services api --query services[0]");
    let service = shell.aws_ok(&describe);
    assert_eq!((&service["runningCount"], &service["desiredCount"]), (&json!(0), &json!(1)));
    let events = service["events"].to_string();
    assert!(events.contains("CannotPullContainerError"), "{events}");

    // Cleaning up. What is in use says so, until it is not.
    let delete = format!("ecs delete-service --cluster {STACK} --service api");
    shell.aws_refused(&delete, "InvalidParameterException");
    shell.aws_ok(&format!("ecs update-service --cluster {STACK} --service api --desired-count 0"));
    assert_eq!(shell.aws_ok(&delete)["service"]["status"], "DRAINING");
    wait_for("the service is gone", || (shell.aws_ok(&describe)["status"] == "INACTIVE").then_some(()));
    shell.aws_ok("ecs deregister-task-definition --task-definition api:1");
    shell.aws_refused(
        &format!("ecs create-service --cluster {STACK} --service-name api --task-definition api:1 --desired-count 1"),
        "ClientException",
    );
    shell.aws_ok(&format!("elbv2 delete-listener --listener-arn {listener}"));
    shell.aws_ok(&format!("elbv2 delete-target-group --target-group-arn {group}"));
    shell.aws_ok("ecr delete-repository --repository-name api --force");

    let said = said(deploy.wait_with_output().unwrap()).unwrap();
    assert!(said.contains("Successfully created/updated stack - BreakTheMonolith-Demo"), "{said}");
    let again = format!("{DEPLOY} --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset");
    let said = shell.run(&again).unwrap();
    assert!(said.contains("No changes to deploy. Stack BreakTheMonolith-Demo is up to date"), "{said}");

    shell.aws_ok(&format!("cloudformation delete-stack --stack-name {STACK}"));
    wait_for("the stack is gone", || status().is_none().then_some(()));
    shell.aws_ok(&format!("cloudformation wait stack-delete-complete --stack-name {STACK}"));
    let refused = shell.aws_refused(&format!("cloudformation describe-stacks --stack-name {STACK}"), "ValidationError");
    assert!(refused.contains("does not exist"), "{refused}");
    shell.aws_refused(&format!("ecs list-services --cluster {STACK}"), "ClusterNotFoundException");
    let after = raw.inventory();
    assert_eq!(after, before);
}
