//! `DeleteRepositoryPolicy`.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{DeleteRepositoryPolicyRequest, DeleteRepositoryPolicyResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteRepositoryPolicyRequest) -> Result<DeleteRepositoryPolicyResponse> {
    let mut repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let place = ctx.platform.place();
    let policy = repository.policy.take().ok_or_else(|| errors::no_policy(place, &repository.name))?;
    ctx.tx.put(&repository)?;
    Ok(DeleteRepositoryPolicyResponse {
        registry_id: Some(place.account.clone()),
        repository_name: Some(repository.name),
        policy_text: Some(policy),
    })
}
