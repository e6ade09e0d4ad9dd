//! What the operations on layers share.

use super::errors;
use super::records::Repository;
use crate::api::Ctx;
use quarry_domain::image::LayerError;
use quarry_wire::ServiceError;

/// Whether it is `sha256:` and 64 hexadecimal digits, of either case.
pub fn is_sha256(digest: &str) -> bool {
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The API's error for one of the layers' store, about this upload.
pub fn refusal(ctx: &Ctx<'_>, repository: &Repository, upload: Option<&str>, error: LayerError) -> ServiceError {
    let (place, name, id) = (ctx.platform.place(), &repository.name, upload.unwrap_or_default());
    let at = format!("in the repository with name '{name}' in registry with id '{}'", place.account);
    match error {
        LayerError::NoRepository(name) => errors::repository_not_found(place, &name),
        LayerError::NoUpload => {
            errors::refuse("UploadNotFoundException", format!("The upload with id '{id}' does not exist {at}"))
        }
        LayerError::BadPart { received } => {
            let message = format!(
                "The layer part is not of its size or does not begin after the last byte of upload '{id}' {at}"
            );
            let refused = errors::refuse("InvalidLayerPartException", message)
                .with("registryId", place.account.as_str())
                .with("repositoryName", name.as_str())
                .with("uploadId", id);
            // Of an upload without a byte there is no last one.
            match received.checked_sub(1) {
                Some(last) => refused.with("lastValidByteReceived", last),
                None => refused,
            }
        }
        LayerError::PartTooSmall => errors::refuse(
            "LayerPartTooSmallException",
            format!("A layer part of upload '{id}' that is not the last is smaller than 5 MiB"),
        ),
        LayerError::Empty => {
            errors::refuse("EmptyUploadException", format!("The upload with id '{id}' has no layer part"))
        }
        LayerError::Exists(digest) => errors::refuse(
            "LayerAlreadyExistsException",
            format!("The layer with digest '{digest}' already exists {at}"),
        ),
        LayerError::WrongDigest(actual) => errors::refuse(
            "InvalidLayerException",
            format!("The layer of upload '{id}' has the digest '{actual}', not the one that was specified"),
        ),
        LayerError::TooLarge(limit) => {
            errors::refuse("LimitExceededException", format!("A layer has at most {limit} bytes"))
        }
        LayerError::TooMany => errors::refuse("ThrottlingException", "Too many layers are uploaded at the same time"),
        LayerError::Busy => {
            ServiceError::new("ServerException", "Another request is writing to the upload; try again", 500)
        }
        LayerError::Io(error) => ServiceError::new("ServerException", error.to_string(), 500),
    }
}
