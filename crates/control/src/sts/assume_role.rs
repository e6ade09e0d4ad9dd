//! `AssumeRole`: of a role of the account whose trust policy lets the caller in.

use super::{issue, trust};
use crate::api::{Ctx, Result};
use quarry_aws::iam;
use quarry_aws::sts::{AssumeRoleRequest, AssumeRoleResponse, AssumedRoleUser, Credentials};
use quarry_domain::arn::{resource_part, short_name};
use quarry_wire::{ServiceError, Timestamp};

pub fn handle(ctx: &mut Ctx<'_>, input: AssumeRoleRequest) -> Result<AssumeRoleResponse> {
    let role_arn = input.role_arn.ok_or_else(|| validation("Value null at 'roleArn' must not be null"))?;
    if !role_arn.starts_with("arn:aws:iam::") || !resource_part(&role_arn).starts_with("role/") {
        return Err(validation(format!("{role_arn} is invalid")));
    }
    let session_name =
        input.role_session_name.ok_or_else(|| validation("Value null at 'roleSessionName' must not be null"))?;
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    if !(2..=64).contains(&session_name.len()) || !session_name.bytes().all(valid) {
        return Err(validation(format!(
            r"1 validation error detected: Value '{session_name}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*"
        )));
    }
    if input.policy.is_some() || input.policy_arns.is_some_and(|arns| !arns.is_empty()) {
        return Err(validation("Session policies are not supported here, as they would not be enforced"));
    }
    if input.serial_number.is_some() || input.token_code.is_some() {
        return Err(ServiceError::new(
            "AccessDenied",
            "MultiFactorAuthentication failed, no device is known here",
            403,
        ));
    }
    let seconds = input.duration_seconds.unwrap_or(3600);
    if !(900..=43_200).contains(&seconds) {
        return Err(validation(format!(
            "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value from 900 to 43200"
        )));
    }
    let denied = |ctx: &Ctx<'_>| {
        let caller = &ctx.caller.arn;
        let message = format!("User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role_arn}");
        ServiceError::new("AccessDenied", message, 403)
    };
    let wanted = iam::GetRoleRequest { role_name: Some(short_name(&role_arn).to_owned()) };
    // A role that is not there is refused like one that is not open to the caller.
    let role = match ctx.invoke::<iam::op::GetRole>(wanted) {
        Ok(output) => output.role.unwrap_or_default(),
        Err(error) if error.status < 500 => return Err(denied(ctx)),
        Err(error) => return Err(error),
    };
    if role.arn.as_ref() != Some(&role_arn) {
        return Err(denied(ctx));
    }
    let policy = role.assume_role_policy_document.clone().unwrap_or_default();
    let account = &ctx.platform.place().account;
    if !trust::allows(&policy, account, &ctx.caller.arn, input.external_id.as_deref()) {
        return Err(denied(ctx));
    }
    if seconds > role.max_session_duration.unwrap_or(3600) {
        return Err(validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    let session = issue(ctx, &role, &session_name, i64::from(seconds))?;
    Ok(AssumeRoleResponse {
        credentials: Some(Credentials {
            access_key_id: Some(session.access_key_id),
            secret_access_key: Some(session.secret_access_key),
            session_token: Some(session.session_token),
            expiration: Some(Timestamp::from_millis(session.expires_at_ms)),
        }),
        assumed_role_user: Some(AssumedRoleUser { assumed_role_id: Some(session.user_id), arn: Some(session.arn) }),
        ..Default::default()
    })
}

fn validation(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ValidationError", message, 400)
}
