//! What one service does to itself, at full load on all, and what another one behind the same load balancer notices
//! of it: no failed request. `bench/isolation` runs it for longer and looks at the latencies.

use crate::site::{Site, get};
use quarry_aws::ecs::op::{CreateService, StopTask};
use quarry_aws::elbv2::op::{
    CreateRule, CreateTargetGroup, DescribeListeners, DescribeLoadBalancers, ModifyTargetGroupAttributes,
};
use quarry_load::{Load, LoadConfig, Pace, PathSpec};
use quarry_testkit::wait_for;
use serde_json::json;
use std::time::Duration;

/// Seconds for each fault, and requests a second on all services; without a rate every connection asks as fast as
/// it is answered.
const SECONDS: &str = "QUARRY_ISOLATION_SECONDS";
const FAULTS: [&str; 6] = ["crash", "hang", "leak", "forks", "fill", "burn"];

#[test]
fn one_services_faults_are_not_the_others() {
    let Some(site) = Site::open("user-namespaces") else { return };
    let seconds: Option<f64> = std::env::var(SECONDS).ok().map(|text| text.parse().expect("seconds"));
    let stretch = Duration::from_secs_f64(seconds.unwrap_or(1.0));
    let containers = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]);
    let definition = site.define("peer", containers, json!({}));
    let (good, front) = site.balance();
    let bad = site.call::<CreateTargetGroup>(json!({
        "Name": "bad", "Protocol": "HTTP", "Port": 80, "VpcId": site.vpc, "TargetType": "ip",
        "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
    }));
    let bad = bad.target_groups.unwrap().remove(0).target_group_arn.unwrap();
    // Its tasks are ended without waiting for their requests.
    let delay = json!([{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]);
    site.call::<ModifyTargetGroupAttributes>(json!({"TargetGroupArn": bad, "Attributes": delay}));
    let balancer = site.call::<DescribeLoadBalancers>(json!({})).load_balancers.unwrap().remove(0).load_balancer_arn;
    let listener = site.call::<DescribeListeners>(json!({"LoadBalancerArn": balancer})).listeners.unwrap().remove(0);
    site.call::<CreateRule>(json!({
        "ListenerArn": listener.listener_arn, "Priority": 1,
        "Conditions": [{"Field": "path-pattern", "Values": ["/bad/*"]}],
        "Actions": [{"Type": "forward", "TargetGroupArn": bad}],
    }));
    for (service, group) in [("good", &good), ("bad", &bad)] {
        site.call::<CreateService>(json!({
            "cluster": "demo", "serviceName": service, "taskDefinition": definition, "desiredCount": 1,
            "launchType": "FARGATE", "networkConfiguration": site.network(),
            "loadBalancers": [{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}],
        }));
    }
    let is_there = |path: &str| {
        wait_for("a service answers", || get(front, path).filter(|(status, _)| *status == 200));
    };
    is_there("/");

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pace = if seconds.is_some() { Pace::Closed } else { Pace::Rate(60.0) };
    let mut config = LoadConfig::new(front, "localhost", pace);
    config.connections = 16;
    config.timeout = Duration::from_secs(20);
    config.paths = vec![PathSpec::new("good", "/"), PathSpec::new("bad", "/bad/")];
    // The harmed one shall not keep the load from the other.
    let mut apart = config.clone();
    apart.paths.remove(0);
    apart.timeout = Duration::from_secs(2);
    config.paths.truncate(1);
    let start = |config| {
        let _inside = runtime.enter();
        Load::start(config).unwrap()
    };
    is_there("/bad/");
    let (load, on_bad) = (start(config), start(apart));
    load.phase("quiet");
    std::thread::sleep(stretch);
    for (nth, fault) in FAULTS.into_iter().enumerate() {
        load.phase("between");
        is_there("/bad/");
        // What else the machine does changes: each fault has a quiet stretch before and after it.
        if seconds.is_some() && nth > 0 {
            load.phase("quiet");
            std::thread::sleep(stretch);
        }
        load.phase(fault);
        let asked = std::thread::spawn(move || get(front, &format!("/bad/{fault}")));
        std::thread::sleep(stretch);
        // Whatever is left of it is replaced.
        for task in site.tasks("bad") {
            site.call::<StopTask>(json!({"cluster": "demo", "task": task.task_arn}));
        }
        let _ = asked.join();
    }
    load.phase("between");
    is_there("/bad/");
    load.phase("quiet");
    std::thread::sleep(stretch);
    let report = runtime.block_on(async {
        on_bad.stop().await;
        load.stop().await
    });
    let p99 = |phase: &quarry_load::Phase| phase.total.latency.p99_us;
    println!("{:>8} {:>9} {:>7} {:>9} {:>6}", "fault", "requests", "failed", "p99 ms", "ratio");
    for (at, phase) in report.phases.iter().enumerate().filter(|(_, phase)| phase.total.requests > 0) {
        let (requests, failed, own) = (phase.total.requests, phase.total.failed, p99(phase));
        let quiet = |phase: &&quarry_load::Phase| phase.name == "quiet";
        let beside: Vec<u64> =
            [report.phases[..at].iter().rev().find(quiet), report.phases[at + 1..].iter().find(quiet)]
                .into_iter()
                .flatten()
                .map(p99)
                .collect();
        let usual = beside.iter().sum::<u64>() / beside.len().max(1) as u64;
        let ratio = if FAULTS.contains(&&*phase.name) {
            format!("{:.2}", own as f64 / usual.max(1) as f64)
        } else {
            String::new()
        };
        println!("{:>8} {requests:>9} {failed:>7} {:>9.1} {ratio:>6}", phase.name, own as f64 / 1000.0);
    }
    assert_eq!(report.failures, [], "requests of the other service failed");
    for fault in FAULTS {
        let seen = report.phases.iter().find(|phase| phase.name == fault).map_or(0, |phase| phase.total.ok);
        assert!(seen > 20, "{fault}: only {seen} requests");
    }
    drop(runtime);
}
