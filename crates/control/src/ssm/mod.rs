//! Systems Manager's Parameter Store: the account's parameters and the public ones that templates use.

mod delete_parameter;
mod describe_parameters;
mod get_parameter;
mod get_parameters;
mod get_parameters_by_path;
mod parameters;
pub mod public;
mod put_parameter;
mod records;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use quarry_aws::ssm::op;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::DeleteParameter>(delete_parameter::handle);
    operations.serve::<op::DescribeParameters>(describe_parameters::handle);
    operations.serve::<op::GetParameter>(get_parameter::handle);
    operations.serve::<op::GetParameters>(get_parameters::handle);
    operations.serve::<op::GetParametersByPath>(get_parameters_by_path::handle);
    operations.serve::<op::PutParameter>(put_parameter::handle);
}
