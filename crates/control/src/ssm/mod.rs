//! Systems Manager's Parameter Store: the account's parameters and the public ones that templates use.

mod delete_parameter;
mod describe_parameters;
mod filters;
mod get_parameter;
mod get_parameter_history;
mod get_parameters;
mod get_parameters_by_path;
mod parameters;
pub mod public;
mod put_parameter;
mod records;
mod tags;

#[cfg(test)]
mod tests;

pub use parameters::{plain_name, read_for_task};

use crate::api::Operations;
use quarry_aws::ssm::op;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::AddTagsToResource>(tags::add);
    operations.serve::<op::DeleteParameter>(delete_parameter::handle);
    operations.serve::<op::DeleteParameters>(delete_parameter::handle_many);
    operations.serve::<op::DescribeParameters>(describe_parameters::handle);
    operations.serve::<op::GetParameter>(get_parameter::handle);
    operations.serve::<op::GetParameterHistory>(get_parameter_history::handle);
    operations.serve::<op::GetParameters>(get_parameters::handle);
    operations.serve::<op::GetParametersByPath>(get_parameters_by_path::handle);
    operations.serve::<op::ListTagsForResource>(tags::list);
    operations.serve::<op::PutParameter>(put_parameter::handle);
    operations.serve::<op::RemoveTagsFromResource>(tags::remove);
}
