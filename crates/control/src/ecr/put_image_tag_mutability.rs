//! `PutImageTagMutability`: holds for what is pushed from now on.

use super::{errors, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{PutImageTagMutabilityRequest, PutImageTagMutabilityResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: PutImageTagMutabilityRequest) -> Result<PutImageTagMutabilityResponse> {
    let mut repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let place = ctx.platform.place();
    let immutable = repositories::read_mutability(
        input.image_tag_mutability.as_deref(),
        input.image_tag_mutability_exclusion_filters,
    )?;
    if immutable != repository.immutable_tags {
        repository.immutable_tags = immutable;
        ctx.tx.put(&repository)?;
        // Last, as it cannot be undone; sent again, it is set again.
        let set = ctx.platform.catalog.set_immutable_tags(&repository.name, immutable);
        set.map_err(|error| errors::from_catalog(place, error))?;
    }
    Ok(PutImageTagMutabilityResponse {
        registry_id: Some(place.account.clone()),
        repository_name: Some(repository.name),
        image_tag_mutability: Some(repositories::mutability(immutable).into()),
        ..Default::default()
    })
}
