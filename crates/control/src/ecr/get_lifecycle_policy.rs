//! `GetLifecyclePolicy`: no repository has one here.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{GetLifecyclePolicyRequest, GetLifecyclePolicyResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: GetLifecyclePolicyRequest) -> Result<GetLifecyclePolicyResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let id = &ctx.platform.place().account;
    let message = format!(
        "Lifecycle policy does not exist for the repository with name '{}' in the registry with id '{id}'",
        repository.name
    );
    Err(errors::refuse("LifecyclePolicyNotFoundException", message))
}
