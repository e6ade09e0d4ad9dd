//! Drift detection, parameters that must exist, rules and dynamic references of whole stacks.

use super::resource::thing::Existing;
use super::tests::{create, describe, events, pass, status, world};
use super::tests_update::{parameter, things, update};
use crate::testing::World;
use quarry_aws::cloudformation::{
    CreateStackInput, DescribeStackDriftDetectionStatusInput, DescribeStackResourceDriftsInput, DetectStackDriftInput,
    StackResourceDrift, op,
};
use quarry_aws::{ec2, ssm};

fn detect(world: &World) -> (String, Vec<StackResourceDrift>) {
    let input = DetectStackDriftInput { stack_name: Some("demo".into()), ..Default::default() };
    let id = world.call::<op::DetectStackDrift>(input).unwrap().stack_drift_detection_id;
    let input = DescribeStackDriftDetectionStatusInput { stack_drift_detection_id: id };
    let seen = world.call::<op::DescribeStackDriftDetectionStatus>(input).unwrap();
    assert_eq!(seen.detection_status.as_deref(), Some("DETECTION_COMPLETE"));
    let input = DescribeStackResourceDriftsInput { stack_name: Some("demo".into()), ..Default::default() };
    let drifts = world.call::<op::DescribeStackResourceDrifts>(input).unwrap().stack_resource_drifts.unwrap();
    (seen.stack_drift_status.unwrap(), drifts)
}

fn change(world: &World, logical: &str, change: impl Fn(&mut Existing)) {
    let mut thing = things(world).into_iter().find(|t| t.id.contains(&format!("-{logical}-"))).unwrap();
    change(&mut thing);
    world.platform.store.write(|tx| tx.put(&thing)).unwrap();
}

#[test]
fn drift_is_what_differs() {
    let world = world();
    let text = "Resources:
  A: {Type: Test::Thing, Properties: {Value: 5, Uses: [x, {y: z}]}}
  B: {Type: Test::Thing, Properties: {Value: b}}";
    create(&world, "demo", text).unwrap();
    pass(&world);
    let (status, drifts) = detect(&world);
    assert_eq!((status.as_str(), drifts.len()), ("IN_SYNC", 2));
    assert!(drifts.iter().all(|d| d.stack_resource_drift_status.as_deref() == Some("IN_SYNC")));
    change(&world, "A", |thing| {
        thing.properties["Uses"][1] = serde_json::json!({"y": "w", "more": 1});
    });
    world
        .platform
        .store
        .write(|tx| {
            let b = tx.all::<Existing>()?.into_iter().find(|t| t.id.contains("-B-")).unwrap();
            tx.delete::<Existing>(&b.id)
        })
        .unwrap();
    let (status, drifts) = detect(&world);
    assert_eq!(status, "DRIFTED");
    let of = |id: &str| drifts.iter().find(|d| d.logical_resource_id.as_deref() == Some(id)).unwrap();
    assert_eq!(of("B").stack_resource_drift_status.as_deref(), Some("DELETED"));
    assert_eq!(of("A").stack_resource_drift_status.as_deref(), Some("MODIFIED"));
    let differences: Vec<String> = of("A")
        .property_differences
        .iter()
        .flatten()
        .map(|d| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            [&d.property_path, &d.difference_type, &d.expected_value, &d.actual_value].map(part).join(" ")
        })
        .collect();
    assert_eq!(differences, ["/Uses/1/y NOT_EQUAL z w", "/Uses/1/more ADD null 1"]);
    let stack = describe(&world, "demo").unwrap();
    assert_eq!(stack.drift_information.unwrap().stack_drift_status.as_deref(), Some("DRIFTED"));
}

#[test]
fn what_a_real_service_lost_is_seen() {
    let world = world();
    create(
        &world,
        "demo",
        "Resources: {Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.7.0.0/16}}}
Outputs: {Vpc: {Value: !Ref Vpc}}",
    )
    .unwrap();
    pass(&world);
    assert_eq!(detect(&world).0, "IN_SYNC");
    let vpc = describe(&world, "demo").unwrap().outputs.unwrap()[0].output_value.clone();
    world.call::<ec2::op::DeleteVpc>(ec2::DeleteVpcRequest { vpc_id: vpc, ..Default::default() }).unwrap();
    let (status, drifts) = detect(&world);
    assert_eq!(status, "DRIFTED");
    assert_eq!(drifts[0].stack_resource_drift_status.as_deref(), Some("DELETED"));
}

#[test]
fn parameters_of_aws_types_must_exist() {
    let world = world();
    let text = "Parameters: {Vpc: {Type: AWS::EC2::VPC::Id}, Zones: {Type: List<AWS::EC2::AvailabilityZone::Name>}}
Resources: {A: {Type: Test::Thing, Properties: {Value: !Ref Vpc, Uses: !Ref Zones}}}";
    let input = ec2::CreateVpcRequest { cidr_block: Some("10.6.0.0/16".into()), ..Default::default() };
    let vpc = world.call::<ec2::op::CreateVpc>(input).unwrap().vpc.unwrap().vpc_id.unwrap();
    let zone = world.platform.place().zones()[0].clone();
    for (name, vpc, zones, good) in [
        ("a", vpc.as_str(), zone.as_str(), true),
        ("b", "vpc-0", zone.as_str(), false),
        ("c", vpc.as_str(), "moon-1a", false),
    ] {
        let input = CreateStackInput {
            stack_name: Some(name.into()),
            template_body: Some(text.into()),
            parameters: Some(vec![parameter("Vpc", vpc), parameter("Zones", zones)]),
            ..Default::default()
        };
        world.call::<op::CreateStack>(input).unwrap();
        pass(&world);
        assert_eq!(status(&world, name), if good { "CREATE_COMPLETE" } else { "ROLLBACK_COMPLETE" }, "{name}");
    }
    let reason = "Parameter validation failed: parameter value vpc-0 for parameter name Vpc does not exist. Rollback requested by user.";
    let told = events(&world, "b").into_iter().filter(|e| e.resource_status_reason.as_deref() == Some(reason));
    assert_eq!(told.count(), 1);
    assert_eq!(events(&world, "b").len(), 3);
}

#[test]
fn dynamic_references_are_read_and_not_kept() {
    let world = world();
    let put = |value: &str| {
        let input = ssm::PutParameterRequest {
            name: Some("/app/value".into()),
            value: Some(value.into()),
            r#type: Some("String".into()),
            overwrite: Some(true),
            ..Default::default()
        };
        world.call::<ssm::op::PutParameter>(input).unwrap();
    };
    put("first");
    let text = "Resources: {A: {Type: Test::Thing, Properties: {Value: 'x-{{resolve:ssm:/app/value}}-y'}}}";
    create(&world, "demo", text).unwrap();
    pass(&world);
    assert_eq!(things(&world)[0].properties["Value"], "x-first-y");
    put("second");
    // The template says the same as before.
    assert_eq!(update(&world, "demo", text).unwrap_err().message, "No updates are to be performed.");
    assert_eq!(detect(&world).0, "DRIFTED");
    let secure = text.replace("resolve:ssm:/app/value", "resolve:ssm-secure:/app/value:1");
    assert_eq!(
        update(&world, "demo", &secure).unwrap_err().message,
        "SSM Secure reference is not supported in: [Test::Thing/Properties/Value]"
    );
    update(&world, "demo", &text.replace("/app/value", "/app/nothing")).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "UPDATE_ROLLBACK_COMPLETE");
}

#[test]
fn rules_are_asserted_before_anything() {
    let world = world();
    let text = "Parameters: {Size: {Type: String}}
Rules: {Sizes: {Assertions: [{Assert: !Equals [!Ref Size, small], AssertDescription: only small ones}]}}
Resources: {A: {Type: Test::Thing, Properties: {Value: !Ref Size}}}";
    let input = |size: &str| CreateStackInput {
        stack_name: Some("demo".into()),
        template_body: Some(text.into()),
        parameters: Some(vec![parameter("Size", size)]),
        ..Default::default()
    };
    assert_eq!(
        world.call::<op::CreateStack>(input("big")).unwrap_err().message,
        "Template error: Rule Sizes failed: only small ones"
    );
    world.call::<op::CreateStack>(input("small")).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "CREATE_COMPLETE");
}

#[test]
fn what_is_not_to_be_shown_is_masked() {
    let world = world();
    let text = "Parameters: {Secret: {Type: String, NoEcho: true}}
Resources: {A: {Type: Test::Thing, Properties: {Value: !Sub 'is ${Secret}'}}}";
    let input = CreateStackInput {
        stack_name: Some("demo".into()),
        template_body: Some(text.into()),
        parameters: Some(vec![parameter("Secret", "hunter2")]),
        ..Default::default()
    };
    world.call::<op::CreateStack>(input).unwrap();
    pass(&world);
    let (status, drifts) = detect(&world);
    assert_eq!(status, "IN_SYNC");
    assert_eq!(drifts[0].expected_properties.as_deref(), Some(r#"{"Value":"is ****"}"#));
    assert_eq!(drifts[0].actual_properties, drifts[0].expected_properties);
    let shown = format!("{:?} {:?}", describe(&world, "demo").unwrap(), events(&world, "demo"));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn policies_without_effect_are_refused_and_percentages_count() {
    let world = world();
    let refused = |policy: &str| {
        let text = format!("Resources: {{A: {{Type: Test::Thing, {policy}}}}}");
        create(&world, "demo", &text).unwrap_err().message
    };
    assert_eq!(
        refused("UpdatePolicy: {CodeDeployLambdaAliasUpdate: {}}"),
        "Template error: UpdatePolicy CodeDeployLambdaAliasUpdate of resource A is not supported for resource type Test::Thing"
    );
    assert_eq!(
        refused("CreationPolicy: {StartFleet: true}"),
        "Template error: CreationPolicy StartFleet of resource A is not supported for resource type Test::Thing"
    );
    let text = "Resources:
  Launch: {Type: AWS::AutoScaling::LaunchConfiguration, Properties: {ImageId: ami-1, InstanceType: t3.micro}}
  Fleet:
    Type: AWS::AutoScaling::AutoScalingGroup
    CreationPolicy:
      ResourceSignal: {Count: 4, Timeout: PT10M}
      AutoScalingCreationPolicy: {MinSuccessfulInstancesPercent: 50}
    Properties: {LaunchConfigurationName: !Ref Launch, MinSize: 0, MaxSize: 0, AvailabilityZones: !GetAZs ''}";
    for (name, good) in [("half", 2), ("less", 1)] {
        create(&world, name, text).unwrap();
        pass(&world);
        for i in 0..4 {
            let word = if i < good { "SUCCESS" } else { "FAILURE" };
            let input = quarry_aws::cloudformation::SignalResourceInput {
                stack_name: Some(name.into()),
                logical_resource_id: Some("Fleet".into()),
                unique_id: Some(format!("i-{i}")),
                status: Some(word.into()),
            };
            world.call::<op::SignalResource>(input).unwrap();
        }
        pass(&world);
        assert_eq!(status(&world, name), if good == 2 { "CREATE_COMPLETE" } else { "ROLLBACK_COMPLETE" });
    }
    let reason =
        "Received 1 SUCCESS signal(s) out of 4.  Unable to satisfy 50% MinSuccessfulInstancesPercent requirement";
    let told = events(&world, "less").into_iter().filter(|e| e.resource_status_reason.as_deref() == Some(reason));
    assert_eq!(told.count(), 1);
}
