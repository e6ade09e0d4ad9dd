//! Blue/green deployments with real tasks and a real balancer, by CloudFormation and by UpdateService, under requests
//! of which none may fail: one that goes well, one whose hook says no, and one that an alarm ends.

#[path = "network/site.rs"]
mod site;

use quarry_aws::cloudformation::op as cloudformation;
use quarry_aws::cloudwatch::op as cloudwatch;
use quarry_aws::ecs::{self, op};
use quarry_aws::elbv2::op as elbv2;
use quarry_testkit::{Platform, wait_for};
use serde_json::{Value, json};
use site::{Site, get};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Says yes to every hook as long as it is told to; the stages it was asked in.
struct Hook {
    url: String,
    says_no: Arc<AtomicBool>,
    stages: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (says_no, stages) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (no, told) = (says_no.clone(), stages.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
                let body = loop {
                    let Ok(n @ 1..) = stream.read(&mut buffer) else { break None };
                    bytes.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let body = text.split_once("\r\n\r\n").and_then(|(_, b)| serde_json::from_str::<Value>(b).ok());
                    if body.is_some() {
                        break body;
                    }
                };
                let Some(body) = body else { continue };
                told.lock().unwrap().push(body["lifecycleStage"].as_str().unwrap().to_owned());
                let answer = if no.load(Ordering::Relaxed) { "FAILED" } else { "SUCCEEDED" };
                let answer = format!("{{\"hookStatus\": \"{answer}\"}}");
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            }
        });
        Self { url, says_no, stages }
    }
}

/// Requests without a pause between them, and what came of them.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn begin(at: SocketAddr) -> Self {
        let mut load = Self { stop: Arc::default(), answered: Arc::default(), failed: Arc::default(), threads: vec![] };
        for _ in 0..2 {
            let (stop, answered, failed) = (load.stop.clone(), load.answered.clone(), load.failed.clone());
            load.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match get(at, "/env/VERSION") {
                        Some((200, _)) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        other => failed.lock().unwrap().push(format!("{other:?}")),
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }));
        }
        load
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
        assert!(self.answered.load(Ordering::Relaxed) > 20);
    }
}

fn version(front: SocketAddr, path: &str) -> Option<String> {
    get(front, path).filter(|(status, _)| *status == 200).map(|(_, body)| body.trim().to_owned())
}

fn newest(site: &Site) -> ecs::ServiceDeployment {
    let input = json!({"cluster": "demo", "service": "shop"});
    let listed = site.call::<op::ListServiceDeployments>(input).service_deployments.unwrap();
    let input = json!({"serviceDeploymentArns": [listed[0].service_deployment_arn]});
    site.call::<op::DescribeServiceDeployments>(input).service_deployments.unwrap().remove(0)
}

fn stack_is(site: &Site, wanted: &str) {
    wait_for(wanted, || {
        let stack = site.call::<cloudformation::DescribeStacks>(json!({"StackName": "shop"})).stacks.unwrap().remove(0);
        let status = stack.stack_status.unwrap();
        let over = !status.ends_with("_IN_PROGRESS");
        assert!(!over || status == wanted, "{status}: {:?}", stack.stack_status_reason);
        over.then_some(())
    });
}

#[test]
fn green_takes_over_without_a_failed_request_and_goes_back_when_a_hook_or_an_alarm_says_so() {
    let mut site = Site::on(Platform::start(env!("CARGO_BIN_EXE_quarry")).unwrap());
    let (blue, front) = site.balance();
    let green = site.call::<elbv2::CreateTargetGroup>(json!({
        "Name": "green", "Protocol": "HTTP", "Port": 80, "VpcId": site.vpc, "TargetType": "ip",
        "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
    }));
    let green = green.target_groups.unwrap().remove(0).target_group_arn.unwrap();
    let delay = json!([{"Key": "deregistration_delay.timeout_seconds", "Value": "2"}]);
    site.call::<elbv2::ModifyTargetGroupAttributes>(json!({"TargetGroupArn": green, "Attributes": delay}));
    let balancer = site.call::<elbv2::DescribeLoadBalancers>(json!({})).load_balancers.unwrap().remove(0);
    let listeners = site.call::<elbv2::DescribeListeners>(json!({"LoadBalancerArn": balancer.load_balancer_arn}));
    let listener = listeners.listeners.unwrap().remove(0).listener_arn.unwrap();
    let rule = |path: &str, priority: u32| {
        let made = site.call::<elbv2::CreateRule>(json!({
            "ListenerArn": listener, "Priority": priority,
            "Conditions": [{"Field": "path-pattern", "Values": [path]}],
            "Actions": [{"Type": "forward", "TargetGroupArn": blue}],
        }));
        made.rules.unwrap().remove(0).rule_arn.unwrap()
    };
    let (production, test) = (rule("/env/*", 10), rule("/", 20));
    let define = |version: &str| {
        let environment = json!([{"name": "VERSION", "value": version}]);
        let container =
            json!([{"name": "peer", "environment": environment, "portMappings": [{"containerPort": 3000}]}]);
        site.define("shop", container, json!({}))
    };
    let (v1, v2) = (define("1"), define("2"));
    let hook = Hook::new();
    let subnets = site.subnets.clone();
    let template = json!({
        "Parameters": {"Definition": {"Type": "String"}},
        "Resources": {"Service": {"Type": "AWS::ECS::Service", "Properties": {
            "Cluster": "demo", "ServiceName": "shop", "TaskDefinition": {"Ref": "Definition"}, "DesiredCount": 1,
            "LaunchType": "FARGATE",
            "NetworkConfiguration": {"AwsvpcConfiguration": {"Subnets": subnets}},
            "DeploymentConfiguration": {
                "Strategy": "BLUE_GREEN", "BakeTimeInMinutes": 0,
                "LifecycleHooks": [{
                    "HookTargetArn": hook.url, "RoleArn": "arn:aws:iam::000000000000:role/hooks",
                    "LifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"], "HookDetails": {"Board": "shop"},
                }],
            },
            "LoadBalancers": [{
                "TargetGroupArn": blue, "ContainerName": "peer", "ContainerPort": 3000,
                "AdvancedConfiguration": {
                    "AlternateTargetGroupArn": green, "ProductionListenerRule": production,
                    "TestListenerRule": test, "RoleArn": "arn:aws:iam::000000000000:role/ecs",
                },
            }],
        }}},
    });
    let stack = |definition: &str| {
        let parameters = json!([{"ParameterKey": "Definition", "ParameterValue": definition}]);
        json!({"StackName": "shop", "TemplateBody": template.to_string(), "Parameters": parameters})
    };
    site.call::<cloudformation::CreateStack>(stack(&v1));
    stack_is(&site, "CREATE_COMPLETE");
    wait_for("the first version answers", || version(front, "/env/VERSION"));
    assert_eq!(version(front, "/env/VERSION").as_deref(), Some("1"));

    // A hook that says no, when the test traffic is green's and the production traffic is not.
    let load = Load::begin(front);
    let first: BTreeSet<String> = site.tasks("shop").into_iter().filter_map(|task| task.task_arn).collect();
    hook.says_no.store(true, Ordering::Relaxed);
    site.call::<cloudformation::UpdateStack>(stack(&v2));
    stack_is(&site, "UPDATE_ROLLBACK_COMPLETE");
    let refused = newest(&site);
    assert_eq!(refused.status.as_deref(), Some("ROLLBACK_SUCCESSFUL"), "{:?}", refused.status_reason);
    assert!(refused.status_reason.unwrap().contains("answered FAILED"));
    assert_eq!(version(front, "/env/VERSION").as_deref(), Some("1"));
    let now: BTreeSet<String> = site.tasks("shop").into_iter().filter_map(|task| task.task_arn).collect();
    assert_eq!(now, first, "its tasks never stopped");

    // It says yes.
    hook.says_no.store(false, Ordering::Relaxed);
    site.call::<cloudformation::UpdateStack>(stack(&v2));
    stack_is(&site, "UPDATE_COMPLETE");
    assert_eq!(newest(&site).status.as_deref(), Some("SUCCESSFUL"));
    assert_eq!(version(front, "/env/VERSION").as_deref(), Some("2"));
    assert_eq!(*hook.stages.lock().unwrap(), vec!["POST_TEST_TRAFFIC_SHIFT"; 3], "on the stack's way in too");

    // An alarm in the bake time.
    site.call::<cloudwatch::PutMetricAlarm>(json!({
        "AlarmName": "errors", "Namespace": "Shop", "MetricName": "Errors", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
    }));
    site.call::<op::UpdateService>(json!({
        "cluster": "demo", "service": "shop", "taskDefinition": v1,
        "deploymentConfiguration": {
            "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 60, "lifecycleHooks": [],
            "alarms": {"alarmNames": ["errors"], "enable": true, "rollback": true},
        },
    }));
    wait_for("it bakes", || (newest(&site).lifecycle_stage.as_deref() == Some("BAKE_TIME")).then_some(()));
    wait_for("the balancer knows", || (version(front, "/env/VERSION").as_deref() == Some("1")).then_some(()));
    site.without_serve(|_| assert_eq!(version(front, "/env/VERSION").as_deref(), Some("1")));
    assert_eq!(newest(&site).lifecycle_stage.as_deref(), Some("BAKE_TIME"), "it goes on where it was");
    let input = json!({"AlarmName": "errors", "StateValue": "ALARM", "StateReason": "too many"});
    site.call::<cloudwatch::SetAlarmState>(input);
    let ended = wait_for("it goes back", || {
        Some(newest(&site)).filter(|newest| newest.status.as_deref() == Some("ROLLBACK_SUCCESSFUL"))
    });
    assert_eq!(ended.alarms.unwrap().triggered_alarm_names, Some(vec!["errors".to_owned()]));
    wait_for("the balancer knows", || (version(front, "/env/VERSION").as_deref() == Some("2")).then_some(()));
    load.end();
}
