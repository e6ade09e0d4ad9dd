//! Scaling policies of groups, minute by minute of virtual time.

use super::{Stage, refused};
use crate::cloudwatch::collect::Collector;
use crate::cloudwatch::evaluate;
use crate::ecs::records::{LastStatus, Task};
use quarry_aws::autoscaling::op::*;
use quarry_aws::autoscaling::*;
use quarry_aws::cloudwatch as cw;
use quarry_aws::ecs;
use quarry_domain::task::Usage;
use quarry_wire::{Operation, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

fn call<O: Operation>(stage: &Stage, input: Value) -> crate::api::Result<O::Output>
where
    O::Input: serde::de::DeserializeOwned,
{
    stage.world.call::<O>(serde_json::from_value(input).unwrap())
}

/// Puts a policy of `hosts`; its ARN.
fn policy(stage: &Stage, name: &str, members: Value) -> crate::api::Result<PolicyARNType> {
    let mut input = json!({"AutoScalingGroupName": "hosts", "PolicyName": name});
    for (name, value) in members.as_object().unwrap() {
        input[name] = value.clone();
    }
    call::<PutScalingPolicy>(stage, input)
}

/// An alarm that is in ALARM above (or below) a threshold.
fn alarm(stage: &Stage, name: &str, comparison: &str, threshold: f64, action: &str) {
    let input = json!({
        "AlarmName": name, "Namespace": "Own", "MetricName": "Load", "Statistic": "Average", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": threshold, "ComparisonOperator": comparison, "AlarmActions": [action],
    });
    call::<cw::op::PutMetricAlarm>(stage, input).unwrap();
}

/// Minutes with this load.
fn minutes(stage: &Stage, n: u32, load: f64) {
    for _ in 0..n {
        let data = json!({"Namespace": "Own", "MetricData": [{"MetricName": "Load", "Value": load}]});
        call::<cw::op::PutMetricData>(stage, data).unwrap();
        stage.world.door.advance(Duration::from_secs(60));
        evaluate::pass(&stage.world.platform, &stage.world.operations).unwrap();
    }
}

fn desired(stage: &Stage) -> i32 {
    stage.group().desired_capacity.unwrap()
}

#[test]
fn a_simple_policy_acts_once_in_its_cooldown_and_within_the_bounds() {
    let stage = Stage::new();
    stage.create(|_| {}).unwrap();
    let change = json!({"AdjustmentType": "ChangeInCapacity", "ScalingAdjustment": 1, "Cooldown": 180});
    let arn = policy(&stage, "out", change).unwrap().policy_arn.unwrap();
    assert!(arn.contains(":scalingPolicy:") && arn.ends_with(":autoScalingGroupName/hosts:policyName/out"), "{arn}");
    alarm(&stage, "high", "GreaterThanThreshold", 10.0, &arn);
    minutes(&stage, 1, 5.0);
    assert_eq!(desired(&stage), 2);
    minutes(&stage, 2, 20.0);
    assert_eq!(desired(&stage), 3, "the second minute is in the cooldown");
    minutes(&stage, 3, 20.0);
    assert_eq!(desired(&stage), 4);
    minutes(&stage, 8, 20.0);
    assert_eq!(desired(&stage), 4, "the maximum");
    let exact = json!({"AdjustmentType": "ExactCapacity", "ScalingAdjustment": 0, "Cooldown": 0});
    let arn = policy(&stage, "in", exact).unwrap().policy_arn.unwrap();
    alarm(&stage, "low", "LessThanThreshold", 3.0, &arn);
    call::<SuspendProcesses>(
        &stage,
        json!({"AutoScalingGroupName": "hosts", "ScalingProcesses": ["AlarmNotification"]}),
    )
    .unwrap();
    minutes(&stage, 4, 1.0);
    assert_eq!(desired(&stage), 4, "suspended");
    call::<ResumeProcesses>(&stage, json!({"AutoScalingGroupName": "hosts"})).unwrap();
    minutes(&stage, 2, 1.0);
    assert_eq!(desired(&stage), 0);

    let shown = call::<DescribePolicies>(&stage, json!({"AutoScalingGroupName": "hosts"})).unwrap();
    let shown = shown.scaling_policies.unwrap();
    assert_eq!(shown.len(), 2);
    let of = |name: &str| shown.iter().find(|policy| policy.policy_name.as_deref() == Some(name)).unwrap();
    assert_eq!(of("in").alarms.as_ref().unwrap()[0].alarm_name.as_deref(), Some("low"));
    assert_eq!((of("out").policy_type.as_deref(), of("out").cooldown), (Some("SimpleScaling"), Some(180)));
    call::<DeletePolicy>(&stage, json!({"PolicyName": arn})).unwrap();
    let shown = call::<DescribePolicies>(&stage, json!({"PolicyNames": ["in"]})).unwrap();
    assert_eq!(shown.scaling_policies, Some(Vec::new()));
}

#[test]
fn a_step_policy_takes_the_step_of_the_breach_and_waits_for_the_warm_up() {
    let stage = Stage::new();
    stage.create(|input| input.max_size = Some(9)).unwrap();
    let steps = json!([
        {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 10.0, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 10.0, "ScalingAdjustment": 3},
    ]);
    let members = json!({"PolicyType": "StepScaling", "AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps,
        "EstimatedInstanceWarmup": 300});
    let arn = policy(&stage, "steps", members).unwrap().policy_arn.unwrap();
    alarm(&stage, "high", "GreaterThanOrEqualToThreshold", 50.0, &arn);
    minutes(&stage, 2, 55.0);
    assert_eq!(desired(&stage), 3, "what was added counts until it is warm");
    minutes(&stage, 1, 65.0);
    assert_eq!(desired(&stage), 5, "a larger step counts from where the first began");
    minutes(&stage, 7, 55.0);
    assert_eq!(desired(&stage), 6);
}

#[test]
fn a_target_is_followed_up_and_down_with_alarms_that_come_and_go() {
    let mut stage = Stage::new();
    stage.create(|input| (input.min_size, input.desired_capacity) = (Some(1), Some(1))).unwrap();
    let metric = json!({"Namespace": "Own", "MetricName": "Load", "Statistic": "Average"});
    let configuration = json!({"CustomizedMetricSpecification": metric, "TargetValue": 50.0});
    let members = json!({"PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": configuration,
        "EstimatedInstanceWarmup": 60});
    let made = policy(&stage, "half", members.clone()).unwrap();
    let names: Vec<String> = made.alarms.unwrap().into_iter().map(|alarm| alarm.alarm_name.unwrap()).collect();
    assert!(names[0].starts_with("TargetTracking-hosts-AlarmHigh-"), "{names:?}");
    assert!(names[1].starts_with("TargetTracking-hosts-AlarmLow-"), "{names:?}");
    minutes(&stage, 2, 150.0);
    assert_eq!(desired(&stage), 1, "three minutes are needed");
    minutes(&stage, 1, 150.0);
    assert_eq!(desired(&stage), 3);
    minutes(&stage, 10, 48.0);
    assert_eq!(desired(&stage), 3);
    minutes(&stage, 14, 10.0);
    assert_eq!(desired(&stage), 3, "fifteen minutes are needed");
    minutes(&stage, 1, 10.0);
    assert_eq!(desired(&stage), 1);

    // Without scale-in there is no alarm for it, and the alarms go with the policy, as it does with its group.
    let mut grows = members;
    grows["TargetTrackingConfiguration"]["DisableScaleIn"] = true.into();
    let again = policy(&stage, "half", grows).unwrap();
    assert_eq!(again.policy_arn, made.policy_arn);
    let alarms = |stage: &Stage| {
        let shown = call::<cw::op::DescribeAlarms>(stage, json!({})).unwrap().metric_alarms.unwrap();
        shown.into_iter().map(|alarm| alarm.alarm_name.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(alarms(&stage), [names[0].clone()]);
    stage.delete(Some(true)).unwrap();
    for _ in 0..4 {
        stage.pass();
    }
    assert!(stage.groups().is_empty());
    assert_eq!(alarms(&stage), Vec::<String>::new());
    assert_eq!(call::<DescribePolicies>(&stage, json!({})).unwrap().scaling_policies, Some(Vec::new()));
}

#[test]
fn the_processors_of_a_groups_instances_are_its_metric() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.create(|_| {}).unwrap();
    stage.pass();
    let definition = json!({"family": "busy", "containerDefinitions": [{"name": "a", "image": "a:v1", "memory": 64}]});
    call::<ecs::op::RegisterTaskDefinition>(&stage, definition).unwrap();
    let run = json!({"cluster": "demo", "taskDefinition": "busy"});
    let task = call::<ecs::op::RunTask>(&stage, run).unwrap().tasks.unwrap().remove(0).task_arn.unwrap();
    let id = task.rsplit('/').next().unwrap().to_owned();
    let running = |ctx: &mut crate::api::Ctx<'_>| {
        let task: Task = ctx.tx.get(&id)?.expect("it was started");
        Ok(ctx.tx.put(&Task { status: LastStatus::Running, ..task })?)
    };
    stage.world.transact(running).unwrap();
    // Half a processor on one of two instances of one processor each.
    let mut collector = Collector::default();
    let mut cpu_ns = 0;
    for _ in 0..18 {
        stage.world.door.advance(Duration::from_secs(10));
        cpu_ns += 5_000_000_000;
        let usage = Usage { cpu_ns, ..Usage::default() };
        stage.world.runtime.usage.lock().unwrap().insert(id.clone(), usage);
        collector.tick(&stage.world.platform, 60_000).unwrap();
    }
    let now = stage.world.platform.now_ms();
    let input = cw::GetMetricStatisticsInput {
        namespace: Some("AWS/EC2".into()),
        metric_name: Some("CPUUtilization".into()),
        dimensions: Some(vec![cw::Dimension {
            name: Some("AutoScalingGroupName".into()),
            value: Some("hosts".into()),
        }]),
        start_time: Some(Timestamp::from_millis(now - 600_000)),
        end_time: Some(Timestamp::from_millis(now)),
        period: Some(60),
        statistics: Some(vec!["Average".into()]),
        ..Default::default()
    };
    let points = stage.world.call::<cw::op::GetMetricStatistics>(input).unwrap().datapoints.unwrap();
    let averages: Vec<f64> = points.iter().map(|point| point.average.unwrap()).collect();
    assert!(averages.iter().any(|average| (average - 25.0).abs() < 1.0), "{averages:?}");
    let track = json!({"PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": {
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"}, "TargetValue": 10.0}});
    policy(&stage, "cpu", track).unwrap();
    for _ in 0..4 {
        evaluate::pass(&stage.world.platform, &stage.world.operations).unwrap();
        stage.world.door.advance(Duration::from_secs(1));
    }
    let shown = call::<cw::op::DescribeAlarms>(&stage, json!({})).unwrap().metric_alarms.unwrap();
    assert_eq!(shown[0].metric_name.as_deref(), Some("CPUUtilization"));
}

#[test]
fn policies_that_are_refused() {
    let stage = Stage::new();
    stage.create(|_| {}).unwrap();
    let step = |lower: f64, upper: f64| json!({"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper, "ScalingAdjustment": 1});
    let change = "ChangeInCapacity";
    for wrong in [
        json!({}),
        json!({"AdjustmentType": "Twice", "ScalingAdjustment": 1}),
        json!({"AdjustmentType": change}),
        json!({"AdjustmentType": "ExactCapacity", "ScalingAdjustment": -1}),
        json!({"AdjustmentType": change, "ScalingAdjustment": 1, "MinAdjustmentMagnitude": 2}),
        json!({"AdjustmentType": change, "ScalingAdjustment": 1, "PolicyType": "StepScaling"}),
        json!({"AdjustmentType": change, "PolicyType": "StepScaling", "StepAdjustments": []}),
        json!({"AdjustmentType": change, "PolicyType": "StepScaling", "StepAdjustments": [step(0.0, 5.0), step(6.0, 9.0)]}),
        json!({"AdjustmentType": change, "PolicyType": "StepScaling", "StepAdjustments": [step(5.0, 5.0)]}),
        json!({"PolicyType": "TargetTrackingScaling"}),
        json!({"PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": {"TargetValue": 1.0}}),
        json!({"PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": {"TargetValue": 1.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageNetworkIn"}}}),
        json!({"PolicyType": "PredictiveScaling", "AdjustmentType": change}),
    ] {
        assert_eq!(refused(policy(&stage, "p", wrong.clone())).0, "ValidationError", "{wrong}");
    }
    let elsewhere = json!({"AutoScalingGroupName": "nobody", "PolicyName": "p", "AdjustmentType": change,
        "ScalingAdjustment": 1});
    assert_eq!(refused(call::<PutScalingPolicy>(&stage, elsewhere)).0, "ValidationError");
    assert_eq!(refused(call::<DeletePolicy>(&stage, json!({"PolicyName": "p"}))).0, "ValidationError");
}
