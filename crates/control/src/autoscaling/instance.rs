//! The instances of groups: launched into a subnet, terminated, shown, protected.

use super::activity::{self, Change};
use super::error::{page, required, validation};
use super::records::{GroupRecord, MemberRecord, SubnetRef, find_active, find_group};
use super::{lifecycle, source, target_group, user_data};
use crate::api::{Ctx, Result};
use crate::ec2;
use crate::ec2::instance::{InstanceRecord, Launch};
use crate::ecs;
use crate::store::Item;
use quarry_aws::autoscaling::{
    Activity, ActivityType, AttachInstancesQuery, AutoScalingInstanceDetails, AutoScalingInstancesType,
    DescribeAutoScalingInstancesType, DetachInstancesAnswer, DetachInstancesQuery, Instance, SetInstanceHealthQuery,
    SetInstanceProtectionAnswer, SetInstanceProtectionQuery, TerminateInstanceInAutoScalingGroupType,
};
use quarry_aws::cloudformation::DescribeStackResourceInput;
use quarry_aws::cloudformation::op::DescribeStackResource;
use quarry_aws::ec2::Tag;
use quarry_wire::{Empty, Operation};

/// Launches one instance of a group and records it with its activity. A hook may hold it.
pub fn launch(ctx: &mut Ctx<'_>, group: &GroupRecord, subnet: &SubnetRef, change: Change) -> Result<()> {
    let source = source::source(ctx, group)?;
    let name = group.key();
    let propagated = group.group.tags.iter().flatten().filter(|tag| tag.propagate_at_launch == Some(true));
    let mut tags = source.tags;
    for tag in propagated {
        tags.retain(|present| present.key != tag.key);
        tags.push(Tag { key: tag.key.clone(), value: tag.value.clone() });
    }
    tags.push(Tag { key: Some("aws:autoscaling:groupName".into()), value: Some(name.clone()) });
    if let Some(template) = &source.version.template {
        let of_template = |key: &str, value: &Option<String>| Tag { key: Some(key.into()), value: value.clone() };
        tags.push(of_template("aws:ec2launchtemplate:id", &template.launch_template_id));
        tags.push(of_template("aws:ec2launchtemplate:version", &template.version));
    }
    let launched = ec2::instance::launch(
        ctx,
        Launch {
            image_id: &source.image_id,
            instance_type: &source.instance_type,
            subnet: &subnet.id,
            security_groups: &source.security_groups,
            profile: source.profile,
            key_name: source.key_name,
            user_data: source.user_data.clone(),
            tags,
        },
    )?;
    let id = launched.instance_id.unwrap_or_default();
    let text = source.user_data.as_deref().and_then(user_data::decode).unwrap_or_default();
    let waits = lifecycle::waits(ctx, group, lifecycle::LAUNCHING)?;
    let state = if waits.is_empty() { "InService" } else { "Pending:Wait" };
    ctx.tx.put(&MemberRecord {
        instance: Instance {
            instance_id: Some(id.clone()),
            availability_zone: Some(subnet.zone.clone()),
            health_status: Some("Healthy".into()),
            lifecycle_state: Some(state.into()),
            launch_configuration_name: source.version.configuration,
            launch_template: source.version.template,
            instance_type: Some(source.instance_type),
            protected_from_scale_in: Some(group.group.new_instances_protected_from_scale_in == Some(true)),
            ..Default::default()
        },
        group: name,
        subnet: subnet.id.clone(),
        launched_ms: ctx.platform.now_ms(),
        joins: cluster(ctx, &text),
        signals: group.stack_resource(),
        waits,
        abandoned: false,
        ending: None,
        targets: Vec::new(),
    })?;
    activity::launched(ctx, group, &id, subnet, change)
}

/// The cluster that a script makes its instance join, by itself or by what `cfn-init` reads.
fn cluster(ctx: &mut Ctx<'_>, script: &str) -> Option<String> {
    let named = user_data::cluster(script);
    let (stack, resource) = match (&named, user_data::cfn_init(script)) {
        (None, Some(called)) => called,
        _ => return named,
    };
    ctx.operations.find(DescribeStackResource::service().id, DescribeStackResource::NAME)?;
    let input = DescribeStackResourceInput { stack_name: Some(stack), logical_resource_id: Some(resource) };
    // What cannot be read joins nothing, as on AWS.
    let described = ctx.invoke::<DescribeStackResource>(input).ok()?;
    user_data::cluster_of_metadata(&described.stack_resource_detail?.metadata?)
}

/// Begins to end an instance: it is drained from its target groups, and the group's hooks may hold
/// it. Without hooks it is gone at once. Returns the activity as its requester sees it.
pub fn end(ctx: &mut Ctx<'_>, group: &GroupRecord, member: &MemberRecord, cause: String) -> Result<Activity> {
    let mut member = ctx.tx.get::<MemberRecord>(&member.key())?.unwrap_or_else(|| member.clone());
    let held = member.targets.clone();
    target_group::deregister(ctx, &mut member, held)?;
    // A group that goes with its instances asks nobody, nor does an instance that never came into service.
    let asks = !group.deleting && !member.abandoned;
    let waits = if asks { lifecycle::waits(ctx, group, lifecycle::TERMINATING)? } else { Vec::new() };
    if waits.is_empty() {
        return finish_end(ctx, group, &member, cause);
    }
    member.waits = waits;
    member.instance.lifecycle_state = Some("Terminating:Wait".into());
    member.ending = Some(cause.clone());
    ctx.tx.put(&member)?;
    Ok(activity::terminating(ctx, group, &member, cause))
}

/// Takes an instance out of its cluster, terminates it and records the activity.
pub fn finish_end(ctx: &mut Ctx<'_>, group: &GroupRecord, member: &MemberRecord, cause: String) -> Result<Activity> {
    let id = member.key();
    ecs::container_instances::deregister(ctx, &id)?;
    ec2::instance::terminate(ctx, &id)?;
    ctx.tx.delete::<MemberRecord>(&id)?;
    activity::terminated(ctx, group, member, cause)
}

/// Unknown ids are left out, as on AWS.
pub fn describe(ctx: &mut Ctx<'_>, input: DescribeAutoScalingInstancesType) -> Result<AutoScalingInstancesType> {
    let mut found = ctx.tx.all::<MemberRecord>()?;
    if let Some(ids) = input.instance_ids.filter(|ids| !ids.is_empty()) {
        found.retain(|member| ids.contains(&member.key()));
    }
    let (found, next_token) = page(found, input.max_records, input.next_token)?;
    let details = found.into_iter().map(|member| {
        let instance = member.instance;
        AutoScalingInstanceDetails {
            instance_id: instance.instance_id,
            instance_type: instance.instance_type,
            auto_scaling_group_name: Some(member.group),
            availability_zone: instance.availability_zone,
            lifecycle_state: instance.lifecycle_state,
            health_status: instance.health_status.map(|status| status.to_uppercase()),
            launch_configuration_name: instance.launch_configuration_name,
            launch_template: instance.launch_template,
            protected_from_scale_in: instance.protected_from_scale_in,
            ..Default::default()
        }
    });
    Ok(AutoScalingInstancesType { auto_scaling_instances: Some(details.collect()), next_token })
}

pub fn set_protection(ctx: &mut Ctx<'_>, input: SetInstanceProtectionQuery) -> Result<SetInstanceProtectionAnswer> {
    let group = find_group(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    for id in input.instance_ids.unwrap_or_default() {
        let found = ctx.tx.get::<MemberRecord>(&id)?.filter(|member| member.group == group.key());
        let mut member = found.ok_or_else(|| {
            validation(format!("The instance {id} is not part of Auto Scaling group {}.", group.key()))
        })?;
        member.instance.protected_from_scale_in = Some(input.protected_from_scale_in == Some(true));
        ctx.tx.put(&member)?;
    }
    Ok(SetInstanceProtectionAnswer {})
}

/// An unhealthy instance is replaced. Within the grace period nothing is changed unless that is said.
pub fn set_health(ctx: &mut Ctx<'_>, input: SetInstanceHealthQuery) -> Result<Empty> {
    let mut member = member(ctx, input.instance_id)?;
    let status = required(input.health_status, "healthStatus")?;
    if !matches!(status.as_str(), "Healthy" | "Unhealthy") {
        return Err(validation(format!("{status} is not a valid health status: it must be Healthy or Unhealthy.")));
    }
    let group = find_group(ctx, &member.group)?;
    let respects = input.should_respect_grace_period != Some(false);
    if status == "Unhealthy" && respects && in_grace(&group, &member, ctx.platform.now_ms()) {
        return Ok(Empty {});
    }
    member.instance.health_status = Some(status);
    ctx.tx.put(&member)?;
    Ok(Empty {})
}

/// Whether the group's grace period covers the instance.
pub fn in_grace(group: &GroupRecord, member: &MemberRecord, now_ms: i64) -> bool {
    let grace_ms = i64::from(group.group.health_check_grace_period.unwrap_or(0)) * 1000;
    now_ms < member.launched_ms + grace_ms
}

/// Takes running instances that no group has into a group, whose desired capacity grows by as many.
pub fn attach(ctx: &mut Ctx<'_>, input: AttachInstancesQuery) -> Result<Empty> {
    let mut group = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let ids = input.instance_ids.unwrap_or_default();
    let wanted = group.desired() + ids.len() as i32;
    let max = group.group.max_size.unwrap_or_default();
    if wanted > max {
        return Err(validation(format!(
            "AutoScalingGroup {} has min-size={}, max-size={max}, and desired-size={}. To attach {} more instances would exceed the max-size.",
            group.key(),
            group.group.min_size.unwrap_or_default(),
            group.desired(),
            ids.len()
        )));
    }
    for id in ids {
        if ctx.tx.get::<MemberRecord>(&id)?.is_some() {
            return Err(validation(format!("Instance {id} is already part of an Auto Scaling group.")));
        }
        let found = ctx.tx.get::<InstanceRecord>(&id)?.filter(InstanceRecord::is_live);
        let instance = found.ok_or_else(|| validation(format!("Invalid Instance ID(s): [{id}] specified")))?.instance;
        let subnet = instance.subnet_id.unwrap_or_default();
        let zone = instance.placement.and_then(|placement| placement.availability_zone);
        if !group.subnets.iter().any(|known| Some(&known.zone) == zone.as_ref()) {
            return Err(validation(format!("The instance {id} is not in an Availability Zone of the group.")));
        }
        ctx.tx.put(&MemberRecord {
            instance: Instance {
                instance_id: Some(id),
                availability_zone: zone,
                health_status: Some("Healthy".into()),
                lifecycle_state: Some("InService".into()),
                instance_type: instance.instance_type,
                protected_from_scale_in: Some(group.group.new_instances_protected_from_scale_in == Some(true)),
                ..Default::default()
            },
            group: group.key(),
            subnet,
            launched_ms: ctx.platform.now_ms(),
            joins: None,
            signals: None,
            waits: Vec::new(),
            abandoned: false,
            ending: None,
            targets: Vec::new(),
        })?;
    }
    group.group.desired_capacity = Some(wanted);
    ctx.tx.put(&group)?;
    Ok(Empty {})
}

/// The instances live on without the group.
pub fn detach(ctx: &mut Ctx<'_>, input: DetachInstancesQuery) -> Result<DetachInstancesAnswer> {
    let mut group = find_active(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    let decrement = input
        .should_decrement_desired_capacity
        .ok_or_else(|| validation("ShouldDecrementDesiredCapacity must be given."))?;
    let ids = input.instance_ids.unwrap_or_default();
    let left = group.desired() - ids.len() as i32;
    if decrement && left < group.group.min_size.unwrap_or_default() {
        return Err(validation(format!(
            "AutoScalingGroup {} would go below its min-size. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
            group.key()
        )));
    }
    let mut activities = Vec::new();
    for id in ids {
        let found =
            ctx.tx.get::<MemberRecord>(&id)?.filter(|member| member.group == group.key() && !member.is_ending());
        let mut member = found.ok_or_else(|| {
            validation(format!("The instance {id} is not part of Auto Scaling group {}.", group.key()))
        })?;
        let held = member.targets.clone();
        target_group::deregister(ctx, &mut member, held)?;
        ctx.tx.delete::<MemberRecord>(&id)?;
        let cause = format!("At {} instance {id} was detached in response to a user request.", activity::now(ctx));
        activities.push(activity::detached(ctx, &group, &member, cause)?);
    }
    if decrement {
        group.group.desired_capacity = Some(left);
        ctx.tx.put(&group)?;
    }
    Ok(DetachInstancesAnswer { activities: Some(activities) })
}

fn member(ctx: &Ctx<'_>, id: Option<String>) -> Result<MemberRecord> {
    let id = required(id, "instanceId")?;
    ctx.tx
        .get::<MemberRecord>(&id)?
        .ok_or_else(|| validation(format!("Instance Id not found - No managed instance found for instance ID: {id}")))
}

/// Without lowering the desired capacity another instance takes its place.
pub fn terminate(ctx: &mut Ctx<'_>, input: TerminateInstanceInAutoScalingGroupType) -> Result<ActivityType> {
    let decrement = input
        .should_decrement_desired_capacity
        .ok_or_else(|| validation("ShouldDecrementDesiredCapacity must be given."))?;
    let member = member(ctx, input.instance_id)?;
    let id = member.key();
    if member.is_ending() {
        return Err(validation(format!("Instance {id} is already being terminated.")));
    }
    let mut group = find_active(ctx, &member.group)?;
    if decrement {
        let (min, desired) = (group.group.min_size.unwrap_or_default(), group.desired());
        if desired <= min {
            return Err(validation(format!(
                "Currently, desiredSize equals minSize ({min}). Terminating instance without replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
            )));
        }
        group.group.desired_capacity = Some(desired - 1);
        ctx.tx.put(&group)?;
    }
    let cause =
        format!("At {} instance {id} was taken out of service in response to a user request.", activity::now(ctx));
    Ok(ActivityType { activity: Some(end(ctx, &group, &member, cause)?) })
}
