//! `PutLifecyclePolicy`: refused, as no image would ever expire by it.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{PutLifecyclePolicyRequest, PutLifecyclePolicyResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: PutLifecyclePolicyRequest) -> Result<PutLifecyclePolicyResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    Err(errors::invalid(format!(
        "Lifecycle policies are not enforced here, so '{}' cannot have one; delete images with BatchDeleteImage",
        repository.name
    )))
}
