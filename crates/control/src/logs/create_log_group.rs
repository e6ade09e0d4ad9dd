//! CreateLogGroup.

use super::records::LogGroup;
use super::{find, tags};
use crate::api::{Ctx, Result};
use quarry_aws::logs::{CreateLogGroupRequest, error};
use quarry_wire::Empty;

pub fn handle(ctx: &mut Ctx<'_>, input: CreateLogGroupRequest) -> Result<Empty> {
    let name = find::group_name(input.log_group_name.as_deref())?;
    if input.kms_key_id.is_some() || input.deletion_protection_enabled == Some(true) {
        return Err(error::invalid_parameter_exception(
            "kmsKeyId and deletionProtectionEnabled are not supported here.",
        ));
    }
    if !matches!(input.log_group_class.as_deref(), None | Some("STANDARD")) {
        return Err(error::invalid_parameter_exception("Only the log group class STANDARD is supported here."));
    }
    if ctx.tx.get::<LogGroup>(name)?.is_some() {
        return Err(error::resource_already_exists_exception("The specified log group already exists"));
    }
    let created_ms = ctx.platform.now_ms();
    let tags = tags::check(input.tags)?;
    ctx.tx.put(&LogGroup { name: name.to_owned(), created_ms, retention_days: None, tags })?;
    Ok(Empty {})
}
