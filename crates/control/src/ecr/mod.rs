//! The Elastic Container Registry's API over the catalogue of images. Layers travel over the OCI
//! distribution protocol, or by the API's own layer operations over the same uploads.

pub mod auth;
mod batch_check_layer_availability;
mod batch_delete_image;
mod batch_get_image;
mod complete_layer_upload;
mod create_repository;
mod delete_lifecycle_policy;
mod delete_repository;
mod delete_repository_policy;
mod describe_images;
mod describe_registry;
mod describe_repositories;
mod errors;
mod get_authorization_token;
mod get_download_url_for_layer;
mod get_lifecycle_policy;
mod get_lifecycle_policy_preview;
mod get_repository_policy;
mod images;
mod initiate_layer_upload;
mod layers;
pub mod lifecycle;
mod list_images;
mod list_tags_for_resource;
mod page;
mod put_image;
mod put_image_scanning_configuration;
mod put_image_tag_mutability;
mod put_lifecycle_policy;
pub mod records;
pub mod repositories;
mod scan;
mod set_repository_policy;
mod start_lifecycle_policy_preview;
mod tag_resource;
mod untag_resource;
mod upload_layer_part;

#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod tests;

use crate::api::Operations;
use crate::platform::Platform;
use quarry_aws::ecr::op;

pub use auth::TokenAuth;

/// Before the first request: makes the key of the authorization tokens and lets store and catalogue
/// agree. What fails is logged; the registry serves what it can.
pub fn reconcile(platform: &Platform, _operations: &Operations) {
    let done = repositories::agree(platform).and_then(|()| Ok(auth::Tokens::open(platform).map(drop)?));
    if let Err(error) = done {
        tracing::error!("the registry's catalogue and the store could not be compared: {error}");
    }
}

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::BatchCheckLayerAvailability>(batch_check_layer_availability::handle);
    operations.serve::<op::CompleteLayerUpload>(complete_layer_upload::handle);
    operations.serve::<op::GetDownloadUrlForLayer>(get_download_url_for_layer::handle);
    operations.serve::<op::InitiateLayerUpload>(initiate_layer_upload::handle);
    operations.serve::<op::UploadLayerPart>(upload_layer_part::handle);
    operations.serve::<op::BatchDeleteImage>(batch_delete_image::handle);
    operations.serve::<op::BatchGetImage>(batch_get_image::handle);
    operations.serve::<op::CreateRepository>(create_repository::handle);
    operations.serve::<op::DeleteLifecyclePolicy>(delete_lifecycle_policy::handle);
    operations.serve::<op::DeleteRepository>(delete_repository::handle);
    operations.serve::<op::DeleteRepositoryPolicy>(delete_repository_policy::handle);
    operations.serve::<op::DescribeImageScanFindings>(scan::findings);
    operations.serve::<op::DescribeRegistry>(describe_registry::handle);
    operations.serve::<op::GetLifecyclePolicyPreview>(get_lifecycle_policy_preview::handle);
    operations.serve::<op::StartImageScan>(scan::start);
    operations.serve::<op::StartLifecyclePolicyPreview>(start_lifecycle_policy_preview::handle);
    operations.serve::<op::DescribeImages>(describe_images::handle);
    operations.serve::<op::DescribeRepositories>(describe_repositories::handle);
    operations.serve::<op::GetAuthorizationToken>(get_authorization_token::handle);
    operations.serve::<op::GetLifecyclePolicy>(get_lifecycle_policy::handle);
    operations.serve::<op::GetRepositoryPolicy>(get_repository_policy::handle);
    operations.serve::<op::ListImages>(list_images::handle);
    operations.serve::<op::ListTagsForResource>(list_tags_for_resource::handle);
    operations.serve::<op::PutImage>(put_image::handle);
    operations.serve::<op::PutImageScanningConfiguration>(put_image_scanning_configuration::handle);
    operations.serve::<op::PutImageTagMutability>(put_image_tag_mutability::handle);
    operations.serve::<op::PutLifecyclePolicy>(put_lifecycle_policy::handle);
    operations.serve::<op::SetRepositoryPolicy>(set_repository_policy::handle);
    operations.serve::<op::TagResource>(tag_resource::handle);
    operations.serve::<op::UntagResource>(untag_resource::handle);
}
