//! `SetRepositoryPolicy`: who else may use a repository.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use crate::iam::document::{self, Use};
use quarry_aws::ecr::{SetRepositoryPolicyRequest, SetRepositoryPolicyResponse};
use serde_json::Value;

/// A repository policy gives rights beside those that the account's own users have. These may use every
/// repository here, so one that allows is in force as it stands, and one that denies is refused.
pub fn handle(ctx: &mut Ctx<'_>, input: SetRepositoryPolicyRequest) -> Result<SetRepositoryPolicyResponse> {
    let mut repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let text = input.policy_text.unwrap_or_default();
    document::check(&text, Use::Resource).map_err(|_| {
        errors::invalid(
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'",
        )
    })?;
    if denies(&text) {
        return Err(errors::invalid(format!(
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: a statement that denies is not enforced here, so '{}' cannot have one",
            repository.name
        )));
    }
    repository.policy = Some(text.clone());
    ctx.tx.put(&repository)?;
    Ok(SetRepositoryPolicyResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        policy_text: Some(text),
    })
}

/// Whether any statement of a well-formed policy denies.
fn denies(text: &str) -> bool {
    let policy: Value = serde_json::from_str(text).unwrap_or_default();
    let statements = match &policy["Statement"] {
        Value::Array(many) => many.as_slice(),
        one => std::slice::from_ref(one),
    };
    statements.iter().any(|statement| statement["Effect"] == "Deny")
}
