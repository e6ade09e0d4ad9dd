//! `BatchGetImage`: manifests by tag or digest.

use super::{errors, images, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{BatchGetImageRequest, BatchGetImageResponse, Image, ImageIdentifier};
use quarry_wire::ServiceError;

pub fn handle(ctx: &mut Ctx<'_>, input: BatchGetImageRequest) -> Result<BatchGetImageResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let known = images::list(ctx, &repository)?;
    let place = ctx.platform.place();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for id in input.image_ids.unwrap_or_default() {
        let image = match images::pick(&known, &id) {
            Ok(image) => image,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let (media_type, digest, bytes) = ctx
            .platform
            .catalog
            .manifest(&repository.name, &image.digest)
            .map_err(|error| errors::from_catalog(place, error))?;
        let manifest = String::from_utf8(bytes)
            .map_err(|_| ServiceError::new("ServerException", format!("The manifest {digest} is no text"), 500))?;
        found.push(Image {
            registry_id: Some(place.account.clone()),
            repository_name: Some(repository.name.clone()),
            image_id: Some(ImageIdentifier { image_digest: Some(digest), image_tag: id.image_tag }),
            image_manifest: Some(manifest),
            image_manifest_media_type: Some(media_type),
        });
    }
    Ok(BatchGetImageResponse { images: Some(found), failures: Some(failures) })
}
