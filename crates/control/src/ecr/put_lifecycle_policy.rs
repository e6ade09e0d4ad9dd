//! `PutLifecyclePolicy`: images expire by it from the next evaluation on.

use super::records::Lifecycle;
use super::{errors, lifecycle, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{PutLifecyclePolicyRequest, PutLifecyclePolicyResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: PutLifecyclePolicyRequest) -> Result<PutLifecyclePolicyResponse> {
    let mut repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let text = input
        .lifecycle_policy_text
        .ok_or_else(|| errors::invalid("Invalid parameter at 'lifecyclePolicyText': it must be specified"))?;
    lifecycle::read(&text)?;
    repository.lifecycle = Some(Lifecycle { text: text.clone(), evaluated_ms: None });
    ctx.tx.put(&repository)?;
    Ok(PutLifecyclePolicyResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        lifecycle_policy_text: Some(text),
    })
}
