//! Stacks of clusters that export, stacks of services that import, in the way of AWS's own samples.

use crate::account::Account;
use crate::shell::checkout;
use crate::stage::request;
use quarry_aws::autoscaling::op::{DescribeAutoScalingGroups, DescribeScheduledActions};
use quarry_aws::autoscaling::{AutoScalingGroupNamesType, DescribeScheduledActionsType};
use quarry_testkit::{client_program, wait_for};
use serde_json::json;
use std::collections::BTreeSet;

fn template(name: &str) -> String {
    format!("crates/quarry/tests/templates/own/{name}.yml")
}

/// The instances of a group, and the processes that stand still.
fn instances(account: &Account, group: &str) -> (BTreeSet<String>, usize) {
    let input = AutoScalingGroupNamesType { auto_scaling_group_names: Some(vec![group.into()]), ..Default::default() };
    let groups = crate::stage::block_on(account.aws.call::<DescribeAutoScalingGroups>(input)).unwrap();
    let group = groups.auto_scaling_groups.unwrap().remove(0);
    let ids = group.instances.into_iter().flatten().filter_map(|instance| instance.instance_id);
    (ids.collect(), group.suspended_processes.map_or(0, |all| all.len()))
}

#[test]
fn a_cluster_on_instances_serves_the_stacks_that_import_it() {
    let Some(_) = client_program("aws") else { return };
    let account = Account::open();
    let before = account.inventory();
    account.begin("create", "cluster", &template("cluster-ec2"), &[]);

    // It waits until somebody approves of it.
    let url = account.physical("cluster", "Approval");
    account.physical("cluster", "Group");
    assert_eq!(account.status("cluster").as_deref(), Some("CREATE_IN_PROGRESS"));
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let address = authority.replace("localhost", "127.0.0.1").parse().unwrap();
    let signal = json!({"Status": "SUCCESS", "UniqueId": "reviewer", "Data": "well done", "Reason": "looked"});
    let path = format!("/{path}");
    assert_eq!(request(address, authority, "PUT", &format!("{path}0"), None, "{}").unwrap().0, 403);
    assert_eq!(request(address, authority, "PUT", &path, None, &signal.to_string()).unwrap().0, 200);
    account.wait("cluster", "CREATE_COMPLETE");
    let group = account.physical("cluster", "Group");
    let input = DescribeScheduledActionsType { auto_scaling_group_name: Some(group.clone()), ..Default::default() };
    let scheduled = crate::stage::block_on(account.aws.call::<DescribeScheduledActions>(input)).unwrap();
    assert_eq!(scheduled.scheduled_update_group_actions.map(|all| all.len()), Some(1));

    let of_cluster = [("ClusterStack", "cluster"), ("Image", account.image.as_str())];
    let shown = [of_cluster[0], of_cluster[1], ("Name", "shown")];
    let hidden = [of_cluster[0], of_cluster[1], ("Name", "hidden"), ("Listener", "InternalListener")];
    account.begin("create", "shown", &template("service-ec2"), &shown);
    account.begin("create", "hidden", &template("service-ec2"), &hidden);
    let public = account.physical("cluster", "PublicBalancer");
    let internal = account.physical("cluster", "InternalBalancer");
    for stack in ["shown", "hidden"] {
        account.wait(stack, "CREATE_COMPLETE");
    }
    assert!(account.ask_balancer(&public, "/", 200).starts_with("peer "));
    // The internal one is for the instances' security group: a task asks it, and this machine cannot.
    let named = "--query LoadBalancers[0].DNSName";
    let named =
        account.shell.aws_text(&format!("elbv2 describe-load-balancers --load-balancer-arns {internal} {named}"));
    wait_for("the internal load balancer answers a task", || {
        let said = account.ask_balancer(&public, &format!("/get/{named}:80/"), 200);
        (said.starts_with("HTTP/1.1 200") && said.contains("peer ")).then_some(())
    });
    let (address, _) = account.address(&internal);
    assert!(std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(500)).is_err());

    // Other instances, one after the other; the services move to them.
    let (old, _) = instances(&account, &group);
    account.begin("update", "cluster", &template("cluster-ec2"), &[("InstanceType", "t3.medium"), ("Instances", "1")]);
    account.wait("cluster", "UPDATE_COMPLETE");
    let (new, suspended) = instances(&account, &group);
    assert!(!new.is_empty() && new.is_disjoint(&old), "{old:?} {new:?}");
    assert_eq!(suspended, 0);
    account.begin("update", "shown", &template("service-ec2"), &[shown[0], shown[1], shown[2], ("Colour", "green")]);
    account.wait("shown", "UPDATE_COMPLETE");
    let (address, host) = account.address(&public);
    wait_for("only the new tasks answer", || {
        let said = |_| request(address, &host, "GET", "/env/COLOUR", None, "");
        (0..4).map(said).all(|answer| answer == Some((200, "green".into()))).then_some(())
    });

    // What others import stays.
    account.delete("cluster");
    assert_eq!(account.status("cluster").as_deref(), Some("DELETE_FAILED"));
    let why = "cloudformation describe-stacks --stack-name cluster --query Stacks[0].StackStatusReason";
    let why = account.shell.aws_text(why);
    assert!(why.contains("cannot be deleted as it is in use by"), "{why}");
    for stack in ["shown", "hidden"] {
        account.delete(stack);
    }
    for stack in ["shown", "hidden"] {
        account.wait_gone(stack);
    }
    account.delete("cluster");
    account.wait_gone("cluster");
    assert_eq!(account.inventory(), before);
}

#[test]
fn a_cluster_without_instances_serves_the_stacks_that_import_it() {
    let Some(_) = client_program("aws") else { return };
    let account = Account::open();
    let before = account.inventory();
    account.begin("create", "cluster", &template("cluster-fargate"), &[]);
    account.wait("cluster", "CREATE_COMPLETE");
    let balancer = account.physical("cluster", "PublicBalancer");
    account.ask_balancer(&balancer, "/", 503);
    let of_cluster = [("ClusterStack", "cluster"), ("Image", account.image.as_str())];
    let one = [of_cluster[0], of_cluster[1], ("Name", "one"), ("Path", "/env/*"), ("Priority", "2")];
    let two = [of_cluster[0], of_cluster[1], ("Name", "two"), ("Path", "/*"), ("Priority", "3")];
    account.begin("create", "one", &template("service-fargate"), &one);
    account.begin("create", "two", &template("service-fargate"), &two);
    for stack in ["one", "two"] {
        account.wait(stack, "CREATE_COMPLETE");
    }
    assert_eq!(account.ask_balancer(&balancer, "/env/COLOUR", 200), "red");
    assert!(account.ask_balancer(&balancer, "/", 200).starts_with("peer "));
    let logs = "logs describe-log-groups --log-group-name-prefix /ecs/one --query logGroups[0].retentionInDays";
    assert_eq!(account.shell.aws_ok(logs), 7);

    // A name that is gone takes the whole update back.
    let lost = [("ClusterStack", "nobody"), of_cluster[1], ("Name", "one"), ("Path", "/env/*"), ("Priority", "2")];
    let given: Vec<String> = lost.iter().map(|(k, v)| format!("ParameterKey={k},ParameterValue={v}")).collect();
    account.shell.aws_refused(
        &format!(
            "cloudformation update-stack --stack-name one --template-body file://{} --parameters {}",
            checkout().join(template("service-fargate")).display(),
            given.join(" ")
        ),
        "ValidationError",
    );
    for stack in ["one", "two"] {
        account.delete(stack);
    }
    for stack in ["one", "two"] {
        account.wait_gone(stack);
    }
    account.delete("cluster");
    account.wait_gone("cluster");
    assert_eq!(account.inventory(), before);
}
