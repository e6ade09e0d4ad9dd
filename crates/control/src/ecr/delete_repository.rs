//! `DeleteRepository`: with `force`, its images go with it.

use super::records::Repository;
use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{DeleteRepositoryRequest, DeleteRepositoryResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteRepositoryRequest) -> Result<DeleteRepositoryResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    ctx.tx.delete::<Repository>(&repository.name)?;
    ctx.platform
        .catalog
        .delete_repository(&repository.name, input.force.unwrap_or(false))
        .map_err(|error| errors::from_catalog(ctx.platform.place(), error))?;
    Ok(DeleteRepositoryResponse { repository: Some(repositories::show(ctx.platform, &repository)) })
}
