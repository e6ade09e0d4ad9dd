//! Wait conditions: signals put to a handle's URL, on the endpoint as clients meet it.

use super::reconcile::Reconciler;
use super::tests::{create, delete, describe, events, pass, status, world};
use crate::endpoint::{Auth, Endpoint};
use crate::testing::World;
use http::{Method, Request};
use quarry_aws::cloudformation::{DescribeStackResourceInput, UpdateStackInput, op};
use std::time::Duration;

const TEMPLATE: &str = r#"
Resources:
  Handle:
    Type: AWS::CloudFormation::WaitConditionHandle
  Ready:
    Type: AWS::CloudFormation::WaitCondition
    Properties: {Handle: !Ref Handle, Count: 2, Timeout: '3600'}
  After:
    Type: AWS::SSM::Parameter
    Properties: {Type: String, Value: !GetAtt Ready.Data}
Outputs:
  Url: {Value: !Ref Handle}
  Data: {Value: !GetAtt Ready.Data}
"#;

/// Sends a request that is not signed; its status.
fn send(world: &World, method: Method, url: &str, body: &str) -> u16 {
    let key = ("AKIAEXAMPLE".to_owned(), "secret".to_owned());
    let endpoint = Endpoint::new(world.platform.clone(), world.operations.clone(), Auth::On, key);
    let (head, ()) = Request::builder().method(method).uri(url).body(()).unwrap().into_parts();
    endpoint.answer(&head, body.as_bytes()).status().as_u16()
}

fn put(world: &World, url: &str, id: &str, status: &str, text: &str) -> u16 {
    let signal =
        serde_json::json!({"UniqueId": id, "Status": status, "Data": text, "Reason": format!("because of {text}")});
    send(world, Method::PUT, url, &signal.to_string())
}

fn handle(world: &World) -> String {
    let input =
        DescribeStackResourceInput { stack_name: Some("demo".into()), logical_resource_id: Some("Handle".into()) };
    let detail = world.call::<op::DescribeStackResource>(input).unwrap().stack_resource_detail.unwrap();
    detail.physical_resource_id.unwrap()
}

fn begun() -> (World, String) {
    let world = world();
    create(&world, "demo", TEMPLATE).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "CREATE_IN_PROGRESS");
    let url = handle(&world);
    (world, url)
}

fn reason(world: &World) -> String {
    let failed = events(world, "demo").into_iter().find(|e| e.resource_status.as_deref() == Some("CREATE_FAILED"));
    failed.unwrap().resource_status_reason.unwrap()
}

#[test]
fn as_many_signals_as_wanted_complete_it() {
    let (world, url) = begun();
    assert!(url.starts_with("http://localhost:4566/cloudformation-waitcondition-us-east-1/arn%3Aaws%3A"), "{url}");
    for _ in 0..2 {
        // The second says nothing new.
        assert_eq!(put(&world, &url, "one", "SUCCESS", "first"), 200);
        pass(&world);
        assert_eq!(status(&world, "demo"), "CREATE_IN_PROGRESS");
    }
    assert_eq!(put(&world, &url, "two", "SUCCESS", "second"), 200);
    pass(&world);
    let stack = describe(&world, "demo").unwrap();
    assert_eq!(stack.stack_status.as_deref(), Some("CREATE_COMPLETE"), "{:#?}", events(&world, "demo"));
    let outputs = stack.outputs.unwrap();
    let output =
        |key: &str| outputs.iter().find(|o| o.output_key.as_deref() == Some(key)).unwrap().output_value.clone();
    assert_eq!(output("Url"), Some(url.clone()));
    assert_eq!(output("Data").as_deref(), Some(r#"{"one":"first","two":"second"}"#));
    delete(&world, "demo");
    pass(&world);
    assert!(describe(&world, "demo").is_err());
    assert_eq!(put(&world, &url, "three", "SUCCESS", ""), 403);
}

#[test]
fn a_failure_a_muddle_or_too_few_in_time_fail_it() {
    let (world, url) = begun();
    assert_eq!(put(&world, &url, "one", "FAILURE", "rain"), 200);
    pass(&world);
    assert_eq!(reason(&world), "WaitCondition received failed message: 'because of rain' for uniqueId: one");
    assert_eq!(status(&world, "demo"), "ROLLBACK_COMPLETE");

    let (world, url) = begun();
    assert_eq!(send(&world, Method::PUT, &url, "ready"), 200);
    pass(&world);
    assert_eq!(reason(&world), "Unparsable WaitCondition data");

    let (world, url) = begun();
    assert_eq!(put(&world, &url, "one", "SUCCESS", ""), 200);
    let mut reconciler = Reconciler::default();
    reconciler.pass(&world.platform, &world.operations);
    // Longer than any other resource may take.
    world.door.advance(Duration::from_secs(3599));
    reconciler.pass(&world.platform, &world.operations);
    assert_eq!(status(&world, "demo"), "CREATE_IN_PROGRESS");
    world.door.advance(Duration::from_secs(2));
    reconciler.pass(&world.platform, &world.operations);
    assert_eq!(reason(&world), "WaitCondition timed out. Received 1 conditions when expecting 2");
}

#[test]
fn only_the_handles_own_url_takes_signals() {
    let (world, url) = begun();
    let (head, signature) = url.split_at(url.len() - 40);
    let other: String = signature.chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    let later = url.replace("Expires=1", "Expires=2");
    let elsewhere = url.replace("Handle", "Ready");
    for wrong in [format!("{head}{other}"), head.to_owned(), later, elsewhere] {
        assert_ne!(wrong, url);
        assert_eq!(put(&world, &wrong, "one", "FAILURE", ""), 403, "{wrong}");
    }
    assert_eq!(send(&world, Method::GET, &url, ""), 405);
    assert_eq!(send(&world, Method::PUT, &url, &"x".repeat(20_000)), 400);
    pass(&world);
    assert_eq!(status(&world, "demo"), "CREATE_IN_PROGRESS");
    world.door.advance(Duration::from_secs(25 * 3600));
    assert_eq!(put(&world, &url, "one", "SUCCESS", ""), 403);
}

#[test]
fn what_cannot_be_waited_for_is_refused() {
    let world = world();
    let no_handle = "Resources: {Ready: {Type: AWS::CloudFormation::WaitCondition}}";
    let refused = create(&world, "demo", no_handle).unwrap_err();
    assert!(refused.message.contains("must have a Handle or a CreationPolicy"), "{refused}");
    for (property, wrong) in [
        ("Timeout: 43201", "Timeout must be between 0 and 43200 seconds"),
        ("Count: many, Timeout: 1", "Value of property Count must be of type Integer"),
        ("Count: 1", "Property Timeout cannot be empty."),
    ] {
        let template = TEMPLATE.replace("Count: 2, Timeout: '3600'", property);
        create(&world, "demo", &template).unwrap();
        pass(&world);
        assert_eq!(reason(&world), wrong);
        delete(&world, "demo");
        pass(&world);
    }
}

#[test]
fn a_creation_policy_takes_the_place_of_a_handle() {
    let world = world();
    let template = "
Resources:
  Ready:
    Type: AWS::CloudFormation::WaitCondition
    CreationPolicy: {ResourceSignal: {Count: 1, Timeout: PT1H}}";
    create(&world, "demo", template).unwrap();
    let mut reconciler = Reconciler::default();
    reconciler.pass(&world.platform, &world.operations);
    world.door.advance(Duration::from_secs(3500));
    reconciler.pass(&world.platform, &world.operations);
    assert_eq!(status(&world, "demo"), "CREATE_IN_PROGRESS", "{:#?}", events(&world, "demo"));
    super::tests::signal(&world, "demo", "Ready", "one", "SUCCESS").unwrap();
    reconciler.pass(&world.platform, &world.operations);
    assert_eq!(status(&world, "demo"), "CREATE_COMPLETE");
}

#[test]
fn a_condition_is_not_updated() {
    let (world, url) = begun();
    for id in ["one", "two"] {
        put(&world, &url, id, "SUCCESS", "");
    }
    pass(&world);
    let input = UpdateStackInput {
        stack_name: Some("demo".into()),
        template_body: Some(TEMPLATE.replace("3600", "60")),
        ..Default::default()
    };
    world.call::<op::UpdateStack>(input).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_ROLLBACK_COMPLETE");
    let refused = "Update to resource type AWS::CloudFormation::WaitCondition is not supported.";
    assert!(events(&world, "demo").iter().any(|e| e.resource_status_reason.as_deref() == Some(refused)));
}
