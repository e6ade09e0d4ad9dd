//! `AssumeRole`: of a role of the account whose trust policy lets the caller in.

use super::{Bounds, issue};
use crate::api::{Ctx, Result};
use crate::authorization::{self, SessionPolicies};
use crate::iam::document::{self, Use};
use quarry_aws::iam;
use quarry_aws::sts::{AssumeRoleRequest, AssumeRoleResponse, AssumedRoleUser, Credentials, PolicyDescriptorType, Tag};
use quarry_domain::arn::{resource_part, short_name};
use quarry_domain::policy::Decision;
use quarry_wire::{ServiceError, Timestamp};
use std::collections::BTreeMap;

/// Of a session policy.
const CHARACTERS: usize = 2048;

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
    let given = |list: bool, what: &str| match list {
        true => Err(validation(format!("{what} is not supported here"))),
        false => Ok(()),
    };
    given(input.source_identity.is_some(), "SourceIdentity")?;
    given(input.transitive_tag_keys.is_some_and(|keys| !keys.is_empty()), "TransitiveTagKeys")?;
    given(input.provided_contexts.is_some_and(|contexts| !contexts.is_empty()), "ProvidedContexts")?;
    let policies = session_policies(ctx, input.policy, input.policy_arns)?;
    let tags = session_tags(input.tags)?;
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
    if ctx.caller.acting.as_ref().is_some_and(|acting| acting.role().is_some()) && seconds > 3600 {
        return Err(validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
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
    let mut keys = vec![("sts:rolesessionname", session_name.clone())];
    keys.extend(input.external_id.map(|id| ("sts:externalid", id)));
    let caller = ctx.caller.acting.as_ref();
    for action in [Some("sts:AssumeRole"), (!tags.is_empty()).then_some("sts:TagSession")].into_iter().flatten() {
        let asked = authorization::Assumed {
            action,
            role_arn: &role_arn,
            trust: &super::plain(&policy),
            keys: &keys,
            tags: &tags,
        };
        match authorization::may_assume(ctx.platform, ctx.tx, caller, &asked)? {
            Decision::Allowed => {}
            Decision::Denied(_) if caller.is_none() => return Err(denied(ctx)),
            Decision::Denied(denial) => {
                let asked = authorization::Asked::new(action, &role_arn);
                let message = authorization::message(&ctx.caller.arn, &asked, denial);
                return Err(ServiceError::new("AccessDenied", message, 403));
            }
        }
    }
    if seconds > role.max_session_duration.unwrap_or(3600) {
        return Err(validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    let packed = policies.as_ref().and_then(|policies| policies.inline.as_ref()).map(|text| text.len());
    let session = issue(ctx, &role, &session_name, i64::from(seconds), Bounds { policies, tags })?;
    Ok(AssumeRoleResponse {
        credentials: Some(Credentials {
            access_key_id: Some(session.access_key_id),
            secret_access_key: Some(session.secret_access_key),
            session_token: Some(session.session_token),
            expiration: Some(Timestamp::from_millis(session.expires_at_ms)),
        }),
        packed_policy_size: packed.map(|length| (length * 100).div_ceil(CHARACTERS) as i32),
        assumed_role_user: Some(AssumedRoleUser { assumed_role_id: Some(session.user_id), arn: Some(session.arn) }),
        ..Default::default()
    })
}

fn validation(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ValidationError", message, 400)
}

fn session_policies(
    ctx: &mut Ctx<'_>,
    inline: Option<String>,
    managed: Option<Vec<PolicyDescriptorType>>,
) -> Result<Option<SessionPolicies>> {
    let managed: Vec<String> = managed.unwrap_or_default().into_iter().filter_map(|policy| policy.arn).collect();
    if inline.is_none() && managed.is_empty() {
        return Ok(None);
    }
    if let Some(text) = &inline {
        document::check(text, Use::Identity)?;
        if text.len() > CHARACTERS {
            return Err(ServiceError::new("PackedPolicyTooLarge", "The session policy is too long.", 400));
        }
    }
    if managed.len() > 10 {
        return Err(validation("At most 10 managed policies can be session policies."));
    }
    for arn in &managed {
        let input = iam::GetPolicyRequest { policy_arn: Some(arn.clone()) };
        ctx.invoke::<iam::op::GetPolicy>(input)?;
    }
    Ok(Some(SessionPolicies { inline, managed }))
}

fn session_tags(tags: Option<Vec<Tag>>) -> Result<BTreeMap<String, String>> {
    let tags = tags.unwrap_or_default();
    let count = tags.len();
    let tags: BTreeMap<String, String> =
        tags.into_iter().filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect();
    match tags.len() == count && count <= 50 {
        true => Ok(tags),
        false => Err(validation("Session tags are at most 50, each key once.")),
    }
}
