//! `SetRepositoryPolicy`: who else may use a repository.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use crate::iam::document::{self, Use};
use quarry_aws::ecr::{SetRepositoryPolicyRequest, SetRepositoryPolicyResponse};

/// It is evaluated with the policies of whoever asks, see [`crate::authorization`]; the root user may use every repository.
pub fn handle(ctx: &mut Ctx<'_>, input: SetRepositoryPolicyRequest) -> Result<SetRepositoryPolicyResponse> {
    let mut repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let text = input.policy_text.unwrap_or_default();
    document::check(&text, Use::Resource).map_err(|_| {
        errors::invalid(
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'",
        )
    })?;
    repository.policy = Some(text.clone());
    ctx.tx.put(&repository)?;
    Ok(SetRepositoryPolicyResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        policy_text: Some(text),
    })
}
