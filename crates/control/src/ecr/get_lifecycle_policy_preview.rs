//! `GetLifecyclePolicyPreview`.

use super::records::PreviewedImage;
use super::{errors, repositories};
use crate::api::{Ctx, Result};
use crate::page;
use quarry_aws::ecr::{
    GetLifecyclePolicyPreviewRequest, GetLifecyclePolicyPreviewResponse, ImageIdentifier, LifecyclePolicyPreviewResult,
    LifecyclePolicyPreviewSummary, LifecyclePolicyRuleAction,
};
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: GetLifecyclePolicyPreviewRequest) -> Result<GetLifecyclePolicyPreviewResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let account = ctx.platform.place().account.clone();
    let preview = repository.preview.ok_or_else(|| {
        let message = format!(
            "Lifecycle policy preview does not exist for the repository with name '{}' in the registry with id '{account}'",
            repository.name
        );
        errors::refuse("LifecyclePolicyPreviewNotFoundException", message)
    })?;
    let total = preview.images.len();
    let mut found = preview.images;
    if let Some(ids) = input.image_ids.filter(|ids| !ids.is_empty()) {
        found.retain(|image| ids.iter().any(|id| means(id, image)));
    }
    match input.filter.and_then(|filter| filter.tag_status).as_deref() {
        Some("TAGGED") => found.retain(|image| !image.tags.is_empty()),
        Some("UNTAGGED") => found.retain(|image| image.tags.is_empty()),
        _ => {}
    }
    let size = input.max_results.unwrap_or(100).clamp(1, 100) as usize;
    let (found, next_token) = page::after(found, |image| image.digest.clone(), input.next_token.as_deref(), size)
        .ok_or_else(|| errors::invalid("Invalid parameter at 'nextToken'"))?;
    let show = |image: PreviewedImage| LifecyclePolicyPreviewResult {
        image_digest: Some(image.digest),
        image_tags: Some(image.tags).filter(|tags| !tags.is_empty()),
        image_pushed_at: Some(Timestamp::from_millis(image.pushed_at_ms)),
        action: Some(LifecyclePolicyRuleAction { r#type: Some("EXPIRE".into()), ..Default::default() }),
        applied_rule_priority: Some(image.rule),
        ..Default::default()
    };
    Ok(GetLifecyclePolicyPreviewResponse {
        registry_id: Some(account),
        repository_name: Some(repository.name),
        lifecycle_policy_text: Some(preview.text),
        status: Some("COMPLETE".into()),
        preview_results: Some(found.into_iter().map(show).collect()),
        next_token,
        summary: Some(LifecyclePolicyPreviewSummary {
            expiring_image_total_count: i32::try_from(total).ok(),
            ..Default::default()
        }),
    })
}

fn means(id: &ImageIdentifier, image: &PreviewedImage) -> bool {
    id.image_digest.as_ref().is_none_or(|digest| *digest == image.digest)
        && id.image_tag.as_ref().is_none_or(|tag| image.tags.contains(tag))
}
