//! Groups through the operations and the reconciler, with real ECS and EC2 records.

use crate::api::{Operations, Result};
use crate::autoscaling::reconcile::{Pending, Reconciler};
use crate::testing::World;
use base64::Engine;
use quarry_aws::autoscaling::op::*;
use quarry_aws::autoscaling::*;
use quarry_aws::cloudformation::SignalResourceInput;
use quarry_aws::cloudformation::op::SignalResource;
use quarry_aws::{ec2, ecs, iam};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod hooks;
mod policies;
mod providers;
mod services;
mod sources;

/// A world with a VPC of two subnets and a launch configuration `lc` whose instances join `demo`.
struct Stage {
    world: World,
    reconciler: Reconciler,
    vpc: String,
    subnets: [String; 2],
    /// What was signalled; refused while `closed`.
    signals: Arc<Mutex<Vec<SignalResourceInput>>>,
    closed: Arc<Mutex<bool>>,
}

impl Stage {
    fn new() -> Self {
        let signals: Arc<Mutex<Vec<SignalResourceInput>>> = Arc::default();
        let closed: Arc<Mutex<bool>> = Arc::default();
        let (kept, gate) = (signals.clone(), closed.clone());
        let world = World::new(move |operations: &mut Operations| {
            super::register(operations);
            crate::ec2::register(operations);
            crate::iam::register(operations);
            crate::ecs::register(operations);
            crate::cloudwatch::register(operations);
            crate::logs::register(operations);
            crate::elbv2::register(operations);
            operations.serve::<SignalResource>(move |_, input| {
                if *gate.lock().unwrap() {
                    return Err(super::error::validation("the stack takes no signal"));
                }
                kept.lock().unwrap().push(input);
                Ok(quarry_wire::Empty {})
            });
        });
        let vpc = ec2::CreateVpcRequest { cidr_block: Some("10.0.0.0/16".into()), ..Default::default() };
        let vpc = world.call::<ec2::op::CreateVpc>(vpc).unwrap().vpc.unwrap().vpc_id.unwrap();
        let subnets = [subnet(&world, &vpc, 0, "us-east-1a"), subnet(&world, &vpc, 1, "us-east-1b")];
        let input =
            iam::CreateInstanceProfileRequest { instance_profile_name: Some("hosts".into()), ..Default::default() };
        world.call::<iam::op::CreateInstanceProfile>(input).unwrap();
        let reconciler = Reconciler::new(world.platform.clone(), world.operations.clone());
        let stage = Self { world, reconciler, vpc, subnets, signals, closed };
        stage.configuration("lc").unwrap();
        stage
    }

    fn create_cluster(&self) {
        let input = ecs::CreateClusterRequest { cluster_name: Some("demo".into()), ..Default::default() };
        self.world.call::<ecs::op::CreateCluster>(input).unwrap();
    }

    fn configuration(&self, name: &str) -> Result<()> {
        self.world.call::<CreateLaunchConfiguration>(configuration(name)).map(|_| ())
    }

    fn create(&self, change: impl FnOnce(&mut CreateAutoScalingGroupType)) -> Result<()> {
        let mut input = CreateAutoScalingGroupType {
            auto_scaling_group_name: Some("hosts".into()),
            launch_configuration_name: Some("lc".into()),
            min_size: Some(0),
            max_size: Some(4),
            desired_capacity: Some(2),
            vpc_zone_identifier: Some(self.subnets.join(",")),
            ..Default::default()
        };
        change(&mut input);
        self.world.call::<CreateAutoScalingGroup>(input).map(|_| ())
    }

    fn update(&self, change: impl FnOnce(&mut UpdateAutoScalingGroupType)) -> Result<()> {
        let mut input =
            UpdateAutoScalingGroupType { auto_scaling_group_name: Some("hosts".into()), ..Default::default() };
        change(&mut input);
        self.world.call::<UpdateAutoScalingGroup>(input).map(|_| ())
    }

    fn delete(&self, force_delete: Option<bool>) -> Result<()> {
        let input = DeleteAutoScalingGroupType { auto_scaling_group_name: Some("hosts".into()), force_delete };
        self.world.call::<DeleteAutoScalingGroup>(input).map(|_| ())
    }

    fn groups(&self) -> Vec<AutoScalingGroup> {
        self.world.call::<DescribeAutoScalingGroups>(Default::default()).unwrap().auto_scaling_groups.unwrap()
    }

    fn group(&self) -> AutoScalingGroup {
        self.groups().remove(0)
    }

    fn instances(&self) -> Vec<String> {
        self.group().instances.unwrap().into_iter().map(|i| i.instance_id.unwrap()).collect()
    }

    fn activities(&self) -> Vec<Activity> {
        self.world.call::<DescribeScalingActivities>(Default::default()).unwrap().activities.unwrap()
    }

    /// EC2 instances that are running.
    fn running(&self) -> Vec<ec2::Instance> {
        let input = ec2::DescribeInstancesRequest {
            filters: Some(vec![ec2::Filter {
                name: Some("instance-state-name".into()),
                values: Some(vec!["running".into()]),
            }]),
            ..Default::default()
        };
        let found = self.world.call::<ec2::op::DescribeInstances>(input).unwrap().reservations.unwrap();
        found.into_iter().flat_map(|reservation| reservation.instances.unwrap()).collect()
    }

    /// EC2 ids of the cluster's container instances.
    fn registered(&self) -> BTreeSet<String> {
        let input = ecs::ListContainerInstancesRequest { cluster: Some("demo".into()), ..Default::default() };
        let arns = self.world.call::<ecs::op::ListContainerInstances>(input).unwrap().container_instance_arns.unwrap();
        if arns.is_empty() {
            return BTreeSet::new();
        }
        let input = ecs::DescribeContainerInstancesRequest {
            cluster: Some("demo".into()),
            container_instances: Some(arns),
            ..Default::default()
        };
        let found = self.world.call::<ecs::op::DescribeContainerInstances>(input).unwrap();
        found.container_instances.unwrap().into_iter().map(|i| i.ec2_instance_id.unwrap()).collect()
    }

    fn pass(&mut self) -> Pending {
        self.reconciler.pass().unwrap()
    }
}

fn subnet(world: &World, vpc: &str, n: usize, zone: &str) -> String {
    let input = ec2::CreateSubnetRequest {
        vpc_id: Some(vpc.into()),
        cidr_block: Some(format!("10.0.{n}.0/24")),
        availability_zone: Some(zone.into()),
        ..Default::default()
    };
    world.call::<ec2::op::CreateSubnet>(input).unwrap().subnet.unwrap().subnet_id.unwrap()
}

fn configuration(name: &str) -> CreateLaunchConfigurationType {
    let script = "#!/bin/bash -xe\necho ECS_CLUSTER=demo >> /etc/ecs/ecs.config\n";
    CreateLaunchConfigurationType {
        launch_configuration_name: Some(name.into()),
        image_id: Some("ami-0123456789abcdef0".into()),
        instance_type: Some("t2.micro".into()),
        iam_instance_profile: Some("hosts".into()),
        user_data: Some(base64::engine::general_purpose::STANDARD.encode(script)),
        ..Default::default()
    }
}

fn stack_tags() -> Option<Vec<Tag>> {
    let tag = |key: &str, value: &str| Tag {
        key: Some(key.into()),
        value: Some(value.into()),
        propagate_at_launch: Some(true),
        ..Default::default()
    };
    Some(vec![tag("aws:cloudformation:stack-name", "board"), tag("aws:cloudformation:logical-id", "Hosts")])
}

fn refused<T>(result: Result<T>) -> (String, String) {
    let error = result.err().expect("the request is refused");
    (error.code, error.message)
}

#[test]
fn two_instances_are_launched_registered_signalled_and_taken_down_again() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.create(|input| input.tags = stack_tags()).unwrap();
    assert_eq!(stage.pass(), Pending::Nothing);

    let running = stage.running();
    let ids: BTreeSet<String> = running.iter().map(|i| i.instance_id.clone().unwrap()).collect();
    let places: BTreeSet<_> = running.iter().map(|i| i.subnet_id.clone().unwrap()).collect();
    assert_eq!((ids.len(), places), (2, stage.subnets.iter().cloned().collect()));
    assert_eq!(stage.registered(), ids);
    assert_eq!(stage.instances().into_iter().collect::<BTreeSet<_>>(), ids);
    let signalled: BTreeSet<_> = stage.signals.lock().unwrap().drain(..).map(|s| s.unique_id.unwrap()).collect();
    assert_eq!(signalled, ids);
    let profile = running[0].iam_instance_profile.clone().unwrap().arn;
    assert_eq!(profile.as_deref(), Some("arn:aws:iam::000000000000:instance-profile/hosts"));
    let tags = running[0].tags.clone().unwrap();
    assert!(tags.iter().any(|t| t.key.as_deref() == Some("aws:autoscaling:groupName")));
    assert!(tags.iter().any(|t| t.value.as_deref() == Some("board")));

    // A second pass and a second reconciler find nothing to do.
    let level = stage.world.platform.store.changed.level();
    stage.pass();
    Reconciler::new(stage.world.platform.clone(), stage.world.operations.clone()).pass().unwrap();
    assert_eq!(stage.world.platform.store.changed.level(), level);

    stage.world.door.advance(Duration::from_secs(1));
    let input = SetDesiredCapacityType {
        auto_scaling_group_name: Some("hosts".into()),
        desired_capacity: Some(1),
        ..Default::default()
    };
    stage.world.call::<SetDesiredCapacity>(input).unwrap();
    stage.pass();
    assert_eq!(stage.running().len(), 1);
    assert_eq!(stage.registered().into_iter().collect::<Vec<_>>(), stage.instances());
    let newest = &stage.activities()[0];
    assert!(newest.description.as_deref().unwrap().starts_with("Terminating EC2 instance: i-"));
    assert_eq!(stage.activities().len(), 3);

    assert_eq!(refused(stage.delete(None)).0, "ResourceInUse");
    stage.delete(Some(true)).unwrap();
    assert_eq!(stage.group().status.as_deref(), Some("Delete in progress"));
    assert_eq!(refused(stage.update(|_| ())).0, "ValidationError");
    stage.pass();
    assert_eq!(stage.groups(), Vec::new());
    assert!(stage.running().is_empty() && stage.registered().is_empty() && stage.activities().is_empty());
}

#[test]
fn a_group_is_deleted_by_way_of_size_zero() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.create(|_| ()).unwrap();
    stage.pass();
    stage
        .update(|input| {
            input.min_size = Some(0);
            input.max_size = Some(0);
        })
        .unwrap();
    assert_eq!(stage.group().desired_capacity, Some(0), "the new bounds pull it along");
    stage.pass();
    stage.delete(None).unwrap();
    assert_eq!(stage.groups(), Vec::new());
    // What it stood on can go now.
    for id in stage.subnets.clone() {
        let input = ec2::DeleteSubnetRequest { subnet_id: Some(id), ..Default::default() };
        stage.world.call::<ec2::op::DeleteSubnet>(input).unwrap();
    }
    let input = ec2::DeleteVpcRequest { vpc_id: Some(stage.vpc.clone()), ..Default::default() };
    stage.world.call::<ec2::op::DeleteVpc>(input).unwrap();
}

#[test]
fn instances_join_when_their_cluster_comes() {
    let mut stage = Stage::new();
    stage.create(|input| input.tags = stack_tags()).unwrap();
    assert_eq!(stage.pass(), Pending::Retry);
    assert_eq!(stage.running().len(), 2);
    assert!(stage.signals.lock().unwrap().is_empty(), "a stack is told of container instances only");
    stage.create_cluster();
    assert_eq!(stage.pass(), Pending::Nothing);
    assert_eq!(stage.registered().len(), 2);
    assert_eq!(stage.signals.lock().unwrap().len(), 2);
}

#[test]
fn a_refused_signal_is_repeated_for_a_minute() {
    let mut stage = Stage::new();
    stage.create_cluster();
    *stage.closed.lock().unwrap() = true;
    stage.create(|input| input.tags = stack_tags()).unwrap();
    assert_eq!(stage.pass(), Pending::Retry);
    stage.world.door.advance(Duration::from_secs(30));
    assert_eq!(stage.pass(), Pending::Retry);
    *stage.closed.lock().unwrap() = false;
    assert_eq!(stage.pass(), Pending::Nothing);
    assert_eq!(stage.signals.lock().unwrap().len(), 2);

    *stage.closed.lock().unwrap() = true;
    stage.update(|input| input.desired_capacity = Some(3)).unwrap();
    assert_eq!(stage.pass(), Pending::Retry);
    stage.world.door.advance(Duration::from_secs(61));
    assert_eq!(stage.pass(), Pending::Nothing);
    assert_eq!(stage.running().len(), 3);
}

#[test]
fn a_failed_launch_is_told_and_retried_later() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.create(|_| ()).unwrap();
    let input = iam::DeleteInstanceProfileRequest { instance_profile_name: Some("hosts".into()) };
    stage.world.call::<iam::op::DeleteInstanceProfile>(input).unwrap();
    assert_eq!(stage.pass(), Pending::Retry);
    assert_eq!(stage.pass(), Pending::Retry);
    let failed = stage.activities();
    assert_eq!(failed.len(), 1, "no second try before its time");
    assert_eq!(failed[0].status_code.as_deref(), Some("Failed"));
    assert_eq!(
        failed[0].status_message.as_deref(),
        Some("Invalid IamInstanceProfile: hosts. Launching EC2 instance failed.")
    );
    assert!(stage.running().is_empty());

    let input = iam::CreateInstanceProfileRequest { instance_profile_name: Some("hosts".into()), ..Default::default() };
    stage.world.call::<iam::op::CreateInstanceProfile>(input).unwrap();
    stage.world.door.advance(Duration::from_secs(30));
    assert_eq!(stage.pass(), Pending::Nothing);
    assert_eq!(stage.running().len(), 2);
}

#[test]
fn a_terminated_instance_is_replaced_unless_the_group_shrinks() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.create(|input| input.min_size = Some(1)).unwrap();
    stage.pass();
    let terminate = |stage: &Stage, decrement| {
        let id = stage.instances().remove(0);
        let input = TerminateInstanceInAutoScalingGroupType {
            instance_id: Some(id.clone()),
            should_decrement_desired_capacity: Some(decrement),
        };
        (id, stage.world.call::<TerminateInstanceInAutoScalingGroup>(input))
    };
    let (gone, answer) = terminate(&stage, false);
    assert_eq!(answer.unwrap().activity.unwrap().status_code.as_deref(), Some("InProgress"));
    assert!(!stage.registered().contains(&gone));
    stage.pass();
    assert_eq!((stage.running().len(), stage.registered().len()), (2, 2));
    terminate(&stage, true).1.unwrap();
    stage.pass();
    assert_eq!(stage.running().len(), 1);
    assert!(refused(terminate(&stage, true).1).1.starts_with("Currently, desiredSize equals minSize (1)."));
    let input = TerminateInstanceInAutoScalingGroupType {
        instance_id: Some("i-none".into()),
        should_decrement_desired_capacity: Some(false),
    };
    assert_eq!(refused(stage.world.call::<TerminateInstanceInAutoScalingGroup>(input)).0, "ValidationError");
}

#[test]
fn a_protected_instance_stays() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.create(|_| ()).unwrap();
    stage.pass();
    let kept = stage.instances()[0].clone();
    let protect = |id: &str| {
        let input = SetInstanceProtectionQuery {
            auto_scaling_group_name: Some("hosts".into()),
            instance_ids: Some(vec![id.into()]),
            protected_from_scale_in: Some(true),
        };
        stage.world.call::<SetInstanceProtection>(input)
    };
    protect(&kept).unwrap();
    assert_eq!(refused(protect("i-none")).0, "ValidationError");
    stage.update(|input| input.desired_capacity = Some(0)).unwrap();
    stage.pass();
    assert_eq!(stage.instances(), std::slice::from_ref(&kept));
    let input = DescribeAutoScalingInstancesType { instance_ids: Some(vec![kept]), ..Default::default() };
    let shown = stage.world.call::<DescribeAutoScalingInstances>(input).unwrap().auto_scaling_instances.unwrap();
    assert_eq!((shown[0].protected_from_scale_in, shown[0].health_status.as_deref()), (Some(true), Some("HEALTHY")));
    stage.delete(Some(true)).unwrap();
    stage.pass();
    assert!(stage.groups().is_empty() && stage.running().is_empty());
}

#[test]
fn requests_that_make_no_sense_change_nothing() {
    let stage = Stage::new();
    let refuse = |expected: &str, change: &dyn Fn(&mut CreateAutoScalingGroupType)| {
        let (code, message) = refused(stage.create(change));
        assert_eq!(code, "ValidationError");
        assert!(message.contains(expected), "{message}");
    };
    refuse("Max bound, 4, must be greater than or equal to min bound, 5", &|input| input.min_size = Some(5));
    refuse("Desired capacity:9 must be between", &|input| input.desired_capacity = Some(9));
    refuse("Launch configuration name not found", &|input| input.launch_configuration_name = Some("none".into()));
    refuse("Valid requests must contain either", &|input| input.launch_configuration_name = None);
    refuse("'subnet-none' does not exist", &|input| input.vpc_zone_identifier = Some("subnet-none".into()));
    refuse("At least one Availability Zone or VPC Subnet", &|input| input.vpc_zone_identifier = None);
    refuse("is not a valid target group ARN", &|input| input.target_group_arns = Some(vec!["arn".into()]));
    refuse("LoadBalancerNames is not supported", &|input| input.load_balancer_names = Some(vec!["classic".into()]));
    refuse("MaxInstanceLifetime is not supported", &|input| input.max_instance_lifetime = Some(86_400));
    refuse("At least one Availability Zone or VPC Subnet", &|input| input.vpc_zone_identifier = Some(" , ".into()));
    refuse("health check type VPC_LATTICE", &|input| input.health_check_type = Some("EC2,VPC_LATTICE".into()));
    refuse("DesiredCapacityType vcpu", &|input| input.desired_capacity_type = Some("vcpu".into()));
    refuse("termination policy", &|input| input.termination_policies = Some(vec!["Whim".into()]));
    let other = ec2::CreateVpcRequest { cidr_block: Some("10.0.0.0/16".into()), ..Default::default() };
    let other = stage.world.call::<ec2::op::CreateVpc>(other).unwrap().vpc.unwrap().vpc_id.unwrap();
    let elsewhere = subnet(&stage.world, &other, 0, "us-east-1a");
    refuse("same VPC", &|input| input.vpc_zone_identifier = Some(format!("{},{elsewhere}", stage.subnets[0])));
    assert_eq!(stage.groups(), Vec::new());

    stage.create(|_| ()).unwrap();
    assert_eq!(refused(stage.create(|_| ())).0, "AlreadyExists");
    let set = |desired| {
        let input = SetDesiredCapacityType {
            auto_scaling_group_name: Some("hosts".into()),
            desired_capacity: Some(desired),
            ..Default::default()
        };
        refused(stage.world.call::<SetDesiredCapacity>(input)).1
    };
    assert_eq!(set(5), "New SetDesiredCapacity value 5 is above max value 4 for the AutoScalingGroup.");
    assert_eq!(stage.group().desired_capacity, Some(2));
    assert_eq!(
        refused(stage.delete(Some(true)).and_then(|()| stage.delete(None))),
        ("ValidationError".into(), "AutoScalingGroup name not found - AutoScalingGroup hosts not found".into())
    );
}

#[test]
fn a_launch_configuration_in_use_stays() {
    let stage = Stage::new();
    assert_eq!(refused(stage.configuration("lc")).0, "AlreadyExists");
    let refuse = |expected: &str, change: &dyn Fn(&mut CreateLaunchConfigurationType)| {
        let mut input = configuration("other");
        change(&mut input);
        let (code, message) = refused(stage.world.call::<CreateLaunchConfiguration>(input));
        assert_eq!(code, "ValidationError");
        assert!(message.contains(expected), "{message}");
    };
    refuse("Invalid IamInstanceProfile: nobody", &|input| input.iam_instance_profile = Some("nobody".into()));
    refuse("instance type", &|input| input.instance_type = Some("t2.enormous".into()));
    refuse("BASE64", &|input| input.user_data = Some("#!/bin/sh".into()));
    refuse("expecting \"ami-...\"", &|input| input.image_id = Some("debian".into()));

    stage.create(|_| ()).unwrap();
    let delete = || {
        let input = LaunchConfigurationNameType { launch_configuration_name: Some("lc".into()) };
        stage.world.call::<DeleteLaunchConfiguration>(input)
    };
    assert_eq!(refused(delete()).0, "ResourceInUse");
    stage.delete(None).unwrap();
    delete().unwrap();
    assert_eq!(refused(delete()).0, "ValidationError");
    let described = stage.world.call::<DescribeLaunchConfigurations>(Default::default()).unwrap();
    assert_eq!(described.launch_configurations, Some(Vec::new()));
}

#[test]
fn tags_of_groups() {
    let stage = Stage::new();
    stage.create(|_| ()).unwrap();
    let tag = |value: Option<&str>| Tag {
        resource_id: Some("hosts".into()),
        resource_type: Some("auto-scaling-group".into()),
        key: Some("env".into()),
        value: value.map(str::to_owned),
        propagate_at_launch: Some(true),
    };
    for value in ["one", "two"] {
        let input = CreateOrUpdateTagsType { tags: Some(vec![tag(Some(value))]) };
        stage.world.call::<CreateOrUpdateTags>(input).unwrap();
    }
    let with = |name: &str, value: &str| Filter { name: Some(name.into()), values: Some(vec![value.into()]) };
    let describe = |filter| {
        let input = DescribeTagsType { filters: Some(vec![filter]), ..Default::default() };
        stage.world.call::<DescribeTags>(input).map(|output| output.tags.unwrap())
    };
    assert_eq!(describe(with("key", "env")).unwrap()[0].value.as_deref(), Some("two"));
    assert_eq!(refused(describe(with("colour", "red"))).0, "ValidationError");
    let groups = |filter| {
        let input = AutoScalingGroupNamesType { filters: Some(vec![filter]), ..Default::default() };
        stage.world.call::<DescribeAutoScalingGroups>(input).unwrap().auto_scaling_groups.unwrap().len()
    };
    assert_eq!((groups(with("tag:env", "two")), groups(with("tag:env", "one"))), (1, 0));
    let delete = |value| {
        let input = DeleteTagsType { tags: Some(vec![tag(value)]) };
        stage.world.call::<DeleteTags>(input).unwrap();
        describe(with("auto-scaling-group", "hosts")).unwrap().len()
    };
    assert_eq!((delete(Some("one")), delete(None)), (1, 0));
    let mut unknown = tag(Some("x"));
    unknown.resource_id = Some("none".into());
    let input = CreateOrUpdateTagsType { tags: Some(vec![unknown]) };
    assert_eq!(refused(stage.world.call::<CreateOrUpdateTags>(input)).0, "ValidationError");
}

#[test]
fn the_reconciler_s_thread_works_on_signal_and_ends() {
    let stage = Stage::new();
    stage.create_cluster();
    let (platform, operations) = (stage.world.platform.clone(), stage.world.operations.clone());
    let thread = std::thread::spawn(move || super::reconcile::run(platform, operations));
    stage.create(|_| ()).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while stage.registered().len() < 2 && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(stage.registered().len(), 2);
    stage.world.platform.store.stop();
    thread.join().unwrap();
}
