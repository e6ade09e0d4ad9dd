//! `DeleteLifecyclePolicy`.

use super::{lifecycle, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{DeleteLifecyclePolicyRequest, DeleteLifecyclePolicyResponse};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteLifecyclePolicyRequest) -> Result<DeleteLifecyclePolicyResponse> {
    let mut repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let Some(policy) = repository.lifecycle.take() else { return Err(lifecycle::none(ctx, &repository)) };
    ctx.tx.put(&repository)?;
    Ok(DeleteLifecyclePolicyResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        lifecycle_policy_text: Some(policy.text),
        last_evaluated_at: policy.evaluated_ms.map(Timestamp::from_millis),
    })
}
