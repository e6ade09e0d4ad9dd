"""CloudWatch and CloudWatch Logs."""

import time

from clients import scenarios

STEPS, step = scenarios()


@step("metrics")
def _(aws):
    watch = aws.cloudwatch
    now = int(time.time())
    stamp = lambda at: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))  # noqa: E731
    watch.PutMetricData(Namespace="Suite", MetricData=[
        {"MetricName": "Orders", "Value": float(n), "Timestamp": stamp(now - 120)} for n in (1, 2, 3)])
    assert [m["MetricName"] for m in watch.ListMetrics(Namespace="Suite")["Metrics"]] == ["Orders"]
    span = {"StartTime": stamp(now - 600), "EndTime": stamp(now + 60)}
    points = watch.GetMetricStatistics(Namespace="Suite", MetricName="Orders", Period=60, Statistics=["Sum"], **span)
    assert sum(p["Sum"] for p in points["Datapoints"]) == 6, points
    query = {"Id": "m", "MetricStat": {"Metric": {"Namespace": "Suite", "MetricName": "Orders"}, "Period": 60, "Stat": "Maximum"}}
    results = watch.GetMetricData(MetricDataQueries=[query, {"Id": "e", "Expression": "m * 2"}], **span)
    assert {r["Id"]: r["Values"] for r in results["MetricDataResults"]} == {"m": [3.0], "e": [6.0]}, results


@step("alarms")
def _(aws):
    watch = aws.cloudwatch
    watch.PutMetricAlarm(AlarmName="suite", Namespace="Suite", MetricName="Errors", Statistic="Sum", Period=60,
                         EvaluationPeriods=1, Threshold=1.0, ComparisonOperator="GreaterThanThreshold")
    arn = watch.DescribeAlarms(AlarmNames=["suite"])["MetricAlarms"][0]["AlarmArn"]
    assert watch.DescribeAlarmsForMetric(Namespace="Suite", MetricName="Errors")["MetricAlarms"][0]["AlarmArn"] == arn
    watch.DisableAlarmActions(AlarmNames=["suite"])
    watch.EnableAlarmActions(AlarmNames=["suite"])
    watch.SetAlarmState(AlarmName="suite", StateValue="ALARM", StateReason="a test")
    assert watch.DescribeAlarmHistory(AlarmName="suite")["AlarmHistoryItems"]
    watch.TagResource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "1"}])
    assert watch.ListTagsForResource(ResourceARN=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
    watch.UntagResource(ResourceARN=arn, TagKeys=["a"])
    watch.DeleteAlarms(AlarmNames=["suite"])
    assert watch.DescribeAlarms(AlarmNames=["suite"])["MetricAlarms"] == []


@step("log groups, streams and events")
def _(aws):
    logs = aws.logs
    logs.CreateLogGroup(logGroupName="/suite")
    logs.PutRetentionPolicy(logGroupName="/suite", retentionInDays=7)
    found = logs.DescribeLogGroups(logGroupNamePrefix="/suite")["logGroups"][0]
    assert found["retentionInDays"] == 7, found
    logs.DeleteRetentionPolicy(logGroupName="/suite")
    logs.CreateLogStream(logGroupName="/suite", logStreamName="one")
    stream = {"logGroupName": "/suite", "logStreamName": "one"}
    now = int(time.time() * 1000)
    logs.PutLogEvents(**stream, logEvents=[{"timestamp": now, "message": "hello"}, {"timestamp": now + 1, "message": "error"}])
    assert [s["logStreamName"] for s in logs.DescribeLogStreams(logGroupName="/suite")["logStreams"]] == ["one"]
    assert [e["message"] for e in logs.GetLogEvents(**stream, startFromHead=True)["events"]] == ["hello", "error"]
    events = logs.FilterLogEvents(logGroupName="/suite", filterPattern="error")["events"]
    assert [e["message"] for e in events] == ["error"], events
    logs.PutLogEvents(**stream, logEvents=[{"timestamp": now + 2, "message": '{"status": 503, "path": "/api/posts"}'}])
    json = logs.FilterLogEvents(logGroupName="/suite", filterPattern='{ $.status >= 500 && $.path = "/api/*" }')["events"]
    assert [e["timestamp"] for e in json] == [now + 2], json
    aws.refused("InvalidParameterException", logs.FilterLogEvents, logGroupName="/suite", filterPattern="{ $.a = }")
    logs.TagResource(resourceArn=found["logGroupArn"], tags={"a": "1"})
    assert logs.ListTagsForResource(resourceArn=found["logGroupArn"])["tags"] == {"a": "1"}
    logs.UntagResource(resourceArn=found["logGroupArn"], tagKeys=["a"])
    logs.TagLogGroup(logGroupName="/suite", tags={"b": "2"})
    assert logs.ListTagsLogGroup(logGroupName="/suite")["tags"] == {"b": "2"}
    logs.UntagLogGroup(logGroupName="/suite", tags=["b"])
    logs.DeleteLogStream(**stream)
    logs.DeleteLogGroup(logGroupName="/suite")
    aws.refused("ResourceNotFoundException", logs.DeleteLogGroup, logGroupName="/suite")


@step("metric filters")
def _(aws):
    logs, watch = aws.logs, aws.cloudwatch
    logs.CreateLogGroup(logGroupName="/filtered")
    stream = {"logGroupName": "/filtered", "logStreamName": "one"}
    logs.CreateLogStream(**stream)
    sample = ['127.0.0.1 "GET /a" 404 7', '127.0.0.1 "GET /b" 200 9']
    found = logs.TestMetricFilter(filterPattern="[ip, request, status=4*, size]", logEventMessages=sample)["matches"]
    assert [m["extractedValues"] for m in found] == [{"$ip": "127.0.0.1", "$request": "GET /a", "$status": "404", "$size": "7"}], found
    wanted = {"metricName": "Latency", "metricNamespace": "SuiteLogs", "metricValue": "$.ms", "dimensions": {"Path": "$.path"}}
    named = {"logGroupName": "/filtered", "filterName": "latency"}
    aws.refused("InvalidParameterException", logs.PutMetricFilter, **named, filterPattern="ERROR", metricTransformations=[wanted])
    logs.PutMetricFilter(**named, filterPattern="{ $.ms > 0 }", metricTransformations=[wanted])
    kept = logs.DescribeMetricFilters(logGroupName="/filtered")["metricFilters"]
    assert [(f["filterName"], f["metricTransformations"]) for f in kept] == [("latency", [wanted])], kept
    now = time.time()
    event = {"timestamp": int(now * 1000), "message": '{"path": "/api/posts", "ms": 12.5}'}
    logs.PutLogEvents(**stream, logEvents=[event, event])
    asked = {"Namespace": "SuiteLogs", "MetricName": "Latency", "Dimensions": [{"Name": "Path", "Value": "/api/posts"}],
             "Period": 60, "Statistics": ["Sum", "SampleCount"], "StartTime": int(now) - 120, "EndTime": int(now) + 60}
    deadline = now + 30
    while not (points := watch.GetMetricStatistics(**asked)["Datapoints"]):
        assert time.time() < deadline, "no datapoint came of the events"
        time.sleep(0.3)
    assert [(p["Sum"], p["SampleCount"]) for p in points] == [(25.0, 2.0)], points
    logs.DeleteMetricFilter(**named)
    aws.refused("ResourceNotFoundException", logs.DeleteMetricFilter, **named)
    logs.DeleteLogGroup(logGroupName="/filtered")
