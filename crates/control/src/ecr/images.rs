//! What the operations on images share.

use super::errors;
use super::records::Repository;
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{ImageFailure, ImageIdentifier};
use quarry_domain::image::ImageRecord;

/// The repository's images, by digest.
pub fn list(ctx: &Ctx<'_>, repository: &Repository) -> Result<Vec<ImageRecord>> {
    let images = ctx.platform.catalog.images(&repository.name);
    images.map_err(|error| errors::from_catalog(ctx.platform.place(), error))
}

/// Which of `images` an identifier means, or why none.
pub fn pick<'a>(images: &'a [ImageRecord], id: &ImageIdentifier) -> std::result::Result<&'a ImageRecord, ImageFailure> {
    let failure = |code: &str, reason: &str| ImageFailure {
        failure_code: Some(code.into()),
        failure_reason: Some(reason.into()),
        image_id: Some(id.clone()),
    };
    let tagged = |tag: &String| images.iter().find(|image| image.tags.contains(tag));
    if let Some(digest) = &id.image_digest
        && !is_digest(digest)
    {
        return Err(failure(
            "InvalidImageDigest",
            "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
        ));
    }
    match (&id.image_digest, &id.image_tag) {
        (None, None) => {
            Err(failure("MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null"))
        }
        (None, Some(tag)) => tagged(tag).ok_or_else(|| failure("ImageNotFound", "Requested image not found")),
        (Some(digest), tag) => {
            let image = images.iter().find(|image| image.digest == *digest);
            let image = image.ok_or_else(|| failure("ImageNotFound", "Requested image not found"))?;
            if tag.as_ref().is_some_and(|tag| !image.tags.contains(tag)) {
                let code = "ImageTagDoesNotMatchDigest";
                return Err(failure(code, "Requested tag and digest do not match each other"));
            }
            Ok(image)
        }
    }
}

/// Whether the filter wants an image with or without tags.
pub fn wanted(status: Option<&str>, image: &ImageRecord) -> bool {
    match status {
        Some("TAGGED") => !image.tags.is_empty(),
        Some("UNTAGGED") => image.tags.is_empty(),
        _ => true,
    }
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}
