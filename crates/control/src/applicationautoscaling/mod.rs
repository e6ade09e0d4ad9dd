//! Application Auto Scaling of ECS services: scalable targets, target tracking and step scaling
//! policies, scheduled actions. Other service namespaces are refused. [`act`] does what the planner in
//! `quarry_domain::scaling` decides when an alarm tells a policy; [`reconcile`] runs scheduled actions
//! and looks after activities.

mod act;
mod activity;
pub mod alarms;
mod error;
mod policy;
pub mod reconcile;
pub mod records;
mod scheduled;
mod tags;
mod target;

#[cfg(test)]
mod tests;

pub use act::{is_policy, triggered};

use crate::api::Operations;
use quarry_aws::application_autoscaling::op;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::DeleteScalingPolicy>(policy::delete);
    operations.serve::<op::DeleteScheduledAction>(scheduled::delete);
    operations.serve::<op::DeregisterScalableTarget>(target::deregister);
    operations.serve::<op::DescribeScalableTargets>(target::describe);
    operations.serve::<op::DescribeScalingActivities>(activity::describe);
    operations.serve::<op::DescribeScalingPolicies>(policy::describe);
    operations.serve::<op::DescribeScheduledActions>(scheduled::describe);
    operations.serve::<op::ListTagsForResource>(tags::list);
    operations.serve::<op::PutScalingPolicy>(policy::put);
    operations.serve::<op::PutScheduledAction>(scheduled::put);
    operations.serve::<op::RegisterScalableTarget>(target::register);
    operations.serve::<op::TagResource>(tags::tag);
    operations.serve::<op::UntagResource>(tags::untag);
}
