//! The Security Token Service: who is calling, and temporary credentials of a role.

mod assume_role;
mod get_caller_identity;
pub mod sessions;
mod trust;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use crate::store::{StoreError, Tx};
use quarry_aws::sts::op;

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
