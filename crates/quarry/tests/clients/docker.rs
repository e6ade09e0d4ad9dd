//! docker itself: its login, build, tag and push as the tutorial has them, and the image runs.

use crate::EXE;
use crate::dockerd::Dockerd;
use crate::registry::{DOCKERFILE, program};
use crate::shell::{Shell, said};
use quarry_testkit::{Platform, wait_for};
use serde_json::json;
use std::path::{Path, PathBuf};

#[test]
fn docker_logs_in_builds_and_pushes_and_the_image_runs() {
    let dir = tempfile::Builder::new().prefix("qd").tempdir_in("/tmp").unwrap();
    let Some(dockerd) = Dockerd::start(dir.path()) else { return };
    let Some(_) = quarry_testkit::client_program("aws") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let run = |line: &str| {
        let mut command = shell.command(Path::new("bash"));
        command.args(["-c", line]).current_dir(dir.path());
        dockerd.env(&mut command);
        said(command.output().unwrap())
    };
    let uri = shell.aws_text("ecr create-repository --repository-name api --query repository.repositoryUri");
    let (host, _) = uri.split_once('/').unwrap();

    // The image, and a push of somebody who has not logged in.
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    program(&context);
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
    let built = run("docker build -t api context").unwrap();
    assert!(built.contains("Successfully tagged api:latest"), "{built}");
    run(&format!("docker tag api:latest {uri}:v1")).unwrap();
    let refused = run(&format!("docker push {uri}:v1")).unwrap_err();
    assert!(refused.contains("no basic auth credentials"), "{refused}");
    let refused = run(&format!("echo wrong | docker login --username AWS --password-stdin {host}")).unwrap_err();
    assert!(refused.contains("401"), "{refused}");

    // The three ways to log in that the tutorials have.
    for login in [
        format!("docker login -u AWS -p $(aws ecr get-login-password --region $AWS_REGION) {host}"),
        format!("aws ecr get-login-password | docker login --username AWS --password-stdin {host}"),
        // The CLI's version 2 has it no more.
        "case $(aws --version 2>&1) in aws-cli/1.*) $(aws ecr get-login --no-include-email) ;; \
           *) echo Login Succeeded ;; esac"
            .to_owned(),
    ] {
        let said = run(&login).unwrap();
        assert!(said.contains("Login Succeeded"), "{login}: {said}");
    }
    let pushed = run(&format!("docker push {uri}:v1")).unwrap();
    let digest = pushed.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let image = shell.aws_ok("ecr describe-images --repository-name api --query imageDetails[0]");
    assert_eq!((&image["imageTags"], &image["imageDigest"]), (&json!(["v1"]), &json!(digest)), "{pushed}");
    // What is there already is not sent again; what is there comes back.
    run(&format!("docker tag api:latest {uri}:v2")).unwrap();
    let again = run(&format!("docker push {uri}:v2")).unwrap();
    assert!(again.contains("Layer already exists") && again.contains(digest), "{again}");
    run(&format!("docker image rm --force api:latest {uri}:v1 {uri}:v2")).unwrap();
    let pulled = run(&format!("docker pull {uri}:v1")).unwrap();
    assert!(pulled.contains(digest), "{pulled}");

    // It runs as a task.
    let container = json!([{"name": "api", "image": format!("{uri}:v1"), "stopTimeout": 2}]);
    shell.aws_ok(&format!(
        "ecs register-task-definition --family api --network-mode awsvpc --requires-compatibilities FARGATE \
         --cpu 256 --memory 512 --container-definitions '{container}'"
    ));
    let vpc = shell.aws_text("ec2 create-vpc --cidr-block 10.9.0.0/16 --query Vpc.VpcId");
    let subnet =
        shell.aws_text(&format!("ec2 create-subnet --vpc-id {vpc} --cidr-block 10.9.1.0/24 --query Subnet.SubnetId"));
    shell.aws_ok("ecs create-cluster --cluster-name demo");
    let task = shell.aws_text(&format!(
        "ecs run-task --cluster demo --launch-type FARGATE --task-definition api \
         --network-configuration 'awsvpcConfiguration={{subnets=[{subnet}]}}' --query tasks[0].taskArn"
    ));
    let describe = format!("ecs describe-tasks --cluster demo --tasks {task} --query tasks[0]");
    let running = wait_for("the task runs", || {
        let task = shell.aws_ok(&describe);
        assert_ne!(task["lastStatus"], "STOPPED", "{task:#}");
        (task["lastStatus"] == "RUNNING").then_some(task)
    });
    assert_eq!(running["containers"][0]["imageDigest"], json!(digest), "{running:#}");
    shell.aws_ok(&format!("ecs stop-task --cluster demo --task {task}"));
    shell.aws_ok(&format!("ecs wait tasks-stopped --cluster demo --tasks {task}"));
}

/// What `deploy/deploy.sh` has in place of the board's programs: its own are compiled for minutes.
fn binaries(dir: &Path) -> PathBuf {
    let binaries = dir.join("binaries");
    std::fs::create_dir(&binaries).unwrap();
    let built = program(&binaries);
    for service in ["users", "threads", "posts", "api"] {
        std::fs::copy(&built, binaries.join(format!("board-{service}"))).unwrap();
    }
    binaries
}

#[test]
fn the_script_builds_pushes_and_deploys_three_services() {
    const STACK: &str = "BreakTheMonolith-Demo";
    let dir = tempfile::Builder::new().prefix("qd").tempdir_in("/tmp").unwrap();
    let Some(dockerd) = Dockerd::start(dir.path()) else { return };
    let Some(_) = quarry_testkit::client_program("aws") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let script = |stack: &str, options: &[&str]| {
        let mut command = shell.command(Path::new("deploy/deploy.sh"));
        command.args(options).arg("--binaries").arg(binaries(dir.path())).args([shell.var("AWS_REGION"), stack]);
        dockerd.env(&mut command);
        let said = said(command.output().unwrap());
        std::fs::remove_dir_all(dir.path().join("binaries")).unwrap();
        said
    };
    let refused = script("nobody", &[]).unwrap_err();
    assert!(refused.contains("Stack with id nobody does not exist"), "{refused}");
    shell.aws_ok(&format!(
        "cloudformation create-stack --stack-name {STACK} --template-body file://deploy/cloudformation/ecs.yml \
         --capabilities CAPABILITY_NAMED_IAM"
    ));
    let status = format!("cloudformation describe-stacks --stack-name {STACK} --query Stacks[0].StackStatus");
    wait_for("the stack is made", || (shell.aws_ok(&status) == "CREATE_COMPLETE").then_some(()));

    // First as before a cut: all of it goes to the monolith, and the services are there.
    let printed = script(STACK, &["--cut"]).unwrap_or_else(|said| panic!("{said}\nserve said:\n{}", platform.log()));
    assert_eq!(printed.lines().count(), 3, "{printed}");
    let listener = "$(aws elbv2 describe-listeners --load-balancer-arn \
         $(aws elbv2 describe-load-balancers --names demo --query LoadBalancers[0].LoadBalancerArn --output text) \
         --query Listeners[0].ListenerArn --output text)";
    let weights = shell.run(&format!(
        "aws elbv2 describe-rules --listener-arn {listener} \
         --query 'Rules[].Actions[0].ForwardConfig.TargetGroups[].Weight' --output json"
    ));
    let weights: serde_json::Value = serde_json::from_str(&weights.unwrap()).unwrap();
    assert_eq!(weights, json!([1, 0, 1, 0, 1, 0, 1]));
    let environment = shell.aws_ok(
        "ecs describe-task-definition --task-definition posts \
         --query \"taskDefinition.containerDefinitions[0].environment[?starts_with(name,'CUT')]\"",
    );
    let expected = json!([{"name": "CUT_ADMIN_PORT", "value": "9102"}, {"name": "CUT_DESTINATION", "value": "posts"}]);
    assert_eq!(environment, expected);

    let printed = script(STACK, &[]).unwrap_or_else(|said| panic!("{said}\nserve said:\n{}", platform.log()));
    let paths: Vec<_> = printed.lines().filter_map(|url| url.split_once("/api/")).map(|(_, name)| name).collect();
    assert_eq!(paths, ["users", "threads", "posts"], "{printed}");
    let services = shell.aws_ok(&format!(
        "ecs describe-services --cluster {STACK} --services users threads posts \
         --query 'services[].[serviceName,runningCount]'"
    ));
    assert_eq!(services, json!([["users", 1], ["threads", 1], ["posts", 1]]));
    let rules = shell.run(&format!(
        "aws elbv2 describe-rules --listener-arn {listener} --query 'Rules[].Conditions[0].Values[0]' --output json"
    ));
    let rules: serde_json::Value = serde_json::from_str(&rules.unwrap()).unwrap();
    assert_eq!(rules, json!(["/api/users*", "/api/threads*", "/api/posts*", "/api*"]));
}
