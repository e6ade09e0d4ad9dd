//! Groups, streams, events, tokens, filters, and the output of containers.

use super::follow;
use super::records::Follower;
use crate::ecs::tests::{Stage, id};
use crate::store::StoreError;
use crate::testing::World;
use quarry_aws::logs::{self as aws, op};
use serde_json::json;
use std::io::Write;

fn world() -> World {
    let world = World::new(super::register);
    let input = aws::CreateLogGroupRequest { log_group_name: Some("g".into()), ..Default::default() };
    world.call::<op::CreateLogGroup>(input).unwrap();
    stream(&world, "s");
    world
}

fn stream(world: &World, name: &str) {
    let input = aws::CreateLogStreamRequest { log_group_name: Some("g".into()), log_stream_name: Some(name.into()) };
    world.call::<op::CreateLogStream>(input).unwrap();
}

fn put(world: &World, stream: &str, events: &[(i64, &str)]) -> aws::PutLogEventsResponse {
    let now = world.platform.now_ms();
    let event = |(at, message): &(i64, &str)| aws::InputLogEvent {
        timestamp: Some(now + at),
        message: Some((*message).to_owned()),
    };
    world
        .call::<op::PutLogEvents>(aws::PutLogEventsRequest {
            log_group_name: Some("g".into()),
            log_stream_name: Some(stream.into()),
            log_events: Some(events.iter().map(event).collect()),
            ..Default::default()
        })
        .unwrap()
}

fn get(world: &World, more: serde_json::Value) -> (Vec<String>, String, String) {
    let mut input = json!({"logGroupName": "g", "logStreamName": "s"});
    for (name, value) in more.as_object().unwrap() {
        input[name] = value.clone();
    }
    let output = world.call::<op::GetLogEvents>(serde_json::from_value(input).unwrap()).unwrap();
    let messages = output.events.unwrap().into_iter().filter_map(|event| event.message).collect();
    (messages, output.next_forward_token.unwrap(), output.next_backward_token.unwrap())
}

#[test]
fn pages_go_forward_and_backward_and_stay_at_the_end() {
    let world = world();
    put(&world, "s", &[(1, "a"), (2, "b"), (2, "c"), (3, "d"), (4, "e")]);
    let (newest, forward, backward) = get(&world, json!({"limit": 2}));
    assert_eq!(newest, ["d", "e"]);
    let (none, same, _) = get(&world, json!({"nextToken": forward}));
    assert!(none.is_empty());
    assert_eq!(same, forward, "at the end the same token comes back");
    let (before, _, backward) = get(&world, json!({"limit": 2, "nextToken": backward}));
    assert_eq!(before, ["b", "c"]);
    assert_eq!(get(&world, json!({"nextToken": backward})).0, ["a"]);
    let (oldest, forward, _) = get(&world, json!({"limit": 3, "startFromHead": true}));
    assert_eq!(oldest, ["a", "b", "c"]);
    put(&world, "s", &[(5, "f")]);
    assert_eq!(get(&world, json!({"nextToken": forward})).0, ["d", "e", "f"]);
}

#[test]
fn filters_find_words_phrases_and_leave_out() {
    let world = world();
    stream(&world, "t");
    put(&world, "s", &[(1, "GET /api 200"), (3, "GET /web 500"), (5, "a b c")]);
    put(&world, "t", &[(2, "POST /api 500"), (4, "c b a")]);
    let find = |more: serde_json::Value| {
        let mut input = json!({"logGroupName": "g"});
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        world.call::<op::FilterLogEvents>(serde_json::from_value(input).unwrap())
    };
    let messages = |more| {
        let events = find(more).unwrap().events.unwrap();
        events.into_iter().filter_map(|event| event.message).collect::<Vec<_>>()
    };
    assert_eq!(messages(json!({"filterPattern": "500"})), ["POST /api 500", "GET /web 500"]);
    assert_eq!(messages(json!({"filterPattern": "500 -GET"})), ["POST /api 500"]);
    assert_eq!(messages(json!({"filterPattern": "?200 ?POST"})), ["GET /api 200", "POST /api 500"]);
    assert_eq!(messages(json!({"filterPattern": "\"b c\""})), ["a b c"]);
    assert_eq!(messages(json!({"logStreamNames": ["t"]})).len(), 2);
    assert_eq!(find(json!({"filterPattern": "{ $.a = 1"})).unwrap_err().code, "InvalidParameterException");
    assert_eq!(messages(json!({"filterPattern": "[method, path, status=5*]"})), ["POST /api 500", "GET /web 500"]);
    let page = find(json!({"limit": 4})).unwrap();
    assert_eq!(page.events.unwrap().len(), 4);
    assert_eq!(messages(json!({"nextToken": page.next_token.unwrap()})), ["a b c"]);
}

#[test]
fn what_is_too_old_or_too_new_is_refused_in_parts() {
    let world = world();
    let day = 24 * 60 * 60 * 1000;
    let output = put(&world, "s", &[(-15 * day, "old")]);
    assert_eq!(output.rejected_log_events_info.unwrap().too_old_log_event_end_index, Some(1));
    let output = put(&world, "s", &[(0, "now"), (3 * 60 * 60 * 1000, "later")]);
    assert_eq!(output.rejected_log_events_info.unwrap().too_new_log_event_start_index, Some(1));
    assert_eq!(get(&world, json!({})).0, ["now"]);
}

#[test]
fn bad_input_is_refused_with_the_services_codes() {
    let world = world();
    let code = |result: Result<(), quarry_wire::ServiceError>| result.unwrap_err().code;
    let group = |name: &str| {
        let input = aws::CreateLogGroupRequest { log_group_name: Some(name.into()), ..Default::default() };
        world.call::<op::CreateLogGroup>(input).map(drop)
    };
    assert_eq!(code(group("g")), "ResourceAlreadyExistsException");
    assert_eq!(code(group("a b")), "InvalidParameterException");
    let missing = aws::DescribeLogStreamsRequest { log_group_name: Some("x".into()), ..Default::default() };
    assert_eq!(code(world.call::<op::DescribeLogStreams>(missing).map(drop)), "ResourceNotFoundException");
    let days = aws::PutRetentionPolicyRequest { log_group_name: Some("g".into()), retention_in_days: Some(2) };
    assert_eq!(code(world.call::<op::PutRetentionPolicy>(days).map(drop)), "InvalidParameterException");
    let token = json!({"logGroupName": "g", "logStreamName": "s", "nextToken": "x"});
    let input = serde_json::from_value(token).unwrap();
    assert_eq!(code(world.call::<op::GetLogEvents>(input).map(drop)), "InvalidParameterException");
}

#[test]
fn deleting_a_group_takes_its_streams_and_events_along() {
    let world = world();
    put(&world, "s", &[(1, "a")]);
    let groups = world.call::<op::DescribeLogGroups>(Default::default()).unwrap().log_groups.unwrap();
    assert_eq!(groups[0].stored_bytes, Some(27));
    world.call::<op::DeleteLogGroup>(aws::DeleteLogGroupRequest { log_group_name: Some("g".into()) }).unwrap();
    let count = world.platform.store.read(|tx| -> Result<i64, StoreError> {
        Ok(tx.connection().query_row("SELECT count(*) FROM log_event", [], |row| row.get(0))?)
    });
    assert_eq!(count.unwrap(), 0);
}

#[test]
fn the_output_of_a_task_reaches_its_stream_to_the_last_line() {
    let mut stage = Stage::new();
    let logs = |group: &str| {
        json!({"logConfiguration": {"logDriver": "awslogs", "options": {
            "awslogs-group": group, "awslogs-stream-prefix": "p",
        }}})
    };
    // Without its group a task does not start.
    let missing = stage.define_with("api:v1", logs("nowhere"));
    stage.serve(&missing, 1, false);
    stage.settle();
    let reason = stage.tasks("STOPPED")[0].stopped_reason.clone().unwrap();
    assert!(reason.starts_with("ResourceInitializationError: failed to validate logger args"), "{reason}");

    let input = aws::CreateLogGroupRequest { log_group_name: Some("g".into()), ..Default::default() };
    stage.world.call::<op::CreateLogGroup>(input).unwrap();
    let definition = stage.define_with("api:v1", logs("g"));
    stage.update(|input| input.task_definition = Some(definition));
    stage.settle();
    let task = id(&stage.tasks("RUNNING")[0]);
    let path = stage.world.platform.runtime.log_path(&task, "api");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"one\ntwo\nthr").unwrap();
    let messages = |stage: &Stage| {
        let input = aws::GetLogEventsRequest {
            log_group_name: Some("g".into()),
            log_stream_name: Some(format!("p/api/{task}")),
            start_from_head: Some(true),
            ..Default::default()
        };
        let events = stage.world.call::<op::GetLogEvents>(input).unwrap().events.unwrap();
        events.into_iter().filter_map(|event| event.message).collect::<Vec<_>>()
    };
    let (platform, operations) = (stage.world.platform.clone(), stage.world.operations.clone());
    let follower = std::thread::spawn(move || follow::run(platform, operations));
    let begun = std::time::Instant::now();
    while messages(&stage).len() < 2 && begun.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(messages(&stage), ["one", "two"]);
    stage.world.platform.store.stop();
    follower.join().unwrap();
    // The rest is delivered although nobody follows any more, before the task's files go.
    file.write_all(b"ee\nlast").unwrap();
    stage.update(|input| input.desired_count = Some(0));
    stage.settle();
    assert_eq!(messages(&stage), ["one", "two", "three", "last"]);
    assert!(stage.world.platform.store.read(|tx| tx.all::<Follower>()).unwrap().is_empty());
}
