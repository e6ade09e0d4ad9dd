//! `PutImageTagMutability`: while the repository holds no image, as the catalogue settles it when it
//! makes one.

use super::{errors, images, repositories};
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
        if !images::list(ctx, &repository)?.is_empty() {
            return Err(errors::invalid(format!(
                "Tag mutability of '{}' cannot be changed here while it holds images; delete them or make another repository",
                repository.name
            )));
        }
        repository.immutable_tags = immutable;
        ctx.tx.put(&repository)?;
        let catalog = &ctx.platform.catalog;
        catalog
            .delete_repository(&repository.name, false)
            .and_then(|()| catalog.create_repository(&repository.name, immutable))
            .map_err(|error| errors::from_catalog(place, error))?;
    }
    Ok(PutImageTagMutabilityResponse {
        registry_id: Some(place.account.clone()),
        repository_name: Some(repository.name),
        image_tag_mutability: Some(repositories::mutability(immutable).into()),
        ..Default::default()
    })
}
