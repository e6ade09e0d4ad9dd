//! Auto Scaling groups: how many instances, where, from what.

use super::error::{page, required, validation};
use super::records::{GroupRecord, SubnetRef, find_active, find_group, members, remove_group};
use super::{launch_configuration, plan, tags};
use crate::api::{Ctx, Result};
use crate::store::Item;
use quarry_aws::autoscaling::{
    AutoScalingGroup, AutoScalingGroupNamesType, AutoScalingGroupsType, CreateAutoScalingGroupType,
    DeleteAutoScalingGroupType, Filter, SetDesiredCapacityType, UpdateAutoScalingGroupType, error,
};
use quarry_aws::ec2::DescribeSubnetsRequest;
use quarry_aws::ec2::op::DescribeSubnets;
use quarry_wire::{Empty, Timestamp};

pub fn create(ctx: &mut Ctx<'_>, input: CreateAutoScalingGroupType) -> Result<Empty> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    if ctx.tx.get::<GroupRecord>(&name)?.is_some() {
        return Err(error::already_exists_fault(format!(
            "AutoScalingGroup by this name already exists - A group with the name {name} already exists"
        )));
    }
    refuse(&[
        ("InstanceId", input.instance_id.is_some()),
        ("LaunchTemplate", input.launch_template.is_some()),
        ("MixedInstancesPolicy", input.mixed_instances_policy.is_some()),
        ("LoadBalancerNames", has_any(&input.load_balancer_names)),
        ("TargetGroupARNs", has_any(&input.target_group_arns)),
        ("TrafficSources", has_any(&input.traffic_sources)),
        ("LifecycleHookSpecificationList", has_any(&input.lifecycle_hook_specification_list)),
        ("PlacementGroup", input.placement_group.is_some()),
        ("MaxInstanceLifetime", input.max_instance_lifetime.unwrap_or(0) != 0),
    ])?;
    check_kinds(input.health_check_type.as_deref(), input.desired_capacity_type.as_deref())?;
    let configuration = input.launch_configuration_name.filter(|name| !name.is_empty()).ok_or_else(|| {
        validation("Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.")
    })?;
    launch_configuration::find(ctx, &configuration)?;
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
        launch_configuration_name: Some(configuration),
        min_size: Some(min),
        max_size: Some(max),
        desired_capacity: Some(desired),
        default_cooldown: Some(input.default_cooldown.unwrap_or(300)),
        availability_zones: Some(zones(&subnets)),
        load_balancer_names: Some(Vec::new()),
        target_group_arns: Some(Vec::new()),
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
        capacity_rebalance: input.capacity_rebalance,
        default_instance_warmup: input.default_instance_warmup,
        context: input.context,
        desired_capacity_type: input.desired_capacity_type,
        auto_scaling_group_name: Some(name),
        ..Default::default()
    };
    ctx.tx.put(&GroupRecord { group, subnets, deleting: false })?;
    Ok(Empty {})
}

pub fn update(ctx: &mut Ctx<'_>, input: UpdateAutoScalingGroupType) -> Result<Empty> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let mut record = find_active(ctx, &name)?;
    refuse(&[
        ("LaunchTemplate", input.launch_template.is_some()),
        ("MixedInstancesPolicy", input.mixed_instances_policy.is_some()),
        ("PlacementGroup", input.placement_group.is_some()),
        ("MaxInstanceLifetime", input.max_instance_lifetime.unwrap_or(0) != 0),
    ])?;
    check_kinds(input.health_check_type.as_deref(), input.desired_capacity_type.as_deref())?;
    if let Some(configuration) = input.launch_configuration_name {
        launch_configuration::find(ctx, &configuration)?;
        record.group.launch_configuration_name = Some(configuration);
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
    if members(ctx.tx, &name)?.is_empty() {
        remove_group(ctx, &name)?;
        return Ok(Empty {});
    }
    if record.deleting {
        return Ok(Empty {});
    }
    if input.force_delete != Some(true) {
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

fn refuse(unsupported: &[(&str, bool)]) -> Result<()> {
    match unsupported.iter().find(|(_, given)| *given) {
        Some((member, _)) => Err(validation(format!("{member} is not supported."))),
        None => Ok(()),
    }
}

/// Instances here have no other health than EC2's; ELB's adds nothing to a group without target groups.
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
