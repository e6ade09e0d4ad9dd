//! `ListImages`: one identifier for each tag, and one for each image without tags.

use super::{images, page, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{ImageIdentifier, ListImagesRequest, ListImagesResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: ListImagesRequest) -> Result<ListImagesResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let status = input.filter.and_then(|filter| filter.tag_status);
    let mut ids = Vec::new();
    for image in images::list(ctx, &repository)?.iter().filter(|image| images::wanted(status.as_deref(), image)) {
        let id = |image_tag| ImageIdentifier { image_digest: Some(image.digest.clone()), image_tag };
        if image.tags.is_empty() {
            ids.push(id(None));
        }
        ids.extend(image.tags.iter().cloned().map(|tag| id(Some(tag))));
    }
    let key = |id: &ImageIdentifier| {
        format!("{}|{}", id.image_digest.as_deref().unwrap_or_default(), id.image_tag.as_deref().unwrap_or_default())
    };
    let (ids, next_token) = page::page(ids, key, input.next_token.as_deref(), input.max_results)?;
    Ok(ListImagesResponse { image_ids: Some(ids), next_token })
}
