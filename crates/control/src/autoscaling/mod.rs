//! Amazon EC2 Auto Scaling: launch configurations and groups, whose instances become ECS container
//! instances. The operations only record what is wanted; [`reconcile`] launches and terminates.
//!
//! An instance's user data is not run. One setting is read from it: a line that contains
//! `ECS_CLUSTER=<name>`, as in `echo ECS_CLUSTER=demo >> /etc/ecs/ecs.config`, names the cluster
//! that the instance joins. An instance without it joins none.

mod activity;
mod error;
mod group;
mod instance;
mod launch_configuration;
mod plan;
pub mod reconcile;
mod records;
mod tags;
pub mod user_data;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use quarry_aws::autoscaling::op::*;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<CreateLaunchConfiguration>(launch_configuration::create);
    operations.serve::<DescribeLaunchConfigurations>(launch_configuration::describe);
    operations.serve::<DeleteLaunchConfiguration>(launch_configuration::delete);
    operations.serve::<CreateAutoScalingGroup>(group::create);
    operations.serve::<UpdateAutoScalingGroup>(group::update);
    operations.serve::<DescribeAutoScalingGroups>(group::describe);
    operations.serve::<DeleteAutoScalingGroup>(group::delete);
    operations.serve::<SetDesiredCapacity>(group::set_desired_capacity);
    operations.serve::<DescribeAutoScalingInstances>(instance::describe);
    operations.serve::<SetInstanceProtection>(instance::set_protection);
    operations.serve::<TerminateInstanceInAutoScalingGroup>(instance::terminate);
    operations.serve::<DescribeScalingActivities>(activity::describe);
    operations.serve::<CreateOrUpdateTags>(tags::create_or_update);
    operations.serve::<DeleteTags>(tags::delete);
    operations.serve::<DescribeTags>(tags::describe);
}
