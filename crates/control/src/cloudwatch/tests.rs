//! Metrics in and out, alarms by hand and by themselves, and what is refused.

use super::evaluate;
use crate::testing::World;
use quarry_aws::cloudwatch::{self as aws, op};
use quarry_wire::Operation;
use serde_json::{Value, json};
use std::time::Duration;

fn world() -> World {
    World::new(|operations| {
        super::register(operations);
        crate::applicationautoscaling::register(operations);
    })
}

fn call<O: Operation>(world: &World, input: Value) -> O::Output
where
    O::Input: serde::de::DeserializeOwned,
{
    world.call::<O>(serde_json::from_value(input).unwrap()).unwrap()
}

fn refused<O: Operation>(world: &World, input: Value) -> (String, String)
where
    O::Input: serde::de::DeserializeOwned,
{
    match world.call::<O>(serde_json::from_value(input.clone()).unwrap()) {
        Err(error) => (error.code, error.message),
        Ok(_) => panic!("{} took {input}", O::NAME),
    }
}

fn now(world: &World) -> i64 {
    world.platform.now_ms() / 1000
}

fn put(world: &World, name: &str, value: f64) {
    call::<op::PutMetricData>(
        world,
        json!({
            "Namespace": "Shop", "MetricData": [{ "MetricName": name, "Unit": "Count", "Value": value }],
        }),
    );
}

fn metric(name: &str, stat: &str) -> Value {
    json!({ "Metric": { "Namespace": "Shop", "MetricName": name }, "Period": 60, "Stat": stat })
}

fn alarm(name: &str, change: Value) -> Value {
    let mut input = json!({
        "AlarmName": name, "Namespace": "Shop", "MetricName": "Errors", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 2, "DatapointsToAlarm": 1, "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
    });
    for (member, value) in change.as_object().unwrap() {
        input[member] = value.clone();
    }
    input
}

fn state(world: &World, name: &str) -> aws::MetricAlarm {
    call::<op::DescribeAlarms>(world, json!({ "AlarmNames": [name] })).metric_alarms.unwrap().remove(0)
}

/// A minute passes, and alarms are looked at.
fn minute(world: &World) {
    world.door.advance(Duration::from_secs(60));
    evaluate::pass(&world.platform, &world.operations).unwrap();
}

#[test]
fn metrics_are_read_as_they_were_given() {
    let world = world();
    let start = now(&world);
    for n in 0..4 {
        put(&world, "Orders", f64::from(n));
        put(&world, "Views", 10.0);
        world.door.advance(Duration::from_secs(30));
    }
    let output = call::<op::GetMetricData>(
        &world,
        json!({
            "StartTime": start - 60, "EndTime": start + 240, "ScanBy": "TimestampAscending",
            "MetricDataQueries": [
                { "Id": "orders", "MetricStat": metric("Orders", "Sum") },
                { "Id": "views", "MetricStat": metric("Views", "Sum"), "ReturnData": false },
                { "Id": "ratio", "Expression": "100 * orders / views", "Label": "conversion" },
            ],
        }),
    );
    let results = output.metric_data_results.unwrap();
    assert_eq!(results.len(), 2);
    let total: f64 = results[0].values.as_ref().unwrap().iter().sum();
    assert_eq!((total, results[0].label.as_deref()), (6.0, Some("Orders")));
    assert_eq!(results[1].label.as_deref(), Some("conversion"));
    assert_eq!(results[1].values.as_ref().unwrap().len(), results[0].values.as_ref().unwrap().len());
    let statistics = call::<op::GetMetricStatistics>(
        &world,
        json!({
            "Namespace": "Shop", "MetricName": "Orders", "StartTime": start - 60, "EndTime": start + 3600,
            "Period": 3600, "Statistics": ["Average", "Maximum", "SampleCount"], "ExtendedStatistics": ["p50"],
        }),
    );
    let points = statistics.datapoints.unwrap();
    let count: f64 = points.iter().map(|p| p.sample_count.unwrap()).sum();
    assert_eq!(count, 4.0);
    assert!(points.iter().all(|p| p.unit.as_deref() == Some("Count") && p.sum.is_none()));
    assert!(points[0].extended_statistics.as_ref().unwrap().contains_key("p50"));
    let listed = call::<op::ListMetrics>(&world, json!({ "Namespace": "Shop" })).metrics.unwrap();
    assert_eq!(listed.len(), 2);
    // Statistic sets and lists of values.
    call::<op::PutMetricData>(
        &world,
        json!({ "Namespace": "Shop", "MetricData": [
            { "MetricName": "Size", "Dimensions": [{ "Name": "Kind", "Value": "a" }], "Values": [1.0, 2.0], "Counts": [3.0, 1.0] },
            { "MetricName": "Size", "Dimensions": [{ "Name": "Kind", "Value": "a" }],
              "StatisticValues": { "SampleCount": 2.0, "Sum": 20.0, "Minimum": 5.0, "Maximum": 15.0 } },
        ]}),
    );
    let statistics = call::<op::GetMetricStatistics>(
        &world,
        json!({
            "Namespace": "Shop", "MetricName": "Size", "Dimensions": [{ "Name": "Kind", "Value": "a" }],
            "StartTime": start - 60, "EndTime": start + 3600, "Period": 60, "Statistics": ["Sum", "Minimum", "Maximum"],
        }),
    );
    let point = &statistics.datapoints.unwrap()[0];
    assert_eq!((point.sum, point.minimum, point.maximum), (Some(25.0), Some(1.0), Some(15.0)));
}

#[test]
fn an_alarm_follows_its_metric_and_remembers() {
    let world = world();
    call::<op::PutMetricAlarm>(&world, alarm("errors", json!({ "Tags": [{ "Key": "team", "Value": "shop" }] })));
    assert_eq!(state(&world, "errors").state_value.as_deref(), Some("INSUFFICIENT_DATA"));
    minute(&world);
    assert_eq!(state(&world, "errors").state_value.as_deref(), Some("OK"), "missing is not breaching");
    put(&world, "Errors", 6.0);
    minute(&world);
    let shown = state(&world, "errors");
    assert_eq!(shown.state_value.as_deref(), Some("ALARM"));
    let reason = shown.state_reason.unwrap();
    assert!(reason.starts_with("Threshold Crossed: 1 out of the last 1 datapoint [6.0 ("), "{reason}");
    assert!(
        reason.ends_with("was greater than the threshold (5.0) (minimum 1 datapoint for OK -> ALARM transition)."),
        "{reason}"
    );
    for _ in 0..5 {
        minute(&world);
    }
    assert_eq!(state(&world, "errors").state_value.as_deref(), Some("OK"));
    let history = |kind: &str| {
        let input = json!({ "AlarmName": "errors", "HistoryItemType": kind, "ScanBy": "TimestampAscending" });
        let items = call::<op::DescribeAlarmHistory>(&world, input).alarm_history_items.unwrap();
        items.into_iter().map(|item| item.history_summary.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        history("StateUpdate"),
        [
            "Alarm updated from INSUFFICIENT_DATA to OK",
            "Alarm updated from OK to ALARM",
            "Alarm updated from ALARM to OK"
        ]
    );
    assert_eq!(history("ConfigurationUpdate"), ["Alarm \"errors\" created"]);
    // Put again it keeps its state and its tags.
    call::<op::PutMetricAlarm>(&world, alarm("errors", json!({ "Threshold": 7.0 })));
    let shown = state(&world, "errors");
    assert_eq!((shown.state_value.as_deref(), shown.threshold), (Some("OK"), Some(7.0)));
    let arn = shown.alarm_arn.unwrap();
    assert_eq!(call::<op::ListTagsForResource>(&world, json!({ "ResourceARN": arn })).tags.unwrap().len(), 1);
    call::<op::TagResource>(&world, json!({ "ResourceARN": arn, "Tags": [{ "Key": "a", "Value": "b" }] }));
    call::<op::UntagResource>(&world, json!({ "ResourceARN": arn, "TagKeys": ["team"] }));
    let tags = call::<op::ListTagsForResource>(&world, json!({ "ResourceARN": arn })).tags.unwrap();
    assert_eq!(tags[0].key.as_deref(), Some("a"));
    // By hand, until the next evaluation.
    call::<op::SetAlarmState>(&world, json!({ "AlarmName": "errors", "StateValue": "ALARM", "StateReason": "a test" }));
    assert_eq!(state(&world, "errors").state_reason.as_deref(), Some("a test"));
    minute(&world);
    assert_eq!(state(&world, "errors").state_value.as_deref(), Some("OK"));
    call::<op::DisableAlarmActions>(&world, json!({ "AlarmNames": ["errors"] }));
    assert_eq!(state(&world, "errors").actions_enabled, Some(false));
    call::<op::EnableAlarmActions>(&world, json!({ "AlarmNames": ["errors"] }));
    let of_metric = json!({ "Namespace": "Shop", "MetricName": "Errors" });
    let found = call::<op::DescribeAlarmsForMetric>(&world, of_metric).metric_alarms.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(refused::<op::DeleteAlarms>(&world, json!({ "AlarmNames": ["errors", "none"] })).0, "ResourceNotFound");
    call::<op::DeleteAlarms>(&world, json!({ "AlarmNames": ["errors"] }));
    assert!(call::<op::DescribeAlarms>(&world, json!({})).metric_alarms.unwrap().is_empty());
}

#[test]
fn an_alarm_on_an_expression() {
    let world = world();
    let queries = json!([
        { "Id": "e1", "Expression": "IF(views > 0, errors / views, 0) * 100" },
        { "Id": "errors", "MetricStat": metric("Errors", "Sum"), "ReturnData": false },
        { "Id": "views", "MetricStat": metric("Views", "Sum"), "ReturnData": false },
    ]);
    call::<op::PutMetricAlarm>(
        &world,
        json!({
            "AlarmName": "rate", "Metrics": queries, "EvaluationPeriods": 1, "Threshold": 10.0,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        }),
    );
    put(&world, "Errors", 1.0);
    put(&world, "Views", 10.0);
    minute(&world);
    let shown = state(&world, "rate");
    assert_eq!(shown.state_value.as_deref(), Some("ALARM"), "{:?}", shown.state_reason);
    assert_eq!(shown.metrics.unwrap().len(), 3);
}

#[test]
fn what_is_refused() {
    let world = world();
    let code = |change: Value| refused::<op::PutMetricAlarm>(&world, alarm("x", change)).0;
    const INVALID: &str = "InvalidParameterValue";
    const COMBINATION: &str = "InvalidParameterCombination";
    for (change, expected) in [
        (json!({ "Period": 45 }), INVALID),
        (json!({ "Statistic": null }), "MissingParameter"),
        (json!({ "ExtendedStatistic": "p90" }), COMBINATION),
        (json!({ "DatapointsToAlarm": 3 }), INVALID),
        (json!({ "TreatMissingData": "perhaps" }), INVALID),
        (json!({ "ComparisonOperator": "GreaterThanUpperThreshold" }), INVALID),
        (json!({ "AlarmActions": ["mail me"] }), INVALID),
        (json!({ "EvaluationPeriods": 2000 }), COMBINATION),
        (json!({ "Metrics": [{ "Id": "m", "Expression": "1" }] }), COMBINATION),
        (json!({ "ThresholdMetricId": "ad1" }), INVALID),
    ] {
        assert_eq!(code(change.clone()), expected, "{change}");
    }
    assert!(call::<op::DescribeAlarms>(&world, json!({})).metric_alarms.unwrap().is_empty());
    let data =
        |datum: Value| refused::<op::PutMetricData>(&world, json!({ "Namespace": "Shop", "MetricData": [datum] })).0;
    for datum in [
        json!({ "MetricName": "x", "Value": 1.0, "Unit": "Bananas" }),
        json!({ "MetricName": "x", "Value": 1.0, "Timestamp": 0 }),
        json!({ "MetricName": "x", "Value": 1.0, "StorageResolution": 2 }),
        json!({ "MetricName": "x", "Values": [1.0], "Counts": [1.0, 2.0] }),
    ] {
        assert_eq!(data(datum.clone()), INVALID, "{datum}");
    }
    assert_eq!(data(json!({ "MetricName": "x" })), COMBINATION);
    let (of_aws, _) = refused::<op::PutMetricData>(
        &world,
        json!({
            "Namespace": "AWS/ECS", "MetricData": [{ "MetricName": "x", "Value": 1.0 }],
        }),
    );
    assert_eq!(of_aws, INVALID);
    assert!(call::<op::ListMetrics>(&world, json!({})).metrics.unwrap().is_empty());
    let ask = |queries: Value| {
        let at = now(&world);
        refused::<op::GetMetricData>(
            &world,
            json!({ "StartTime": at - 60, "EndTime": at, "MetricDataQueries": queries }),
        )
    };
    assert!(ask(json!([{ "Id": "e", "Expression": "SEARCH('{Shop}', 'Sum')" }])).1.contains("SEARCH is not supported"));
    assert!(ask(json!([{ "Id": "e", "Expression": "m1 + 1" }])).1.contains("m1 is not the id of a query"));
    assert!(ask(json!([{ "Id": "a", "Expression": "b" }, { "Id": "b", "Expression": "a" }])).1.contains("itself"));
    assert_eq!(
        refused::<op::SetAlarmState>(&world, json!({ "AlarmName": "x", "StateValue": "OK", "StateReason": "y" })).0,
        "ResourceNotFound"
    );
}
