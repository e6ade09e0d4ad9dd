//! Amazon EC2 Auto Scaling: launch configurations and groups, whose instances become ECS container
//! instances. The operations only record what is wanted; [`reconcile`] launches and terminates.
//!
//! An instance's user data is not run. One setting is read from it: a line that contains
//! `ECS_CLUSTER=<name>`, as in `echo ECS_CLUSTER=demo >> /etc/ecs/ecs.config`, names the cluster
//! that the instance joins; it may also be in what a `cfn-init` there reads, the metadata of a stack's
//! resource. An instance without it joins none.

mod account;
mod activity;
mod error;
mod group;
mod instance;
mod launch_configuration;
mod lifecycle;
mod plan;
pub mod policy;
mod process;
pub mod reconcile;
pub mod records;
mod scheduled;
mod source;
mod tags;
mod target_group;
pub mod user_data;

#[cfg(test)]
mod tests;

use crate::api::{Ctx, Operations, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::autoscaling::op::*;
use std::collections::HashMap;

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
    operations.serve::<SetInstanceHealth>(instance::set_health);
    operations.serve::<AttachInstances>(instance::attach);
    operations.serve::<DetachInstances>(instance::detach);
    operations.serve::<PutScalingPolicy>(policy::put);
    operations.serve::<DescribePolicies>(policy::describe);
    operations.serve::<DeletePolicy>(policy::delete);
    operations.serve::<PutLifecycleHook>(lifecycle::put);
    operations.serve::<DescribeLifecycleHooks>(lifecycle::describe);
    operations.serve::<DeleteLifecycleHook>(lifecycle::delete);
    operations.serve::<CompleteLifecycleAction>(lifecycle::complete);
    operations.serve::<RecordLifecycleActionHeartbeat>(lifecycle::heartbeat);
    operations.serve::<SuspendProcesses>(process::suspend);
    operations.serve::<ResumeProcesses>(process::resume);
    operations.serve::<PutScheduledUpdateGroupAction>(scheduled::put);
    operations.serve::<DescribeScheduledActions>(scheduled::describe);
    operations.serve::<DeleteScheduledAction>(scheduled::delete);
    operations.serve::<AttachLoadBalancerTargetGroups>(target_group::attach);
    operations.serve::<DetachLoadBalancerTargetGroups>(target_group::detach);
    operations.serve::<DescribeLoadBalancerTargetGroups>(target_group::describe);
    operations.serve::<DescribeTrafficSources>(target_group::describe_traffic_sources);
    operations.serve::<DescribeLoadBalancers>(target_group::describe_classic);
    operations.serve::<DescribeAccountLimits>(account::limits);
    operations.serve::<DescribeNotificationConfigurations>(account::notifications);
    operations.serve::<DescribeWarmPool>(account::warm_pool);
    operations.serve::<DescribeScalingActivities>(activity::describe);
    operations.serve::<CreateOrUpdateTags>(tags::create_or_update);
    operations.serve::<DeleteTags>(tags::delete);
    operations.serve::<DescribeTags>(tags::describe);
}

/// The type of the instances that a group launches now.
pub fn instance_type(ctx: &mut Ctx<'_>, group: &str) -> Result<String> {
    let group = records::find_group(ctx, group)?;
    Ok(source::source(ctx, &group)?.instance_type)
}

/// The names of the groups of all their instances, by instance id.
pub fn groups_of_instances(tx: &Tx<'_>) -> Result<HashMap<String, String>, StoreError> {
    Ok(tx.all::<records::MemberRecord>()?.into_iter().map(|member| (member.key(), member.group)).collect())
}
