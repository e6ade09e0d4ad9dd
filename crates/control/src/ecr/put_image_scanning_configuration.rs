//! `PutImageScanningConfiguration`: kept; images of a repository with `scanOnPush` show that they
//! cannot be scanned here.

use super::repositories;
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{PutImageScanningConfigurationRequest, PutImageScanningConfigurationResponse};

pub fn handle(
    ctx: &mut Ctx<'_>,
    input: PutImageScanningConfigurationRequest,
) -> Result<PutImageScanningConfigurationResponse> {
    let mut repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let configuration = input.image_scanning_configuration.unwrap_or_default();
    repository.scan_on_push = configuration.scan_on_push.unwrap_or(false);
    ctx.tx.put(&repository)?;
    Ok(PutImageScanningConfigurationResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        image_scanning_configuration: Some(configuration),
    })
}
