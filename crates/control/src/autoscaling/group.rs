//! Auto Scaling groups: how many instances, where, from what.

use super::error::{page, required, validation};
use super::records::{GroupRecord, SubnetRef, find_active, find_group, members, remove_group};
use super::{lifecycle, plan, source, tags, target_group};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::autoscaling::{
    AutoScalingGroup, AutoScalingGroupNamesType, AutoScalingGroupsType, AvailabilityZoneDistribution,
    AvailabilityZoneImpairmentPolicy, CreateAutoScalingGroupType, DeleteAutoScalingGroupType, Filter,
    InstanceMaintenancePolicy, SetDesiredCapacityType, UpdateAutoScalingGroupType, error,
};
use quarry_aws::ec2::DescribeSubnetsRequest;
use quarry_aws::ec2::op::DescribeSubnets;
use quarry_wire::{Empty, Timestamp};

pub fn create(ctx: &mut Ctx<'_>, mut input: CreateAutoScalingGroupType) -> Result<Empty> {
    let name = required(input.auto_scaling_group_name.take(), "autoScalingGroupName")?;
    if ctx.tx.get::<GroupRecord>(&name)?.is_some() {
        return Err(error::already_exists_fault(format!(
            "AutoScalingGroup by this name already exists - A group with the name {name} already exists"
        )));
    }
    refuse(&[
        ("InstanceId", input.instance_id.is_some()),
        ("LoadBalancerNames", has_any(&input.load_balancer_names)),
        ("PlacementGroup", input.placement_group.as_ref().is_some_and(|name| !name.is_empty())),
        ("MaxInstanceLifetime", input.max_instance_lifetime.unwrap_or(0) != 0),
        ("CapacityRebalance", input.capacity_rebalance == Some(true)),
        ("CapacityReservationSpecification", input.capacity_reservation_specification.is_some()),
        ("InstanceMaintenancePolicy", maintains(&input.instance_maintenance_policy)),
        ("InstanceLifecyclePolicy", input.instance_lifecycle_policy.is_some()),
        ("AvailabilityZoneImpairmentPolicy", impairs(&input.availability_zone_impairment_policy)),
        ("AvailabilityZoneIds", has_any(&input.availability_zone_ids)),
    ])?;
    let distribution = distribution(input.availability_zone_distribution.take())?;
    let deletion_protection = deletion_protection(input.deletion_protection.take())?;
    check_kinds(input.health_check_type.as_deref(), input.desired_capacity_type.as_deref())?;
    let named = source::Named::of_new(&mut input);
    let target_groups = target_group::named(ctx, input.target_group_arns.take(), input.traffic_sources.take())?;
    let hooks = input.lifecycle_hook_specification_list.take().unwrap_or_default();
    let (min, max) = (whole(input.min_size, "minSize")?, whole(input.max_size, "maxSize")?);
    let desired = input.desired_capacity.unwrap_or(min);
    check_sizes(min, max, desired)?;
    let identifier = input.vpc_zone_identifier.filter(|subnets| !subnets.is_empty()).ok_or_else(|| {
        if has_any(&input.availability_zones) {
            validation("There is no default VPC here: name the subnets in VPCZoneIdentifier.")
        } else {
            validation("At least one Availability Zone or VPC Subnet is required.")
        }
    })?;
    let subnets = subnets(ctx, &identifier)?;
    let policies = policies(input.termination_policies)?;
    let place = ctx.platform.place();
    let id = ctx.platform.door.uuid();
    let role = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling";
    let group = AutoScalingGroup {
        auto_scaling_group_arn: Some(
            place.arn("autoscaling", format_args!("autoScalingGroup:{id}:autoScalingGroupName/{name}")),
        ),
        min_size: Some(min),
        max_size: Some(max),
        desired_capacity: Some(desired),
        default_cooldown: Some(input.default_cooldown.unwrap_or(300)),
        availability_zones: Some(zones(&subnets)),
        load_balancer_names: Some(Vec::new()),
        health_check_type: Some(input.health_check_type.unwrap_or_else(|| "EC2".into())),
        health_check_grace_period: Some(input.health_check_grace_period.unwrap_or(0)),
        created_time: Some(Timestamp::from_millis(ctx.platform.now_ms())),
        suspended_processes: Some(Vec::new()),
        vpc_zone_identifier: Some(identifier),
        enabled_metrics: Some(Vec::new()),
        tags: Some(tags::of_new(&name, input.tags.unwrap_or_default())?),
        termination_policies: Some(policies),
        new_instances_protected_from_scale_in: Some(input.new_instances_protected_from_scale_in.unwrap_or(false)),
        service_linked_role_arn: Some(input.service_linked_role_arn.unwrap_or_else(|| place.global_arn("iam", role))),
        availability_zone_distribution: Some(distribution),
        deletion_protection: Some(deletion_protection),
        capacity_rebalance: input.capacity_rebalance,
        default_instance_warmup: input.default_instance_warmup,
        context: input.context,
        desired_capacity_type: input.desired_capacity_type,
        auto_scaling_group_name: Some(name),
        ..Default::default()
    };
    let mut record = GroupRecord { group, subnets, deleting: false, history: Default::default(), cooldown_until_ms: 0 };
    target_group::set(&mut record, target_groups);
    named.apply(ctx, &mut record)?;
    ctx.tx.put(&record)?;
    lifecycle::put_all(ctx, &record.key(), hooks)?;
    Ok(Empty {})
}

pub fn update(ctx: &mut Ctx<'_>, mut input: UpdateAutoScalingGroupType) -> Result<Empty> {
    let name = required(input.auto_scaling_group_name.take(), "autoScalingGroupName")?;
    let mut record = find_active(ctx, &name)?;
    refuse(&[
        ("PlacementGroup", input.placement_group.as_ref().is_some_and(|name| !name.is_empty())),
        ("MaxInstanceLifetime", input.max_instance_lifetime.unwrap_or(0) != 0),
        ("CapacityRebalance", input.capacity_rebalance == Some(true)),
        ("CapacityReservationSpecification", input.capacity_reservation_specification.is_some()),
        ("InstanceMaintenancePolicy", maintains(&input.instance_maintenance_policy)),
        ("InstanceLifecyclePolicy", input.instance_lifecycle_policy.is_some()),
        ("AvailabilityZoneImpairmentPolicy", impairs(&input.availability_zone_impairment_policy)),
        ("AvailabilityZoneIds", has_any(&input.availability_zone_ids)),
    ])?;
    if let Some(given) = input.availability_zone_distribution.take() {
        record.group.availability_zone_distribution = Some(distribution(Some(given))?);
    }
    if let Some(given) = input.deletion_protection.take() {
        record.group.deletion_protection = Some(deletion_protection(Some(given))?);
    }
    check_kinds(input.health_check_type.as_deref(), input.desired_capacity_type.as_deref())?;
    let named = source::Named::of_update(&mut input);
    if !named.is_empty() {
        named.apply(ctx, &mut record)?;
    }
    if let Some(identifier) = input.vpc_zone_identifier.filter(|subnets| !subnets.is_empty()) {
        record.subnets = subnets(ctx, &identifier)?;
        record.group.availability_zones = Some(zones(&record.subnets));
        record.group.vpc_zone_identifier = Some(identifier);
    }
    let group = &mut record.group;
    let min = whole(input.min_size.or(group.min_size), "minSize")?;
    let max = whole(input.max_size.or(group.max_size), "maxSize")?;
    // New bounds pull the desired capacity along unless it is given itself.
    let pulled = group.desired_capacity.unwrap_or_default().min(max).max(min);
    let desired = input.desired_capacity.unwrap_or(pulled);
    check_sizes(min, max, desired)?;
    (group.min_size, group.max_size, group.desired_capacity) = (Some(min), Some(max), Some(desired));
    if input.termination_policies.is_some() {
        group.termination_policies = Some(policies(input.termination_policies)?);
    }
    fn set<T>(field: &mut Option<T>, value: Option<T>) {
        if value.is_some() {
            *field = value;
        }
    }
    set(&mut group.default_cooldown, input.default_cooldown);
    set(&mut group.health_check_type, input.health_check_type);
    set(&mut group.health_check_grace_period, input.health_check_grace_period);
    set(&mut group.new_instances_protected_from_scale_in, input.new_instances_protected_from_scale_in);
    set(&mut group.service_linked_role_arn, input.service_linked_role_arn);
    set(&mut group.capacity_rebalance, input.capacity_rebalance);
    set(&mut group.default_instance_warmup, input.default_instance_warmup);
    set(&mut group.context, input.context);
    set(&mut group.desired_capacity_type, input.desired_capacity_type);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

/// Unknown names are left out, as on AWS.
pub fn describe(ctx: &mut Ctx<'_>, input: AutoScalingGroupNamesType) -> Result<AutoScalingGroupsType> {
    let mut found = ctx.tx.all::<GroupRecord>()?;
    if let Some(names) = input.auto_scaling_group_names.filter(|names| !names.is_empty()) {
        found.retain(|record| names.contains(&record.key()));
    }
    for filter in input.filters.iter().flatten() {
        check_filter(filter)?;
        found.retain(|record| passes(record, filter));
    }
    let (found, next_token) = page(found, input.max_records, input.next_token)?;
    let with_instances = input.include_instances != Some(false);
    let mut groups = Vec::new();
    for record in found {
        let instances = if with_instances { members(ctx.tx, &record.key())? } else { Vec::new() };
        let mut group = record.group;
        group.instances = Some(instances.into_iter().map(|member| member.instance).collect());
        group.status = record.deleting.then(|| "Delete in progress".into());
        groups.push(group);
    }
    Ok(AutoScalingGroupsType { auto_scaling_groups: Some(groups), next_token })
}

/// A group without instances goes at once; with `ForceDelete` the others go when their instances
/// have been terminated.
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteAutoScalingGroupType) -> Result<Empty> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let mut record = find_group(ctx, &name)?;
    let forced = input.force_delete == Some(true);
    let protection = record.group.deletion_protection.as_deref().unwrap_or("none");
    if protection == "prevent-all-deletion" || (forced && protection == "prevent-force-deletion") {
        return Err(validation(format!(
            "The Auto Scaling group {name} cannot be deleted because its deletion protection is {protection}."
        )));
    }
    if members(ctx.tx, &name)?.is_empty() {
        remove_group(ctx, &name)?;
        return Ok(Empty {});
    }
    if record.deleting {
        return Ok(Empty {});
    }
    if !forced {
        return Err(error::resource_in_use_fault(
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.",
        ));
    }
    record.deleting = true;
    let group = &mut record.group;
    (group.min_size, group.max_size, group.desired_capacity) = (Some(0), Some(0), Some(0));
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

pub fn set_desired_capacity(ctx: &mut Ctx<'_>, input: SetDesiredCapacityType) -> Result<Empty> {
    let mut record = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let desired = whole(input.desired_capacity, "desiredCapacity")?;
    let (min, max) = (record.group.min_size.unwrap_or_default(), record.group.max_size.unwrap_or_default());
    if desired > max {
        return Err(validation(format!(
            "New SetDesiredCapacity value {desired} is above max value {max} for the AutoScalingGroup."
        )));
    }
    if desired < min {
        return Err(validation(format!(
            "New SetDesiredCapacity value {desired} is below min value {min} for the AutoScalingGroup."
        )));
    }
    record.group.desired_capacity = Some(desired);
    ctx.tx.put(&record)?;
    Ok(Empty {})
}

/// Launches always go to the emptiest zone, which is the strategy that is the default.
fn distribution(given: Option<AvailabilityZoneDistribution>) -> Result<AvailabilityZoneDistribution> {
    let strategy = given.and_then(|given| given.capacity_distribution_strategy);
    match strategy.as_deref() {
        None | Some("balanced-best-effort") => {
            Ok(AvailabilityZoneDistribution { capacity_distribution_strategy: Some("balanced-best-effort".into()) })
        }
        Some(other) => Err(validation(format!("The capacity distribution strategy {other} is not supported."))),
    }
}

fn deletion_protection(given: Option<String>) -> Result<String> {
    match given.as_deref().unwrap_or("none") {
        known @ ("none" | "prevent-force-deletion" | "prevent-all-deletion") => Ok(known.to_owned()),
        other => Err(validation(format!("The deletion protection {other} is not valid."))),
    }
}

/// A policy that does what happens without one is none.
fn impairs(policy: &Option<AvailabilityZoneImpairmentPolicy>) -> bool {
    policy.as_ref().is_some_and(|policy| policy.zonal_shift_enabled == Some(true))
}

fn maintains(policy: &Option<InstanceMaintenancePolicy>) -> bool {
    let set = |percentage: Option<i32>| percentage.is_some_and(|percentage| percentage >= 0);
    policy.as_ref().is_some_and(|policy| set(policy.min_healthy_percentage) || set(policy.max_healthy_percentage))
}

fn refuse(unsupported: &[(&str, bool)]) -> Result<()> {
    match unsupported.iter().find(|(_, given)| *given) {
        Some((member, _)) => Err(validation(format!("{member} is not supported."))),
        None => Ok(()),
    }
}

fn check_kinds(health_checks: Option<&str>, capacity: Option<&str>) -> Result<()> {
    for kind in health_checks.unwrap_or("EC2").split(',') {
        if !matches!(kind.trim(), "EC2" | "ELB") {
            return Err(validation(format!("The health check type {kind} is not supported.")));
        }
    }
    match capacity {
        None | Some("units") => Ok(()),
        Some(other) => Err(validation(format!("DesiredCapacityType {other} is not supported."))),
    }
}

fn has_any<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn whole(value: Option<i32>, member: &str) -> Result<i32> {
    value.filter(|n| *n >= 0).ok_or_else(|| validation(format!("{member} must be given and not be negative.")))
}

fn check_sizes(min: i32, max: i32, desired: i32) -> Result<()> {
    if min > max {
        return Err(validation(format!("Max bound, {max}, must be greater than or equal to min bound, {min}")));
    }
    if !(min..=max).contains(&desired) {
        return Err(validation(format!(
            "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
        )));
    }
    Ok(())
}

fn policies(given: Option<Vec<String>>) -> Result<Vec<String>> {
    let given = given.filter(|all| !all.is_empty()).unwrap_or_else(|| vec!["Default".into()]);
    match given.iter().find(|name| plan::Policy::parse(name).is_none()) {
        Some(unknown) => Err(validation(format!("The termination policy {unknown} is not supported."))),
        None => Ok(given),
    }
}

/// The subnets that a comma-separated list names: they exist, in one VPC.
fn subnets(ctx: &mut Ctx<'_>, identifier: &str) -> Result<Vec<SubnetRef>> {
    let ids: Vec<String> = identifier.split(',').map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return Err(validation("At least one Availability Zone or VPC Subnet is required."));
    }
    let input = DescribeSubnetsRequest { subnet_ids: Some(ids), ..Default::default() };
    let found = ctx.invoke::<DescribeSubnets>(input).map_err(|e| validation(e.message))?.subnets.unwrap_or_default();
    if found.iter().any(|subnet| subnet.vpc_id != found[0].vpc_id) {
        return Err(validation("The subnets of an Auto Scaling group must be in the same VPC."));
    }
    let reference = |subnet: quarry_aws::ec2::Subnet| SubnetRef {
        id: subnet.subnet_id.unwrap_or_default(),
        zone: subnet.availability_zone.unwrap_or_default(),
    };
    Ok(found.into_iter().map(reference).collect())
}

fn zones(subnets: &[SubnetRef]) -> Vec<String> {
    let mut zones: Vec<String> = subnets.iter().map(|subnet| subnet.zone.clone()).collect();
    zones.sort();
    zones.dedup();
    zones
}

fn check_filter(filter: &Filter) -> Result<()> {
    let name = filter.name.as_deref().unwrap_or_default();
    if matches!(name, "tag-key" | "tag-value") || name.starts_with("tag:") {
        return Ok(());
    }
    Err(validation(format!(
        "Filter type {name} is not correct. Allowed Filter types are: tag-key, tag-value, tag:<key>"
    )))
}

fn passes(record: &GroupRecord, filter: &Filter) -> bool {
    let wanted = filter.values.as_deref().unwrap_or_default();
    let is_wanted = |value: &Option<String>| value.as_ref().is_some_and(|value| wanted.contains(value));
    record.group.tags.iter().flatten().any(|tag| match filter.name.as_deref().unwrap_or_default() {
        "tag-key" => is_wanted(&tag.key),
        "tag-value" => is_wanted(&tag.value),
        name => tag.key.as_deref() == name.strip_prefix("tag:") && is_wanted(&tag.value),
    })
}
