//! Capacity providers of Auto Scaling groups: their records, and what they are associated with.

use super::records::{CapacityProvider, Cluster, ContainerInstance, Service, ServiceStatus, Task};
use super::tags;
use crate::api::{Ctx, Result};
use crate::store::{StoreError, Tx};
use quarry_aws::autoscaling::op::DescribeAutoScalingGroups;
use quarry_aws::autoscaling::{AutoScalingGroup, AutoScalingGroupNamesType};
use quarry_aws::ecs::{self as aws, error};
use quarry_domain::arn::short_name;

/// The hook by which ECS drains an instance before its group ends it.
pub const DRAINING_HOOK: &str = "ecs-managed-draining-termination-hook";

/// A provider by name or ARN.
pub fn find(ctx: &Ctx<'_>, name: &str) -> Result<Option<CapacityProvider>, StoreError> {
    ctx.tx.get(&arn(ctx, short_name(name)))
}

pub fn arn(ctx: &Ctx<'_>, name: &str) -> String {
    ctx.platform.place().arn("ecs", format_args!("capacity-provider/{name}"))
}

/// The provider of the cluster that an Auto Scaling group belongs to.
pub fn of_group(tx: &Tx<'_>, cluster: &Cluster, group: &str) -> Result<Option<CapacityProvider>, StoreError> {
    let all = tx.all::<CapacityProvider>()?;
    Ok(all.into_iter().find(|p| p.group == group && cluster.capacity_providers.contains(&p.name)))
}

/// Gives a provider the instances of its group that joined the cluster before the provider did. On AWS an instance takes
/// minutes to start, so that stacks that make the group first and the provider next never meet this.
pub fn adopt(ctx: &mut Ctx<'_>, cluster_arn: &str, name: &str) -> Result<()> {
    let Some(provider) = find(ctx, name)? else { return Ok(()) };
    let ids: Vec<String> =
        group(ctx, &provider.group)?.instances.into_iter().flatten().filter_map(|i| i.instance_id).collect();
    for mut instance in ctx.tx.children::<ContainerInstance>(cluster_arn)? {
        if instance.capacity_provider.is_none() && ids.contains(&instance.ec2_instance_id) {
            instance.capacity_provider = Some(provider.name.clone());
            ctx.tx.put(&instance)?;
        }
    }
    Ok(())
}

/// Whether tasks that find no room wait for this provider's group to grow.
pub fn grows(tx: &Tx<'_>, name: &str) -> Result<bool, StoreError> {
    Ok(tx.all::<CapacityProvider>()?.iter().any(|provider| provider.name == name && provider.scales()))
}

/// Instances of a provider, of whatever cluster.
pub fn instances(tx: &Tx<'_>, provider: &str) -> Result<Vec<ContainerInstance>, StoreError> {
    let all = tx.all::<ContainerInstance>()?;
    Ok(all.into_iter().filter(|instance| instance.capacity_provider.as_deref() == Some(provider)).collect())
}

/// Refuses what would take a provider away from services and tasks of a cluster.
pub fn check_unused(tx: &Tx<'_>, cluster_arn: &str, gone: impl Fn(&str) -> bool) -> Result<()> {
    let tasks = tx.children_of::<Task>(cluster_arn)?;
    let by_task = tasks.iter().filter_map(|task| task.capacity_provider.as_deref()).any(&gone);
    let services = tx.children_of::<Service>(cluster_arn)?;
    let active = services.iter().filter(|service| service.status == ServiceStatus::Active);
    let strategies = active.filter_map(|service| service.primary()).flat_map(|deployment| &deployment.launch.strategy);
    let by_service = strategies.filter_map(|item| item.capacity_provider.as_deref()).any(|name| gone(short_name(name)));
    if by_task || by_service {
        return Err(in_use());
    }
    Ok(())
}

pub fn in_use() -> quarry_wire::ServiceError {
    error::resource_in_use_exception("The specified capacity provider is in use and cannot be removed.")
}

pub fn unknown() -> quarry_wire::ServiceError {
    error::invalid_parameter_exception(
        "The specified capacity provider does not exist. Specify a valid name or ARN and try again.",
    )
}

/// The Auto Scaling group with this ARN or name.
pub fn group(ctx: &mut Ctx<'_>, arn_or_name: &str) -> Result<AutoScalingGroup> {
    let name = arn_or_name.rsplit_once("autoScalingGroupName/").map_or(arn_or_name, |(_, name)| name);
    let input =
        AutoScalingGroupNamesType { auto_scaling_group_names: Some(vec![name.to_owned()]), ..Default::default() };
    let found = ctx.invoke::<DescribeAutoScalingGroups>(input)?.auto_scaling_groups.unwrap_or_default();
    let is_arn = arn_or_name.starts_with("arn:");
    let is_it = |g: &AutoScalingGroup| !is_arn || g.auto_scaling_group_arn.as_deref() == Some(arn_or_name);
    found.into_iter().find(is_it).ok_or_else(|| {
        error::client_exception(
            "The specified Auto Scaling group ARN is invalid or does not exist. Specify a valid ARN and try again.",
        )
    })
}

/// Managed scaling with ECS's defaults for what is left out, over what was set before.
pub fn scaling(given: Option<aws::ManagedScaling>, before: &aws::ManagedScaling) -> Result<aws::ManagedScaling> {
    let given = given.unwrap_or_default();
    let pick = |new: Option<i32>, old: Option<i32>, usual| Some(new.or(old).unwrap_or(usual));
    let scaling = aws::ManagedScaling {
        status: Some(given.status.or(before.status.clone()).unwrap_or_else(|| "DISABLED".into())),
        target_capacity: pick(given.target_capacity, before.target_capacity, 100),
        minimum_scaling_step_size: pick(given.minimum_scaling_step_size, before.minimum_scaling_step_size, 1),
        maximum_scaling_step_size: pick(given.maximum_scaling_step_size, before.maximum_scaling_step_size, 10_000),
        instance_warmup_period: pick(given.instance_warmup_period, before.instance_warmup_period, 300),
    };
    let outside = |value: Option<i32>, low, high| !(low..=high).contains(&value.unwrap_or(low));
    if !matches!(scaling.status.as_deref(), Some("ENABLED" | "DISABLED")) {
        return Err(error::invalid_parameter_exception("The managed scaling status must be ENABLED or DISABLED."));
    }
    if outside(scaling.target_capacity, 1, 100) {
        return Err(error::invalid_parameter_exception("The target capacity must be between 1 and 100."));
    }
    if outside(scaling.minimum_scaling_step_size, 1, 10_000)
        || outside(scaling.maximum_scaling_step_size, 1, 10_000)
        || outside(scaling.instance_warmup_period, 0, 10_000)
    {
        return Err(error::invalid_parameter_exception(
            "Scaling step sizes must be between 1 and 10000, the instance warmup period between 0 and 10000.",
        ));
    }
    Ok(scaling)
}

/// `ENABLED` or `DISABLED`; `usual` if it is not given.
pub fn switch(given: Option<&str>, usual: bool, name: &str) -> Result<bool> {
    match given {
        None => Ok(usual),
        Some("ENABLED") => Ok(true),
        Some("DISABLED") => Ok(false),
        Some(other) => Err(error::invalid_parameter_exception(format!("Invalid {name} '{other}'."))),
    }
}

/// Protection of what runs tasks needs managed scaling and a group that protects what it launches.
pub fn check_protection(provider: &CapacityProvider, group: &AutoScalingGroup) -> Result<()> {
    let lacks = match (provider.scales(), group.new_instances_protected_from_scale_in) {
        _ if !provider.termination_protection => return Ok(()),
        (true, Some(true)) => return Ok(()),
        (false, _) => "managed scaling must be enabled",
        (true, _) => "the Auto Scaling group must have instance protection from scale in enabled",
    };
    Err(error::invalid_parameter_exception(format!(
        "The managed termination protection setting for the capacity provider is invalid. To enable managed termination protection for a capacity provider, {lacks}."
    )))
}

pub fn show(provider: &CapacityProvider, with_tags: bool) -> aws::CapacityProvider {
    let switch = |on| Some(if on { "ENABLED" } else { "DISABLED" }.to_owned());
    aws::CapacityProvider {
        capacity_provider_arn: Some(provider.arn.clone()),
        name: Some(provider.name.clone()),
        status: Some("ACTIVE".into()),
        update_status: provider.updated.then(|| "UPDATE_COMPLETE".into()),
        auto_scaling_group_provider: Some(aws::AutoScalingGroupProvider {
            auto_scaling_group_arn: Some(provider.group_arn.clone()),
            managed_scaling: Some(provider.scaling.clone()),
            managed_termination_protection: switch(provider.termination_protection),
            managed_draining: switch(provider.draining),
        }),
        tags: Some(if with_tags { tags::show(&provider.tags) } else { Vec::new() }),
        ..Default::default()
    }
}
