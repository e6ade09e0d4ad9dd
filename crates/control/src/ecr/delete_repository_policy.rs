//! `DeleteRepositoryPolicy`: no repository has one here.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{DeleteRepositoryPolicyRequest, DeleteRepositoryPolicyResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: DeleteRepositoryPolicyRequest) -> Result<DeleteRepositoryPolicyResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let id = &ctx.platform.place().account;
    let message = format!(
        "Repository policy does not exist for the repository with name '{}' in the registry with id '{id}'",
        repository.name
    );
    Err(errors::refuse("RepositoryPolicyNotFoundException", message))
}
