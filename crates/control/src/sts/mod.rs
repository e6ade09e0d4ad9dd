//! The Security Token Service: who is calling, and temporary credentials of a role.

mod assume_role;
mod get_caller_identity;
pub mod sessions;

#[cfg(test)]
mod tests;

use crate::api::{Ctx, Operations, Result};
use crate::authorization::{self, Acting, Who};
use crate::iam as records;
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use percent_encoding::percent_decode_str;
use quarry_aws::iam;
use quarry_aws::sts::op;
use quarry_domain::arn::short_name;
use quarry_wire::ServiceError;
use std::borrow::Cow;
use std::collections::BTreeMap;

pub use sessions::{Bounds, Session, issue};

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
    // A role may also be named without its ARN.
    let same = !role_arn.starts_with("arn:") || role.arn.as_deref() == Some(role_arn);
    let allowed = authorization::service_may_assume(ctx.platform, service, role_arn, &plain(&policy), source_arn);
    Ok(same && allowed)
}

/// A session of a role that a service acts with, which has no credentials. A role that is gone is an error.
pub fn acting(platform: &Platform, tx: &Tx<'_>, role: &str, session_name: &str) -> Result<Acting> {
    let name = short_name(role);
    let known = records::policies_of_role(tx, name)?;
    let known =
        known.ok_or_else(|| ServiceError::new("AccessDenied", format!("Role {role} cannot be assumed"), 403))?;
    Ok(Acting {
        arn: platform.place().global_arn("sts", format_args!("assumed-role/{name}/{session_name}")),
        user_id: format!("{}:{session_name}", known.id),
        who: Who::Role(name.to_owned()),
        issued_ms: 0,
        session: None,
        tags: BTreeMap::new(),
    })
}

/// A trust policy as IAM shows it, without its percent-encoding.
fn plain(policy: &str) -> Cow<'_, str> {
    match policy.starts_with('%') {
        true => percent_decode_str(policy).decode_utf8_lossy(),
        false => Cow::Borrowed(policy),
    }
}
