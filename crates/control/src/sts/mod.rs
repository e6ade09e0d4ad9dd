//! The Security Token Service: who is calling, and temporary credentials of a role.

mod assume_role;
mod get_caller_identity;
pub mod sessions;
mod trust;

#[cfg(test)]
mod tests;

use crate::api::{Ctx, Operations, Result};
use crate::store::{StoreError, Tx};
use quarry_aws::iam;
use quarry_aws::sts::op;
use quarry_domain::arn::short_name;

pub use sessions::{Session, issue};

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::AssumeRole>(assume_role::handle);
    operations.serve::<op::GetCallerIdentity>(get_caller_identity::handle);
}

/// The temporary credentials with this access key id, expired or not; the caller looks at
/// `expires_at_ms`.
pub fn credentials(tx: &Tx<'_>, access_key_id: &str) -> Result<Option<Session>, StoreError> {
    tx.get(access_key_id)
}

/// Whether a role is there and its trust policy lets an AWS service assume it for a resource.
pub fn service_may_assume(ctx: &mut Ctx<'_>, role_arn: &str, service: &str, source_arn: &str) -> Result<bool> {
    let wanted = iam::GetRoleRequest { role_name: Some(short_name(role_arn).to_owned()) };
    let role = match ctx.invoke::<iam::op::GetRole>(wanted) {
        Ok(output) => output.role.unwrap_or_default(),
        Err(error) if error.status < 500 => return Ok(false),
        Err(error) => return Err(error),
    };
    let policy = role.assume_role_policy_document.unwrap_or_default();
    let account = &ctx.platform.place().account;
    // A role may also be named without its ARN.
    let same = !role_arn.starts_with("arn:") || role.arn.as_deref() == Some(role_arn);
    Ok(same && trust::allows_service(&policy, service, account, source_arn))
}
