//! `CompleteLayerUpload`.

use super::{errors, layers, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{CompleteLayerUploadRequest, CompleteLayerUploadResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: CompleteLayerUploadRequest) -> Result<CompleteLayerUploadResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let upload_id =
        input.upload_id.ok_or_else(|| errors::invalid("Invalid parameter at 'uploadId': it must be specified"))?;
    let digests = input.layer_digests.unwrap_or_default();
    if let Some(other) = digests.iter().find(|digest| !layers::is_sha256(digest)) {
        return Err(errors::invalid(format!(
            "Invalid parameter at 'layerDigests' failed to satisfy constraint: '{other} is no sha256 digest'"
        )));
    }
    let finished = ctx.platform.catalog.finish_layer(&repository.name, &upload_id, &digests);
    let digest = finished.map_err(|error| layers::refusal(ctx, &repository, Some(&upload_id), error))?;
    Ok(CompleteLayerUploadResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        upload_id: Some(upload_id),
        layer_digest: Some(digest),
    })
}
