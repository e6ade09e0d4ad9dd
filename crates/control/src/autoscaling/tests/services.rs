//! Groups and what stands around them: target groups, schedules, single instances.

use super::*;
use quarry_aws::elbv2;
use quarry_wire::Timestamp;

fn target_group(stage: &Stage, name: &str, kind: &str) -> String {
    let input = elbv2::CreateTargetGroupInput {
        name: Some(name.into()),
        protocol: Some("HTTP".into()),
        port: Some(80),
        vpc_id: Some(stage.vpc.clone()),
        target_type: Some(kind.into()),
        ..Default::default()
    };
    let made = stage.world.call::<elbv2::op::CreateTargetGroup>(input).unwrap().target_groups.unwrap();
    made[0].target_group_arn.clone().unwrap()
}

fn targets(stage: &Stage, arn: &str) -> BTreeSet<String> {
    let input = elbv2::DescribeTargetHealthInput { target_group_arn: Some(arn.into()), ..Default::default() };
    let shown = stage.world.call::<elbv2::op::DescribeTargetHealth>(input).unwrap().target_health_descriptions;
    shown.unwrap().into_iter().map(|health| health.target.unwrap().id.unwrap()).collect()
}

#[test]
fn instances_in_service_are_targets_of_the_groups_target_groups() {
    let mut stage = Stage::new();
    let (web, other, ip) = (
        target_group(&stage, "web", "instance"),
        target_group(&stage, "other", "instance"),
        target_group(&stage, "ip", "ip"),
    );
    let refused = stage.create(|i| i.target_group_arns = Some(vec![ip.clone()])).unwrap_err();
    assert!(refused.message.contains("invalid target type"), "{refused}");
    stage.create(|i| i.target_group_arns = Some(vec![web.clone()])).unwrap();
    stage.pass();
    assert_eq!(targets(&stage, &web), stage.instances().into_iter().collect());
    let named = |arn: &str| AttachLoadBalancerTargetGroupsType {
        auto_scaling_group_name: Some("hosts".into()),
        target_group_arns: Some(vec![arn.into()]),
    };
    stage.world.call::<AttachLoadBalancerTargetGroups>(named(&other)).unwrap();
    let detach = DetachLoadBalancerTargetGroupsType {
        auto_scaling_group_name: Some("hosts".into()),
        target_group_arns: Some(vec![web.clone()]),
    };
    stage.world.call::<DetachLoadBalancerTargetGroups>(detach.clone()).unwrap();
    assert!(stage.world.call::<DetachLoadBalancerTargetGroups>(detach).is_err());
    stage.pass();
    assert_eq!(targets(&stage, &web), BTreeSet::new());
    assert_eq!(targets(&stage, &other), stage.instances().into_iter().collect());
    let input = DescribeTrafficSourcesRequest { auto_scaling_group_name: Some("hosts".into()), ..Default::default() };
    let sources = stage.world.call::<DescribeTrafficSources>(input).unwrap().traffic_sources.unwrap();
    assert_eq!((sources[0].identifier.as_ref(), sources[0].state.as_deref()), (Some(&other), Some("Added")));
    stage.update(|i| i.desired_capacity = Some(1)).unwrap();
    stage.pass();
    assert_eq!(targets(&stage, &other), stage.instances().into_iter().collect());
}

#[test]
fn a_scheduled_action_sets_the_sizes_when_its_time_comes() {
    let mut stage = Stage::new();
    stage.create(|i| i.desired_capacity = Some(1)).unwrap();
    // The world's clock starts at 2023-11-14T22:13:20Z.
    let put = |name: &str, change: &dyn Fn(&mut PutScheduledUpdateGroupActionType)| {
        let mut input = PutScheduledUpdateGroupActionType {
            auto_scaling_group_name: Some("hosts".into()),
            scheduled_action_name: Some(name.into()),
            desired_capacity: Some(3),
            ..Default::default()
        };
        change(&mut input);
        stage.world.call::<PutScheduledUpdateGroupAction>(input).map(|_| ())
    };
    let past = Some(Timestamp::from_millis(1_699_999_999_000));
    assert_eq!(put("a", &|i| i.start_time = past).unwrap_err().message, "Given start time is in the past");
    assert!(put("a", &|_| ()).is_err() && put("a", &|i| i.recurrence = Some("x".into())).is_err());
    put("up", &|i| i.recurrence = Some("30 22 * * *".into())).unwrap();
    let soon = Some(Timestamp::from_millis(1_700_000_000_000 + 60_000));
    put("once", &|i| {
        i.start_time = soon;
        i.desired_capacity = Some(2);
    })
    .unwrap();
    let actions = |stage: &Stage| {
        let found = stage.world.call::<DescribeScheduledActions>(Default::default()).unwrap();
        let found = found.scheduled_update_group_actions.unwrap().into_iter();
        found.map(|a| (a.scheduled_action_name.unwrap(), a.start_time.unwrap().to_string())).collect::<Vec<_>>()
    };
    assert_eq!(actions(&stage).len(), 2);
    stage.pass();
    assert_eq!(stage.instances().len(), 1);
    stage.world.door.advance(Duration::from_secs(61));
    stage.pass();
    assert_eq!(stage.instances().len(), 2);
    stage.world.door.advance(Duration::from_secs(1000));
    stage.pass();
    assert_eq!(stage.instances().len(), 3);
    let left = actions(&stage);
    assert_eq!((left.len(), left[0].0.as_str()), (1, "up"), "what happens once is gone");
    assert!(left[0].1.starts_with("2023-11-15T22:30:00"), "{left:?}");
    let input = DeleteScheduledActionType {
        auto_scaling_group_name: Some("hosts".into()),
        scheduled_action_name: Some("up".into()),
    };
    stage.world.call::<DeleteScheduledAction>(input.clone()).unwrap();
    assert!(stage.world.call::<DeleteScheduledAction>(input).is_err());
}

#[test]
fn an_instance_leaves_its_group_alive_and_comes_back() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.create(|_| ()).unwrap();
    stage.pass();
    let id = stage.instances().remove(0);
    let detach = |decrement: bool| {
        let input = DetachInstancesQuery {
            auto_scaling_group_name: Some("hosts".into()),
            instance_ids: Some(vec![id.clone()]),
            should_decrement_desired_capacity: Some(decrement),
        };
        stage.world.call::<DetachInstances>(input)
    };
    let activity = detach(true).unwrap().activities.unwrap().remove(0);
    assert_eq!(activity.description, Some(format!("Detaching EC2 instance: {id}")));
    assert!(detach(true).is_err());
    assert_eq!((stage.instances().len(), stage.running().len(), stage.group().desired_capacity), (1, 2, Some(1)));
    stage.reconciler.pass().unwrap();
    assert!(stage.registered().contains(&id), "it stays in its cluster");
    let attach = |id: &str| {
        let input =
            AttachInstancesQuery { auto_scaling_group_name: Some("hosts".into()), instance_ids: Some(vec![id.into()]) };
        stage.world.call::<AttachInstances>(input).map(|_| ())
    };
    attach(&id).unwrap();
    assert!(attach(&id).is_err() && attach("i-0").is_err());
    stage.pass();
    assert_eq!((stage.instances().len(), stage.group().desired_capacity), (2, Some(2)));
}

#[test]
fn an_instance_that_is_terminated_directly_is_replaced() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.create(|i| i.desired_capacity = Some(1)).unwrap();
    stage.pass();
    let old = stage.instances();
    let input = ec2::TerminateInstancesRequest { instance_ids: Some(old.clone()), ..Default::default() };
    stage.world.call::<ec2::op::TerminateInstances>(input).unwrap();
    stage.pass();
    assert!(stage.instances().len() == 1 && stage.instances() != old);
    assert_eq!(stage.registered(), stage.instances().into_iter().collect());
}

#[test]
fn a_protected_group_is_not_deleted() {
    let mut stage = Stage::new();
    stage.create(|i| i.deletion_protection = Some("prevent-force-deletion".into())).unwrap();
    stage.pass();
    assert!(stage.delete(Some(true)).unwrap_err().message.contains("deletion protection"));
    stage.update(|i| i.deletion_protection = Some("none".into())).unwrap();
    stage.delete(Some(true)).unwrap();
    stage.pass();
    assert!(stage.groups().is_empty());
}

#[test]
fn what_is_always_empty_is_said() {
    let stage = Stage::new();
    stage.create(|_| ()).unwrap();
    let input = DescribeWarmPoolType { auto_scaling_group_name: Some("hosts".into()), ..Default::default() };
    assert_eq!(stage.world.call::<DescribeWarmPool>(input).unwrap().instances, Some(Vec::new()));
    let none = stage.world.call::<DescribeNotificationConfigurations>(Default::default()).unwrap();
    assert_eq!(none.notification_configurations, Some(Vec::new()));
    let limits = stage.world.call::<DescribeAccountLimits>(quarry_wire::Empty {}).unwrap();
    assert_eq!(limits.number_of_auto_scaling_groups, Some(1));
}
