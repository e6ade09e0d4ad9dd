//! Templates of others, unchanged: what the AWS CDK makes of its ECS patterns becomes running services that
//! answer through their load balancers, changes, and goes without a trace.

#[path = "terraform/leftovers.rs"]
mod leftovers;
#[path = "clients/shell.rs"]
#[allow(dead_code)]
mod shell;
mod stage;

use quarry_aws::cloudformation::DescribeStacksInput;
use quarry_aws::cloudformation::op::DescribeStacks;
use quarry_client::{Client, oci};
use quarry_deploy_kit::{Context, Options};
use quarry_testkit::{Platform, client_program, wait_for};
use serde_json::{Value, json};
use shell::{Shell, checkout, said};
use stage::{EXE, block_on, request};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

const TEMPLATES: &str = "crates/quarry/tests/templates/cdk";

/// An account that is bootstrapped for the CDK, with the image `app:latest`.
struct Account {
    platform: Platform,
    aws: Client,
    shell: Shell,
}

impl Account {
    fn open() -> Self {
        let platform = Platform::start(EXE).unwrap();
        let shell = Shell::new(&platform);
        // What `cdk bootstrap` leaves, as far as templates look at it.
        shell.aws_ok("ssm put-parameter --name /cdk-bootstrap/hnb659fds/version --type String --value 21");
        shell.aws_ok("ecr create-repository --repository-name app");
        let (aws, endpoint) = (platform.client().unwrap(), platform.endpoint.clone());
        block_on(stage::push(&aws, &endpoint, "app", "latest", &image())).unwrap();
        Self { platform, aws, shell }
    }

    /// Begins to make a stack of a template, or to change it.
    fn begin(&self, verb: &str, stack: &str, template: &str) {
        self.shell.aws_ok(&format!(
            "cloudformation {verb}-stack --stack-name {stack} --template-body file://{template} --capabilities CAPABILITY_IAM"
        ));
    }

    fn status(&self, stack: &str) -> Option<String> {
        let input = DescribeStacksInput { stack_name: Some(stack.into()), ..Default::default() };
        let described = block_on(self.aws.call::<DescribeStacks>(input)).ok()?;
        described.stacks?.pop()?.stack_status
    }

    fn wait(&self, stack: &str, wanted: &str) {
        wait_for(&format!("{stack} is {wanted}"), || {
            let status = self.status(stack)?;
            let failed = status.contains("ROLLBACK") || status.contains("FAILED");
            assert!(!failed, "{stack}: {}", self.failures(stack));
            (status == wanted).then_some(())
        });
    }

    fn failures(&self, stack: &str) -> Value {
        let query = "StackEvents[?contains(ResourceStatus,'FAILED')].[LogicalResourceId,ResourceStatusReason]";
        self.shell.aws_ok(&format!("cloudformation describe-stack-events --stack-name {stack} --query \"{query}\""))
    }

    /// Asks a stack's load balancer, on port 80, until it answers with this status; the body.
    fn ask(&self, stack: &str, path: &str, wanted: u16) -> String {
        let balancer = self.shell.aws_text(&format!(
            "cloudformation describe-stack-resources --stack-name {stack} --query \
             \"StackResources[?ResourceType=='AWS::ElasticLoadBalancingV2::LoadBalancer'].PhysicalResourceId | [0]\""
        ));
        let name = balancer.split('/').nth(2).unwrap().to_owned();
        let (address, host) = wait_for("the load balancer listens", || {
            let listing: Value = serde_json::from_slice(&self.platform.quarry(&["ls", "--json"]).ok()?.stdout).ok()?;
            let listeners = listing["load_balancers"].as_array()?;
            let listener = listeners.iter().find(|l| l["name"] == name.as_str() && l["port"] == 80)?;
            let authority = listener["urls"][1].as_str()?.split('/').nth(2)?.to_owned();
            let address = if authority.contains(':') { authority.clone() } else { format!("{authority}:80") };
            Some((address.parse().ok()?, authority))
        });
        wait_for(&format!("{stack} answers {wanted} to {path}"), || {
            request(address, &host, "GET", path, None, "").filter(|(status, _)| *status == wanted).map(|(_, body)| body)
        })
    }

    fn delete(&self, stack: &str) {
        self.shell.aws_ok(&format!("cloudformation delete-stack --stack-name {stack}"));
    }

    fn wait_gone(&self, stack: &str) {
        wait_for(&format!("{stack} is gone"), || match self.status(stack) {
            None => Some(()),
            Some(status) => {
                assert_ne!(status, "DELETE_FAILED", "{stack}: {}", self.failures(stack));
                None
            }
        });
    }

    /// What there is of what the templates make and do not retain.
    fn inventory(&self) -> BTreeSet<(&'static str, String)> {
        let mut seen = leftovers::seen(&self.platform);
        seen.retain(|(kind, _)| *kind != "DescribeLogGroups");
        seen
    }
}

/// An image with one static program that answers on port 8080, compiled here.
fn image() -> oci::OciImage {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("peer");
    let mut compile = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    compile.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    compile.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/peer.rs")).arg("-o").arg(&program);
    said(compile.stdin(Stdio::null()).output().unwrap()).unwrap();
    let dockerfile = "FROM scratch\nCOPY peer /peer\nENV PORT=8080\nENTRYPOINT [\"/peer\"]\n";
    let context = Context::default().with_file("peer", program, 0o755);
    let built = quarry_deploy_kit::build("Dockerfile", dockerfile, &context, &Options::default()).unwrap();
    let layers = built.layers.into_iter().map(|layer| oci::OciLayer {
        media_type: layer.media_type.into(),
        digest: layer.digest,
        bytes: layer.bytes.into(),
    });
    oci::OciImage { config: built.config.into(), layers: layers.collect() }
}

fn template(name: &str) -> String {
    format!("{TEMPLATES}/{name}.json")
}

/// Makes stacks of templates side by side, asks each through its load balancer, and deletes them.
fn come_and_go(account: &Account, names: &[&str]) {
    let before = account.inventory();
    for name in names {
        account.begin("create", name, &template(name));
    }
    for name in names {
        account.wait(name, "CREATE_COMPLETE");
        if *name == "fargate-https" {
            account.ask(name, "/", 301);
        } else {
            assert!(account.ask(name, "/", 200).starts_with("peer "), "{name}");
        }
        account.delete(name);
    }
    for name in names {
        account.wait_gone(name);
    }
    assert_eq!(account.inventory(), before);
}

#[test]
fn a_fargate_service_of_the_cdk_is_deployed_changed_and_deleted() {
    let Some(_) = client_program("aws") else { return };
    let account = Account::open();
    let before = account.inventory();
    account.begin("create", "fargate", &template("fargate"));
    account.wait("fargate", "CREATE_COMPLETE");
    assert!(account.ask("fargate", "/", 200).starts_with("peer "));

    // Another environment: a new task definition, the same service.
    let text = std::fs::read_to_string(checkout().join(template("fargate"))).unwrap();
    let mut changed: Value = serde_json::from_str(&text).unwrap();
    let definition = changed["Resources"].as_object_mut().unwrap().values_mut();
    let definition = definition.into_iter().find(|r| r["Type"] == "AWS::ECS::TaskDefinition").unwrap();
    definition["Properties"]["ContainerDefinitions"][0]["Environment"] = json!([{"Name": "COLOUR", "Value": "green"}]);
    let file = account.platform.data_dir().join("changed.json");
    std::fs::write(&file, changed.to_string()).unwrap();
    account.begin("update", "fargate", file.to_str().unwrap());
    account.wait("fargate", "UPDATE_COMPLETE");
    assert_eq!(account.ask("fargate", "/env/COLOUR", 200), "green");

    account.delete("fargate");
    account.wait_gone("fargate");
    assert_eq!(account.inventory(), before);
}

#[test]
fn fargate_services_of_the_cdk_come_and_go() {
    let Some(_) = client_program("aws") else { return };
    let account = Account::open();
    come_and_go(
        &account,
        &["fargate-scaling", "fargate-steps", "fargate-discovery", "fargate-https", "fargate-multiple"],
    );
}

#[test]
fn services_on_instances_of_the_cdk_come_and_go() {
    let Some(_) = client_program("aws") else { return };
    let account = Account::open();
    come_and_go(&account, &["ec2-add-capacity"]);
    come_and_go(&account, &["ec2-multiple"]);
}

#[test]
fn what_is_not_offered_is_named_before_anything_is_made() {
    let Some(_) = client_program("aws") else { return };
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    for (name, named) in [
        (
            "refused-drain-hook",
            "[AWS::Lambda::Function, AWS::Lambda::Permission, AWS::SNS::Subscription, AWS::SNS::Topic]",
        ),
        ("refused-network-load-balancer", "AWS::ElasticLoadBalancingV2::LoadBalancer with Type network"),
    ] {
        let refused = shell.aws_refused(
            &format!(
                "cloudformation create-stack --stack-name {name} --template-body file://{} --capabilities CAPABILITY_IAM",
                template(name)
            ),
            "ValidationError",
        );
        assert!(refused.contains(named), "{refused}");
        shell.aws_refused(&format!("cloudformation describe-stacks --stack-name {name}"), "ValidationError");
    }
}

#[test]
fn own_templates_pass_cfn_lint() {
    let Some(lint) = client_program("cfn-lint") else { return };
    let mut templates = Vec::new();
    for folder in ["deploy/cloudformation"] {
        for entry in std::fs::read_dir(checkout().join(folder)).unwrap() {
            templates.push(entry.unwrap().path());
        }
    }
    assert!(!templates.is_empty());
    let mut command = Command::new(Path::new(&lint));
    let output = command
        .args(["--non-zero-exit-code", "error", "--regions", "us-east-1", "--"])
        .args(&templates)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
