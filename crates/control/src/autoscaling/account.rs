//! What an account has by default: limits, and the lists that are always empty.

use super::error::required;
use super::records::{GroupRecord, LaunchConfigurationRecord, find_group};
use crate::api::{Ctx, Result};
use quarry_aws::autoscaling::{
    DescribeAccountLimitsAnswer, DescribeNotificationConfigurationsAnswer, DescribeNotificationConfigurationsType,
    DescribeWarmPoolAnswer, DescribeWarmPoolType,
};
use quarry_wire::Empty;

pub fn limits(ctx: &mut Ctx<'_>, _input: Empty) -> Result<DescribeAccountLimitsAnswer> {
    Ok(DescribeAccountLimitsAnswer {
        max_number_of_auto_scaling_groups: Some(500),
        max_number_of_launch_configurations: Some(200),
        number_of_auto_scaling_groups: Some(ctx.tx.all::<GroupRecord>()?.len() as i32),
        number_of_launch_configurations: Some(ctx.tx.all::<LaunchConfigurationRecord>()?.len() as i32),
    })
}

/// No group notifies: notifications go to topics, which there are none of.
pub fn notifications(
    ctx: &mut Ctx<'_>,
    input: DescribeNotificationConfigurationsType,
) -> Result<DescribeNotificationConfigurationsAnswer> {
    for name in input.auto_scaling_group_names.iter().flatten() {
        find_group(ctx, name)?;
    }
    Ok(DescribeNotificationConfigurationsAnswer { notification_configurations: Some(Vec::new()), next_token: None })
}

/// No group has a warm pool.
pub fn warm_pool(ctx: &mut Ctx<'_>, input: DescribeWarmPoolType) -> Result<DescribeWarmPoolAnswer> {
    find_group(ctx, &required(input.auto_scaling_group_name, "autoScalingGroupName")?)?;
    Ok(DescribeWarmPoolAnswer { instances: Some(Vec::new()), ..Default::default() })
}
