//! Templates that do not work: refused at once, or undone without a trace.

use crate::EXE;
use crate::raw::{Answer, Raw, encoded, form};
use crate::shell::Shell;
use quarry_testkit::{Platform, wait_for};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

fn create(raw: &Raw, name: &str, template: &str) -> Answer {
    let more = format!("StackName={name}&TemplateBody={}", encoded(template));
    raw.send(&form("cloudformation", "CreateStack", &more))
}

/// Nine lists, each with nine times the one before.
fn alias_bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let before = format!("*a{}", i - 1);
        let _ = writeln!(text, "a{i}: &a{i} [{}]", vec![before; 9].join(", "));
    }
    text + "Resources: {A: {Type: 'AWS::Logs::LogGroup', Metadata: *a8}}\n"
}

#[test]
fn templates_that_cannot_work_are_refused_at_once_and_leave_nothing() {
    let platform = Platform::start(EXE).unwrap();
    let raw = Raw::new(&Shell::new(&platform));
    let before = raw.inventory();
    let group = |properties: &str| format!("Resources: {{A: {{Type: 'AWS::Logs::LogGroup'{properties}}}}}");
    let long = |bytes: usize| {
        let text = group("");
        format!("{text}\n#{}", "x".repeat(bytes - text.len() - 2))
    };
    let deep_json = format!(r#"{{"Resources":{}1{}}}"#, r#"{"a":"#.repeat(8000), "}".repeat(8000));
    let deep_yaml = format!("Resources: {}{}", "[".repeat(20_000), "]".repeat(20_000));
    for (what, template, said) in [
        ("not YAML", "Resources: {A: [".to_owned(), "Template format error"),
        ("not JSON", r#"{"Resources": {"A": }"#.to_owned(), "Template format error"),
        ("a text", "hello".to_owned(), "Template format error"),
        ("nothing in it", "Resources: {}".to_owned(), "At least one Resources member must be defined"),
        ("no type", "Resources: {A: {Properties: {}}}".to_owned(), "Every Resources object must contain a Type member"),
        ("unknown type", "Resources: {A: {Type: 'AWS::Wish::Fulfilled'}}".to_owned(), "AWS::Wish::Fulfilled"),
        ("unresolved Ref", group(", Properties: {LogGroupName: !Ref Nobody}"), "Unresolved resource dependencies [Nobody]"),
        ("unresolved DependsOn", group(", DependsOn: Nobody"), "Unresolved resource dependencies [Nobody]"),
        (
            "circle",
            "Resources:\n  A: {Type: 'AWS::Logs::LogGroup', DependsOn: B}\n  B: {Type: 'AWS::Logs::LogGroup', DependsOn: A}"
                .to_owned(),
            "Circular dependency between resources: [A, B]",
        ),
        ("itself", group(", Properties: {LogGroupName: !Ref A}"), "Circular dependency between resources: [A]"),
        ("51,201 bytes", long(51_201), "51200"),
        ("deep JSON", deep_json, "Template format error"),
        ("deep YAML", deep_yaml, "Template format error"),
        ("alias bomb", alias_bomb(), "Template format error"),
    ] {
        let start = Instant::now();
        let answer = create(&raw, "bad", &template);
        let took = start.elapsed();
        assert_eq!((answer.status, answer.code().as_str()), (400, "ValidationError"), "{what}: {answer:?}");
        assert!(answer.body.contains(said), "{what}: {answer:?}");
        assert!(took < Duration::from_secs(1), "{what} took {took:?}");
        // The same words from the operation that only looks.
        if !what.starts_with("unresolved") && !["circle", "itself", "unknown type"].contains(&what) {
            let looked = raw.send(&form(
                "cloudformation",
                "ValidateTemplate",
                &format!("TemplateBody={}", encoded(&template)),
            ));
            assert_eq!(looked.code(), "ValidationError", "{what}: {looked:?}");
        }
    }
    // A stack's parameters and name are checked as well.
    let template = "Parameters: {Size: {Type: Number, MinValue: 1}}\nResources: {A: {Type: 'AWS::Logs::LogGroup'}}";
    assert_eq!(create(&raw, "bad", template).code(), "ValidationError");
    assert_eq!(create(&raw, "no%20name", &group("")).code(), "ValidationError");
    assert_eq!(raw.inventory(), before);

    // One byte less, and it is a template.
    let answer = create(&raw, "good", &long(51_200));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn what_fails_half_way_is_rolled_back_without_a_trace() {
    let platform = Platform::start(EXE).unwrap();
    let shell = Shell::new(&platform);
    let raw = Raw::new(&shell);
    let without_stacks = |raw: &Raw| {
        let mut all = raw.inventory();
        // CloudFormation keeps the failed stack, as it should.
        all.retain(|(service, _)| *service != "cloudformation");
        all
    };
    let before = without_stacks(&raw);
    let template = "
Resources:
  Net: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.7.0.0/16}}
  Output: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: half-way}}
  Fence:
    Type: AWS::EC2::SecurityGroup
    DependsOn: [Net, Output]
    Properties: {GroupDescription: of no network, VpcId: vpc-00000000000000000}
  Never: {Type: 'AWS::ECS::Cluster', DependsOn: Fence}
";
    let answer = create(&raw, "half", template);
    assert_eq!(answer.status, 200, "{answer:?}");
    let status = wait_for("the stack settles", || {
        let answer = raw.send(&form("cloudformation", "DescribeStacks", "StackName=half"));
        let (_, rest) = answer.body.split_once("<StackStatus>")?;
        let (status, _) = rest.split_once('<')?;
        (!status.ends_with("_IN_PROGRESS")).then(|| status.to_owned())
    });
    assert_eq!(status, "ROLLBACK_COMPLETE");
    let events = shell.aws_ok(
        "cloudformation describe-stack-events --stack-name half \
         --query 'StackEvents[].[LogicalResourceId, ResourceStatus, ResourceStatusReason]'",
    );
    let events: Vec<(String, String, String)> = serde_json::from_value::<Vec<(String, String, Option<String>)>>(events)
        .unwrap()
        .into_iter()
        .map(|(id, status, reason)| (id, status, reason.unwrap_or_default()))
        .collect();
    let has = |id: &str, status: &str| events.iter().find(|(i, s, _)| i == id && s == status);
    let (_, _, reason) = has("Fence", "CREATE_FAILED").expect("the failure is an event");
    assert!(reason.contains("vpc-00000000000000000"), "{reason}");
    for (id, status) in [("Net", "CREATE_COMPLETE"), ("Net", "DELETE_COMPLETE"), ("Output", "DELETE_COMPLETE")] {
        assert!(has(id, status).is_some(), "no {id} {status} in {events:#?}");
    }
    assert!(!events.iter().any(|(id, ..)| id == "Never"), "{events:#?}");
    assert_eq!(without_stacks(&raw), before);

    // A stack that was rolled back can only be deleted.
    assert_eq!(create(&raw, "half", template).code(), "AlreadyExistsException");
    assert_eq!(raw.send(&form("cloudformation", "DeleteStack", "StackName=half")).status, 200);
    wait_for("the stack is gone", || {
        let answer = raw.send(&form("cloudformation", "DescribeStacks", "StackName=half"));
        (answer.code() == "ValidationError" && answer.body.contains("does not exist")).then_some(())
    });
}
