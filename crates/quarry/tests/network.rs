//! The network between tasks, with real tasks: who reaches whom, and a service behind a target group of
//! type ip.

#[path = "network/credentials.rs"]
mod credentials;
#[path = "network/daemon.rs"]
mod daemon;
#[path = "network/exec.rs"]
mod exec;
#[path = "network/failpoints.rs"]
mod failpoints;
#[path = "network/foreign.rs"]
mod foreign;
#[path = "network/root.rs"]
mod root;
#[path = "network/site.rs"]
mod site;
#[path = "network/velocity.rs"]
mod velocity;

#[path = "network/faults.rs"]
mod faults;

#[path = "network/groups.rs"]
mod groups;

#[path = "network/hostile.rs"]
mod hostile;

#[path = "network/outside.rs"]
mod outside;

use quarry_testkit::wait_for;
use serde_json::json;
use site::{Site, address, get};

/// A Fargate service behind a load balancer serves; through it, one task is asked what it reaches.
fn who_reaches_whom(isolation: &str) {
    let Some(site) = Site::open(isolation) else { return };
    let definition =
        site.define("peer", json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]), json!({}));
    let (group, front) = site.balance();
    site.call::<quarry_aws::ecs::op::CreateService>(json!({
        "cluster": "demo", "serviceName": "peer", "taskDefinition": definition, "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": site.network(),
        "loadBalancers": [{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}],
    }));
    let other = site.run(&definition);
    let ask = |path: &str| {
        wait_for("the service answers through its load balancer", || match get(front, path) {
            Some((200, body)) => Some(body),
            _ => None,
        })
    };
    assert!(ask("/").starts_with("peer "));
    let health = site
        .call::<quarry_aws::elbv2::op::DescribeTargetHealth>(json!({"TargetGroupArn": group}))
        .target_health_descriptions
        .unwrap();
    let own = address(&site.tasks("peer")[0]);
    assert_eq!((health.len(), health[0].target.as_ref().unwrap().id.as_ref()), (1, Some(&own)));

    // At its private address and mapped port, the other task answers; its own address serves itself.
    let there = address(&other);
    for somebody in [&there, &own] {
        wait_for("a running task is reached", || {
            ask(&format!("/connect/{somebody}:3000")).contains("200 OK").then_some(())
        });
    }
    // The AWS endpoint, where its environment says.
    let endpoint = ask("/env/AWS_ENDPOINT_URL");
    let said = ask(&format!("/connect/{}", endpoint.trim_start_matches("http://")));
    assert!(said.starts_with("HTTP/1.1 4"), "{endpoint}: {said}");
    daemon::takes_segments_and_tells_rules(&site, &ask);
    if isolation == "none" {
        assert!(there.starts_with("127.81."), "{there}");
        return;
    }
    assert!(there.starts_with("198.19."), "{there}");
    // Not at another port, not where its connections come from, not where nobody is, and not outside of the hub.
    let source = source_of(&site, &other);
    let nobodys = ["198.19.254.254:3000", "192.0.2.1:80", "10.0.1.5:80", "169.254.169.254:80"].map(str::to_owned);
    for nowhere in [format!("{there}:3001"), format!("{source}:3000")].into_iter().chain(nobodys) {
        assert!(ask(&format!("/connect/{nowhere}")).starts_with("refused"), "{isolation} {nowhere}");
    }
    // Stopped, it is refused, too.
    site.call::<quarry_aws::ecs::op::StopTask>(json!({"cluster": "demo", "task": other.task_arn}));
    wait_for("the stopped task is refused", || {
        ask(&format!("/connect/{there}:3000")).starts_with("refused").then_some(())
    });
}

/// Where a task's connections come from, as its shim was told.
pub fn source_of(site: &Site, task: &quarry_aws::ecs::Task) -> std::net::Ipv4Addr {
    let id = task.task_arn.as_deref().unwrap().rsplit('/').next().unwrap();
    let spec = std::fs::read(site.platform.data_dir().join("tasks").join(id).join("spec.json")).unwrap();
    let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap();
    spec["spec"]["address"].as_str().unwrap().parse().unwrap()
}

#[test]
fn tasks_reach_each_other_at_their_private_addresses() {
    who_reaches_whom("user-namespaces");
}

#[test]
fn tasks_reach_each_other_rootless() {
    who_reaches_whom("rootless");
}

#[test]
fn tasks_reach_each_other_without_namespaces() {
    who_reaches_whom("none");
}
