//! `StartLifecyclePolicyPreview`: of the policy given, or of the repository's own. It is done at once.

use super::{lifecycle, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{StartLifecyclePolicyPreviewRequest, StartLifecyclePolicyPreviewResponse};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: StartLifecyclePolicyPreviewRequest,
) -> Result<StartLifecyclePolicyPreviewResponse> {
    let mut repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let own = || repository.lifecycle.as_ref().map(|policy| policy.text.clone());
    let text = input.lifecycle_policy_text.or_else(own).ok_or_else(|| lifecycle::none(ctx, &repository))?;
    repository.preview = Some(lifecycle::preview(ctx, &repository, text.clone())?);
    ctx.tx.put(&repository)?;
    Ok(StartLifecyclePolicyPreviewResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        lifecycle_policy_text: Some(text),
        status: Some("IN_PROGRESS".into()),
    })
}
