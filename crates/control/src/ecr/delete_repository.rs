//! `DeleteRepository`: with `force`, its images go with it.

use super::records::Repository;
use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{DeleteRepositoryRequest, DeleteRepositoryResponse};
use quarry_domain::image::CatalogError;

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteRepositoryRequest) -> Result<DeleteRepositoryResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    ctx.tx.delete::<Repository>(&repository.name)?;
    match ctx.platform.catalog.delete_repository(&repository.name, input.force.unwrap_or(false)) {
        // Gone already: a transaction that deleted it was undone afterwards.
        Ok(()) | Err(CatalogError::NoRepository(_)) => {}
        Err(error) => return Err(errors::from_catalog(ctx.platform.place(), error)),
    }
    Ok(DeleteRepositoryResponse { repository: Some(repositories::show(ctx.platform, &repository)) })
}
