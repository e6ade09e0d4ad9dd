//! Container instances: joining and leaving a cluster, and what is left on each.

use super::records::{ContainerInstance, HostPort, LastStatus, StopCode, Tags, Task};
use super::room::OnInstance;
use super::{find, providers, tasks};
use crate::api::{Ctx, Result};
use crate::store::{StoreError, Tx};
use quarry_domain::placement::Instance;
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// An instance that joins a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInstance {
    /// `i-…`.
    pub ec2_instance_id: String,
    pub instance_type: String,
    pub availability_zone: String,
    pub cpu_units: u32,
    pub memory_mib: u32,
    /// The Auto Scaling group that launched it.
    pub group: Option<String>,
}

/// Ports that the agent and Docker hold on an ECS-optimized instance; shown as registered.
pub const RESERVED_PORTS: [u16; 4] = [22, 2375, 2376, 51678];

/// Makes an EC2 instance a container instance of the cluster; returns its ARN. One that joined
/// before keeps its ARN.
pub fn register(ctx: &mut Ctx<'_>, cluster_name: &str, instance: &NewInstance) -> Result<String> {
    let cluster = find::cluster(ctx, Some(cluster_name))?;
    if let Some(known) = by_ec2_id(ctx.tx, &instance.ec2_instance_id)? {
        return Ok(known.arn);
    }
    let capacity_provider = match &instance.group {
        Some(group) => providers::of_group(ctx.tx, &cluster, group)?.map(|provider| provider.name),
        None => None,
    };
    let id = ctx.platform.door.hex(32);
    let arn = ctx.platform.place().arn("ecs", format_args!("container-instance/{}/{id}", cluster.name));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let attributes = BTreeMap::from(
        [
            ("ecs.availability-zone", instance.availability_zone.as_str()),
            ("ecs.instance-type", instance.instance_type.as_str()),
            ("ecs.os-type", "linux"),
            ("ecs.os-family", "LINUX"),
            ("ecs.cpu-architecture", architecture),
            ("com.amazonaws.ecs.capability.logging-driver.awslogs", ""),
            ("com.amazonaws.ecs.capability.logging-driver.json-file", ""),
            ("quarry.isolation", ctx.platform.runtime.isolation().isolation.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    ctx.tx.put(&ContainerInstance {
        arn: arn.clone(),
        id,
        cluster_arn: cluster.arn,
        ec2_instance_id: instance.ec2_instance_id.clone(),
        cpu: instance.cpu_units,
        memory: instance.memory_mib,
        draining: false,
        capacity_provider,
        attributes,
        registered_ms: ctx.platform.now_ms(),
        version: 1,
        tags: Tags::new(),
    })?;
    Ok(arn)
}

/// Takes a terminated EC2 instance out of its cluster. Its tasks are stopped; services replace them.
pub fn deregister(ctx: &mut Ctx<'_>, ec2_instance_id: &str) -> Result<()> {
    let Some(instance) = by_ec2_id(ctx.tx, ec2_instance_id)? else { return Ok(()) };
    let reason = format!("Host EC2 (instance {ec2_instance_id}) terminated.");
    remove(ctx, &instance, &reason)
}

/// Takes the instance out and stops its tasks.
pub fn remove(ctx: &mut Ctx<'_>, instance: &ContainerInstance, reason: &str) -> Result<()> {
    ctx.tx.delete::<ContainerInstance>(&instance.arn)?;
    for task in ctx.tx.children_of::<Task>(&instance.cluster_arn)? {
        if is_on(&task, instance) && task.wanted {
            tasks::begin_stop(ctx, &mut Task::clone(&task), StopCode::TerminationNotice, reason, false)?;
        }
    }
    Ok(())
}

pub fn by_ec2_id(tx: &Tx<'_>, ec2_instance_id: &str) -> Result<Option<ContainerInstance>, StoreError> {
    Ok(tx.all::<ContainerInstance>()?.into_iter().find(|instance| instance.ec2_instance_id == ec2_instance_id))
}

/// What is left on an instance after the tasks given to it.
pub fn remaining<T: Borrow<Task>>(instance: &ContainerInstance, tasks: &[T], group: Option<&str>) -> Instance {
    let mut taken = OnInstance::default();
    tasks.iter().map(Borrow::borrow).filter(|task| is_on(task, instance)).for_each(|task| taken.add(task));
    taken.left(instance, group)
}

fn is_on(task: &Task, instance: &ContainerInstance) -> bool {
    task.container_instance_arn.as_ref() == Some(&instance.arn)
}

/// How many tasks of the instance are running and pending.
pub fn task_counts<T: Borrow<Task>>(instance: &ContainerInstance, tasks: &[T]) -> (i32, i32) {
    let own = || tasks.iter().map(Borrow::borrow).filter(|task| is_on(task, instance));
    let running = own().filter(|task| task.status == LastStatus::Running).count();
    let pending = own().filter(|task| task.status.is_pending()).count();
    (running as i32, pending as i32)
}

/// Frees the host ports of a task.
pub fn free_ports(tx: &Tx<'_>, task: &Task) -> Result<(), StoreError> {
    for port in tx.children::<HostPort>(&task.id)? {
        tx.delete::<HostPort>(&crate::store::Item::key(&port))?;
    }
    Ok(())
}
