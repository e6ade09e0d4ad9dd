//! `GetRepositoryPolicy`.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{GetRepositoryPolicyRequest, GetRepositoryPolicyResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: GetRepositoryPolicyRequest) -> Result<GetRepositoryPolicyResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let place = ctx.platform.place();
    let policy = repository.policy.ok_or_else(|| errors::no_policy(place, &repository.name))?;
    Ok(GetRepositoryPolicyResponse {
        registry_id: Some(place.account.clone()),
        repository_name: Some(repository.name),
        policy_text: Some(policy),
    })
}
