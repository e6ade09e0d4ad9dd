//! Secrets Manager: secrets, their versions and staging labels. Values are sealed by the
//! [vault](crate::vault); nothing here prints or logs them. What is not served is refused: rotation
//! by Lambda, replicas in other regions, keys other than the service's own.

mod find;
mod lifecycle;
mod listing;
mod password;
mod policy;
pub mod purge;
pub mod records;
mod tags;
mod versions;

#[cfg(test)]
mod tests;

pub use find::arn_of;
pub use versions::read_for_task;

use crate::api::Operations;
use quarry_aws::secretsmanager::op;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::BatchGetSecretValue>(listing::batch_get);
    operations.serve::<op::CreateSecret>(lifecycle::create);
    operations.serve::<op::DeleteResourcePolicy>(policy::delete);
    operations.serve::<op::DeleteSecret>(lifecycle::delete);
    operations.serve::<op::DescribeSecret>(lifecycle::describe);
    operations.serve::<op::GetRandomPassword>(password::get);
    operations.serve::<op::GetResourcePolicy>(policy::get);
    operations.serve::<op::GetSecretValue>(versions::get);
    operations.serve::<op::ListSecretVersionIds>(versions::list);
    operations.serve::<op::ListSecrets>(listing::list);
    operations.serve::<op::PutResourcePolicy>(policy::put);
    operations.serve::<op::PutSecretValue>(versions::put);
    operations.serve::<op::RestoreSecret>(lifecycle::restore);
    operations.serve::<op::TagResource>(tags::tag);
    operations.serve::<op::UntagResource>(tags::untag);
    operations.serve::<op::UpdateSecret>(lifecycle::update);
    operations.serve::<op::UpdateSecretVersionStage>(versions::update_stage);
    operations.serve::<op::ValidateResourcePolicy>(policy::validate);
}
