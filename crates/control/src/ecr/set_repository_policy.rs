//! `SetRepositoryPolicy`: refused, as it would not be enforced.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{SetRepositoryPolicyRequest, SetRepositoryPolicyResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: SetRepositoryPolicyRequest) -> Result<SetRepositoryPolicyResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    Err(errors::invalid(format!(
        "Repository policies are not enforced here, so '{}' cannot have one; the account's own users may use every repository",
        repository.name
    )))
}
