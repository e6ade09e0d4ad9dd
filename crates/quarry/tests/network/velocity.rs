//! Development velocity: one service is deployed anew, and nothing of any other changes.

use crate::site::{Site, get};
use quarry_aws::{ecs, elbv2};
use quarry_testkit::wait_for;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Everything of a service that a deployment of another could touch.
#[derive(Debug, PartialEq)]
struct Whole {
    service: ecs::Service,
    tasks: BTreeMap<String, (ecs::Task, i32)>,
    targets: Vec<elbv2::TargetHealthDescription>,
}

/// A connection that is kept, and asked again and again.
struct Kept(TcpStream);

impl Kept {
    fn open(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    /// Status and body. Panics where the connection is over.
    fn ask(&mut self, path: &str) -> (u16, String) {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let read = self.0.read(&mut part).expect("the kept connection answers");
            assert!(read > 0, "the kept connection was closed: {}", String::from_utf8_lossy(&answer));
            answer.extend(&part[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.expect("a length");
            if body.len() >= length {
                return (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned());
            }
        }
    }
}

fn whole(site: &Site, name: &str, group: Option<&str>) -> Whole {
    let input = json!({"cluster": "demo", "services": [name], "include": ["TAGS"]});
    let service = site.call::<ecs::op::DescribeServices>(input).services.unwrap().remove(0);
    let tasks = site.tasks(name).into_iter().map(|task| {
        let arn = task.task_arn.clone().unwrap();
        let pid = site.pid(arn.rsplit('/').next().unwrap());
        (arn, (task, pid))
    });
    let targets = group.map(|group| {
        let found = site.call::<elbv2::op::DescribeTargetHealth>(json!({"TargetGroupArn": group}));
        found.target_health_descriptions.unwrap()
    });
    Whole { service, tasks: tasks.collect(), targets: targets.unwrap_or_default() }
}

/// A further target group on a path of the load balancer.
fn path(site: &Site, name: &str, priority: u32) -> String {
    let group = site.call::<elbv2::op::CreateTargetGroup>(json!({
        "Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": site.vpc, "TargetType": "ip",
        "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
    }));
    let group = group.target_groups.unwrap().remove(0).target_group_arn.unwrap();
    let delay = json!([{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]);
    site.call::<elbv2::op::ModifyTargetGroupAttributes>(json!({"TargetGroupArn": group, "Attributes": delay}));
    let balancer = site.call::<elbv2::op::DescribeLoadBalancers>(json!({})).load_balancers.unwrap().remove(0);
    let listeners = json!({"LoadBalancerArn": balancer.load_balancer_arn});
    let listener = site.call::<elbv2::op::DescribeListeners>(listeners).listeners.unwrap().remove(0);
    site.call::<elbv2::op::CreateRule>(json!({
        "ListenerArn": listener.listener_arn, "Priority": priority,
        "Conditions": [{"Field": "path-pattern", "Values": [format!("/{name}*")]}],
        "Actions": [{"Type": "forward", "TargetGroupArn": group}],
    }));
    group
}

fn serve(site: &Site, name: &str, definition: &str, count: u32, group: Option<&str>) {
    let balancers: Value = group
        .map(|group| json!([{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}]))
        .unwrap_or(json!([]));
    site.call::<ecs::op::CreateService>(json!({
        "cluster": "demo", "serviceName": name, "taskDefinition": definition, "desiredCount": count,
        "launchType": "FARGATE", "networkConfiguration": site.network(), "loadBalancers": balancers,
        "tags": [{"key": "of", "value": name}],
    }));
}

fn is_settled(site: &Site, name: &str) -> bool {
    let input = json!({"cluster": "demo", "services": [name]});
    let service = site.call::<ecs::op::DescribeServices>(input).services.unwrap().remove(0);
    let deployments = service.deployments.unwrap();
    service.running_count == service.desired_count
        && deployments.len() == 1
        && deployments[0].rollout_state.as_deref() == Some("COMPLETED")
        && service.events.unwrap()[0].message.as_ref().unwrap().ends_with("has reached a steady state.")
}

#[test]
fn deploying_one_service_touches_no_other() {
    let Some(site) = Site::open("user-namespaces") else { return };
    let containers = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]);
    let definition = site.define("peer", containers.clone(), json!({}));
    let (group, front) = site.balance();
    let changed = path(&site, "changed", 1);
    serve(&site, "stays", &definition, 2, Some(&group));
    serve(&site, "alone", &definition, 1, None);
    serve(&site, "changed", &definition, 2, Some(&changed));
    for name in ["stays", "alone", "changed"] {
        wait_for("the services are settled", || is_settled(&site, name).then_some(()));
    }
    let all_healthy = |whole: &Whole| {
        let state = |t: &elbv2::TargetHealthDescription| t.target_health.as_ref().unwrap().state.clone().unwrap();
        whole.targets.iter().all(|target| state(target) == "healthy")
    };
    wait_for("the targets are healthy", || all_healthy(&whole(&site, "stays", Some(&group))).then_some(()));
    let before = [whole(&site, "stays", Some(&group)), whole(&site, "alone", None)];
    let old = whole(&site, "changed", Some(&changed));
    let mut kept = Kept::open(front);
    assert_eq!(kept.ask("/").0, 200);

    // The same program with another variable: a deployment of `changed` alone, while both are asked on one
    // connection.
    let mut anew = containers;
    anew[0]["environment"] = json!([{"name": "VERSION", "value": "two"}]);
    let second = site.define("peer", anew, json!({}));
    site.call::<ecs::op::UpdateService>(json!({"cluster": "demo", "service": "changed", "taskDefinition": second}));
    let mut asked = 0;
    wait_for("the deployment is over", || {
        for path in ["/", "/changed"] {
            let (status, body) = kept.ask(path);
            assert_eq!(status, 200, "{path}: {body}");
            asked += 1;
        }
        (asked >= 10 && is_settled(&site, "changed")).then_some(())
    });
    let new = whole(&site, "changed", Some(&changed));
    assert_eq!(new.tasks.len(), 2);
    assert!(new.tasks.keys().all(|task| !old.tasks.contains_key(task)), "it is deployed anew");
    assert_eq!(kept.ask("/").0, 200);

    // Tasks with their ARNs, start times, versions and processes; targets; configuration and events.
    let after = [whole(&site, "stays", Some(&group)), whole(&site, "alone", None)];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert!(get(front, "/changed").is_some());
}
