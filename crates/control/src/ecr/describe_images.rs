//! `DescribeImages`.

use super::{errors, images, page, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{DescribeImagesRequest, DescribeImagesResponse, ImageDetail, ImageScanStatus};
use quarry_domain::image::ImageRecord;
use quarry_wire::Timestamp;

pub fn handle(ctx: &mut Ctx<'_>, input: DescribeImagesRequest) -> Result<DescribeImagesResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let place = ctx.platform.place();
    let mut found = images::list(ctx, &repository)?;
    let status = input.filter.and_then(|filter| filter.tag_status);
    let ids = input.image_ids.unwrap_or_default();
    if !ids.is_empty() {
        let mut picked: Vec<ImageRecord> = Vec::new();
        for id in &ids {
            let image = images::pick(&found, id).map_err(|_| {
                errors::refuse(
                    "ImageNotFoundException",
                    format!(
                        "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the repository with name '{}' in the registry with id '{}'",
                        id.image_digest.as_deref().unwrap_or("null"),
                        id.image_tag.as_deref().unwrap_or("null"),
                        repository.name,
                        place.account
                    ),
                )
            })?;
            if !picked.contains(image) {
                picked.push(image.clone());
            }
        }
        found = picked;
    }
    found.retain(|image| images::wanted(status.as_deref(), image));
    let key = |image: &ImageRecord| image.digest.clone();
    let (found, next_token) = page::page(found, key, input.next_token.as_deref(), input.max_results)?;
    let details = found.into_iter().map(|image| ImageDetail {
        registry_id: Some(place.account.clone()),
        repository_name: Some(repository.name.clone()),
        image_digest: Some(image.digest),
        image_tags: Some(image.tags).filter(|tags| !tags.is_empty()),
        image_size_in_bytes: i64::try_from(image.size).ok(),
        image_pushed_at: Some(Timestamp::from_millis(image.pushed_at_ms)),
        image_manifest_media_type: Some(image.media_type),
        image_scan_status: repository.scan_on_push.then(|| ImageScanStatus {
            status: Some("UNSUPPORTED_IMAGE".into()),
            description: Some("This registry scans no images".into()),
        }),
        ..Default::default()
    });
    Ok(DescribeImagesResponse { image_details: Some(details.collect()), next_token })
}
