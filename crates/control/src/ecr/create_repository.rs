//! `CreateRepository`.

use super::records::Repository;
use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{CreateRepositoryRequest, CreateRepositoryResponse};
use quarry_domain::image::{CatalogError, ImageCatalog};

pub fn handle(ctx: &mut Ctx<'_>, input: CreateRepositoryRequest) -> Result<CreateRepositoryResponse> {
    let place = ctx.platform.place();
    repositories::check_registry(place, input.registry_id.as_deref())?;
    let name = input
        .repository_name
        .ok_or_else(|| errors::invalid("Invalid parameter at 'repositoryName': it must be specified"))?;
    if !(2..=256).contains(&name.len()) {
        return Err(errors::invalid(
            "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must have from 2 to 256 characters'",
        ));
    }
    let immutable_tags = repositories::read_mutability(
        input.image_tag_mutability.as_deref(),
        input.image_tag_mutability_exclusion_filters,
    )?;
    let encryption = input.encryption_configuration.and_then(|encryption| encryption.encryption_type);
    if encryption.as_deref().unwrap_or("AES256") != "AES256" {
        return Err(errors::refuse("KmsException", "Encryption with KMS keys is not supported here; use AES256"));
    }
    let repository = Repository {
        created_ms: ctx.platform.now_ms(),
        immutable_tags,
        scan_on_push: input.image_scanning_configuration.and_then(|scanning| scanning.scan_on_push).unwrap_or(false),
        tags: repositories::read_tags(input.tags)?,
        lifecycle: None,
        preview: None,
        policy: None,
        name,
    };
    if ctx.tx.get::<Repository>(&repository.name)?.is_some() {
        return Err(errors::from_catalog(place, CatalogError::RepositoryExists(repository.name)));
    }
    // The catalogue goes first, so that a refusal of its leaves no record.
    make(&*ctx.platform.catalog, &repository.name, immutable_tags)
        .map_err(|error| errors::from_catalog(place, error))?;
    ctx.tx.put(&repository)?;
    Ok(CreateRepositoryResponse { repository: Some(repositories::show(ctx.platform, &repository)) })
}

/// Makes it in the catalogue. One that is there without a record was left by a transaction that was
/// undone afterwards: an empty one is made anew, and images that it holds are taken over.
fn make(catalog: &dyn ImageCatalog, name: &str, immutable_tags: bool) -> Result<(), CatalogError> {
    match catalog.create_repository(name, immutable_tags) {
        Err(CatalogError::RepositoryExists(_)) => match catalog.delete_repository(name, false) {
            Ok(()) => catalog.create_repository(name, immutable_tags),
            Err(CatalogError::NotEmpty(_)) if !immutable_tags => Ok(()),
            Err(error) => Err(error),
        },
        other => other,
    }
}
