//! Targets of a group: who may be one, and how it is.

use super::tests::{balancer, group, group_input, listener, refused, world};
use crate::testing::World;
use quarry_aws::elbv2::{self as aws, op};
use quarry_domain::link::{TargetReport, TargetState};
use quarry_wire::ServiceError;

fn health(world: &World, group: &str) -> Vec<(String, String, Option<String>)> {
    let input = aws::DescribeTargetHealthInput { target_group_arn: Some(group.into()), ..Default::default() };
    let output = world.call::<op::DescribeTargetHealth>(input).unwrap();
    output
        .target_health_descriptions
        .unwrap()
        .into_iter()
        .map(|d| {
            let (target, health) = (d.target.unwrap(), d.target_health.unwrap());
            let id = format!("{}:{}", target.id.unwrap(), target.port.unwrap());
            (id, health.state.unwrap(), health.reason)
        })
        .collect()
}

fn register(world: &World, group: &str, id: &str, port: i32) -> Result<(), ServiceError> {
    let input = aws::RegisterTargetsInput {
        target_group_arn: Some(group.into()),
        targets: Some(vec![aws::TargetDescription { id: Some(id.into()), port: Some(port), ..Default::default() }]),
    };
    world.call::<op::RegisterTargets>(input).map(drop)
}

#[test]
fn targets_show_awss_states() {
    let world = world();
    let (demo, api) = (balancer(&world, "demo"), group(&world, "api"));
    refused(register(&world, &api, "10.0.0.1", 80), "ValidationError", "Instance ID '10.0.0.1' is not valid");
    refused(register(&world, &api, "i-0dead", 80), "InvalidTarget", "not in a running state");
    refused(register(&world, &api, "i-0a", 70_000), "ValidationError", "65535");
    register(&world, &api, "i-0a", 32_768).unwrap();
    register(&world, &api, "i-0a", 32_768).unwrap();
    let state = |n: usize| health(&world, &api)[n].clone();
    assert_eq!(health(&world, &api).len(), 1, "registering twice is one target");
    assert_eq!(state(0), ("i-0a:32768".into(), "unused".into(), Some("Target.NotInUse".into())));
    listener(&world, &demo, &api);
    assert_eq!(state(0).1, "initial");
    assert_eq!(state(0).2.as_deref(), Some("Elb.RegistrationInProgress"));
    let report = |registration: u64, state: TargetState, in_flight: u32| {
        let report = TargetReport {
            target_group_arn: api.clone(),
            registration,
            state,
            reason: None,
            description: None,
            in_flight,
        };
        world.platform.live().targets.insert((api.clone(), registration), report);
    };
    let registration = world.transact(|ctx| super::targets::active(ctx.tx, &api)).unwrap()[0].registration;
    report(registration, TargetState::Healthy, 3);
    assert_eq!(state(0), ("i-0a:32768".into(), "healthy".into(), None));
    let deregister = || world.transact(|ctx| super::targets::deregister(ctx, &api, &[("i-0a".into(), 32_768)]));
    deregister().unwrap();
    deregister().unwrap();
    assert_eq!(state(0).1, "draining");
    assert_eq!(state(0).2.as_deref(), Some("Target.DeregistrationInProgress"));
    let seen = |world: &World| {
        world.transact(|ctx| Ok(super::targets::state(ctx.platform, ctx.tx, &api, "i-0a", 32_768)?)).unwrap()
    };
    assert_eq!(seen(&world), Some((TargetState::Draining, 3)));
    // Registered again it is another target beside the draining one.
    register(&world, &api, "i-0a", 32_768).unwrap();
    assert_eq!(health(&world, &api).len(), 2);
    assert_eq!(seen(&world), Some((TargetState::Initial, 0)));
    world.transact(|ctx| super::targets::deregister_dead(ctx, &api, &[("i-0a".into(), 32_768)])).unwrap();
    assert_eq!(seen(&world), None);
    let named = world.call::<op::DescribeTargetHealth>(aws::DescribeTargetHealthInput {
        target_group_arn: Some(api.clone()),
        targets: Some(vec![aws::TargetDescription { id: Some("i-0b".into()), ..Default::default() }]),
        ..Default::default()
    });
    let named = named.unwrap().target_health_descriptions.unwrap().remove(0).target_health.unwrap();
    assert_eq!(named.reason.as_deref(), Some("Target.NotRegistered"));
}

#[test]
fn groups_of_addresses_take_this_machines_loopback_and_nothing_public() {
    let world = world();
    let legacy = world
        .call::<op::CreateTargetGroup>(aws::CreateTargetGroupInput {
            target_type: Some("ip".into()),
            ..group_input("legacy")
        })
        .unwrap();
    let legacy = legacy.target_groups.unwrap().remove(0).target_group_arn.unwrap();
    for id in ["127.0.0.1", "10.1.2.3", "100.64.0.1"] {
        register(&world, &legacy, id, 3000).unwrap();
    }
    for id in ["8.8.8.8", "i-0a", "::1", "100.128.0.1"] {
        refused(register(&world, &legacy, id, 3000), "ValidationError", id);
    }
    assert_eq!(health(&world, &legacy).len(), 3);
    // In a group that nothing uses, a target is gone at once.
    world.transact(|ctx| super::targets::deregister(ctx, &legacy, &[("127.0.0.1".into(), 3000)])).unwrap();
    assert_eq!(health(&world, &legacy).len(), 2);
}
