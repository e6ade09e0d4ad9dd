//! Templates of others, unchanged: what the AWS CDK makes of its ECS patterns becomes running services that
//! answer through their load balancers, changes, and goes without a trace. So do own ones in the way of AWS's samples.

#[path = "templates/account.rs"]
mod account;
#[path = "terraform/leftovers.rs"]
mod leftovers;
#[path = "templates/own.rs"]
mod own;
#[path = "clients/shell.rs"]
#[allow(dead_code)]
mod shell;
mod stage;

use account::Account;
use quarry_testkit::{Platform, client_program};
use serde_json::{Value, json};
use shell::{Shell, checkout};
use stage::EXE;
use std::path::Path;
use std::process::{Command, Stdio};

const TEMPLATES: &str = "crates/quarry/tests/templates/cdk";

fn template(name: &str) -> String {
    format!("{TEMPLATES}/{name}.json")
}

/// Makes stacks of templates side by side, asks each through its load balancer, and deletes them.
fn come_and_go(account: &Account, names: &[&str]) {
    let before = account.inventory();
    for name in names {
        account.begin("create", name, &template(name), &[]);
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
    account.begin("create", "fargate", &template("fargate"), &[]);
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
    account.begin("update", "fargate", file.to_str().unwrap(), &[]);
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
    come_and_go(&account, &["ec2", "ec2-add-capacity"]);
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
    for folder in ["deploy/cloudformation", "crates/quarry/tests/templates/own"] {
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
