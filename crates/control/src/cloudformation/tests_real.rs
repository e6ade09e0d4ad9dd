//! The cluster's template on the real handlers of every service, with Auto Scaling's reconciler
//! launching the instances; only the containers' runtime is a fake.

use super::reconcile::Reconciler;
use super::records::StackStatus;
use crate::autoscaling;
use crate::testing::World;
use quarry_aws::cloudformation::{CreateStackInput, DeleteStackInput, DescribeStacksInput, op};
use quarry_aws::ecs;
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
    world.platform.store.changed.stop();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(status(&world, &id), "CREATE_COMPLETE", "{}", story(&world, &id));
    // A generous bound: the machine may be busy with other tests.
    assert!(took < Duration::from_secs(10), "{took:?}");
    println!("CREATE_COMPLETE after {took:?}");
}
