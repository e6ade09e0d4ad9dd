//! `UploadLayerPart`.

use super::{errors, layers, repositories};
use crate::api::{Ctx, Result};
use quarry_aws::ecr::{UploadLayerPartRequest, UploadLayerPartResponse};

pub fn handle(ctx: &mut Ctx<'_>, input: UploadLayerPartRequest) -> Result<UploadLayerPartResponse> {
    let repository = repositories::find(ctx, input.registry_id.as_deref(), input.repository_name.as_deref())?;
    let missing = |member| errors::invalid(format!("Invalid parameter at '{member}': it must be specified"));
    let upload_id = input.upload_id.ok_or_else(|| missing("uploadId"))?;
    let part = input.layer_part_blob.ok_or_else(|| missing("layerPartBlob"))?;
    let first = input.part_first_byte.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| missing("partFirstByte"))?;
    let last = input.part_last_byte.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| missing("partLastByte"))?;
    let added = ctx.platform.catalog.add_layer_part(&repository.name, &upload_id, (first, last), &part.0);
    let received = added.map_err(|error| layers::refusal(ctx, &repository, Some(&upload_id), error))?;
    Ok(UploadLayerPartResponse {
        registry_id: Some(ctx.platform.place().account.clone()),
        repository_name: Some(repository.name),
        upload_id: Some(upload_id),
        last_byte_received: received.checked_sub(1).and_then(|last| i64::try_from(last).ok()),
    })
}
