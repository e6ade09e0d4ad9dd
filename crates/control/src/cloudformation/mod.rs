//! CloudFormation: templates ([`template`], pure), resource types ([`resource`]), the planner
//! ([`plan`], pure), the reconciler that carries stacks out, and the operations, one file each.

pub mod duration;
pub mod events;
pub mod intake;
pub mod plan;
pub mod reconcile;
pub mod records;
pub mod resource;
pub mod template;
pub mod world;

mod change_set;
mod create_change_set;
mod create_stack;
mod delete_change_set;
mod delete_stack;
mod describe_change_set;
mod describe_stack_events;
mod describe_stack_resource;
mod describe_stack_resources;
mod describe_stacks;
mod execute_change_set;
mod get_template;
mod get_template_summary;
mod list_change_sets;
mod list_exports;
mod list_imports;
mod list_stack_resources;
mod list_stacks;
mod page;
mod show;
mod signal_resource;
mod validate_template;

use crate::api::Operations;
use quarry_aws::cloudformation::op;

/// Serves the operations.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::CreateChangeSet>(create_change_set::handle);
    operations.serve::<op::CreateStack>(create_stack::handle);
    operations.serve::<op::DeleteChangeSet>(delete_change_set::handle);
    operations.serve::<op::DeleteStack>(delete_stack::handle);
    operations.serve::<op::DescribeChangeSet>(describe_change_set::handle);
    operations.serve::<op::DescribeStackEvents>(describe_stack_events::handle);
    operations.serve::<op::DescribeStackResource>(describe_stack_resource::handle);
    operations.serve::<op::DescribeStackResources>(describe_stack_resources::handle);
    operations.serve::<op::DescribeStacks>(describe_stacks::handle);
    operations.serve::<op::ExecuteChangeSet>(execute_change_set::handle);
    operations.serve::<op::GetTemplate>(get_template::handle);
    operations.serve::<op::GetTemplateSummary>(get_template_summary::handle);
    operations.serve::<op::ListChangeSets>(list_change_sets::handle);
    operations.serve::<op::ListExports>(list_exports::handle);
    operations.serve::<op::ListImports>(list_imports::handle);
    operations.serve::<op::ListStackResources>(list_stack_resources::handle);
    operations.serve::<op::ListStacks>(list_stacks::handle);
    operations.serve::<op::SignalResource>(signal_resource::handle);
    operations.serve::<op::ValidateTemplate>(validate_template::handle);
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod tests_real;
