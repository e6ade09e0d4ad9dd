//! Services that scale by what they really do: one under requests and one that burns the processor
//! grow, their neighbour does not, and the first shrinks again. A minute of CloudWatch's lasts a second.

#[path = "network/site.rs"]
mod site;

use quarry_aws::application_autoscaling::op as scaling;
use quarry_aws::cloudwatch::op as cloudwatch;
use quarry_aws::{ecs, elbv2};
use quarry_testkit::{Platform, wait_for};
use serde_json::{Value, json};
use site::{Site, get};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn of(service: &str, mut input: Value) -> Value {
    input["ServiceNamespace"] = "ecs".into();
    input["ResourceId"] = format!("service/demo/{service}").into();
    input["ScalableDimension"] = "ecs:service:DesiredCount".into();
    input
}

fn scales(site: &Site, service: &str, max: u32, target: f64, metric: Value) {
    site.call::<scaling::RegisterScalableTarget>(of(service, json!({"MinCapacity": 1, "MaxCapacity": max})));
    let configuration = json!({"TargetValue": target, "PredefinedMetricSpecification": metric});
    site.call::<scaling::PutScalingPolicy>(of(
        service,
        json!({
            "PolicyName": service, "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": configuration,
        }),
    ));
}

fn counts(site: &Site, service: &str) -> (i32, i32) {
    let input = json!({"cluster": "demo", "services": [service]});
    let described = site.call::<ecs::op::DescribeServices>(input).services.unwrap().remove(0);
    (described.desired_count.unwrap(), described.running_count.unwrap())
}

/// Asks again and again until told to stop.
fn load(at: SocketAddr, stop: &Arc<AtomicBool>, answered: &Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    let (stop, answered) = (stop.clone(), answered.clone());
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            if let Some((200, _)) = get(at, "/") {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    })
}

/// The text at `/metrics`, with or without credentials.
fn metrics(endpoint: &str, authorization: &str) -> String {
    let authority = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(authority).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{authorization}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_is_busy_grows_alone_and_shrinks_again() {
    let site = Site::on(Platform::start_as(env!("CARGO_BIN_EXE_quarry"), None, &["--scaling-speed", "60"]).unwrap());
    let container =
        |command: Value| json!([{"name": "peer", "command": command, "portMappings": [{"containerPort": 3000}]}]);
    let peer = site.define("peer", container(json!([])), json!({}));
    let spin = site.define("spin", container(json!(["spin"])), json!({}));
    let (group, front) = site.balance();
    let behind = json!([{"targetGroupArn": group, "containerName": "peer", "containerPort": 3000}]);
    for (service, definition, balancers) in
        [("shop", &peer, behind), ("neighbour", &peer, json!([])), ("burner", &spin, json!([]))]
    {
        site.call::<ecs::op::CreateService>(json!({
            "cluster": "demo", "serviceName": service, "taskDefinition": definition, "desiredCount": 1,
            "launchType": "FARGATE", "networkConfiguration": site.network(), "loadBalancers": balancers,
        }));
    }
    let balancer = site.call::<elbv2::op::DescribeLoadBalancers>(json!({})).load_balancers.unwrap().remove(0);
    let balancer = balancer.load_balancer_arn.unwrap();
    let label = format!("{}/{}", balancer.split_once("loadbalancer/").unwrap().1, group.rsplit(':').next().unwrap());
    let requests = json!({"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label});
    let cpu = json!({"PredefinedMetricType": "ECSServiceAverageCPUUtilization"});
    // Ten requests a second for each task.
    scales(&site, "shop", 3, 600.0, requests);
    scales(&site, "neighbour", 3, 40.0, cpu.clone());
    scales(&site, "burner", 2, 40.0, cpu);

    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loaders: Vec<_> = (0..3).map(|_| load(front, &stop, &answered)).collect();
    wait_for("the service under load grows", || (counts(&site, "shop") == (3, 3)).then_some(()));
    wait_for("the one that burns grows", || (counts(&site, "burner") == (2, 2)).then_some(()));
    assert_eq!(counts(&site, "neighbour"), (1, 1));
    assert!(answered.load(Ordering::Relaxed) > 0);

    let activities = |service: &str| {
        let input = json!({"ServiceNamespace": "ecs", "ResourceId": format!("service/demo/{service}")});
        site.call::<scaling::DescribeScalingActivities>(input).scaling_activities.unwrap()
    };
    assert!(activities("neighbour").is_empty());
    let cause = activities("burner").pop().unwrap().cause.unwrap();
    assert!(cause.starts_with("monitor alarm TargetTracking-service/demo/burner-AlarmHigh-"), "{cause}");
    let listed = site.call::<cloudwatch::ListMetrics>(json!({"Namespace": "AWS/ECS", "MetricName": "CPUUtilization"}));
    assert!(listed.metrics.unwrap().len() >= 2);

    // A task that is protected from scale-in is the one that is left.
    let kept = site.tasks("shop").remove(1).task_arn.unwrap();
    let protect = json!({"cluster": "demo", "tasks": [kept], "protectionEnabled": true});
    assert_eq!(site.call::<ecs::op::UpdateTaskProtection>(protect).failures, Some(Vec::new()));

    stop.store(true, Ordering::Relaxed);
    loaders.into_iter().for_each(|loader| loader.join().unwrap());
    wait_for("without load it shrinks", || (counts(&site, "shop") == (1, 1)).then_some(()));
    assert_eq!(site.tasks("shop")[0].task_arn, Some(kept));
    assert_eq!(counts(&site, "burner").0, 2, "who still burns keeps what it has");
    assert_eq!(counts(&site, "neighbour"), (1, 1));

    // By the clock: from a time on there are two at least.
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    let soon = soon.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let at = quarry_wire::Timestamp::from_millis(soon * 1000).to_string();
    let at = at.split('.').next().unwrap().trim_end_matches('Z').to_owned();
    site.call::<scaling::PutScheduledAction>(of(
        "neighbour",
        json!({"ScheduledActionName": "evening", "Schedule": format!("at({at})"),
            "ScalableTargetAction": {"MinCapacity": 2}}),
    ));
    wait_for("the scheduled action is done", || (counts(&site, "neighbour") == (2, 2)).then_some(()));

    // The counters for Prometheus, for those who have the credentials.
    assert!(metrics(&site.platform.endpoint, "").starts_with("HTTP/1.1 401 "));
    let env = site.platform.env().unwrap();
    let of = |name: &str| env.iter().find(|(n, _)| n == name).unwrap().1.clone();
    use base64::Engine;
    let key = format!("{}:{}", of("AWS_ACCESS_KEY_ID"), of("AWS_SECRET_ACCESS_KEY"));
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    let text = metrics(&site.platform.endpoint, &format!("Authorization: Basic {key}\r\n"));
    assert!(text.contains("quarry_target_group_requests_total{"), "{text}");
    assert!(text.contains("quarry_service_desired_tasks{cluster=\"demo\",service=\"burner\"} 2\n"), "{text}");
}
