//! `PutImage`: a manifest whose blobs were pushed before; also how an image gets another tag.

use super::{errors, images, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{Image, ImageIdentifier, PutImageRequest, PutImageResponse};
use quarry_wire::hash::sha256;
use serde_json::Value;

pub fn handle(ctx: &mut Ctx<'_>, input: PutImageRequest) -> Result<PutImageResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let place = ctx.platform.place();
    let manifest = input
        .image_manifest
        .ok_or_else(|| errors::invalid("Invalid parameter at 'imageManifest': it must be specified"))?;
    let named = |json: Value| json.get("mediaType").and_then(Value::as_str).map(str::to_owned);
    let media_type =
        input
            .image_manifest_media_type
            .or_else(|| serde_json::from_str(&manifest).ok().and_then(named))
            .ok_or_else(|| errors::invalid("Invalid parameter at 'imageManifestMediaType': the manifest names none"))?;
    let computed = format!("sha256:{}", sha256(manifest.as_bytes()));
    if input.image_digest.as_ref().is_some_and(|given| *given != computed) {
        return Err(errors::refuse(
            "ImageDigestDoesNotMatchException",
            "The digest of the image manifest does not match the digest that was specified",
        ));
    }
    let tag = input.image_tag;
    let known = images::list(ctx, &repository)?;
    if let Some(image) = known.iter().find(|image| image.digest == computed)
        && tag.as_ref().is_none_or(|tag| image.tags.contains(tag))
    {
        return Err(errors::refuse(
            "ImageAlreadyExistsException",
            format!(
                "Image with digest '{computed}' and tag '{}' already exists in the repository with name '{}' in registry with id '{}'",
                tag.as_deref().unwrap_or("null"),
                repository.name,
                place.account
            ),
        ));
    }
    let stored = ctx
        .platform
        .catalog
        .put_manifest(&repository.name, tag.as_deref(), &media_type, manifest.as_bytes())
        .map_err(|error| errors::from_catalog(place, error))?;
    let image = Image {
        registry_id: Some(place.account.clone()),
        repository_name: Some(repository.name),
        image_id: Some(ImageIdentifier { image_digest: Some(stored), image_tag: tag }),
        image_manifest: Some(manifest),
        image_manifest_media_type: Some(media_type),
    };
    Ok(PutImageResponse { image: Some(image) })
}
