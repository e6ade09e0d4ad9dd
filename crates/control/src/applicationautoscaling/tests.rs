//! Services that grow and shrink under given loads, minute by minute of virtual time, through the
//! operations and the passes; and what is refused.

use crate::cloudwatch::{self, collect::Collector, evaluate};
use crate::ecs::tests::{Stage, id, operations as ecs_operations};
use crate::testing::World;
use quarry_aws::application_autoscaling::{self as aws, op};
use quarry_aws::cloudwatch as cw;
use quarry_aws::ecs;
use quarry_aws::iam;
use quarry_domain::link::{Counters, time_bucket};
use quarry_domain::task::Usage;
use quarry_wire::{Operation, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ID: &str = "service/demo/api";

/// The stage of ECS's tests, with alarms and autoscaling.
struct Scaled {
    stage: Stage,
    collector: Collector,
    /// Cores that all tasks of the service use together.
    cores: f64,
    usage: BTreeMap<String, Usage>,
    counters: Counters,
}

impl Scaled {
    fn new(desired: i32, balanced: bool) -> Self {
        let world = World::new(|operations| {
            ecs_operations(operations);
            super::register(operations);
        });
        let mut stage = Stage::furnished(world);
        let definition = stage.define("api:v1");
        stage.serve(&definition, desired, balanced);
        stage.settle();
        let (usage, counters) = (BTreeMap::new(), Counters::default());
        Self { stage, collector: Collector::default(), cores: 0.0, usage, counters }
    }

    fn call<O: Operation>(&self, input: Value) -> O::Output
    where
        O::Input: serde::de::DeserializeOwned,
    {
        self.stage.world.call::<O>(serde_json::from_value(input).unwrap()).unwrap()
    }

    fn refused<O: Operation>(&self, input: Value) -> (String, String)
    where
        O::Input: serde::de::DeserializeOwned,
    {
        let result = self.stage.world.call::<O>(serde_json::from_value(input).unwrap());
        let Err(error) = result else { panic!("{} was not refused", O::NAME) };
        (error.code, error.message)
    }

    fn register(&self, min: u32, max: u32) -> String {
        let input = of_target(json!({ "MinCapacity": min, "MaxCapacity": max }));
        self.call::<op::RegisterScalableTarget>(input).scalable_target_arn.unwrap()
    }

    fn track(&self, name: &str, configuration: Value) -> aws::PutScalingPolicyResponse {
        self.call::<op::PutScalingPolicy>(of_target(json!({
            "PolicyName": name, "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": configuration,
        })))
    }

    /// Ten seconds pass, with what the reconcilers do in them.
    fn tick(&mut self) {
        self.stage.world.door.advance(Duration::from_secs(10));
        let tasks = self.stage.tasks("RUNNING");
        let each = self.cores * 1e10 / tasks.len().max(1) as f64;
        for task in &tasks {
            let usage = self.usage.entry(id(task)).or_default();
            usage.cpu_ns += each as u64;
            usage.memory_bytes = 64 << 20;
        }
        *self.stage.world.runtime.usage.lock().unwrap() = self.usage.clone();
        self.stage.world.platform.live().counters.insert("p".into(), self.counters.clone());
        let (platform, operations) = (self.stage.world.platform.clone(), self.stage.world.operations.clone());
        self.collector.tick(&platform, platform.config.minute_ms()).unwrap();
        evaluate::pass(&platform, &operations).unwrap();
        super::reconcile::pass(&platform, &operations).unwrap();
        self.stage.settle();
    }

    fn minutes(&mut self, n: u32) {
        for _ in 0..n * 6 {
            self.tick();
        }
    }

    fn desired(&self) -> i32 {
        self.stage.service().desired_count.unwrap()
    }

    fn activities(&self) -> Vec<aws::ScalingActivity> {
        let input = json!({ "ServiceNamespace": "ecs", "ResourceId": ID, "IncludeNotScaledActivities": true });
        self.call::<op::DescribeScalingActivities>(input).scaling_activities.unwrap()
    }

    fn alarms(&self) -> Vec<cw::MetricAlarm> {
        self.call::<cw::op::DescribeAlarms>(json!({})).metric_alarms.unwrap()
    }
}

fn of_target(mut input: Value) -> Value {
    input["ServiceNamespace"] = "ecs".into();
    input["ResourceId"] = ID.into();
    input["ScalableDimension"] = "ecs:service:DesiredCount".into();
    input
}

fn cpu(target: f64) -> Value {
    json!({
        "TargetValue": target,
        "PredefinedMetricSpecification": { "PredefinedMetricType": "ECSServiceAverageCPUUtilization" },
    })
}

#[test]
fn a_busy_service_grows_within_minutes_and_shrinks_when_it_is_idle() {
    let mut s = Scaled::new(1, false);
    s.register(1, 5);
    let policy = s.track("cpu", cpu(50.0));
    let made = policy.alarms.unwrap();
    let names: Vec<&str> = made.iter().map(|alarm| alarm.alarm_name.as_deref().unwrap()).collect();
    assert!(names[0].starts_with("TargetTracking-service/demo/api-AlarmHigh-"), "{names:?}");
    assert!(names[1].starts_with("TargetTracking-service/demo/api-AlarmLow-"), "{names:?}");
    let alarms = s.alarms();
    assert_eq!((alarms[0].threshold, alarms[1].threshold), (Some(50.0), Some(45.0)));
    assert_eq!((alarms[0].evaluation_periods, alarms[1].evaluation_periods), (Some(3), Some(15)));
    assert_eq!(alarms[0].alarm_actions, Some(vec![policy.policy_arn.unwrap()]));
    assert_eq!(alarms[0].state_reason.as_deref(), Some("Unchecked: Initial alarm creation"));

    // A task has a quarter of a core: 0.4 cores are 160 % of it.
    s.cores = 0.4;
    s.minutes(2);
    assert_eq!(s.desired(), 1, "three datapoints, not two");
    s.minutes(3);
    assert_eq!(s.desired(), 4);
    let input = json!({ "AlarmName": names[0], "HistoryItemType": "StateUpdate" });
    let history = s.call::<cw::op::DescribeAlarmHistory>(input).alarm_history_items.unwrap();
    let told = |item: &cw::AlarmHistoryItem| {
        item.history_data.as_deref().unwrap().contains("Threshold Crossed: 3 out of the last 3 datapoints [")
    };
    assert!(history.iter().any(told), "{history:?}");
    let done = s.activities();
    assert_eq!(done.len(), 1, "{done:?}");
    assert_eq!(done[0].description.as_deref(), Some("Setting desired count to 4."));
    assert_eq!(done[0].status_code.as_deref(), Some("Successful"));
    assert_eq!(
        done[0].status_message.as_deref(),
        Some("Successfully set desired count to 4. Change successfully fulfilled by ecs.")
    );
    assert_eq!(done[0].cause, Some(format!("monitor alarm {} in state ALARM triggered policy cpu", names[0])));
    // 40 % of four: below the alarm for low enough, and yet three would be too few.
    s.minutes(25);
    assert_eq!(s.desired(), 4);
    s.cores = 1.0;
    s.minutes(5);
    assert_eq!(s.desired(), 5, "no more than the maximum");
    s.minutes(5);
    let held = s.activities().into_iter().find(|a| a.not_scaled_reasons.is_some()).expect("it is said");
    let reason = &held.not_scaled_reasons.unwrap()[0];
    assert_eq!((reason.code.as_deref(), reason.max_capacity), (Some("AlreadyAtMaxCapacity"), Some(5)));

    s.cores = 0.01;
    s.minutes(10);
    assert_eq!(s.desired(), 5, "fifteen datapoints to shrink");
    s.minutes(10);
    assert_eq!(s.desired(), 1);
    assert_eq!(s.stage.tasks("RUNNING").len(), 1);
    let cause = s.activities().into_iter().find(|a| a.not_scaled_reasons.is_none()).unwrap().cause.unwrap();
    assert!(cause.contains(names[1]), "{cause}");

    // What goes, goes whole.
    s.call::<op::DeregisterScalableTarget>(of_target(json!({})));
    assert!(s.alarms().is_empty());
    let input = json!({ "ServiceNamespace": "ecs" });
    assert!(s.call::<op::DescribeScalingPolicies>(input).scaling_policies.unwrap().is_empty());
}

#[test]
fn requests_per_target_and_metrics_of_the_balancer() {
    let mut s = Scaled::new(2, true);
    let read = |s: &Scaled| {
        let groups = s.stage.world.call::<quarry_aws::elbv2::op::DescribeTargetGroups>(Default::default()).unwrap();
        let balancers = s.stage.world.call::<quarry_aws::elbv2::op::DescribeLoadBalancers>(Default::default()).unwrap();
        let group = groups.target_groups.unwrap().remove(0).target_group_arn.unwrap();
        (balancers.load_balancers.unwrap().remove(0).load_balancer_arn.unwrap(), group)
    };
    let (balancer, group) = read(&s);
    let balancer_label = balancer.split_once("loadbalancer/").unwrap().1;
    let group_label = group.rsplit(':').next().unwrap();
    s.register(1, 6);
    s.track(
        "requests",
        json!({
            "TargetValue": 100.0,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "ALBRequestCountPerTarget",
                "ResourceLabel": format!("{balancer_label}/{group_label}"),
            },
        }),
    );
    s.tick();
    for _ in 0..5 * 6 {
        // 480 a minute.
        let lb = s.counters.load_balancers.entry(balancer.clone()).or_default();
        lb.request_count += 80;
        lb.processed_bytes += 8_000;
        for counter in [
            &mut lb.elb_500,
            &mut lb.rule_evaluations,
            &mut lb.fixed_responses,
            &mut lb.redirects,
            &mut lb.redirect_url_limit_exceeded,
            &mut lb.client_tls_errors,
            &mut lb.rejected_connections,
            &mut lb.dropped_invalid_headers,
            &mut lb.desync_non_compliant,
        ] {
            *counter += 10;
        }
        lb.log_lines_dropped += 1;
        let tg = s.counters.target_groups.entry(group.clone()).or_default();
        tg.request_count += 80;
        tg.target_2xx += 79;
        tg.target_5xx += 1;
        for counter in [&mut tg.connection_errors, &mut tg.tls_errors, &mut tg.non_sticky, &mut tg.unhealthy_routing] {
            *counter += 10;
        }
        tg.response_time_micros += 80 * 10_000;
        let n = tg.response_times.first().map_or(0, |(_, n)| *n);
        tg.response_times = vec![(time_bucket(10_000), n + 80)];
        s.tick();
    }
    assert_eq!(s.desired(), 5);
    let now = s.stage.world.platform.now_ms() / 1000;
    let data = |metric: &str, stat: &str, dimensions: Value| -> Vec<f64> {
        let output = s.call::<cw::op::GetMetricData>(json!({
            "StartTime": now - 240, "EndTime": now - 120, "ScanBy": "TimestampAscending",
            "MetricDataQueries": [{ "Id": "q", "MetricStat": {
                "Metric": { "Namespace": "AWS/ApplicationELB", "MetricName": metric, "Dimensions": dimensions },
                "Period": 60, "Stat": stat,
            }}],
        }));
        output.metric_data_results.unwrap().remove(0).values.unwrap()
    };
    let by_balancer = json!([{ "Name": "LoadBalancer", "Value": balancer_label }]);
    let by_group = json!([
        { "Name": "LoadBalancer", "Value": balancer_label }, { "Name": "TargetGroup", "Value": group_label },
    ]);
    let near = |values: Vec<f64>, expected: f64| {
        assert!(!values.is_empty());
        assert!(values.iter().all(|v| (v / expected - 1.0).abs() < 0.1), "{values:?} for {expected}");
    };
    near(data("RequestCount", "Sum", by_balancer.clone()), 480.0);
    near(data("HTTPCode_Target_2XX_Count", "Sum", by_group.clone()), 474.0);
    for name in [
        "HTTPCode_ELB_500_Count",
        "RuleEvaluations",
        "HTTP_Fixed_Response_Count",
        "HTTP_Redirect_Count",
        "HTTP_Redirect_Url_Limit_Exceeded_Count",
        "ClientTLSNegotiationErrorCount",
        "RejectedConnectionCount",
        "DroppedInvalidHeaderRequestCount",
        "DesyncMitigationMode_NonCompliant_Request_Count",
    ] {
        near(data(name, "Sum", by_balancer.clone()), 60.0);
    }
    for name in [
        "TargetConnectionErrorCount",
        "TargetTLSNegotiationErrorCount",
        "NonStickyRequestCount",
        "UnhealthyRoutingRequestCount",
    ] {
        near(data(name, "Sum", by_group.clone()), 60.0);
    }
    near(data("TargetResponseTime", "Average", by_balancer.clone()), 0.01);
    near(data("TargetResponseTime", "p99", by_balancer), 0.01);
    let listed = s.call::<cw::op::ListMetrics>(json!({ "MetricName": "HealthyHostCount" })).metrics.unwrap();
    assert_eq!(listed.len(), 1);
    let text = cloudwatch::prometheus::text(&s.stage.world.platform).unwrap();
    assert!(text.contains("# TYPE quarry_target_group_requests_total counter\n"), "{text}");
    for family in [
        "load_balancer_rule_evaluations",
        "load_balancer_rejected_connections",
        "load_balancer_log_lines_dropped",
        "target_group_tls_negotiation_errors",
        "target_group_unhealthy_routing_requests",
    ] {
        assert!(text.contains(&format!("# TYPE quarry_{family}_total counter\n")), "{family}: {text}");
    }
    assert!(text.contains("quarry_service_desired_tasks{cluster=\"demo\",service=\"api\"} 5\n"), "{text}");
}

#[test]
fn step_scaling_follows_an_alarm_of_ones_own() {
    let mut s = Scaled::new(2, false);
    s.register(1, 6);
    let arn = s
        .call::<op::PutScalingPolicy>(of_target(json!({
            "PolicyName": "steps", "PolicyType": "StepScaling",
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": "ChangeInCapacity", "Cooldown": 60, "MetricAggregationType": "Average",
                "StepAdjustments": [
                    { "MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 10.0, "ScalingAdjustment": 1 },
                    { "MetricIntervalLowerBound": 10.0, "ScalingAdjustment": 3 },
                ],
            },
        })))
        .policy_arn
        .unwrap();
    s.call::<cw::op::PutMetricAlarm>(json!({
        "AlarmName": "queue", "Namespace": "Own", "MetricName": "Depth", "Statistic": "Maximum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 100.0, "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "AlarmActions": [arn, "arn:aws:sns:us-east-1:000000000000:ops"],
    }));
    let input = json!({ "ServiceNamespace": "ecs", "PolicyNames": ["steps"] });
    let shown = s.call::<op::DescribeScalingPolicies>(input).scaling_policies.unwrap().remove(0);
    assert_eq!(shown.alarms.unwrap()[0].alarm_name.as_deref(), Some("queue"));
    let depth = |s: &Scaled, value: f64| {
        s.call::<cw::op::PutMetricData>(json!({
            "Namespace": "Own", "MetricData": [{ "MetricName": "Depth", "Value": value }],
        }));
    };
    depth(&s, 105.0);
    s.minutes(1);
    s.tick();
    assert_eq!(s.desired(), 3);
    depth(&s, 150.0);
    s.minutes(3);
    assert!(s.desired() >= 5, "{}", s.desired());
    let history = s.call::<cw::op::DescribeAlarmHistory>(json!({ "AlarmName": "queue", "HistoryItemType": "Action" }));
    let said: Vec<String> =
        history.alarm_history_items.unwrap().into_iter().filter_map(|i| i.history_summary).collect();
    assert!(said.iter().any(|text| *text == format!("Successfully executed action {arn}")), "{said:?}");
    assert!(said.iter().any(|text| text.starts_with("Failed to execute action arn:aws:sns:")), "{said:?}");
}

#[test]
fn scheduled_actions_move_the_bounds_and_are_suspended() {
    let mut s = Scaled::new(2, false);
    s.register(1, 6);
    let now = s.stage.world.platform.now_ms();
    let at = |after_s: i64| {
        let text = Timestamp::from_millis((now / 1000 + after_s) * 1000).to_string();
        format!("at({})", text.trim_end_matches(".000Z"))
    };
    let put = |s: &Scaled, name: &str, schedule: String, action: Value| {
        s.call::<op::PutScheduledAction>(of_target(json!({
            "ScheduledActionName": name, "Schedule": schedule, "Timezone": "UTC", "ScalableTargetAction": action,
        })));
    };
    put(&s, "morning", at(60), json!({ "MinCapacity": 4, "MaxCapacity": 5 }));
    put(&s, "evening", at(180), json!({ "MinCapacity": 1, "MaxCapacity": 2 }));
    put(&s, "minutely", "rate(1 minute)".into(), json!({ "MaxCapacity": 5 }));
    // A schedule that changes leaves the time zone.
    s.call::<op::PutScheduledAction>(of_target(
        json!({ "ScheduledActionName": "minutely", "Schedule": "rate(2 minutes)" }),
    ));
    let shown = s.call::<op::DescribeScheduledActions>(json!({ "ServiceNamespace": "ecs" })).scheduled_actions.unwrap();
    assert_eq!(shown.len(), 3);
    let minutely = shown.iter().find(|action| action.scheduled_action_name.as_deref() == Some("minutely")).unwrap();
    assert_eq!(minutely.schedule.as_deref(), Some("rate(2 minutes)"));
    assert_eq!(minutely.timezone.as_deref(), Some("UTC"));
    s.call::<op::DeleteScheduledAction>(of_target(json!({ "ScheduledActionName": "minutely" })));
    s.minutes(2);
    assert_eq!(s.desired(), 4);
    let done = s.activities();
    assert_eq!(done[0].cause.as_deref(), Some("minimum capacity was set to 4"));
    assert_eq!(done[1].description.as_deref(), Some("Setting min capacity to 4 and max capacity to 5"));
    assert_eq!(done[1].cause.as_deref(), Some("scheduled action name morning was triggered"));
    s.call::<op::RegisterScalableTarget>(of_target(json!({ "SuspendedState": { "ScheduledScalingSuspended": true } })));
    s.minutes(3);
    assert_eq!(s.desired(), 4, "suspended");
    let left = s.call::<op::DescribeScheduledActions>(json!({ "ServiceNamespace": "ecs" }));
    assert!(left.scheduled_actions.unwrap().is_empty(), "what ran for the last time goes");
    // Bounds themselves act at once.
    s.register(1, 3);
    s.stage.settle();
    assert_eq!(s.desired(), 3);
    assert_eq!(s.activities()[0].cause.as_deref(), Some("maximum capacity was set to 3"));
}

#[test]
fn targets_have_tags_a_role_and_go_with_their_service() {
    let mut s = Scaled::new(1, false);
    let arn = s.register(1, 3);
    assert_eq!(arn, s.register(1, 4), "the same target");
    s.call::<op::TagResource>(json!({ "ResourceARN": arn, "Tags": { "team": "posts" } }));
    let tags = s.call::<op::ListTagsForResource>(json!({ "ResourceARN": arn })).tags.unwrap();
    assert_eq!(tags, BTreeMap::from([("team".to_owned(), "posts".to_owned())]));
    s.call::<op::UntagResource>(json!({ "ResourceARN": arn, "TagKeys": ["team"] }));
    assert!(s.call::<op::ListTagsForResource>(json!({ "ResourceARN": arn })).tags.unwrap().is_empty());
    let target = s.call::<op::DescribeScalableTargets>(json!({ "ServiceNamespace": "ecs", "ResourceIds": [ID] }));
    let target = target.scalable_targets.unwrap().remove(0);
    assert_eq!((target.min_capacity, target.max_capacity), (Some(1), Some(4)));
    let role = "AWSServiceRoleForApplicationAutoScaling_ECSService";
    assert!(target.role_arn.unwrap().ends_with(role));
    s.call::<iam::op::GetRole>(json!({ "RoleName": role }));
    s.track("cpu", cpu(50.0));
    let input = json!({ "cluster": "demo", "service": "api", "force": true });
    s.call::<ecs::op::DeleteService>(input);
    s.minutes(1);
    let left = s.call::<op::DescribeScalableTargets>(json!({ "ServiceNamespace": "ecs" }));
    assert!(left.scalable_targets.unwrap().is_empty());
    assert!(s.alarms().is_empty());
}

#[test]
fn what_is_refused_changes_nothing() {
    let s = Scaled::new(1, false);
    let register = |s: &Scaled, change: Value| {
        let mut input = of_target(json!({ "MinCapacity": 1, "MaxCapacity": 3 }));
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        s.refused::<op::RegisterScalableTarget>(input)
    };
    for (change, words) in [
        (json!({ "ServiceNamespace": "dynamodb" }), "Unsupported service namespace"),
        (json!({ "ResourceId": "table/x" }), "Unsupported service namespace"),
        (json!({ "ResourceId": "service/demo/none" }), "ECS service doesn't exist: service/demo/none"),
        (json!({ "ResourceId": "service/none/api" }), "ECS service doesn't exist"),
        (json!({ "MinCapacity": 4 }), "Maximum capacity cannot be less than minimum capacity"),
        (json!({ "MinCapacity": -1 }), "cannot be less than 0"),
        (json!({ "Tags": { "aws:x": "y" } }), "reserved"),
    ] {
        let (code, message) = register(&s, change);
        assert_eq!(code, "ValidationException", "{message}");
        assert!(message.contains(words), "{message}");
    }
    let put = |s: &Scaled, input: Value| s.refused::<op::PutScalingPolicy>(of_target(input));
    let tracking = |configuration: Value| {
        json!({
            "PolicyName": "p", "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": configuration,
        })
    };
    let (code, message) = put(&s, tracking(cpu(50.0)));
    assert_eq!(code, "ObjectNotFoundException");
    assert!(
        message.starts_with("No scalable target registered for service namespace: ecs, resource ID: "),
        "{message}"
    );
    assert!(s.alarms().is_empty());
    s.register(1, 3);
    let step = |configuration: Value| json!({ "PolicyName": "p", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": configuration });
    let interval = |lower: Option<f64>, upper: Option<f64>| json!({ "MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper, "ScalingAdjustment": 1 });
    let steps = |steps: Vec<Value>| step(json!({ "AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps }));
    let mut labelled = cpu(50.0);
    labelled["PredefinedMetricSpecification"]["ResourceLabel"] = "x".into();
    for (input, words) in [
        (tracking(cpu(0.0)), "TargetValue"),
        (tracking(json!({ "TargetValue": 1.0 })), "Exactly one of"),
        (tracking(labelled), "ResourceLabel must not"),
        (
            tracking(json!({ "TargetValue": 1.0, "PredefinedMetricSpecification": {
                "PredefinedMetricType": "DynamoDBReadCapacityUtilization" } })),
            "Invalid predefined metric type",
        ),
        (steps(vec![]), "StepAdjustments"),
        (steps(vec![interval(Some(0.0), Some(10.0)), interval(Some(5.0), None)]), "overlap"),
        (steps(vec![interval(Some(0.0), Some(10.0)), interval(Some(15.0), None)]), "gaps"),
        (steps(vec![interval(Some(1.0), Some(0.0))]), "upper bound"),
        (
            step(json!({ "AdjustmentType": "ChangeInCapacity", "MinAdjustmentMagnitude": 1,
                "StepAdjustments": [interval(Some(0.0), None)] })),
            "MinAdjustmentMagnitude",
        ),
        (json!({ "PolicyName": "p", "PolicyType": "PredictiveScaling" }), "not supported"),
    ] {
        let (code, message) = put(&s, input);
        assert_eq!(code, "ValidationException", "{message}");
        assert!(message.contains(words), "{message} instead of {words}");
    }
    for (schedule, zone, words) in [
        ("cron(* * *)", "UTC", "Unsupported schedule expression"),
        ("rate(1 minute)", "Mars/Base", "Unsupported time zone"),
    ] {
        let (code, message) = s.refused::<op::PutScheduledAction>(of_target(json!({
            "ScheduledActionName": "x", "Schedule": schedule, "Timezone": zone,
            "ScalableTargetAction": { "MinCapacity": 1 },
        })));
        assert_eq!(code, "ValidationException");
        assert!(message.contains(words), "{message}");
    }
    let (code, _) = s.refused::<op::DeleteScalingPolicy>(of_target(json!({ "PolicyName": "none" })));
    assert_eq!(code, "ObjectNotFoundException");
    assert!(s.alarms().is_empty());
    let input = json!({ "ServiceNamespace": "ecs" });
    assert!(s.call::<op::DescribeScalingPolicies>(input).scaling_policies.unwrap().is_empty());
    // Other namespaces hold nothing.
    let other = s.call::<op::DescribeScalableTargets>(json!({ "ServiceNamespace": "dynamodb" }));
    assert!(other.scalable_targets.unwrap().is_empty());
}
