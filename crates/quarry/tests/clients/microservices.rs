//! The tutorial's second half, as its reader types it: the services beside the monolith, the traffic
//! moved rule by rule, and the cleaning up, on tasks that really run.

use crate::EXE;
use crate::raw::Raw;
use crate::registry::image;
use crate::shell::Shell;
use quarry_testkit::{Platform, client_program, wait_for};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

const STACK: &str = "BreakTheMonolith-Demo";
const SERVICES: [&str; 4] = ["api", "users", "threads", "posts"];

struct Reader<'a> {
    platform: &'a Platform,
    shell: &'a Shell,
    account: String,
}

impl Reader<'_> {
    /// As typed on the command line, the JSON in quotes.
    fn register(&self, name: &str, answer: &str) -> Value {
        let containers = json!([{
            "name": name,
            "image": format!("{}.dkr.ecr.{}.amazonaws.com/api:v1", self.account, self.shell.var("AWS_REGION")),
            "memoryReservation": 64, "cpu": 64, "essential": true, "stopTimeout": 2,
            "portMappings": [{"hostPort": 0, "containerPort": 3000, "protocol": "tcp"}],
            "environment": [{"name": "ANSWER", "value": answer}],
        }]);
        self.shell.aws_ok(&format!(
            "ecs register-task-definition --family {name} --network-mode bridge --volumes '[]' \
             --placement-constraints '[]' --container-definitions '{containers}' --query taskDefinition"
        ))
    }

    /// The document's own flags.
    fn target_group(&self, name: &str, vpc: &str) -> String {
        self.shell.aws_text(&format!(
            "elbv2 create-target-group --region {} --name {name} --protocol HTTP --port 80 --vpc-id {vpc} \
             --healthy-threshold-count 2 --unhealthy-threshold-count 2 --health-check-timeout-seconds 5 \
             --health-check-interval-seconds 6 --query TargetGroups[0].TargetGroupArn",
            self.shell.var("AWS_REGION")
        ))
    }

    fn rule(&self, listener: &str, priority: u32, path: &str, group: &str) -> String {
        self.shell.aws_text(&format!(
            "elbv2 create-rule --listener-arn {listener} --priority {priority} --conditions \
             'Field=path-pattern,Values={path}' --actions Type=forward,TargetGroupArn={group} --query Rules[0].RuleArn"
        ))
    }

    /// Status and first line of what the load balancer answers.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let listed = self.platform.quarry(&["ls", "--json"]).ok()?;
        let listing: Value = serde_json::from_slice(&listed.stdout).ok()?;
        let url = listing["load_balancers"][0]["urls"][1].as_str()?;
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let mut stream = TcpStream::connect(address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n")?.1;
        Some((status, body.lines().next().unwrap_or_default().to_owned()))
    }

    fn answers(&self, path: &str, by: &str) {
        wait_for(&format!("{path} is answered by {by}"), || (self.get(path)? == (200, by.to_owned())).then_some(()));
    }

    fn service(&self, name: &str) -> Value {
        self.shell.aws_ok(&format!("ecs describe-services --cluster {STACK} --services {name} --query services[0]"))
    }

    fn running(&self, name: &str, count: u32) {
        wait_for(&format!("{name} runs {count} times"), || {
            let service = self.service(name);
            (service["runningCount"] == count && service["deployments"].as_array()?.len() == 1).then_some(())
        });
    }
}

#[test]
fn the_microservices_as_they_are_typed() {
    let Some(_) = client_program("aws") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let raw = Raw::new(&shell);
    let account = shell.aws_text("sts get-caller-identity --query Account");
    let reader = Reader { platform: &platform, shell: &shell, account };
    let before = raw.inventory();
    let dir = tempfile::tempdir().unwrap();

    // The template is uploaded, as in the console.
    let stack = shell.aws_text(&format!(
        "cloudformation create-stack --stack-name {STACK} --template-body file://deploy/cloudformation/ecs.yml \
         --capabilities CAPABILITY_NAMED_IAM --query StackId"
    ));
    let described = wait_for("the stack is made", || {
        let described = shell.aws_ok(&format!("cloudformation describe-stacks --stack-name {STACK} --query Stacks[0]"));
        (described["StackStatus"] == "CREATE_COMPLETE").then_some(described)
    });
    shell.aws_ok(&format!("cloudformation wait stack-create-complete --stack-name {STACK}"));
    let output = |key: &str| {
        let found = described["Outputs"].as_array().unwrap().iter().find(|o| o["OutputKey"] == key);
        found.unwrap_or_else(|| panic!("no output {key}"))["OutputValue"].as_str().unwrap()
    };
    let (balancer, role) = (output("ALBArn"), output("ECSRole"));
    let vpc = shell.aws_text("elbv2 describe-load-balancers --names demo --query LoadBalancers[0].VpcId");
    assert_eq!(vpc, output("VPCId"));

    // Repositories, and the old way to log in.
    for name in SERVICES {
        shell.aws_ok(&format!("ecr create-repository --repository-name {name}"));
    }
    let names = shell.aws_ok("ecr describe-repositories --query repositories[].repositoryName");
    assert_eq!(names, json!(["api", "posts", "threads", "users"]));
    if shell.run("aws --version 2>&1").unwrap().starts_with("aws-cli/1.") {
        let login = shell.run("aws ecr get-login --no-include-email").unwrap();
        let words: Vec<_> = login.split_whitespace().collect();
        let ["docker", "login", "-u", "AWS", "-p", password, registry] = words[..] else { panic!("{login}") };
        assert!(password.len() >= 32 && registry.starts_with("http://localhost:"), "{login}");
    }
    platform.push("api", "v1", image(dir.path())).unwrap();

    // Task definitions: JSON on the command line, and the CLI's short form, where numbers are typed as texts.
    for name in SERVICES {
        let registered = reader.register(name, name);
        assert_eq!((&registered["revision"], &registered["networkMode"]), (&json!(1), &json!("bridge")));
    }
    let short = shell.aws_ok(
        "ecs register-task-definition --family short --container-definitions \
         'name=short,image=api:v1,memoryReservation=256,cpu=256,essential=true,\
portMappings=[{hostPort=0,containerPort=3000,protocol=tcp}]' --query taskDefinition.containerDefinitions[0]",
    );
    assert_eq!((&short["memoryReservation"], &short["portMappings"][0]["hostPort"]), (&json!(256), &json!(0)));

    // Target groups, the listener, the services' rules, and the monolith's inserted before them.
    let groups = SERVICES.map(|name| reader.target_group(name, &vpc));
    let drop_traffic = reader.target_group("drop-traffic", &vpc);
    shell.aws_refused(
        &format!("elbv2 create-target-group --name api --protocol HTTP --port 80 --vpc-id {vpc} --health-check-interval-seconds 30"),
        "DuplicateTargetGroupName",
    );
    let listener = shell.aws_text(&format!(
        "elbv2 create-listener --load-balancer-arn {balancer} --protocol HTTP --port 80 \
         --default-actions Type=forward,TargetGroupArn={} --query Listeners[0].ListenerArn",
        groups[0]
    ));
    let rules: Vec<String> =
        (1..4).map(|at| reader.rule(&listener, at as u32, &format!("/api/{}*", SERVICES[at]), &groups[at])).collect();
    let moved: Vec<_> = rules.iter().zip(2..).map(|(rule, at)| format!("RuleArn={rule},Priority={at}")).collect();
    shell.aws_ok(&format!("elbv2 set-rule-priorities --rule-priorities {}", moved.join(" ")));
    reader.rule(&listener, 1, "/api*", &groups[0]);
    let list =
        format!("elbv2 describe-rules --listener-arn {listener} --query 'Rules[].[Priority,Conditions[0].Values[0]]'");
    let expected =
        json!([["1", "/api*"], ["2", "/api/users*"], ["3", "/api/threads*"], ["4", "/api/posts*"], ["default", null]]);
    assert_eq!(shell.aws_ok(&list), expected);

    // The services. All run, and the monolith still answers for all.
    for (name, group) in SERVICES.iter().zip(&groups) {
        shell.aws_ok(&format!(
            "ecs create-service --cluster {STACK} --service-name {name} --task-definition {name} --desired-count 1 \
             --launch-type EC2 --role {role} \
             --load-balancers targetGroupArn={group},containerName={name},containerPort=3000"
        ));
    }
    for name in SERVICES {
        reader.running(name, 1);
    }
    let services = SERVICES.join(" ");
    shell.aws_ok(&format!("ecs wait services-stable --cluster {STACK} --services {services}"));
    reader.answers("/", "api");
    reader.answers("/api/users/2", "api");

    // The traffic moves: the first rule goes, the default drops what nobody serves.
    let first = shell.aws_text(&format!(
        "elbv2 describe-rules --listener-arn {listener} --query \"Rules[?Priority=='1'].RuleArn | [0]\""
    ));
    shell.aws_ok(&format!("elbv2 delete-rule --rule-arn {first}"));
    shell.aws_ok(&format!(
        "elbv2 modify-listener --listener-arn {listener} --default-actions Type=forward,TargetGroupArn={drop_traffic}"
    ));
    for (name, group) in SERVICES.iter().zip(&groups).skip(1) {
        reader.answers(&format!("/api/{name}"), name);
        let health = format!("elbv2 describe-target-health --target-group-arn {group}");
        let state = || shell.aws_ok(&health)["TargetHealthDescriptions"][0]["TargetHealth"]["State"].clone();
        wait_for("the target is healthy", || (state() == "healthy").then_some(()));
        shell.aws_ok(&format!("elbv2 wait target-in-service --target-group-arn {group}"));
    }
    wait_for("other paths are dropped", || (reader.get("/")?.0 == 503).then_some(()));

    // The monolith is disabled, and could come back. A service grows; another gets a new revision.
    let update = |what: &str| shell.aws_ok(&format!("ecs update-service --cluster {STACK} {what} --query service"));
    update("--service api --desired-count 0");
    update("--service posts --desired-count 2");
    assert_eq!(reader.register("users", "users-2")["revision"], 2);
    let updated = update("--service users --task-definition users");
    assert!(updated["taskDefinition"].as_str().unwrap().ends_with("/users:2"), "{updated:#}");
    reader.running("api", 0);
    assert_eq!(reader.service("api")["status"], "ACTIVE");
    reader.running("posts", 2);
    reader.answers("/api/users", "users-2");

    // Cleaning up: the services, all tasks at once, listener and groups, which are in use until then.
    for name in SERVICES {
        shell.aws_ok(&format!("ecs delete-service --cluster {STACK} --service {name} --force"));
    }
    let stop_all = format!(
        "for task in $(aws ecs list-tasks --cluster {STACK} --query 'taskArns[]' --output text); do \
           aws ecs stop-task --cluster {STACK} --task $task --query task.desiredStatus; done"
    );
    shell.run(&stop_all).unwrap();
    wait_for("no task is left", || {
        (shell.aws_ok(&format!("ecs list-tasks --cluster {STACK} --query taskArns")) == json!([])).then_some(())
    });
    for name in SERVICES {
        wait_for("the service is gone", || (reader.service(name)["status"] == "INACTIVE").then_some(()));
    }
    shell.aws_ok(&format!("ecs wait services-inactive --cluster {STACK} --services {services}"));
    shell.aws_refused(&format!("elbv2 delete-target-group --target-group-arn {}", groups[1]), "ResourceInUse");
    shell.aws_refused(&format!("elbv2 delete-target-group --target-group-arn {drop_traffic}"), "ResourceInUse");
    shell.aws_ok(&format!("elbv2 delete-listener --listener-arn {listener}"));
    for group in groups.iter().chain([&drop_traffic]) {
        shell.aws_ok(&format!("elbv2 delete-target-group --target-group-arn {group}"));
    }

    // The stack: DELETE_IN_PROGRESS, then gone.
    shell.aws_ok(&format!("cloudformation delete-stack --stack-name {STACK}"));
    let status = format!("cloudformation describe-stacks --stack-name {stack} --query Stacks[0].StackStatus");
    wait_for("the stack is gone", || (shell.aws_ok(&status) == "DELETE_COMPLETE").then_some(()));
    shell.aws_ok(&format!("cloudformation wait stack-delete-complete --stack-name {stack}"));
    shell.aws_refused(&format!("cloudformation describe-stacks --stack-name {STACK}"), "ValidationError");
    let events = shell.aws_ok(&format!(
        "cloudformation describe-stack-events --stack-name {stack} --query \
         \"StackEvents[?ResourceType=='AWS::CloudFormation::Stack'].ResourceStatus\""
    ));
    assert_eq!(events, json!(["DELETE_COMPLETE", "DELETE_IN_PROGRESS", "CREATE_COMPLETE", "CREATE_IN_PROGRESS"]));

    // Task definitions and repositories.
    let definitions = shell.run("aws ecs list-task-definitions --query 'taskDefinitionArns[]' --output text").unwrap();
    for definition in definitions.split_whitespace() {
        let deregister = format!("ecs deregister-task-definition --task-definition {definition}");
        assert_eq!(shell.aws_text(&format!("{deregister} --query taskDefinition.status")), "INACTIVE");
    }
    assert_eq!(definitions.split_whitespace().count(), 6, "{definitions}");
    shell.aws_refused("ecr delete-repository --repository-name api", "RepositoryNotEmptyException");
    for name in SERVICES {
        shell.aws_ok(&format!("ecr delete-repository --repository-name {name} --force"));
    }
    let after = raw.inventory();
    assert_eq!(after, before);
}
