//! The instances of groups: launched into a subnet, terminated, shown, protected.

use super::activity::{self, Change};
use super::error::{page, required, validation};
use super::launch_configuration::{self, profile_arn};
use super::records::{GroupRecord, MemberRecord, SubnetRef, find_active, find_group};
use super::user_data;
use crate::api::{Ctx, Result};
use crate::ec2::{self, instance::Launch};
use crate::ecs;
use crate::store::Item;
use quarry_aws::autoscaling::{
    Activity, ActivityType, AutoScalingInstanceDetails, AutoScalingInstancesType, DescribeAutoScalingInstancesType,
    Instance, SetInstanceProtectionAnswer, SetInstanceProtectionQuery, TerminateInstanceInAutoScalingGroupType,
};
use quarry_aws::ec2::Tag;

/// Launches one instance of a group and records it with its activity.
pub fn launch(ctx: &mut Ctx<'_>, group: &GroupRecord, subnet: &SubnetRef, change: Change) -> Result<()> {
    let configuration = launch_configuration::find(ctx, group.launch_configuration())?.configuration;
    let profile = configuration.iam_instance_profile.as_deref();
    let profile = profile.map(|name| profile_arn(ctx, name)).transpose()?;
    let name = group.key();
    let propagated = group.group.tags.iter().flatten().filter(|tag| tag.propagate_at_launch == Some(true));
    let mut tags: Vec<Tag> = propagated.map(|t| Tag { key: t.key.clone(), value: t.value.clone() }).collect();
    tags.push(Tag { key: Some("aws:autoscaling:groupName".into()), value: Some(name.clone()) });
    let launched = ec2::instance::launch(
        ctx,
        Launch {
            image_id: configuration.image_id.as_deref().unwrap_or_default(),
            instance_type: configuration.instance_type.as_deref().unwrap_or_default(),
            subnet: &subnet.id,
            security_groups: configuration.security_groups.as_deref().unwrap_or_default(),
            profile,
            key_name: configuration.key_name.clone().filter(|key| !key.is_empty()),
            user_data: configuration.user_data.clone().filter(|data| !data.is_empty()),
            tags,
        },
    )?;
    let id = launched.instance_id.unwrap_or_default();
    let text = configuration.user_data.as_deref().and_then(user_data::decode).unwrap_or_default();
    ctx.tx.put(&MemberRecord {
        instance: Instance {
            instance_id: Some(id.clone()),
            availability_zone: Some(subnet.zone.clone()),
            health_status: Some("Healthy".into()),
            lifecycle_state: Some("InService".into()),
            launch_configuration_name: configuration.launch_configuration_name,
            instance_type: configuration.instance_type,
            protected_from_scale_in: Some(group.group.new_instances_protected_from_scale_in == Some(true)),
            ..Default::default()
        },
        group: name,
        subnet: subnet.id.clone(),
        launched_ms: ctx.platform.now_ms(),
        joins: user_data::cluster(&text),
        signals: group.stack_resource(),
    })?;
    activity::launched(ctx, group, &id, subnet, change)
}

/// Takes an instance out of its cluster, terminates it and records the activity.
pub fn end(ctx: &mut Ctx<'_>, group: &GroupRecord, member: &MemberRecord, cause: String) -> Result<Activity> {
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

/// Without lowering the desired capacity another instance takes its place.
pub fn terminate(ctx: &mut Ctx<'_>, input: TerminateInstanceInAutoScalingGroupType) -> Result<ActivityType> {
    let id = required(input.instance_id, "instanceId")?;
    let decrement = input
        .should_decrement_desired_capacity
        .ok_or_else(|| validation("ShouldDecrementDesiredCapacity must be given."))?;
    let member = ctx.tx.get::<MemberRecord>(&id)?.ok_or_else(|| {
        validation(format!("Instance Id not found - No managed instance found for instance ID: {id}"))
    })?;
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
