//! Whole stacks, on the services' own handlers where they are cheap and on recording fakes for ECS,
//! logs and Auto Scaling.

use super::reconcile::Reconciler;
use crate::api::{Ctx, Operations, Result};
use crate::store::Item;
use crate::testing::World;
use quarry_aws::cloudformation::{
    CreateChangeSetInput, CreateStackInput, DeleteStackInput, DescribeChangeSetInput, DescribeStackEventsInput,
    DescribeStackResourcesInput, DescribeStacksInput, ExecuteChangeSetInput, ListExportsInput, Parameter,
    SignalResourceInput, Stack, StackEvent, op,
};
use quarry_aws::{autoscaling, ec2, ecs, elbv2, iam, logs};
use quarry_wire::{Empty, ServiceError};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const ECS: &str = include_str!("../../../../deploy/cloudformation/ecs.yml");

/// What a fake service was asked to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Thing {
    service: String,
    name: String,
    input: serde_json::Value,
}

impl Item for Thing {
    const KIND: &'static str = "test.fake";
    fn key(&self) -> String {
        format!("{}/{}", self.service, self.name)
    }
}

fn make(ctx: &Ctx<'_>, service: &str, name: &str, input: serde_json::Value) -> Result<()> {
    if ctx.tx.get::<Thing>(&format!("{service}/{name}"))?.is_some() {
        return Err(ServiceError::new("AlreadyExists", format!("{name} is there already"), 400));
    }
    Ok(ctx.tx.put(&Thing { service: service.into(), name: name.into(), input })?)
}

fn drop_thing(ctx: &Ctx<'_>, service: &str, name: &str) -> Result<()> {
    if ctx.tx.delete::<Thing>(&format!("{service}/{name}"))? {
        return Ok(());
    }
    Err(ServiceError::new("ResourceNotFoundException", "not there", 400))
}

fn fakes(operations: &mut Operations) {
    operations.serve::<ecs::op::CreateCluster>(|ctx, input| {
        let name = input.cluster_name.clone().unwrap_or_default();
        make(ctx, "cluster", &name, quarry_wire::json::to_value(&input))?;
        let arn = ctx.platform.place().arn("ecs", format!("cluster/{name}"));
        let cluster = ecs::Cluster { cluster_arn: Some(arn), cluster_name: Some(name), ..Default::default() };
        Ok(ecs::CreateClusterResponse { cluster: Some(cluster) })
    });
    operations.serve::<ecs::op::DeleteCluster>(|ctx, input| {
        drop_thing(ctx, "cluster", &input.cluster.unwrap_or_default())?;
        Ok(ecs::DeleteClusterResponse::default())
    });
    operations.serve::<logs::op::CreateLogGroup>(|ctx, input| {
        make(ctx, "log", &input.log_group_name.clone().unwrap_or_default(), quarry_wire::json::to_value(&input))?;
        Ok(Empty {})
    });
    operations.serve::<logs::op::PutRetentionPolicy>(|_, input| {
        if input.retention_in_days != Some(14) {
            return Err(ServiceError::new("InvalidParameterException", "no such retention", 400));
        }
        Ok(Empty {})
    });
    operations.serve::<logs::op::DeleteLogGroup>(|ctx, input| {
        drop_thing(ctx, "log", &input.log_group_name.unwrap_or_default())?;
        Ok(Empty {})
    });
    operations.serve::<autoscaling::op::CreateLaunchConfiguration>(|ctx, input| {
        let name = input.launch_configuration_name.clone().unwrap_or_default();
        make(ctx, "lc", &name, quarry_wire::json::to_value(&input))?;
        Ok(Empty {})
    });
    operations.serve::<autoscaling::op::DeleteLaunchConfiguration>(|ctx, input| {
        drop_thing(ctx, "lc", &input.launch_configuration_name.unwrap_or_default())?;
        Ok(Empty {})
    });
    operations.serve::<autoscaling::op::CreateAutoScalingGroup>(|ctx, input| {
        let name = input.auto_scaling_group_name.clone().unwrap_or_default();
        make(ctx, "asg", &name, quarry_wire::json::to_value(&input))?;
        Ok(Empty {})
    });
    operations.serve::<autoscaling::op::DescribeAutoScalingGroups>(|ctx, input| {
        let names = input.auto_scaling_group_names.unwrap_or_default();
        let mut groups = Vec::new();
        for name in names {
            if let Some(thing) = ctx.tx.get::<Thing>(&format!("asg/{name}"))? {
                let desired = thing.input["DesiredCapacity"].as_i64().unwrap_or(0);
                let instance =
                    autoscaling::Instance { lifecycle_state: Some("InService".into()), ..Default::default() };
                groups.push(autoscaling::AutoScalingGroup {
                    auto_scaling_group_name: Some(name),
                    desired_capacity: Some(desired as i32),
                    instances: Some(vec![instance; desired as usize]),
                    ..Default::default()
                });
            }
        }
        Ok(autoscaling::AutoScalingGroupsType { auto_scaling_groups: Some(groups), next_token: None })
    });
    operations.serve::<autoscaling::op::DeleteAutoScalingGroup>(|ctx, input| {
        drop_thing(ctx, "asg", &input.auto_scaling_group_name.unwrap_or_default())?;
        Ok(Empty {})
    });
}

fn register(operations: &mut Operations) {
    super::register(operations);
    crate::ec2::register(operations);
    crate::elbv2::register(operations);
    crate::iam::register(operations);
    crate::ssm::register(operations);
    fakes(operations);
}

pub(super) fn world() -> World {
    World::new(register)
}

pub(super) fn pass(world: &World) {
    Reconciler::default().pass(&world.platform, &world.operations);
}

pub(super) fn create(world: &World, name: &str, template: &str) -> Result<String> {
    let input = CreateStackInput {
        stack_name: Some(name.into()),
        template_body: Some(template.into()),
        capabilities: Some(vec!["CAPABILITY_IAM".into()]),
        ..Default::default()
    };
    Ok(world.call::<op::CreateStack>(input)?.stack_id.unwrap())
}

pub(super) fn delete(world: &World, name: &str) {
    world.call::<op::DeleteStack>(DeleteStackInput { stack_name: Some(name.into()), ..Default::default() }).unwrap();
}

pub(super) fn describe(world: &World, name: &str) -> Result<Stack> {
    let input = DescribeStacksInput { stack_name: Some(name.into()), next_token: None };
    Ok(world.call::<op::DescribeStacks>(input)?.stacks.unwrap().remove(0))
}

pub(super) fn status(world: &World, name: &str) -> String {
    describe(world, name).unwrap().stack_status.unwrap()
}

pub(super) fn events(world: &World, name: &str) -> Vec<StackEvent> {
    let input = DescribeStackEventsInput { stack_name: Some(name.into()), next_token: None };
    let mut events = world.call::<op::DescribeStackEvents>(input).unwrap().stack_events.unwrap();
    events.reverse();
    events
}

pub(super) fn signal(world: &World, stack: &str, logical: &str, unique: &str, status: &str) -> Result<()> {
    let input = SignalResourceInput {
        stack_name: Some(stack.into()),
        logical_resource_id: Some(logical.into()),
        unique_id: Some(unique.into()),
        status: Some(status.into()),
    };
    world.call::<op::SignalResource>(input).map(|_| ())
}

/// How much of each kind there is besides what the account has from the start.
fn inventory(world: &World) -> Vec<usize> {
    let vpcs = world.call::<ec2::op::DescribeVpcs>(Default::default()).unwrap().vpcs.map_or(0, |v| v.len());
    let subnets = world.call::<ec2::op::DescribeSubnets>(Default::default()).unwrap().subnets.map_or(0, |v| v.len());
    let groups = world.call::<ec2::op::DescribeSecurityGroups>(Default::default()).unwrap();
    let tables = world.call::<ec2::op::DescribeRouteTables>(Default::default()).unwrap();
    let gateways = world.call::<ec2::op::DescribeInternetGateways>(Default::default()).unwrap();
    let balancers = world.call::<elbv2::op::DescribeLoadBalancers>(Default::default()).unwrap();
    let roles = world.call::<iam::op::ListRoles>(Default::default()).unwrap().roles.map_or(0, |v| v.len());
    let profiles = world.call::<iam::op::ListInstanceProfiles>(Default::default()).unwrap();
    let things = world.platform.store.read(|tx| tx.all::<Thing>()).unwrap().len();
    vec![
        vpcs,
        subnets,
        groups.security_groups.map_or(0, |v| v.len()),
        tables.route_tables.map_or(0, |v| v.len()),
        gateways.internet_gateways.map_or(0, |v| v.len()),
        balancers.load_balancers.map_or(0, |v| v.len()),
        roles,
        profiles.instance_profiles.map_or(0, |v| v.len()),
        things,
    ]
}

#[test]
fn the_cluster_template_comes_up_and_goes_without_a_trace() {
    let world = world();
    let before = inventory(&world);
    create(&world, "BreakTheMonolith-Demo", ECS).unwrap();
    assert_eq!(status(&world, "BreakTheMonolith-Demo"), "CREATE_IN_PROGRESS");
    assert_eq!(inventory(&world), before);
    let started = Instant::now();
    pass(&world);
    let took = started.elapsed();
    assert_eq!(
        status(&world, "BreakTheMonolith-Demo"),
        "CREATE_IN_PROGRESS",
        "{:#?}",
        events(&world, "BreakTheMonolith-Demo")
    );
    // All but the group, which waits for its instances.
    signal(&world, "BreakTheMonolith-Demo", "InstanceGroup", "i-1", "SUCCESS").unwrap();
    signal(&world, "BreakTheMonolith-Demo", "InstanceGroup", "i-1", "SUCCESS").unwrap();
    pass(&world);
    assert_eq!(status(&world, "BreakTheMonolith-Demo"), "CREATE_IN_PROGRESS");
    signal(&world, "BreakTheMonolith-Demo", "InstanceGroup", "i-2", "SUCCESS").unwrap();
    pass(&world);
    let stack = describe(&world, "BreakTheMonolith-Demo").unwrap();
    assert_eq!(
        stack.stack_status.as_deref(),
        Some("CREATE_COMPLETE"),
        "{:#?}",
        events(&world, "BreakTheMonolith-Demo")
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    let outputs = stack.outputs.unwrap();
    let output = |key: &str| outputs.iter().find(|o| o.output_key.as_deref() == Some(key)).unwrap();
    assert_eq!(output("ClusterName").output_value.as_deref(), Some("BreakTheMonolith-Demo"));
    assert_eq!(output("VPCId").export_name.as_deref(), Some("BreakTheMonolith-Demo:VPCId"));
    assert!(output("Url").output_value.as_deref().unwrap().starts_with("http://demo-"));
    assert_eq!(output("Url").export_name, None);
    assert!(output("ECSRole").output_value.as_deref().unwrap().contains(":role/BreakTheMonolith-Demo-ECSServiceRole-"));
    let exports = world.call::<op::ListExports>(ListExportsInput::default()).unwrap().exports.unwrap();
    assert_eq!(exports.len(), 4);
    let input = DescribeStackResourcesInput { stack_name: Some("BreakTheMonolith-Demo".into()), ..Default::default() };
    let resources = world.call::<op::DescribeStackResources>(input).unwrap().stack_resources.unwrap();
    assert_eq!(resources.len(), 22);
    assert!(resources.iter().all(|r| r.resource_status.as_deref() == Some("CREATE_COMPLETE")));
    let group = world.platform.store.read(|tx| tx.all::<Thing>()).unwrap();
    let group = group.into_iter().find(|t| t.service == "asg").unwrap().input;
    assert_eq!(
        (group["DesiredCapacity"].as_i64(), group["MaxSize"].as_i64(), group["MinSize"].as_i64()),
        (Some(2), Some(2), Some(1))
    );
    assert_eq!(group["VPCZoneIdentifier"].as_str().unwrap().split(',').count(), 2);

    delete(&world, "BreakTheMonolith-Demo");
    assert_eq!(status(&world, "BreakTheMonolith-Demo"), "DELETE_IN_PROGRESS");
    pass(&world);
    let gone = describe(&world, "BreakTheMonolith-Demo").unwrap_err();
    assert_eq!(
        gone.message,
        "Stack with id BreakTheMonolith-Demo does not exist",
        "{:#?}",
        status(&world, stack.stack_id.as_deref().unwrap())
    );
    assert_eq!(status(&world, stack.stack_id.as_deref().unwrap()), "DELETE_COMPLETE");
    assert_eq!(inventory(&world), before);
    assert_eq!(world.call::<op::ListExports>(ListExportsInput::default()).unwrap().exports.unwrap().len(), 0);
}

#[test]
fn a_restart_between_any_two_steps_makes_nothing_twice() {
    let world = world();
    create(&world, "demo", ECS).unwrap();
    let id = describe(&world, "demo").unwrap().stack_id.unwrap();
    // Every step by a reconciler that remembers nothing, as after a kill.
    for _ in 0..80 {
        Reconciler::default().advance(&world.platform, &world.operations, &id, 1).unwrap();
    }
    signal(&world, "demo", "InstanceGroup", "i-1", "SUCCESS").unwrap();
    signal(&world, "demo", "InstanceGroup", "i-2", "SUCCESS").unwrap();
    for _ in 0..5 {
        Reconciler::default().advance(&world.platform, &world.operations, &id, 1).unwrap();
    }
    assert_eq!(status(&world, "demo"), "CREATE_COMPLETE");
    let initiated = events(&world, "demo")
        .iter()
        .filter(|e| e.resource_status_reason.as_deref() == Some("Resource creation Initiated"))
        .count();
    assert_eq!(initiated, 22);
}

#[test]
fn a_failure_rolls_back_to_nothing() {
    let world = world();
    let before = inventory(&world);
    let broken = ECS.replace("RetentionInDays: 14", "RetentionInDays: 13");
    create(&world, "demo", &broken).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "ROLLBACK_COMPLETE");
    assert_eq!(inventory(&world), before);
    let history = events(&world, "demo");
    let failed = history.iter().find(|e| e.resource_status.as_deref() == Some("CREATE_FAILED")).unwrap();
    assert_eq!(failed.logical_resource_id.as_deref(), Some("TaskLogs"));
    assert!(failed.resource_status_reason.as_deref().unwrap().contains("no such retention"));
    let rollback = history.iter().find(|e| e.resource_status.as_deref() == Some("ROLLBACK_IN_PROGRESS")).unwrap();
    assert_eq!(
        rollback.resource_status_reason.as_deref(),
        Some("The following resource(s) failed to create: [TaskLogs]. Rollback requested by user.")
    );
}

#[test]
fn a_failure_signal_and_a_late_one_roll_back() {
    for late in [false, true] {
        let world = world();
        create(&world, "demo", ECS).unwrap();
        let mut reconciler = Reconciler::default();
        reconciler.pass(&world.platform, &world.operations);
        if late {
            world.door.advance(Duration::from_secs(14 * 60));
            reconciler.pass(&world.platform, &world.operations);
            assert_eq!(status(&world, "demo"), "CREATE_IN_PROGRESS");
            world.door.advance(Duration::from_secs(2 * 60));
        } else {
            signal(&world, "demo", "InstanceGroup", "i-1", "FAILURE").unwrap();
        }
        reconciler.pass(&world.platform, &world.operations);
        assert_eq!(status(&world, "demo"), "ROLLBACK_COMPLETE");
        assert!(
            signal(&world, "demo", "InstanceGroup", "i-2", "SUCCESS")
                .unwrap_err()
                .message
                .contains("cannot be signaled")
        );
    }
}

#[test]
fn bad_templates_are_refused_before_anything_is_made() {
    let world = world();
    let refused = |template: &str| create(&world, "demo", template).unwrap_err();
    for (template, message) in [
        (
            "Resources: {A: {Type: AWS::Moon::Base}}",
            "Template format error: Unrecognized resource types: [AWS::Moon::Base]",
        ),
        (
            "Resources: {A: {Type: AWS::EC2::VPC, Properties: {CidrBlock: !GetAtt B.Colour}}, B: {Type: AWS::EC2::VPC}}",
            "Template error: resource B does not support attribute type Colour in Fn::GetAtt",
        ),
        (
            "Parameters: {P: {Type: String}}\nResources: {A: {Type: AWS::EC2::InternetGateway}}",
            "Parameters: [P] must have values",
        ),
        (
            "Resources: {A: {Type: AWS::EC2::VPC, Properties: {CidrBlock: !ImportValue nope}}}",
            "No export named nope found",
        ),
        (
            "Mappings: {M: {a: {b: c}}}\nResources: {A: {Type: AWS::EC2::VPC, Properties: {CidrBlock: !FindInMap [M, a, x]}}}",
            "Template error: Unable to get mapping for M::a::x",
        ),
    ] {
        let error = refused(template);
        assert_eq!((error.code.as_str(), error.message.as_str()), ("ValidationError", message));
    }
    let long = format!("Description: {}\nResources: {{A: {{Type: AWS::EC2::InternetGateway}}}}", "x".repeat(60_000));
    assert!(refused(&long).message.contains("51200"));
    let input =
        CreateStackInput { stack_name: Some("demo".into()), template_body: Some(ECS.into()), ..Default::default() };
    let error = world.call::<op::CreateStack>(input.clone()).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]")
    );
    let parameter = |key: &str, value: &str| Parameter {
        parameter_key: Some(key.into()),
        parameter_value: Some(value.into()),
        ..Default::default()
    };
    for (key, value, part) in [
        ("InstanceType", "x9.huge", "Take one of the instance types"),
        ("MaxSize", "many", "must be a number"),
        ("ECSAMI", "/nope", "Unable to fetch parameters [/nope]"),
        ("Nope", "1", "Parameters: [Nope] do not exist in the template"),
    ] {
        let input = CreateStackInput {
            parameters: Some(vec![parameter(key, value)]),
            capabilities: Some(vec!["CAPABILITY_NAMED_IAM".into()]),
            ..input.clone()
        };
        let error = world.call::<op::CreateStack>(input).unwrap_err();
        assert!(error.message.contains(part), "{error}");
    }
    let named = CreateStackInput { stack_name: Some("1bad".into()), ..input };
    assert!(world.call::<op::CreateStack>(named).unwrap_err().message.contains("'1bad' at 'stackName'"));
    assert_eq!(describe(&world, "demo").unwrap_err().message, "Stack with id demo does not exist");
}

const NETWORK: &str = "
Resources: {Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.1.0.0/16}}}
Outputs: {Id: {Value: !Ref Vpc, Export: {Name: !Sub '${AWS::StackName}:Id'}}}";
const USER: &str = "
Resources:
  Subnet: {Type: AWS::EC2::Subnet, Properties: {VpcId: !ImportValue 'net:Id', CidrBlock: 10.1.1.0/24}}
  Kept: {Type: AWS::EC2::InternetGateway, DeletionPolicy: Retain}";

#[test]
fn exports_in_use_keep_their_stack() {
    let world = world();
    create(&world, "net", NETWORK).unwrap();
    pass(&world);
    assert_eq!(create(&world, "net", NETWORK).unwrap_err().code, "AlreadyExistsException");
    let user = create(&world, "user", USER).unwrap();
    pass(&world);
    assert_eq!(status(&world, "user"), "CREATE_COMPLETE", "{:#?}", events(&world, "user"));
    delete(&world, "net");
    pass(&world);
    let net = describe(&world, "net").unwrap();
    assert_eq!(net.stack_status.as_deref(), Some("DELETE_FAILED"));
    assert_eq!(net.stack_status_reason.as_deref(), Some("Export net:Id cannot be deleted as it is in use by user"));
    delete(&world, "user");
    pass(&world);
    assert_eq!(status(&world, &user), "DELETE_COMPLETE");
    let skipped = events(&world, &user).into_iter().find(|e| e.resource_status.as_deref() == Some("DELETE_SKIPPED"));
    assert_eq!(skipped.unwrap().logical_resource_id.as_deref(), Some("Kept"));
    delete(&world, "net");
    pass(&world);
    assert!(describe(&world, "net").is_err());
}

#[test]
fn a_deletion_that_is_refused_says_why_and_can_be_tried_again() {
    let world = world();
    let id = create(&world, "net", NETWORK).unwrap();
    pass(&world);
    let vpc = describe(&world, "net").unwrap().outputs.unwrap()[0].output_value.clone();
    let subnet = world
        .call::<ec2::op::CreateSubnet>(ec2::CreateSubnetRequest {
            vpc_id: vpc,
            cidr_block: Some("10.1.9.0/24".into()),
            ..Default::default()
        })
        .unwrap()
        .subnet
        .unwrap();
    delete(&world, "net");
    pass(&world);
    assert_eq!(status(&world, "net"), "DELETE_FAILED");
    let failed = events(&world, "net").into_iter().find(|e| {
        e.resource_status.as_deref() == Some("DELETE_FAILED") && e.logical_resource_id.as_deref() == Some("Vpc")
    });
    assert!(failed.unwrap().resource_status_reason.unwrap().contains("DependencyViolation"));
    world
        .call::<ec2::op::DeleteSubnet>(ec2::DeleteSubnetRequest { subnet_id: subnet.subnet_id, ..Default::default() })
        .unwrap();
    delete(&world, "net");
    pass(&world);
    assert_eq!(status(&world, &id), "DELETE_COMPLETE");
}

#[test]
fn unsupported_properties_fail_the_resource() {
    let world = world();
    let template = "Resources: {A: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16, Colour: red}}}";
    create(&world, "demo", template).unwrap();
    pass(&world);
    assert_eq!(status(&world, "demo"), "ROLLBACK_COMPLETE");
    let failed = events(&world, "demo").into_iter().find(|e| e.resource_status.as_deref() == Some("CREATE_FAILED"));
    assert_eq!(failed.unwrap().resource_status_reason.as_deref(), Some("Encountered unsupported property Colour"));
}

#[test]
fn a_change_set_makes_a_stack_as_deploy_does() {
    let world = world();
    let input = CreateChangeSetInput {
        stack_name: Some("net".into()),
        change_set_name: Some("first".into()),
        change_set_type: Some("CREATE".into()),
        template_body: Some(NETWORK.into()),
        ..Default::default()
    };
    let made = world.call::<op::CreateChangeSet>(input.clone()).unwrap();
    assert_eq!(status(&world, "net"), "REVIEW_IN_PROGRESS");
    let look = DescribeChangeSetInput { change_set_name: made.id.clone(), ..Default::default() };
    let set = world.call::<op::DescribeChangeSet>(look.clone()).unwrap();
    assert_eq!((set.status.as_deref(), set.execution_status.as_deref()), (Some("CREATE_COMPLETE"), Some("AVAILABLE")));
    assert_eq!(set.changes.unwrap().len(), 1);
    let execute = ExecuteChangeSetInput { change_set_name: made.id, ..Default::default() };
    world.call::<op::ExecuteChangeSet>(execute.clone()).unwrap();
    assert_eq!(status(&world, "net"), "CREATE_IN_PROGRESS");
    pass(&world);
    assert_eq!(status(&world, "net"), "CREATE_COMPLETE");
    assert_eq!(world.call::<op::ExecuteChangeSet>(execute).unwrap_err().code, "InvalidChangeSetStatus");
    // A stack that was only looked at goes away too.
    let other = CreateChangeSetInput { stack_name: Some("other".into()), ..input.clone() };
    world.call::<op::CreateChangeSet>(other).unwrap();
    delete(&world, "other");
    pass(&world);
    assert!(describe(&world, "other").is_err());
    // Deployed again, nothing changes.
    let again = CreateChangeSetInput {
        change_set_type: Some("UPDATE".into()),
        change_set_name: Some("second".into()),
        ..input
    };
    let made = world.call::<op::CreateChangeSet>(again).unwrap();
    let set = world
        .call::<op::DescribeChangeSet>(DescribeChangeSetInput { change_set_name: made.id, ..Default::default() })
        .unwrap();
    assert_eq!(set.status.as_deref(), Some("FAILED"));
    assert!(set.status_reason.unwrap().starts_with("The submitted information didn't contain changes."));
}
