//! `GetLifecyclePolicy`.

use super::{lifecycle, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{GetLifecyclePolicyRequest, GetLifecyclePolicyResponse};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: GetLifecyclePolicyRequest) -> Result<GetLifecyclePolicyResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let policy = repository.lifecycle.clone().ok_or_else(|| lifecycle::none(ctx, &repository))?;
    Ok(GetLifecyclePolicyResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        lifecycle_policy_text: Some(policy.text),
        last_evaluated_at: policy.evaluated_ms.map(Timestamp::from_millis),
    })
}
