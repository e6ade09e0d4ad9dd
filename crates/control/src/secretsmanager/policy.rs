//! Resource policies of secrets: their form is checked, and that they let not everyone in.

use super::find::{self, invalid};
use crate::api::{Ctx, Result};
use crate::iam::document::{self, Use};
use quarry_aws::secretsmanager::{
    DeleteResourcePolicyRequest, DeleteResourcePolicyResponse, GetResourcePolicyRequest, GetResourcePolicyResponse,
    PutResourcePolicyRequest, PutResourcePolicyResponse, ValidateResourcePolicyRequest, ValidateResourcePolicyResponse,
    ValidationErrorsEntry, error,
};
use serde_json::Value;

/// `PutResourcePolicy`
pub fn put(ctx: &mut Ctx<'_>, input: PutResourcePolicyRequest) -> Result<PutResourcePolicyResponse> {
    let mut secret = find::live(ctx, input.secret_id.as_deref())?;
    let policy = input.resource_policy.unwrap_or_default();
    document::check(&policy, Use::Resource)
        .map_err(|refused| error::malformed_policy_document_exception(refused.message))?;
    if input.block_public_policy.unwrap_or(false) && is_public(&policy) {
        return Err(error::public_policy_exception(
            "You can't attach a resource policy that allows broad access to the secret.",
        ));
    }
    secret.policy = Some(policy);
    ctx.tx.put(&secret)?;
    Ok(PutResourcePolicyResponse { arn: Some(secret.arn), name: Some(secret.name) })
}

/// `GetResourcePolicy`
pub fn get(ctx: &mut Ctx<'_>, input: GetResourcePolicyRequest) -> Result<GetResourcePolicyResponse> {
    let secret = find::live(ctx, input.secret_id.as_deref())?;
    Ok(GetResourcePolicyResponse { arn: Some(secret.arn), name: Some(secret.name), resource_policy: secret.policy })
}

/// `DeleteResourcePolicy`
pub fn delete(ctx: &mut Ctx<'_>, input: DeleteResourcePolicyRequest) -> Result<DeleteResourcePolicyResponse> {
    let mut secret = find::live(ctx, input.secret_id.as_deref())?;
    secret.policy = None;
    ctx.tx.put(&secret)?;
    Ok(DeleteResourcePolicyResponse { arn: Some(secret.arn), name: Some(secret.name) })
}

/// `ValidateResourcePolicy`: what is wrong with a policy, without attaching it.
pub fn validate(ctx: &mut Ctx<'_>, input: ValidateResourcePolicyRequest) -> Result<ValidateResourcePolicyResponse> {
    if let Some(id) = input.secret_id.as_deref() {
        find::live(ctx, Some(id))?;
    }
    let policy = input.resource_policy.ok_or_else(|| invalid("You must provide a ResourcePolicy."))?;
    let entry = |check: &str, message: String| ValidationErrorsEntry {
        check_name: Some(check.to_owned()),
        error_message: Some(message),
    };
    let mut errors = Vec::new();
    if let Err(refused) = document::check(&policy, Use::Resource) {
        errors.push(entry("POLICY_GRAMMAR", refused.message));
    } else if is_public(&policy) {
        errors.push(entry("PUBLIC_POLICY", "The resource policy allows broad access to the secret.".into()));
    }
    let passed = errors.is_empty();
    Ok(ValidateResourcePolicyResponse { policy_validation_passed: Some(passed), validation_errors: Some(errors) })
}

/// Whether a statement allows everyone something without a condition.
fn is_public(policy: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return false };
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.as_slice(),
        one => std::slice::from_ref(one),
    };
    let everyone = |principal: &Value| match principal {
        Value::String(one) => one == "*",
        Value::Array(many) => many.iter().any(|one| one == "*"),
        _ => false,
    };
    statements.iter().any(|statement| {
        let principal = &statement["Principal"];
        statement["Effect"] == "Allow"
            && statement["Condition"].as_object().is_none_or(serde_json::Map::is_empty)
            && (everyone(principal) || everyone(&principal["AWS"]) || statement.get("NotPrincipal").is_some())
    })
}
