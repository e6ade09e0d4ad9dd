//! Segments, summaries, graphs, groups, sampling rules, and OpenTelemetry's protocol.

use super::otlp;
use crate::testing::World;
use http::{Request, StatusCode};
use quarry_aws::xray::{self as aws, op};
use serde_json::{Value, json};

fn world() -> World {
    World::new(super::register)
}

fn trace_id(n: u32) -> String {
    format!("1-{n:08x}-bd862e3fe1be46a994272793")
}

fn input<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

/// Seconds since 1970 of now.
fn now(world: &World) -> f64 {
    world.platform.now_ms() as f64 / 1000.0
}

fn put(world: &World, documents: &[Value]) -> Vec<aws::UnprocessedTraceSegment> {
    let documents = documents.iter().map(Value::to_string).collect();
    let input = aws::PutTraceSegmentsRequest { trace_segment_documents: Some(documents) };
    world.call::<op::PutTraceSegments>(input).unwrap().unprocessed_trace_segments.unwrap()
}

/// Trace `n`: posts asks users, which answers with this status.
fn two_services(world: &World, n: u32, status: u16) {
    let (start, fault) = (now(world) - 10.0 + f64::from(n), status >= 500);
    let unprocessed = put(
        world,
        &[
            json!({"id": "000000000000000a", "trace_id": trace_id(n), "name": "posts", "start_time": start, "end_time": start + 0.5,
            "http": {"request": {"method": "POST", "url": "http://board/api/posts"}, "response": {"status": 201}},
            "annotations": {"n": n}, "user": "ann",
            "subsegments": [{"id": "000000000000000b", "name": "users", "namespace": "remote",
                "start_time": start + 0.1, "end_time": start + 0.4, "fault": fault}]}),
            json!({"id": "000000000000000c", "trace_id": trace_id(n), "parent_id": "000000000000000b", "name": "users",
            "start_time": start + 0.2, "end_time": start + 0.3, "fault": fault}),
        ],
    );
    assert_eq!(unprocessed, []);
}

fn range(world: &World) -> Value {
    json!({"StartTime": now(world) - 60.0, "EndTime": now(world) + 1.0})
}

fn summaries(world: &World, filter: &str) -> Result<Vec<String>, String> {
    let mut asked = range(world);
    asked["FilterExpression"] = filter.into();
    let found = world.call::<op::GetTraceSummaries>(input(asked)).map_err(|error| error.code)?;
    Ok(found.trace_summaries.unwrap().into_iter().filter_map(|summary| summary.id).collect())
}

#[test]
fn traces_are_taken_in_and_found() {
    let world = world();
    two_services(&world, 1, 200);
    two_services(&world, 2, 503);
    let refused =
        put(&world, &[json!({}), json!({"id": "000000000000000a", "name": "x", "start_time": 1, "end_time": 2})]);
    let codes: Vec<_> = refused.iter().map(|one| (one.id.as_deref(), one.error_code.as_deref())).collect();
    assert_eq!(codes, [(None, Some("MissingId")), (Some("000000000000000a"), Some("MissingTraceId"))]);

    assert_eq!(summaries(&world, "").unwrap(), [trace_id(2), trace_id(1)]);
    assert_eq!(summaries(&world, "service(\"users\") { fault }").unwrap(), [trace_id(2)]);
    assert_eq!(summaries(&world, "annotation.n = 1 AND user = \"ann\"").unwrap(), [trace_id(1)]);
    assert_eq!(summaries(&world, "fault").unwrap(), Vec::<String>::new(), "the client got 201");
    assert_eq!(summaries(&world, "fault =").unwrap_err(), "InvalidRequestException");

    let found = world.call::<op::BatchGetTraces>(input(json!({"TraceIds": [trace_id(1), trace_id(9)]}))).unwrap();
    assert_eq!(found.unprocessed_trace_ids.unwrap(), [trace_id(9)]);
    let trace = &found.traces.unwrap()[0];
    assert_eq!((trace.duration.unwrap() * 1000.0).round(), 500.0);
    let ids: Vec<_> = trace.segments.iter().flatten().filter_map(|segment| segment.id.as_deref()).collect();
    assert_eq!(ids, ["000000000000000a", "000000000000000c"]);
    assert!(world.call::<op::BatchGetTraces>(input(json!({"TraceIds": vec!["x"; 6]}))).is_err());
    let backwards = json!({"StartTime": now(&world), "EndTime": now(&world) - 1.0});
    assert!(world.call::<op::GetTraceSummaries>(input(backwards)).is_err());
}

#[test]
fn summaries_come_in_pages() {
    let world = world();
    let start = now(&world) - 30.0;
    for batch in 0..3 {
        let documents: Vec<Value> = (0..50)
            .map(|n| {
                let at = start + f64::from(batch * 50 + n) / 10.0;
                json!({"id": "000000000000000a", "trace_id": trace_id(batch * 50 + n + 1), "name": "n",
                    "start_time": at, "end_time": at})
            })
            .collect();
        put(&world, &documents);
    }
    let (mut asked, mut seen) = (range(&world), Vec::new());
    loop {
        let page = world.call::<op::GetTraceSummaries>(input(asked.clone())).unwrap();
        seen.extend(page.trace_summaries.unwrap().into_iter().filter_map(|summary| summary.id));
        let Some(token) = page.next_token else { break };
        asked["NextToken"] = token.into();
    }
    let wanted: Vec<String> = (1..=150).rev().map(trace_id).collect();
    assert_eq!(seen, wanted);
}

#[test]
fn the_graph_has_edges_with_counts() {
    let world = world();
    two_services(&world, 1, 200);
    two_services(&world, 2, 503);
    let shown = |services: Vec<aws::Service>| -> Vec<String> {
        let name = |id: i32| services.iter().find(|s| s.reference_id == Some(id)).and_then(|s| s.name.clone()).unwrap();
        let edges = services.iter().flat_map(|service| {
            service.edges.iter().flatten().map(|edge| {
                let seen = edge.summary_statistics.clone().unwrap();
                let faults = seen.fault_statistics.unwrap().total_count.unwrap();
                let kind = service.r#type.as_deref().unwrap_or_default();
                format!(
                    "{}{kind}>{} {}/{faults}",
                    service.name.as_deref().unwrap(),
                    name(edge.reference_id.unwrap()),
                    seen.total_count.unwrap()
                )
            })
        });
        let mut edges: Vec<String> = edges.collect();
        edges.sort();
        edges
    };
    let all = world.call::<op::GetServiceGraph>(input(range(&world))).unwrap();
    assert_eq!(shown(all.services.unwrap()), ["posts>users 2/1", "postsclient>posts 2/0"]);
    let one = world.call::<op::GetTraceGraph>(input(json!({"TraceIds": [trace_id(1)]}))).unwrap();
    assert_eq!(shown(one.services.unwrap()), ["posts>users 1/0", "postsclient>posts 1/0"]);

    let group = json!({"GroupName": "failed", "FilterExpression": "service() { fault }"});
    let group = world.call::<op::CreateGroup>(input(group)).unwrap().group.unwrap();
    let mut asked = range(&world);
    asked["GroupARN"] = group.group_arn.clone().into();
    let failed = world.call::<op::GetServiceGraph>(input(asked)).unwrap();
    assert_eq!(shown(failed.services.unwrap()), ["posts>users 1/1", "postsclient>posts 1/0"]);
    assert_eq!(summaries(&world, "group.name = \"failed\"").unwrap(), [trace_id(2)]);
    let wrong = json!({"GroupName": "failed", "FilterExpression": "colour = 1"});
    assert!(world.call::<op::UpdateGroup>(input(wrong)).is_err());
    world.call::<op::DeleteGroup>(input(json!({"GroupName": "failed"}))).unwrap();
    assert!(world.call::<op::GetGroup>(input(json!({"GroupARN": group.group_arn}))).is_err());
}

#[test]
fn sampling_rules_are_kept_and_reservoirs_shared() {
    let world = world();
    let rule = json!({"SamplingRule": {"RuleName": "board", "Priority": 10, "FixedRate": 0.5, "ReservoirSize": 5,
        "ServiceName": "board*", "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "/api/*",
        "ResourceARN": "*", "Version": 1}, "Tags": [{"Key": "a", "Value": "b"}]});
    let made = world.call::<op::CreateSamplingRule>(input(rule.clone())).unwrap().sampling_rule_record.unwrap();
    let arn = made.sampling_rule.unwrap().rule_arn.unwrap();
    assert!(arn.ends_with(":sampling-rule/board"));
    assert_eq!(world.call::<op::CreateSamplingRule>(input(rule)).unwrap_err().code, "InvalidRequestException");
    let tags = world.call::<op::ListTagsForResource>(input(json!({"ResourceARN": arn}))).unwrap();
    assert_eq!(tags.tags.unwrap().len(), 1);

    let names = |world: &World| -> Vec<String> {
        let rules = world.call::<op::GetSamplingRules>(Default::default()).unwrap().sampling_rule_records.unwrap();
        rules.into_iter().filter_map(|record| record.sampling_rule?.rule_name).collect()
    };
    assert_eq!(names(&world), ["board", "Default"]);
    let update = json!({"SamplingRuleUpdate": {"RuleName": "Default", "FixedRate": 0.25}});
    world.call::<op::UpdateSamplingRule>(input(update)).unwrap();
    let update = json!({"SamplingRuleUpdate": {"RuleName": "Default", "Priority": 1}});
    assert!(world.call::<op::UpdateSamplingRule>(input(update)).is_err());
    let told = world.platform.store.read(super::sampling).unwrap();
    assert_eq!(told.iter().map(|rule| rule.fixed_rate).collect::<Vec<_>>(), [0.5, 0.25]);

    let quota = |client: &str, rule: &str| {
        let asked = json!({"SamplingStatisticsDocuments": [{"RuleName": rule, "ClientID": client, "Timestamp": now(&world),
            "RequestCount": 10, "SampledCount": 3, "BorrowCount": 1}]});
        let told = world.call::<op::GetSamplingTargets>(input(asked)).unwrap();
        let target = told.sampling_target_documents.unwrap().pop();
        (target.and_then(|target| target.reservoir_quota), told.unprocessed_statistics.unwrap().len())
    };
    let (a, b) = ("a".repeat(24), "b".repeat(24));
    assert_eq!(quota(&a, "board"), (Some(5), 0));
    assert_eq!(quota(&b, "board"), (Some(2), 0), "two share five");
    assert_eq!(quota(&a, "board"), (Some(3), 0));
    assert_eq!(quota(&a, "none"), (None, 1));
    let sums = world.call::<op::GetSamplingStatisticSummaries>(Default::default()).unwrap();
    let sums = sums.sampling_statistic_summaries.unwrap();
    assert_eq!((sums[0].request_count, sums[0].sampled_count), (Some(30), Some(9)));

    world.call::<op::DeleteSamplingRule>(input(json!({"RuleARN": arn}))).unwrap();
    assert_eq!(names(&world), ["Default"]);
    assert!(world.call::<op::DeleteSamplingRule>(input(json!({"RuleName": "Default"}))).is_err());
}

fn send(world: &World, kind: &str, body: &[u8]) -> (StatusCode, Vec<u8>) {
    let request = Request::post(otlp::PATH).header("content-type", kind).body(()).unwrap();
    let answer = otlp::receive(&world.platform, &request.into_parts().0, body);
    (answer.status(), answer.body().to_vec())
}

#[test]
fn spans_become_segments() {
    let world = world();
    let nanos = |seconds: f64| ((now(&world) + seconds) * 1e9).to_string();
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let trace = "5759e988bd862e3fe1be46a994272793";
    let spans = json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "posts"), text("service.version", "1.0")]},
        "scopeSpans": [{"spans": [
            {"traceId": trace, "spanId": "000000000000000a", "name": "POST /api/posts", "kind": 2,
             "startTimeUnixNano": nanos(-2.0), "endTimeUnixNano": nanos(-1.0), "attributes": [
                text("http.request.method", "POST"), text("url.path", "/api/posts"), text("url.scheme", "http"),
                text("server.address", "board"), {"key": "http.response.status_code", "value": {"intValue": "503"}},
                {"key": "aws.xray.annotations", "value": {"arrayValue": {"values": [{"stringValue": "board.thread"}]}}},
                {"key": "board.thread", "value": {"intValue": "7"}}]},
            {"traceId": trace, "spanId": "000000000000000b", "parentSpanId": "000000000000000a", "name": "INSERT", "kind": 3,
             "startTimeUnixNano": nanos(-1.8), "endTimeUnixNano": nanos(-1.2), "status": {"code": 2, "message": "locked"},
             "attributes": [text("db.system.name", "sqlite"), text("db.namespace", "posts.db"),
                            text("db.query.text", "INSERT INTO posts")]},
            {"traceId": "00", "spanId": "", "name": "broken"}]}]}]});
    let (status, said) = send(&world, "application/json", spans.to_string().as_bytes());
    assert_eq!(
        (status, serde_json::from_slice::<Value>(&said).unwrap()["partialSuccess"]["rejectedSpans"].clone()),
        (StatusCode::OK, "1".into())
    );
    let id = "1-5759e988-bd862e3fe1be46a994272793";
    let found = world.call::<op::BatchGetTraces>(input(json!({"TraceIds": [id]}))).unwrap();
    let documents: Vec<Value> = found.traces.unwrap()[0]
        .segments
        .iter()
        .flatten()
        .map(|segment| serde_json::from_str(segment.document.as_deref().unwrap()).unwrap())
        .collect();
    assert_eq!((&documents[0]["name"], &documents[0]["fault"]), (&json!("posts"), &json!(true)));
    assert_eq!(documents[0]["http"]["request"]["url"], "http://board/api/posts");
    assert_eq!(documents[0]["annotations"], json!({"board_thread": 7}));
    assert_eq!((&documents[1]["type"], &documents[1]["name"]), (&json!("subsegment"), &json!("posts.db")));
    assert_eq!(documents[1]["sql"], json!({"database_type": "sqlite", "sanitized_query": "INSERT INTO posts"}));
    assert_eq!(documents[1]["cause"]["exceptions"][0]["message"], "locked");
    assert_eq!(summaries(&world, "edge(\"posts\", id(type: \"Database::SQL\")) { fault }").unwrap(), [id]);

    // The same as protobuf: trace and span id, name, kind, times.
    let span = [
        &[0x0a, 16][..],
        &[0x11; 16],
        &[0x12, 8],
        &[0x22; 8],
        &[0x2a, 1, b'n', 0x30, 2, 0x39],
        &1_000_000_000u64.to_le_bytes(),
        &[0x41],
        &2_000_000_000u64.to_le_bytes(),
    ]
    .concat();
    let within = |tag: u8, inner: &[u8]| [&[tag, inner.len() as u8][..], inner].concat();
    let body = within(0x0a, &within(0x12, &within(0x12, &span)));
    assert_eq!(send(&world, "application/x-protobuf", &body), (StatusCode::OK, Vec::new()));
    let found = world.call::<op::BatchGetTraces>(input(json!({"TraceIds": ["1-11111111-111111111111111111111111"]})));
    assert_eq!(found.unwrap().traces.unwrap()[0].duration, Some(1.0));
    assert_eq!(send(&world, "application/x-protobuf", &body[..9]).0, StatusCode::BAD_REQUEST);
    assert_eq!(send(&world, "application/json", b"[]").0, StatusCode::BAD_REQUEST);
    assert_eq!(send(&world, "text/plain", b"").0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
