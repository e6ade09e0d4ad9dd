//! Launch configurations: what a group's instances are launched from. They never change.

use super::error::{page, required, validation};
use super::records::{GroupRecord, LaunchConfigurationRecord};
use super::user_data;
use crate::api::{Ctx, Result};
use crate::ec2;
use crate::store::Item;
use quarry_aws::autoscaling::{
    CreateLaunchConfigurationType, InstanceMonitoring, LaunchConfiguration, LaunchConfigurationNameType,
    LaunchConfigurationNamesType, LaunchConfigurationsType, error,
};
use quarry_aws::iam::GetInstanceProfileRequest;
use quarry_aws::iam::op::GetInstanceProfile;
use quarry_domain::arn;
use quarry_wire::{Empty, Timestamp};

pub fn find(ctx: &Ctx<'_>, name: &str) -> Result<LaunchConfigurationRecord> {
    ctx.tx.get::<LaunchConfigurationRecord>(name)?.ok_or_else(|| {
        validation(format!("Launch configuration name not found - Launch configuration {name} not found"))
    })
}

/// ARN of the instance profile that a name or an ARN stands for.
pub fn profile_arn(ctx: &mut Ctx<'_>, name_or_arn: &str) -> Result<String> {
    let input = GetInstanceProfileRequest { instance_profile_name: Some(arn::short_name(name_or_arn).to_owned()) };
    let found = ctx.invoke::<GetInstanceProfile>(input).ok().and_then(|output| output.instance_profile?.arn);
    found.ok_or_else(|| validation(format!("Invalid IamInstanceProfile: {name_or_arn}")))
}

pub fn create(ctx: &mut Ctx<'_>, input: CreateLaunchConfigurationType) -> Result<Empty> {
    let name = required(input.launch_configuration_name, "launchConfigurationName")?;
    if ctx.tx.get::<LaunchConfigurationRecord>(&name)?.is_some() {
        return Err(error::already_exists_fault(format!(
            "Launch Configuration by this name already exists - A launch configuration already exists with the name {name}"
        )));
    }
    if input.instance_id.is_some() || input.spot_price.is_some() || input.classic_link_vpc_id.is_some() {
        return Err(validation("InstanceId, SpotPrice and ClassicLinkVPCId are not supported."));
    }
    let image = input.image_id.filter(|id| !id.is_empty()).ok_or_else(|| validation("Valid requests must contain either the InstanceID parameter or both the ImageId and InstanceType parameters."))?;
    if !image.starts_with("ami-") {
        return Err(validation(format!("Invalid id: \"{image}\" (expecting \"ami-...\")")));
    }
    let kind = required(input.instance_type, "instanceType")?;
    ec2::instance::size(&kind).map_err(|_| validation(format!("Invalid or unsupported instance type: {kind}")))?;
    if let Some(encoded) = &input.user_data {
        user_data::decode(encoded).ok_or_else(|| validation("Invalid BASE64 encoding of user data."))?;
    }
    if let Some(profile) = &input.iam_instance_profile {
        profile_arn(ctx, profile)?;
    }
    let place = ctx.platform.place();
    let id = ctx.platform.door.uuid();
    let arn = place.arn("autoscaling", format_args!("launchConfiguration:{id}:launchConfigurationName/{name}"));
    let configuration = LaunchConfiguration {
        launch_configuration_arn: Some(arn),
        launch_configuration_name: Some(name),
        created_time: Some(Timestamp::from_millis(ctx.platform.now_ms())),
        image_id: Some(image),
        instance_type: Some(kind),
        key_name: Some(input.key_name.unwrap_or_default()),
        kernel_id: Some(input.kernel_id.unwrap_or_default()),
        ramdisk_id: Some(input.ramdisk_id.unwrap_or_default()),
        user_data: Some(input.user_data.unwrap_or_default()),
        security_groups: Some(input.security_groups.unwrap_or_default()),
        classic_link_vpc_security_groups: Some(Vec::new()),
        block_device_mappings: Some(input.block_device_mappings.unwrap_or_default()),
        instance_monitoring: Some(input.instance_monitoring.unwrap_or(InstanceMonitoring { enabled: Some(true) })),
        ebs_optimized: Some(input.ebs_optimized.unwrap_or(false)),
        iam_instance_profile: input.iam_instance_profile,
        associate_public_ip_address: input.associate_public_ip_address,
        placement_tenancy: input.placement_tenancy,
        metadata_options: input.metadata_options,
        ..Default::default()
    };
    ctx.tx.put(&LaunchConfigurationRecord { configuration })?;
    Ok(Empty {})
}

/// Unknown names are left out, as on AWS.
pub fn describe(ctx: &mut Ctx<'_>, input: LaunchConfigurationNamesType) -> Result<LaunchConfigurationsType> {
    let mut found = ctx.tx.all::<LaunchConfigurationRecord>()?;
    if let Some(names) = input.launch_configuration_names.filter(|names| !names.is_empty()) {
        found.retain(|record| names.contains(&record.key()));
    }
    let (found, next_token) = page(found, input.max_records, input.next_token)?;
    let launch_configurations = Some(found.into_iter().map(|record| record.configuration).collect());
    Ok(LaunchConfigurationsType { launch_configurations, next_token })
}

pub fn delete(ctx: &mut Ctx<'_>, input: LaunchConfigurationNameType) -> Result<Empty> {
    let name = required(input.launch_configuration_name, "launchConfigurationName")?;
    find(ctx, &name)?;
    let groups = ctx.tx.all::<GroupRecord>()?;
    let user = groups.iter().find(|group| group.group.launch_configuration_name.as_ref() == Some(&name));
    if let Some(group) = user {
        return Err(error::resource_in_use_fault(format!(
            "Cannot delete launch configuration {name} because it is attached to AutoScalingGroup {}",
            group.key()
        )));
    }
    ctx.tx.delete::<LaunchConfigurationRecord>(&name)?;
    Ok(Empty {})
}
