//! The event history through the endpoint, as clients ask for it.

use crate::audit::tests::{Stage, stage};
use serde_json::{Value, json};
use std::time::Duration;

fn lookup(stage: &Stage, input: Value) -> Value {
    let (status, body) = stage.call(Some(&stage.root), "cloudtrail", "LookupEvents", input);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn refused(stage: &Stage, input: Value) -> String {
    let (status, body) = stage.call(Some(&stage.root), "cloudtrail", "LookupEvents", input);
    assert_eq!(status, 400, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    body["__type"].as_str().unwrap().rsplit('#').next().unwrap().to_owned()
}

fn by(key: &str, value: &str) -> Value {
    json!([{"AttributeKey": key, "AttributeValue": value}])
}

fn events(answer: &Value) -> Vec<&Value> {
    answer["Events"].as_array().unwrap().iter().collect()
}

fn names(answer: &Value) -> Vec<&str> {
    events(answer).into_iter().map(|event| event["EventName"].as_str().unwrap()).collect()
}

fn call(stage: &Stage, service: &str, operation: &str, input: Value) {
    stage.call(Some(&stage.root), service, operation, input);
}

#[test]
fn events_are_found_by_each_attribute() {
    let stage = stage();
    call(&stage, "ecs", "CreateCluster", json!({"clusterName": "demo"}));
    call(&stage, "iam", "CreateUser", json!({"UserName": "ada"}));
    call(&stage, "iam", "CreateAccessKey", json!({"UserName": "ada"}));
    call(&stage, "ecs", "ListClusters", json!({}));
    // What was refused is there, too.
    call(&stage, "ecs", "DeleteCluster", json!({"cluster": "none"}));
    let all = lookup(&stage, json!({}));
    assert_eq!(names(&all), ["DeleteCluster", "ListClusters", "CreateAccessKey", "CreateUser", "CreateCluster"]);
    assert!(all.get("NextToken").is_none_or(Value::is_null), "{all}");

    let made = events(&all)[4];
    let record: Value = serde_json::from_str(made["CloudTrailEvent"].as_str().unwrap()).unwrap();
    assert_eq!(record["requestParameters"], json!({"clusterName": "demo"}));
    assert_eq!((&made["EventId"], &made["ReadOnly"]), (&record["eventID"], &json!("false")));
    assert_eq!((&made["Username"], &made["EventSource"]), (&json!("root"), &json!("ecs.amazonaws.com")));
    assert_eq!(made["AccessKeyId"], stage.root.access_key_id);
    assert_eq!(made["Resources"], json!([{"ResourceType": "AWS::ECS::Cluster", "ResourceName": "demo"}]));
    assert!((made["EventTime"].as_f64().unwrap() * 1000.0 - stage.world.platform.now_ms() as f64).abs() < 60_000.0);

    let found = |key: &str, value: &str| {
        let found = lookup(&stage, json!({"LookupAttributes": by(key, value)}));
        // This call itself is not the one that is asked for.
        names(&found).into_iter().filter(|name| *name != "LookupEvents").map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found("EventId", record["eventID"].as_str().unwrap()), ["CreateCluster"]);
    assert_eq!(found("EventName", "CreateUser"), ["CreateUser"]);
    assert_eq!(found("EventName", "createuser"), [""; 0]);
    assert_eq!(found("ReadOnly", "true"), ["ListClusters"]);
    assert_eq!(found("EventSource", "iam.amazonaws.com"), ["CreateAccessKey", "CreateUser"]);
    assert_eq!(found("ResourceType", "AWS::IAM::User"), ["CreateAccessKey", "CreateUser"]);
    assert_eq!(found("ResourceType", "AWS::IAM::AccessKey"), ["CreateAccessKey"]);
    assert_eq!(found("ResourceName", "demo"), ["CreateCluster"]);
    assert_eq!(found("ResourceName", "none"), ["DeleteCluster"]);
    assert_eq!(found("Username", "root").len(), 5);
    assert_eq!(found("Username", "nobody"), [""; 0]);
    assert_eq!(found("AccessKeyId", &stage.root.access_key_id).len(), 5);
    assert_eq!(lookup(&stage, json!({"EventCategory": "insight"}))["Events"], json!([]));
}

#[test]
fn pages_go_on_where_they_ended_while_more_is_written() {
    let stage = stage();
    for at in 0..7 {
        call(&stage, "ecs", "CreateCluster", json!({"clusterName": format!("c{at}")}));
    }
    let asked = json!({"LookupAttributes": by("EventName", "CreateCluster"), "MaxResults": 3});
    let (mut seen, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut input = asked.clone();
        if !token.is_null() {
            input["NextToken"] = token.clone();
        }
        let page = lookup(&stage, input);
        for event in events(&page) {
            seen.push(event["Resources"][0]["ResourceName"].as_str().unwrap().to_owned());
        }
        // Not of this listing any more: it began before.
        call(&stage, "ecs", "CreateCluster", json!({"clusterName": "later"}));
        match page.get("NextToken").filter(|token| !token.is_null()) {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    assert_eq!(seen, ["c6", "c5", "c4", "c3", "c2", "c1", "c0"]);

    let mut others = asked.clone();
    (others["NextToken"], others["LookupAttributes"]) = (token.clone(), by("EventName", "DeleteCluster"));
    assert_eq!(refused(&stage, others), "InvalidNextTokenException");
    assert_eq!(refused(&stage, json!({"NextToken": "none"})), "InvalidNextTokenException");
    // Whose file is gone has nothing behind it.
    for file in stage.world.platform.audit.files() {
        std::fs::write(file.with_extension("new"), "{}\n").unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    }
    let mut rest = asked;
    rest["NextToken"] = token;
    assert_eq!(events(&lookup(&stage, rest)).len(), 0);
}

#[test]
fn times_bound_what_is_shown() {
    let stage = stage();
    let seconds = || stage.world.platform.now_ms().div_euclid(1000);
    call(&stage, "ecs", "CreateCluster", json!({"clusterName": "old"}));
    let first = seconds();
    stage.world.door.advance(Duration::from_secs(600));
    call(&stage, "ecs", "CreateCluster", json!({"clusterName": "new"}));
    let second = seconds();
    let within = |from: i64, to: i64| {
        let asked = json!({"StartTime": from, "EndTime": to, "LookupAttributes": by("EventName", "CreateCluster")});
        events(&lookup(&stage, asked)).len()
    };
    assert_eq!((within(first, second), within(first + 1, second), within(first, first)), (2, 1, 1));
    assert_eq!(within(first - 9, first - 1), 0);
    let named = |days: u64| {
        stage.world.door.advance(Duration::from_secs(days * 24 * 3600));
        events(&lookup(&stage, json!({"LookupAttributes": by("ResourceName", "new")}))).len()
    };
    assert_eq!((named(89), named(2)), (1, 0), "ninety days are kept");

    let wrong = json!({"StartTime": second, "EndTime": first});
    assert_eq!(refused(&stage, wrong), "InvalidTimeRangeException");
    let two = json!([
        {"AttributeKey": "EventName", "AttributeValue": "a"}, {"AttributeKey": "Username", "AttributeValue": "b"}]);
    assert_eq!(refused(&stage, json!({"LookupAttributes": two})), "InvalidLookupAttributesException");
    assert_eq!(
        refused(&stage, json!({"LookupAttributes": by("ReadOnly", "maybe")})),
        "InvalidLookupAttributesException"
    );
    for wrong in
        [json!({"MaxResults": 51}), json!({"LookupAttributes": by("Colour", "red")}), json!({"EventCategory": "x"})]
    {
        assert_eq!(refused(&stage, wrong), "ValidationException");
    }
}
