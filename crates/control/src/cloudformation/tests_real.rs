//! The cluster's template on the real handlers of every service, with Auto Scaling's reconciler
//! launching the instances; only the containers' runtime is a fake.

use super::reconcile::Reconciler;
use super::records::StackStatus;
use crate::autoscaling;
use crate::ecs::container_instances;
use crate::ecs::records::Task;
use crate::testing::World;
use quarry_aws::autoscaling::AutoScalingGroup;
use quarry_aws::cloudformation::{CreateStackInput, DeleteStackInput, DescribeStacksInput, UpdateStackInput, op};
use quarry_aws::ecs;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const ECS: &str = include_str!("../../../../deploy/cloudformation/ecs.yml");

fn world() -> World {
    World::new(|operations| {
        super::register(operations);
        crate::autoscaling::register(operations);
        crate::ec2::register(operations);
        crate::ecs::register(operations);
        crate::elbv2::register(operations);
        crate::iam::register(operations);
        crate::logs::register(operations);
        crate::ssm::register(operations);
    })
}

fn create(world: &World) -> String {
    let input = CreateStackInput {
        stack_name: Some("demo-stack".into()),
        template_body: Some(ECS.into()),
        capabilities: Some(vec!["CAPABILITY_NAMED_IAM".into()]),
        ..Default::default()
    };
    world.call::<op::CreateStack>(input).unwrap().stack_id.unwrap()
}

fn status(world: &World, id: &str) -> String {
    let input = DescribeStacksInput { stack_name: Some(id.into()), next_token: None };
    let stack = world.call::<op::DescribeStacks>(input).unwrap().stacks.unwrap().remove(0);
    stack.stack_status.unwrap()
}

fn story(world: &World, id: &str) -> String {
    let events = world.platform.store.read(|tx| tx.children::<super::records::Event>(id)).unwrap();
    let lines = events.iter().map(|e| format!("{} {} {}", e.logical_id, e.status, e.reason.as_deref().unwrap_or("")));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_cluster_comes_up_with_its_instances_and_goes() {
    let world = world();
    let id = create(&world);
    let mut stacks = Reconciler::default();
    let mut groups = autoscaling::reconcile::Reconciler::new(world.platform.clone(), world.operations.clone());
    let mut run_until = |wanted: StackStatus| {
        for _ in 0..20 {
            stacks.pass(&world.platform, &world.operations);
            groups.pass().unwrap();
            world.door.advance(Duration::from_secs(1));
            if status(&world, &id) == wanted.as_str() {
                return;
            }
        }
        panic!("not {}:\n{}", wanted.as_str(), story(&world, &id));
    };
    run_until(StackStatus::CreateComplete);
    let input = ecs::DescribeClustersRequest { clusters: Some(vec!["demo-stack".into()]), ..Default::default() };
    let cluster = world.call::<ecs::op::DescribeClusters>(input).unwrap().clusters.unwrap().remove(0);
    assert_eq!(cluster.registered_container_instances_count, Some(2));
    assert_eq!(cluster.running_tasks_count, Some(0));
    world
        .call::<op::DeleteStack>(DeleteStackInput { stack_name: Some("demo-stack".into()), ..Default::default() })
        .unwrap();
    run_until(StackStatus::DeleteComplete);
}

#[test]
fn a_cluster_waits_for_tasks_that_are_being_stopped() {
    let world = world();
    let template = "Resources: {Cluster: {Type: AWS::ECS::Cluster, Properties: {ClusterName: demo}}}";
    let id = super::tests::create(&world, "demo-stack", template).unwrap();
    let deleted = || {
        super::tests::delete(&world, "demo-stack");
        super::tests::pass(&world);
        status(&world, &id)
    };
    super::tests::pass(&world);
    let instance = container_instances::NewInstance {
        ec2_instance_id: "i-0a".into(),
        instance_type: "t3.small".into(),
        availability_zone: "us-east-1a".into(),
        cpu_units: 2048,
        memory_mib: 2048,
        group: None,
    };
    world.transact(|ctx| container_instances::register(ctx, "demo", &instance)).unwrap();
    let definition =
        json!({"family": "api", "containerDefinitions": [{"name": "api", "image": "api:v1", "memory": 64}]});
    world.call::<ecs::op::RegisterTaskDefinition>(serde_json::from_value(definition).unwrap()).unwrap();
    let run = json!({"cluster": "demo", "taskDefinition": "api"});
    world.call::<ecs::op::RunTask>(serde_json::from_value(run).unwrap()).unwrap();
    assert_eq!(deleted(), "DELETE_FAILED", "an instance is there");
    world.transact(|ctx| container_instances::deregister(ctx, "i-0a")).unwrap();
    assert_eq!(deleted(), "DELETE_IN_PROGRESS", "its task stops:\n{}", story(&world, &id));
    let task = world.platform.store.read(|tx| tx.all::<Task>()).unwrap().remove(0);
    world.platform.store.write(|tx| tx.delete::<Task>(&task.id)).unwrap();
    world.door.advance(Duration::from_secs(1));
    super::tests::pass(&world);
    assert_eq!(status(&world, &id), "DELETE_COMPLETE");
}

/// A group of two that joins its cluster by what `cfn-init` reads.
const GROUP: &str = r#"
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
  Subnet: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.1.0/24}}
  Cluster: {Type: AWS::ECS::Cluster, Properties: {ClusterName: demo}}
  Launch:
    Type: AWS::AutoScaling::LaunchConfiguration
    Metadata:
      AWS::CloudFormation::Init:
        config: {commands: {01_join: {command: !Sub 'echo ECS_CLUSTER=${Cluster} >> /etc/ecs/ecs.config'}}}
    Properties:
      ImageId: ami-0123456789abcdef0
      InstanceType: t3.small
      UserData: {'Fn::Base64': !Sub 'cfn-init --stack ${AWS::StackName} --resource Launch'}
  Group:
    Type: AWS::AutoScaling::AutoScalingGroup
    CreationPolicy: {ResourceSignal: {Count: 2}}
    UpdatePolicy:
      AutoScalingRollingUpdate:
        MinInstancesInService: 2
        WaitOnResourceSignals: true
        PauseTime: PT5M
        SuspendProcesses: [HealthCheck, AZRebalance]
    Properties:
      {LaunchConfigurationName: !Ref Launch, VPCZoneIdentifier: [!Ref Subnet], MinSize: 2, MaxSize: 3, DesiredCapacity: 2}
"#;

fn group(world: &World) -> AutoScalingGroup {
    let groups = world.call::<quarry_aws::autoscaling::op::DescribeAutoScalingGroups>(Default::default()).unwrap();
    groups.auto_scaling_groups.unwrap().remove(0)
}

#[test]
fn instances_are_replaced_one_by_one_with_none_to_spare() {
    let world = world();
    let input = CreateStackInput {
        stack_name: Some("demo-stack".into()),
        template_body: Some(GROUP.into()),
        ..Default::default()
    };
    let id = world.call::<op::CreateStack>(input).unwrap().stack_id.unwrap();
    let mut stacks = Reconciler::default();
    let mut groups = autoscaling::reconcile::Reconciler::new(world.platform.clone(), world.operations.clone());
    let mut run_until = |wanted: &str, look: &mut dyn FnMut(AutoScalingGroup)| {
        for _ in 0..40 {
            stacks.pass(&world.platform, &world.operations);
            groups.pass().unwrap();
            world.door.advance(Duration::from_secs(1));
            look(group(&world));
            if status(&world, &id) == wanted {
                return;
            }
        }
        panic!("not {wanted}:\n{}", story(&world, &id));
    };
    run_until("CREATE_COMPLETE", &mut |_| {});
    let input = ecs::DescribeClustersRequest { clusters: Some(vec!["demo".into()]), ..Default::default() };
    let cluster = world.call::<ecs::op::DescribeClusters>(input).unwrap().clusters.unwrap().remove(0);
    assert_eq!(cluster.registered_container_instances_count, Some(2));

    let ids = |group: AutoScalingGroup| -> Vec<String> {
        group.instances.into_iter().flatten().filter_map(|instance| instance.instance_id).collect()
    };
    let old = ids(group(&world));
    let input = UpdateStackInput {
        stack_name: Some("demo-stack".into()),
        template_body: Some(GROUP.replace("t3.small", "t3.medium")),
        ..Default::default()
    };
    world.call::<op::UpdateStack>(input).unwrap();
    let (mut most, mut least, mut suspended) = (0, usize::MAX, 0);
    run_until("UPDATE_COMPLETE", &mut |group| {
        suspended = suspended.max(group.suspended_processes.as_ref().map_or(0, Vec::len));
        let serving = group.instances.iter().flatten().filter(|i| i.lifecycle_state.as_deref() == Some("InService"));
        let serving = serving.count();
        (most, least) = (most.max(serving), least.min(serving));
    });
    assert_eq!((least, most, suspended), (2, 3, 2));
    groups_settle(&world);
    let group = group(&world);
    assert_eq!((group.min_size, group.desired_capacity), (Some(2), Some(2)));
    assert_eq!(group.suspended_processes.as_ref().map_or(0, Vec::len), 0);
    let new = ids(group);
    assert!(new.len() == 2 && !new.iter().any(|id| old.contains(id)), "{old:?} {new:?}");
}

fn groups_settle(world: &World) {
    autoscaling::reconcile::Reconciler::new(world.platform.clone(), world.operations.clone()).pass().unwrap();
}

#[test]
fn the_reconciler_threads_bring_it_up_within_a_second() {
    let world = world();
    let spawn = |run: fn(Arc<crate::Platform>, Arc<crate::api::Operations>)| {
        let (platform, operations) = (world.platform.clone(), world.operations.clone());
        std::thread::spawn(move || run(platform, operations))
    };
    let threads = [
        spawn(|platform, operations| super::reconcile::run(&platform, &operations)),
        spawn(autoscaling::reconcile::run),
    ];
    let id = create(&world);
    let started = std::time::Instant::now();
    while status(&world, &id) == "CREATE_IN_PROGRESS" && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = started.elapsed();
    world.platform.store.stop();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(status(&world, &id), "CREATE_COMPLETE", "{}", story(&world, &id));
    // A generous bound: the machine may be busy with other tests.
    assert!(took < Duration::from_secs(10), "{took:?}");
    println!("CREATE_COMPLETE after {took:?}");
}
