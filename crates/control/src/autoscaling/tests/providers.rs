//! Capacity providers of ECS: groups that follow their tasks.

use super::*;
use crate::ecs::reconcile::capacity::Capacity;
use ecs::op::*;

fn provider(stage: &Stage, change: impl FnOnce(&mut ecs::AutoScalingGroupProvider)) -> Result<ecs::CapacityProvider> {
    let mut given = ecs::AutoScalingGroupProvider {
        auto_scaling_group_arn: stage.group().auto_scaling_group_arn,
        managed_scaling: Some(ecs::ManagedScaling { status: Some("ENABLED".into()), ..Default::default() }),
        ..Default::default()
    };
    change(&mut given);
    let input = ecs::CreateCapacityProviderRequest {
        name: Some("hosts".into()),
        auto_scaling_group_provider: Some(given),
        ..Default::default()
    };
    Ok(stage.world.call::<CreateCapacityProvider>(input)?.capacity_provider.unwrap())
}

fn strategy() -> Option<Vec<ecs::CapacityProviderStrategyItem>> {
    Some(vec![ecs::CapacityProviderStrategyItem {
        capacity_provider: Some("hosts".into()),
        weight: Some(1),
        ..Default::default()
    }])
}

fn associate(stage: &Stage, providers: &[&str]) -> Result<()> {
    let input = ecs::PutClusterCapacityProvidersRequest {
        cluster: Some("demo".into()),
        capacity_providers: Some(providers.iter().map(|p| p.to_string()).collect()),
        default_capacity_provider_strategy: if providers.is_empty() { Some(Vec::new()) } else { strategy() },
    };
    stage.world.call::<PutClusterCapacityProviders>(input).map(|_| ())
}

fn run(stage: &Stage, count: i32) -> Vec<ecs::Task> {
    let definition = ecs::RegisterTaskDefinitionRequest {
        family: Some("job".into()),
        container_definitions: Some(vec![ecs::ContainerDefinition {
            name: Some("job".into()),
            image: Some("job".into()),
            memory: Some(600),
            ..Default::default()
        }]),
        ..Default::default()
    };
    stage.world.call::<RegisterTaskDefinition>(definition).unwrap();
    let input = ecs::RunTaskRequest {
        cluster: Some("demo".into()),
        task_definition: Some("job".into()),
        count: Some(count),
        ..Default::default()
    };
    stage.world.call::<RunTask>(input).unwrap().tasks.unwrap()
}

fn tasks(stage: &Stage) -> Vec<ecs::Task> {
    let input = ecs::ListTasksRequest { cluster: Some("demo".into()), ..Default::default() };
    let arns = stage.world.call::<ListTasks>(input).unwrap().task_arns.unwrap();
    let input = ecs::DescribeTasksRequest { cluster: Some("demo".into()), tasks: Some(arns), ..Default::default() };
    stage.world.call::<DescribeTasks>(input).unwrap().tasks.unwrap()
}

/// A stage whose empty group belongs to the cluster's provider.
fn ready() -> (Stage, Capacity) {
    let stage = Stage::new();
    stage.create_cluster();
    stage
        .create(|input| {
            input.desired_capacity = Some(0);
            input.new_instances_protected_from_scale_in = Some(true);
        })
        .unwrap();
    let capacity = Capacity::new(stage.world.platform.clone(), stage.world.operations.clone());
    (stage, capacity)
}

#[test]
fn tasks_wait_provisioning_until_the_group_has_grown() {
    let (mut stage, mut capacity) = ready();
    let made = provider(&stage, |_| ()).unwrap();
    let scaling = made.auto_scaling_group_provider.unwrap().managed_scaling.unwrap();
    assert_eq!((scaling.target_capacity, scaling.instance_warmup_period), (Some(100), Some(300)));
    let managed = stage.group().tags.unwrap().into_iter().any(|t| t.key.as_deref() == Some("AmazonECSManaged"));
    assert!(managed);
    associate(&stage, &["hosts"]).unwrap();
    let started = run(&stage, 2);
    assert!(started.iter().all(|t| t.last_status.as_deref() == Some("PROVISIONING")), "{started:?}");
    capacity.pass().unwrap();
    assert_eq!(stage.group().desired_capacity, Some(2), "600 of 983 MiB: each task fills an instance");
    capacity.pass().unwrap();
    assert_eq!(stage.group().desired_capacity, Some(2), "what is on its way is counted");
    stage.pass();
    capacity.pass().unwrap();
    let placed = tasks(&stage);
    assert!(placed.iter().all(|t| t.last_status.as_deref() == Some("PENDING")), "{placed:?}");
    let hosts: BTreeSet<_> = placed.iter().map(|t| t.container_instance_arn.clone().unwrap()).collect();
    assert_eq!(hosts.len(), 2);
    let input = ecs::DescribeContainerInstancesRequest {
        cluster: Some("demo".into()),
        container_instances: Some(hosts.into_iter().collect()),
        ..Default::default()
    };
    let instances = stage.world.call::<DescribeContainerInstances>(input).unwrap().container_instances.unwrap();
    assert!(instances.iter().all(|i| i.capacity_provider_name.as_deref() == Some("hosts")));
    // The provider is held by its tasks and by its cluster.
    assert_eq!(refused(associate(&stage, &[])).0, "ResourceInUseException");
    let delete = ecs::DeleteCapacityProviderRequest { capacity_provider: Some("hosts".into()), ..Default::default() };
    assert_eq!(refused(stage.world.call::<DeleteCapacityProvider>(delete)).0, "ResourceInUseException");
}

#[test]
fn a_group_beyond_its_maximum_grows_no_further_and_an_idle_one_shrinks_late() {
    let (mut stage, mut capacity) = ready();
    provider(&stage, |_| ()).unwrap();
    associate(&stage, &["hosts"]).unwrap();
    stage.update(|input| input.desired_capacity = Some(2)).unwrap();
    stage.pass();
    capacity.pass().unwrap();
    stage.world.door.advance(Duration::from_secs(600));
    capacity.pass().unwrap();
    assert_eq!(stage.group().desired_capacity, Some(2));
    stage.world.door.advance(Duration::from_secs(301));
    capacity.pass().unwrap();
    assert_eq!(stage.group().desired_capacity, Some(0));
    run(&stage, 10);
    capacity.pass().unwrap();
    assert_eq!(stage.group().desired_capacity, Some(4));
}

#[test]
fn what_runs_tasks_is_protected_and_what_is_ended_is_drained_first() {
    let (mut stage, mut capacity) = ready();
    provider(&stage, |given| given.managed_termination_protection = Some("ENABLED".into())).unwrap();
    associate(&stage, &["hosts"]).unwrap();
    run(&stage, 1);
    stage.update(|input| input.desired_capacity = Some(2)).unwrap();
    stage.pass();
    capacity.pass().unwrap();
    capacity.pass().unwrap();
    let protected = |stage: &Stage| {
        let all = stage.group().instances.unwrap().into_iter();
        all.filter(|i| i.protected_from_scale_in == Some(true)).filter_map(|i| i.instance_id).collect::<Vec<_>>()
    };
    let [busy] = <[String; 1]>::try_from(protected(&stage)).unwrap();
    // The other one goes when the group shrinks; it runs nothing, so it is let go at once.
    stage.update(|input| input.desired_capacity = Some(0)).unwrap();
    stage.pass();
    assert_eq!(stage.instances().len(), 2, "held by the hook");
    capacity.pass().unwrap();
    stage.pass();
    assert_eq!(stage.instances(), std::slice::from_ref(&busy));
    // Ended on demand, the busy one drains and is held while its task is there.
    let input = TerminateInstanceInAutoScalingGroupType {
        instance_id: Some(busy.clone()),
        should_decrement_desired_capacity: Some(false),
    };
    stage.world.call::<TerminateInstanceInAutoScalingGroup>(input).unwrap();
    capacity.pass().unwrap();
    stage.pass();
    assert!(stage.instances().contains(&busy));
    let input = ecs::ListContainerInstancesRequest {
        cluster: Some("demo".into()),
        status: Some("DRAINING".into()),
        ..Default::default()
    };
    let draining = stage.world.call::<ListContainerInstances>(input).unwrap().container_instance_arns.unwrap();
    assert_eq!(draining.len(), 1);
}

#[test]
fn instances_that_came_before_their_provider_belong_to_it() {
    let mut stage = Stage::new();
    stage.create_cluster();
    stage.configuration("one").unwrap();
    stage.create(|input| (input.min_size, input.desired_capacity) = (Some(2), Some(2))).unwrap();
    stage.pass();
    let named = |stage: &Stage| {
        let input = ecs::ListContainerInstancesRequest { cluster: Some("demo".into()), ..Default::default() };
        let arns = stage.world.call::<ListContainerInstances>(input).unwrap().container_instance_arns;
        let input = ecs::DescribeContainerInstancesRequest {
            cluster: Some("demo".into()),
            container_instances: arns,
            ..Default::default()
        };
        let described = stage.world.call::<DescribeContainerInstances>(input).unwrap().container_instances.unwrap();
        described.into_iter().filter_map(|instance| instance.capacity_provider_name).collect::<Vec<_>>()
    };
    provider(&stage, |_| {}).unwrap();
    assert!(named(&stage).is_empty());
    associate(&stage, &["hosts"]).unwrap();
    assert_eq!(named(&stage), ["hosts", "hosts"]);
}

#[test]
fn providers_are_changed_and_removed_and_nonsense_is_refused() {
    let (stage, _) = ready();
    let unknown = provider(&stage, |given| given.auto_scaling_group_arn = Some("arn:aws:none".into()));
    assert_eq!(refused(unknown).0, "ClientException");
    let off = |given: &mut ecs::AutoScalingGroupProvider| {
        given.managed_scaling = None;
        given.managed_termination_protection = Some("ENABLED".into());
    };
    assert!(refused(provider(&stage, off)).1.contains("managed scaling must be enabled"));
    let target = |given: &mut ecs::AutoScalingGroupProvider| {
        given.managed_scaling.as_mut().unwrap().target_capacity = Some(101);
    };
    assert_eq!(refused(provider(&stage, target)).0, "InvalidParameterException");
    assert_eq!(refused(associate(&stage, &["hosts"])).0, "InvalidParameterException");
    provider(&stage, |_| ()).unwrap();
    assert!(refused(provider(&stage, |_| ())).1.contains("already exists"));
    let update = ecs::UpdateCapacityProviderRequest {
        name: Some("hosts".into()),
        auto_scaling_group_provider: Some(ecs::AutoScalingGroupProviderUpdate {
            managed_scaling: Some(ecs::ManagedScaling { target_capacity: Some(80), ..Default::default() }),
            managed_draining: Some("DISABLED".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    stage.world.call::<UpdateCapacityProvider>(update).unwrap();
    let hooks = || {
        let input = DescribeLifecycleHooksType { auto_scaling_group_name: Some("hosts".into()), ..Default::default() };
        stage.world.call::<DescribeLifecycleHooks>(input).unwrap().lifecycle_hooks.unwrap().len()
    };
    assert_eq!(hooks(), 0);
    let named = ecs::DescribeCapacityProvidersRequest {
        capacity_providers: Some(vec!["hosts".into(), "none".into()]),
        ..Default::default()
    };
    let shown = stage.world.call::<DescribeCapacityProviders>(named).unwrap();
    let provider = shown.capacity_providers.unwrap().remove(0);
    assert_eq!(provider.update_status.as_deref(), Some("UPDATE_COMPLETE"));
    let scaling = provider.auto_scaling_group_provider.unwrap();
    let settings = scaling.managed_scaling.unwrap();
    assert_eq!((settings.target_capacity, settings.status.as_deref()), (Some(80), Some("ENABLED")));
    assert_eq!(shown.failures.unwrap().len(), 1);
    let delete = ecs::DeleteCapacityProviderRequest { capacity_provider: Some("hosts".into()), ..Default::default() };
    let gone = stage.world.call::<DeleteCapacityProvider>(delete.clone()).unwrap().capacity_provider.unwrap();
    assert_eq!(gone.status.as_deref(), Some("INACTIVE"));
    assert_eq!(refused(stage.world.call::<DeleteCapacityProvider>(delete)).0, "InvalidParameterException");
}
