"""X-Ray."""

import json
import secrets
import time

from clients import scenarios

STEPS, step = scenarios()


def stamp(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


@step("traces and the service graph")
def _(aws):
    xray, now = aws.xray, time.time()
    trace = f"1-{int(now):08x}-{secrets.token_hex(12)}"
    front, call, back = (secrets.token_hex(8) for _ in range(3))
    documents = [
        {"id": front, "trace_id": trace, "name": "suite-front", "start_time": now - 2, "end_time": now - 1,
         "http": {"request": {"method": "GET", "url": "http://suite/a"}, "response": {"status": 200}},
         "annotations": {"suite": "yes"},
         "subsegments": [{"id": call, "name": "suite-back", "namespace": "remote", "start_time": now - 1.8,
                          "end_time": now - 1.2, "fault": True}]},
        {"id": back, "trace_id": trace, "parent_id": call, "name": "suite-back", "start_time": now - 1.7,
         "end_time": now - 1.3, "fault": True},
    ]
    answer = xray.PutTraceSegments(TraceSegmentDocuments=[json.dumps(d) for d in documents] + ["{}"])
    assert [u["ErrorCode"] for u in answer["UnprocessedTraceSegments"]] == ["MissingId"], answer
    span = {"StartTime": stamp(now - 60), "EndTime": stamp(now + 60)}
    found = xray.GetTraceSummaries(**span, FilterExpression='annotation.suite = "yes" AND service("suite-back") { fault }')
    assert [t["Id"] for t in found["TraceSummaries"]] == [trace], found
    assert found["TraceSummaries"][0]["EntryPoint"]["Name"] == "suite-front", found
    aws.refused("InvalidRequestException", xray.GetTraceSummaries, **span, FilterExpression="colour = 1")
    whole = xray.BatchGetTraces(TraceIds=[trace])["Traces"][0]
    assert {s["Id"] for s in whole["Segments"]} == {front, back}, whole
    for services in (xray.GetTraceGraph(TraceIds=[trace])["Services"], xray.GetServiceGraph(**span)["Services"]):
        names = {s["ReferenceId"]: s["Name"] for s in services}
        edges = {(s["Name"], names[e["ReferenceId"]]): e["SummaryStatistics"] for s in services for e in s["Edges"]}
        assert edges["suite-front", "suite-back"]["FaultStatistics"]["TotalCount"] >= 1, edges
    record = {"Timestamp": stamp(now), "SegmentsReceivedCount": 2, "SegmentsSentCount": 2}
    xray.PutTelemetryRecords(TelemetryRecords=[record])


@step("groups")
def _(aws):
    xray = aws.xray
    group = xray.CreateGroup(GroupName="suite", FilterExpression="fault")["Group"]
    xray.UpdateGroup(GroupName="suite", FilterExpression="responsetime > 1")
    assert xray.GetGroup(GroupARN=group["GroupARN"])["Group"]["FilterExpression"] == "responsetime > 1"
    assert "suite" in [g["GroupName"] for g in xray.GetGroups()["Groups"]]
    xray.TagResource(ResourceARN=group["GroupARN"], Tags=[{"Key": "a", "Value": "1"}])
    assert xray.ListTagsForResource(ResourceARN=group["GroupARN"])["Tags"] == [{"Key": "a", "Value": "1"}]
    xray.UntagResource(ResourceARN=group["GroupARN"], TagKeys=["a"])
    xray.DeleteGroup(GroupName="suite")
    aws.refused("InvalidRequestException", xray.GetGroup, GroupName="suite")


@step("sampling")
def _(aws):
    xray = aws.xray
    rule = {"RuleName": "suite", "ResourceARN": "*", "Priority": 500, "FixedRate": 0.5, "ReservoirSize": 4,
            "ServiceName": "suite*", "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "*", "Version": 1}
    xray.CreateSamplingRule(SamplingRule=rule)
    xray.UpdateSamplingRule(SamplingRuleUpdate={"RuleName": "suite", "FixedRate": 0.25})
    rules = {r["SamplingRule"]["RuleName"]: r["SamplingRule"] for r in xray.GetSamplingRules()["SamplingRuleRecords"]}
    assert (rules["suite"]["FixedRate"], rules["Default"]["Priority"]) == (0.25, 10000), rules
    told = {"RuleName": "suite", "ClientID": secrets.token_hex(12), "Timestamp": stamp(time.time()),
            "RequestCount": 8, "SampledCount": 2, "BorrowCount": 0}
    targets = xray.GetSamplingTargets(SamplingStatisticsDocuments=[told])
    assert targets["SamplingTargetDocuments"][0]["ReservoirQuota"] == 4, targets
    sums = xray.GetSamplingStatisticSummaries()["SamplingStatisticSummaries"]
    assert any(s["RuleName"] == "suite" and s["RequestCount"] >= 8 for s in sums), sums
    xray.DeleteSamplingRule(RuleName="suite")
