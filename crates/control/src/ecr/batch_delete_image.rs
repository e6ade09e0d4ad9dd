//! `BatchDeleteImage`: a tag alone is removed, and with its last tag or by digest the image.

use super::{errors, images, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{BatchDeleteImageRequest, BatchDeleteImageResponse, ImageFailure, ImageIdentifier};
use quarry_domain::image::CatalogError;

pub fn handle(ctx: &mut Ctx<'_>, input: BatchDeleteImageRequest) -> Result<BatchDeleteImageResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let catalog = &ctx.platform.catalog;
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for id in input.image_ids.unwrap_or_default() {
        let known = images::list(ctx, &repository)?;
        let image = match images::pick(&known, &id) {
            Ok(image) => image,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let identifier = |tag: Option<&String>| ImageIdentifier {
            image_digest: Some(image.digest.clone()),
            image_tag: tag.cloned(),
        };
        let (reference, gone) = match (&id.image_digest, &id.image_tag) {
            (None, Some(tag)) if image.tags.len() > 1 => (tag, vec![identifier(Some(tag))]),
            _ if image.tags.is_empty() => (&image.digest, vec![identifier(None)]),
            _ => (&image.digest, image.tags.iter().map(|tag| identifier(Some(tag))).collect()),
        };
        match catalog.delete_image(&repository.name, reference) {
            Ok(()) => deleted.extend(gone),
            // The catalogue keeps what a manifest list of the repository names.
            Err(CatalogError::Invalid(reason)) => failures.push(ImageFailure {
                failure_code: Some("ImageReferencedByManifestList".into()),
                failure_reason: Some(reason),
                image_id: Some(id.clone()),
            }),
            Err(error) => return Err(errors::from_catalog(ctx.platform.place(), error)),
        }
    }
    Ok(BatchDeleteImageResponse { image_ids: Some(deleted), failures: Some(failures) })
}
