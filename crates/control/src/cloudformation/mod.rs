//! CloudFormation: templates ([`template`], pure), resource types ([`resource`]), the planner
//! ([`plan`], pure), the reconciler that carries stacks out, and the operations, one file each.

pub mod carry;
pub mod changes;
pub mod decide;
pub mod drift;
pub mod duration;
pub mod dynamic;
pub mod events;
pub mod exists;
pub mod intake;
pub mod plan;
pub mod policy;
pub mod reconcile;
pub mod records;
pub mod resource;
pub mod template;
pub mod updating;
pub mod view;
pub mod wait;
pub mod world;

mod cancel_update_stack;
mod change_set;
mod continue_update_rollback;
mod create_change_set;
mod create_stack;
mod delete_change_set;
mod delete_stack;
mod describe_change_set;
mod describe_stack_drift_detection_status;
mod describe_stack_events;
mod describe_stack_resource;
mod describe_stack_resource_drifts;
mod describe_stack_resources;
mod describe_stacks;
mod detect_stack_drift;
mod detect_stack_resource_drift;
mod execute_change_set;
mod get_stack_policy;
mod get_template;
mod get_template_summary;
mod list_change_sets;
mod list_exports;
mod list_imports;
mod list_stack_resources;
mod list_stacks;
mod page;
mod rollback_stack;
mod set_stack_policy;
mod show;
mod signal_resource;
mod update_stack;
mod update_termination_protection;
mod validate_template;

use crate::api::Operations;
use quarry_aws::cloudformation::op;

/// Serves the operations.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::CancelUpdateStack>(cancel_update_stack::handle);
    operations.serve::<op::ContinueUpdateRollback>(continue_update_rollback::handle);
    operations.serve::<op::CreateChangeSet>(create_change_set::handle);
    operations.serve::<op::CreateStack>(create_stack::handle);
    operations.serve::<op::DeleteChangeSet>(delete_change_set::handle);
    operations.serve::<op::DeleteStack>(delete_stack::handle);
    operations.serve::<op::DescribeChangeSet>(describe_change_set::handle);
    operations.serve::<op::DescribeStackDriftDetectionStatus>(describe_stack_drift_detection_status::handle);
    operations.serve::<op::DescribeStackEvents>(describe_stack_events::handle);
    operations.serve::<op::DescribeStackResource>(describe_stack_resource::handle);
    operations.serve::<op::DescribeStackResourceDrifts>(describe_stack_resource_drifts::handle);
    operations.serve::<op::DescribeStackResources>(describe_stack_resources::handle);
    operations.serve::<op::DescribeStacks>(describe_stacks::handle);
    operations.serve::<op::DetectStackDrift>(detect_stack_drift::handle);
    operations.serve::<op::DetectStackResourceDrift>(detect_stack_resource_drift::handle);
    operations.serve::<op::ExecuteChangeSet>(execute_change_set::handle);
    operations.serve::<op::GetStackPolicy>(get_stack_policy::handle);
    operations.serve::<op::GetTemplate>(get_template::handle);
    operations.serve::<op::GetTemplateSummary>(get_template_summary::handle);
    operations.serve::<op::ListChangeSets>(list_change_sets::handle);
    operations.serve::<op::ListExports>(list_exports::handle);
    operations.serve::<op::ListImports>(list_imports::handle);
    operations.serve::<op::ListStackResources>(list_stack_resources::handle);
    operations.serve::<op::ListStacks>(list_stacks::handle);
    operations.serve::<op::RollbackStack>(rollback_stack::handle);
    operations.serve::<op::SetStackPolicy>(set_stack_policy::handle);
    operations.serve::<op::SignalResource>(signal_resource::handle);
    operations.serve::<op::UpdateStack>(update_stack::handle);
    operations.serve::<op::UpdateTerminationProtection>(update_termination_protection::handle);
    operations.serve::<op::ValidateTemplate>(validate_template::handle);
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod tests_drift;

#[cfg(test)]
mod tests_identity;

#[cfg(test)]
mod tests_real;

#[cfg(test)]
mod tests_update;

#[cfg(test)]
mod tests_rollback;
#[cfg(test)]
mod tests_wait;
